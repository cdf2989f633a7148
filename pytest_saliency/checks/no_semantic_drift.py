"""``no_semantic_drift``: does the model still look at the same evidence after fine-tuning?

The same class is explained in both subjects and the maps are compared image by image (the drift paper, arXiv
2604.08513: displacement, overlap, pattern correlation, concentration change). Its own normalisations could not be
obtained; the definitions used here are in ``measure`` and their versions in every record.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from pytest_saliency.checks.parameters import OpenShare, Parameters, Share

if TYPE_CHECKING:
    from pytest_saliency.checks.numbers import Numbers
    from pytest_saliency.checks.result import Result
    from pytest_saliency.checks.worst import Ranked
    from pytest_saliency.decide.decision import Decision
    from pytest_saliency.engine.explained import Explained

LIMITS = (
    "max_iou_drop",
    "max_displacement",
    "min_correlation",
    "max_concentration_change",
    "max_accuracy_drop",
)
MEASURES = ("iou_drop", "displacement", "correlation", "concentration_change")


class NoSemanticDriftParameters(Parameters):
    """Parameters of ``no_semantic_drift``; no limit has a default, and at least one must be declared."""

    max_iou_drop: Share | None = Field(
        default=None, description="1 - IoU of the top regions before and after, on average"
    )
    max_displacement: Share | None = Field(
        default=None, description="distance of the centres of mass / image diagonal, on average"
    )
    min_correlation: float | None = Field(
        default=None, ge=-1.0, le=1.0, description="Pearson correlation of the rectified maps, on average"
    )
    max_concentration_change: Share | None = Field(
        default=None, description="absolute mean change of the mass share in the top 10 % of positions"
    )
    max_accuracy_drop: Share | None = Field(
        default=None, description="accuracy before minus accuracy after, on all cases"
    )
    top_fraction: OpenShare = Field(default=0.20, description="share of positions that forms a map's top region")
    keep: Literal["both_correct", "same_prediction", "all"] = Field(
        default="both_correct", description="which images the check looks at"
    )
    min_kept: Share = Field(default=0.5, description="fewer kept images than this share block PASS")
    max_drifted_share: Share | None = Field(
        default=None, description="share of images that may each be beyond a declared limit"
    )
    reference: Literal["absolute"] = Field(default="absolute", description="what the change is held against")

    @model_validator(mode="after")
    def _some_limit(self) -> Self:
        if all(getattr(self, name) is None for name in LIMITS):
            raise ValueError(f"declares no limit, so nothing could fail; add at least one of {', '.join(LIMITS)}")
        return self


def run(explained: Mapping[str, Explained], parameters: NoSemanticDriftParameters, check: str) -> Result:
    """Compare the maps of two subjects over the same cases, and decide."""
    from pytest_saliency.checks import common, drift
    from pytest_saliency.checks.gallery import Gallery
    from pytest_saliency.checks.numbers import Numbers, seed_of
    from pytest_saliency.checks.result import Result
    from pytest_saliency.checks.worst import rows_of
    from pytest_saliency.measure.regions import region_size

    before, after = explained["before"], explained["after"]
    drift.same_cases(before, after)
    mask, target = drift.kept_mask(before, after, parameters.keep)
    kept = common.keep(before, mask, drift.WHY[parameters.keep])
    a, b = before.maps(parameters.method, target), after.maps(parameters.method, target)
    common.refuse_degenerate(a, kept)
    size = drift.common_size(before, after)
    rows = kept.indices
    watch = common.clock()
    with watch.stage("measure"):
        values = drift.measure(a, b, rows, parameters.top_fraction, size)
        readouts = drift.readouts(before, after, parameters, kept, size)
    columns = common.base_columns(before, kept)
    columns |= {
        "class": a.classes[rows].tolist(),
        "status_before": a.status[rows].tolist(),
        "status_after": b.status[rows].tolist(),
        **{name: column.tolist() for name, column in values.items()},
    }
    inputs = {
        "size": list(size),
        "region": region_size(parameters.top_fraction, prod(size)),
        "readouts": readouts,
        "warnings": common.warnings_of(kept, a, b),
    }
    numbers = Numbers.made(
        columns,
        common.everyone(explained, kept, mask, drift.WHY[parameters.keep]),
        inputs,
        seed_of(parameters, before.cases.unordered_digest, check),
    )
    with watch.stage("decide"):
        made = decision(parameters, numbers)
    order = ranked(parameters, numbers)
    cases = common.case_record(before, kept)

    def caption(i: int) -> list[str]:
        return [
            before.cases.ids[rows[i]],
            before.cases.class_name(int(a.classes[rows[i]])),
            *(f"{title} {column[i]:.2f}" for title, column in order.shown.items()),
        ]

    return Result(
        kind="no_semantic_drift",
        check=check,
        method=a.method,
        method_version=a.version,
        method_details=common.method_details(a, kept, b),
        decision=made,
        parameters=parameters.model_dump(mode="json"),
        subjects={"before": before.identity(), "after": after.identity()},
        cases=cases,
        numbers=numbers,
        worst=rows_of(order, numbers, cases["class_names"]),
        execution=common.execution_record(explained, watch.seconds),
        gallery=Gallery(
            before,
            kept,
            order.badness,
            (a, b),
            ("map before", "map after"),
            caption,
            f"{check}: {made.verdict}, {a.method}, {before.subject.name} to {after.subject.name}",
        ),
        maps=lambda: common.layer_maps(kept, before=a, after=b),
    )


def decision(parameters: NoSemanticDriftParameters, numbers: Numbers) -> Decision:
    """Decide from the numbers of a run, or of a record."""
    from pytest_saliency.checks.numbers import floats
    from pytest_saliency.decide.drift import decide
    from pytest_saliency.decide.tolerance import tolerance_of

    given = {name: numbers.column(name) for name in MEASURES}
    limits = _limits(parameters)
    if "max_accuracy_drop" in limits:
        everyone = numbers.everyone
        given["accuracy_drop"] = floats(everyone["correct_before"]) - floats(everyone["correct_after"])
    statuses = zip(numbers.per_image["status_before"], numbers.per_image["status_after"], strict=True)
    made = decide(
        given,
        limits=limits,
        tolerances={name: tolerance_of(name, int(numbers.inputs["region"])) for name in given},
        alpha=parameters.alpha,
        max_undefined=parameters.max_undefined,
        max_drifted_share=parameters.max_drifted_share,
        min_kept=parameters.min_kept,
        kept=len(numbers.per_image["id"]),
        total=len(numbers.everyone["id"]),
        clusters=numbers.clusters(),
        all_clusters=numbers.all_clusters(),
        blank_after=sum(a == "ok" != b for a, b in statuses),
        readouts=numbers.inputs["readouts"],
        seed=numbers.seed,
    )
    return numbers.noted(made)


def ranked(parameters: NoSemanticDriftParameters, numbers: Numbers) -> Ranked:
    """Return the images by how far each is beyond the declared limits; the largest excess counts.

    From the numbers of a run or of a record.
    """
    import numpy as np

    from pytest_saliency.checks.worst import Ranked

    rooms = {
        "max_iou_drop": ("iou_drop", 1.0),
        "max_displacement": ("displacement", 1.0),
        "min_correlation": ("correlation", -1.0),
        "max_concentration_change": ("concentration_change", 1.0),
    }
    limits, rows = _limits(parameters), []
    for name, (column, sign) in rooms.items():
        if name in limits:
            given = numbers.column(column)
            value = np.abs(given) if column == "concentration_change" else sign * given
            rows.append(value - sign * limits[name])
    drop = numbers.column("iou_drop")
    shown = {
        "IoU": 1.0 - drop,
        "displacement": numbers.column("displacement"),
        "correlation": numbers.column("correlation"),
    }
    return Ranked(np.asarray(np.max(np.stack(rows), axis=0)) if rows else drop, shown)


def _limits(parameters: NoSemanticDriftParameters) -> dict[str, float]:
    return {name: getattr(parameters, name) for name in LIMITS if getattr(parameters, name) is not None}
