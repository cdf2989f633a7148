"""``no_semantic_drift``: does the model still look at the same evidence after fine-tuning?

The same class is explained in both subjects and the maps are compared image by image (the drift paper, arXiv
2604.08513: displacement, overlap, pattern correlation, concentration change). Its own normalisations could not be
obtained; the definitions used here are in ``measure`` and their versions in every record.

Beside the two subjects: a reference that the change is held against (``drift_reference``), checkpoints in between
(``drift_path``), and for a FAIL a causal test (``drift_pasting``). Their numbers are columns and inputs of the record;
what they mean is decided again with the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from pytest_saliency.checks.parameters import OpenShare, Parameters, Share
from pytest_saliency.errors import CriterionError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from pytest_saliency.checks.numbers import Numbers
    from pytest_saliency.checks.result import Result
    from pytest_saliency.checks.worst import Ranked
    from pytest_saliency.decide.decision import Decision
    from pytest_saliency.decide.tolerance import Tolerance
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
    """Parameters of ``no_semantic_drift``; no limit has a default, and at least one must be declared.

    What a limit binds depends on ``reference``. ``absolute``: the mean of the measure. ``noise``: the mean of what is
    left of it when each image's own change under a photometric jitter of the model before is subtracted. ``null``: the
    mean of what is left when the change of the same image in the null checkpoints, averaged over them, is subtracted;
    FAIL then also needs the candidate to rank beyond the nulls. The accuracy drop is absolute always. Under ``noise``
    and ``null`` a limit of correlation is negative: -0.2 lets it lie 0.2 below the reference's.
    """

    max_iou_drop: Share | None = Field(
        default=None,
        description="1 - IoU of the top regions before and after, on average; with a reference: how far above it",
    )
    max_displacement: Share | None = Field(
        default=None,
        description="distance of the centres of mass / image diagonal, on average; with a reference: how far above it",
    )
    min_correlation: float | None = Field(
        default=None,
        ge=-1.0,
        le=1.0,
        description="Pearson correlation of the rectified maps, on average; with a reference: minus its own, below 0",
    )
    max_concentration_change: Share | None = Field(
        default=None,
        description="absolute mean change of the mass share in the top 10 % of positions; with a reference: beyond it",
    )
    max_accuracy_drop: Share | None = Field(
        default=None, description="accuracy before minus accuracy after, on all cases, whatever the reference"
    )
    top_fraction: OpenShare = Field(default=0.20, description="share of positions that forms a map's top region")
    keep: Literal["both_correct", "same_prediction", "all"] = Field(
        default="both_correct", description="which images the check looks at"
    )
    min_kept: Share = Field(default=0.5, description="fewer kept images than this share block PASS")
    max_drifted_share: Share | None = Field(
        default=None, description="share of images that may each be beyond a declared limit"
    )
    reference: Literal["absolute", "noise", "null"] = Field(
        default="absolute",
        description="what the change is held against: nothing, the jitter of the model before, or 'nulls'",
    )
    null_test: Literal["rank", "normal"] = Field(
        default="rank",
        description="how the candidate is told from the nulls: by rank, or by a t prediction bound (assumes normality)",
    )
    checkpoints: Annotated[str, Field(min_length=1, max_length=1000)] | None = Field(
        default=None,
        description="weights files between before and after, as weights/epoch_*.safetensors, in natural order",
    )
    confirm: bool = Field(
        default=True, description="after a FAIL paste the newly used regions into images of other classes"
    )

    @model_validator(mode="after")
    def _some_limit(self) -> Self:
        if all(getattr(self, name) is None for name in LIMITS):
            raise ValueError(f"declares no limit, so nothing could fail; add at least one of {', '.join(LIMITS)}")
        if self.reference == "absolute":
            return self
        if self.min_correlation is not None and self.min_correlation >= 0.0:
            raise ValueError(
                f"min_correlation is {self.min_correlation:g}, but with reference {self.reference} it is the"
                " correlation minus that of the reference, so write how far below it may lie, as -0.2"
            )
        if self.reference == "null" and self.max_drifted_share is not None:
            raise ValueError(
                "max_drifted_share counts single images, and how many lie beyond a limit in a clean fine-tuning the"
                " nulls' means do not tell; leave it out, or use reference: noise or absolute"
            )
        return self

    def check_lists(self, counts: Mapping[str, int]) -> None:
        """Raise where nulls and reference do not belong together, or the nulls are too few for any alarm."""
        count = counts.get("nulls", 0)
        if self.reference == "null":
            from pytest_saliency.decide.drift_reference import check_nulls

            check_nulls(count, len(_limits(self)), self.alpha, self.null_test == "normal")
        elif count:
            raise CriterionError(
                f"no_semantic_drift names {count} nulls, but reference is {self.reference}, which does not look at"
                " them; write 'reference: null', or leave 'nulls' out."
            )

    @field_validator("checkpoints")
    @classmethod
    def _checkpoints_are_files(cls, value: str | None) -> str | None:
        if value is not None and ("://" in value or not value.strip()):
            raise ValueError("must be a path on this machine with * for what differs, as weights/epoch_*.safetensors")
        return value

    @model_validator(mode="after")
    def _limit_on_maps(self) -> Self:
        if self.checkpoints is not None and not map_limits(self):
            raise ValueError("checkpoints follow the maps, and no limit on maps is declared; add one, as max_iou_drop")
        return self


def run(explained: Mapping[str, Explained], parameters: NoSemanticDriftParameters, check: str) -> Result:
    """Compare the maps of two subjects over the same cases, and decide.

    ``explained`` may hold further roles, which are looked up one at a time: ``nulls.1`` and so on, and
    ``checkpoints.1`` and so on in the order of the training.
    """
    from pytest_saliency.checks import common, drift, drift_excess, drift_path, drift_reference, drift_told
    from pytest_saliency.checks.gallery import Gallery, told
    from pytest_saliency.checks.numbers import Numbers, seed_of
    from pytest_saliency.checks.result import Result
    from pytest_saliency.checks.worst import rows_of
    from pytest_saliency.decide.verdict import Verdict
    from pytest_saliency.measure.regions import region_size

    parameters.check_lists({"nulls": len(drift_reference.roles(explained))})
    pair = {role: explained[role] for role in ("before", "after")}
    before, after = pair["before"], pair["after"]
    drift.same_cases(before, after)
    mask, target = drift.kept_mask(before, after, parameters.keep)
    kept = common.keep(before, mask, drift.WHY[parameters.keep])
    a, b = before.maps(parameters.method, target), after.maps(parameters.method, target)
    common.refuse_degenerate(a, kept)
    size = drift.common_size(before, after)
    rows = kept.indices
    watch = common.clock()
    subjects: dict[str, Any] = {role: one.identity() for role, one in pair.items()}
    work: dict[str, Any] = {}
    inputs: dict[str, Any] = {}
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
    references: Mapping[str, npt.NDArray[np.float64]] = {}
    if parameters.reference == "noise":
        references = drift_reference.noise(before, parameters.method, kept, parameters.top_fraction, size)
    elif parameters.reference == "null":
        references, inputs["nulls"], identities, costs = drift_reference.nulls(
            explained, before, a, kept, parameters, size, after.identity()
        )
        subjects, work = subjects | identities, work | costs
    if references:
        columns |= {drift_excess.reference_column(name): column.tolist() for name, column in references.items()}
        columns[drift_excess.CONCENTRATION] = drift.concentrations(a, rows, size).tolist()
    if drift_path.roles(explained):
        path = drift_path.follow(explained, before, after, a, values, kept, target, parameters, size)
        columns |= {drift_told.path_column(name): column for name, column in path.columns.items()}
        inputs["trajectory"] = path.points
        subjects, work = subjects | dict(path.identities), work | dict(path.costs)
    inputs |= {
        "size": list(size),
        "region": region_size(parameters.top_fraction, prod(size)),
        "readouts": readouts,
        "warnings": [*common.warnings_of(kept, a, b), *([drift.RECALL] if before.multi_label else [])],
    }
    everyone = common.everyone(pair, kept, mask, drift.WHY[parameters.keep])
    seed = seed_of(parameters, before.cases.unordered_digest, check)
    numbers = Numbers.made(columns, everyone, inputs, seed)
    with watch.stage("decide"):
        made = decision(parameters, numbers)
    example = None
    if parameters.confirm and made.verdict is Verdict.FAIL and _maps_moved(made):
        from pytest_saliency.checks import drift_pasting

        pasted = drift_pasting.paste(before, after, (a, b), kept, parameters.top_fraction, a.classes, seed)
        columns |= {
            "pasted_into": pasted.into,
            "follows_region": pasted.region,
            "follows_control": pasted.control,
            "before_follows_region": pasted.before,
        }
        inputs["pasting"] = pasted.counts
        example = pasted.example
        numbers = Numbers.made(columns, everyone, inputs, seed)
        made = decision(parameters, numbers)
    order = ranked(parameters, numbers)
    cases = common.case_record(before, kept)

    def caption(i: int) -> list[str]:
        return [
            before.cases.ids[rows[i]],
            before.cases.class_name(int(a.classes[rows[i]])),
            *(told(title, column[i]) for title, column in order.shown.items()),
        ]

    execution = common.execution_record(pair, watch.seconds)
    execution["work"] |= work
    return Result(
        kind="no_semantic_drift",
        check=check,
        method=a.method,
        method_version=a.version,
        method_details=common.method_details(a, kept, b),
        decision=made,
        parameters=parameters.model_dump(mode="json"),
        subjects=subjects,
        cases=cases,
        numbers=numbers,
        worst=rows_of(order, numbers, cases["class_names"]),
        execution=execution,
        gallery=Gallery(
            before,
            kept,
            order.badness,
            (a, b),
            ("map before", "map after"),
            caption,
            f"{check}: {made.verdict}, {a.method}, {before.subject.name} to {after.subject.name}",
            further=() if example is None else (drift.pasted_row(before, kept, (a, b), example),),
        ),
        maps=lambda: common.layer_maps(kept, before=a, after=b),
    )


def _maps_moved(made: Decision) -> bool:
    """Tell whether something about the maps failed, and not accuracy alone."""
    from pytest_saliency.decide.verdict import Verdict

    return any(one.verdict is Verdict.FAIL for name, one in made.measures.items() if name != "accuracy_drop")


def decision(parameters: NoSemanticDriftParameters, numbers: Numbers) -> Decision:
    """Decide from the numbers of a run, or of a record."""
    from pytest_saliency.checks.drift_excess import undefined_of
    from pytest_saliency.checks.drift_told import referred, with_pasting, with_path, with_rank
    from pytest_saliency.checks.numbers import floats
    from pytest_saliency.decide.drift import decide

    values, tolerances = compared(parameters, numbers)
    limits = _limits(parameters)
    if "max_accuracy_drop" in limits:
        everyone = numbers.everyone
        values["accuracy_drop"] = floats(everyone["correct_before"]) - floats(everyone["correct_after"])
    statuses = zip(numbers.per_image["status_before"], numbers.per_image["status_after"], strict=True)
    further, notes, readouts = referred(parameters, numbers, limits)
    undefined = ""
    if parameters.reference != "absolute":
        reasons = undefined_of(numbers, values, limits, parameters.reference)
        undefined, notes = reasons.sentence(), [*notes, *reasons.notes()]
    made = decide(
        values,
        limits=limits,
        tolerances=tolerances,
        alpha=parameters.alpha,
        max_undefined=parameters.max_undefined,
        max_drifted_share=parameters.max_drifted_share,
        min_kept=parameters.min_kept,
        kept=len(numbers.per_image["id"]),
        total=len(numbers.everyone["id"]),
        clusters=numbers.clusters(),
        all_clusters=numbers.all_clusters(),
        blank_after=sum(a == "ok" != b for a, b in statuses),
        readouts={**numbers.inputs["readouts"], **readouts},
        reference=parameters.reference,
        further=further,
        undefined=undefined,
        notes=notes,
        seed=numbers.seed,
    )
    made = with_path(with_rank(made, further), parameters, numbers, map_limits(parameters))
    return numbers.noted(with_pasting(made, numbers))


def compared(
    parameters: NoSemanticDriftParameters, numbers: Numbers
) -> tuple[dict[str, npt.NDArray[np.float64]], dict[str, Tolerance]]:
    """Return the measures that the limits bind, less their reference, and by how much runs may differ in them.

    An image that has no reference, or one that leaves no room for its limit, is undefined.
    """
    from pytest_saliency.checks.drift_excess import excess
    from pytest_saliency.decide.tolerance import Tolerance, tolerance_of

    absolute = parameters.reference == "absolute"
    limits = _limits(parameters)
    values, tolerances = {}, {}
    for name in MEASURES:
        one = tolerance_of(name, int(numbers.inputs["region"]))
        values[name] = numbers.column(name)
        if not absolute:
            values[name] = excess(name, values[name], numbers, limits)
            one = Tolerance(2.0 * one.every, 2.0 * one.few)
        tolerances[name] = one
    if "max_accuracy_drop" in limits:
        tolerances["accuracy_drop"] = tolerance_of("accuracy_drop", int(numbers.inputs["region"]))
    return values, tolerances


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
    (values, _), limits, rows = compared(parameters, numbers), _limits(parameters), []
    for name, (column, sign) in rooms.items():
        if name in limits:
            given = values[column]
            value = np.abs(given) if column == "concentration_change" else sign * given
            rows.append(value - sign * limits[name])
    drop = numbers.column("iou_drop")
    shown = {
        "IoU": 1.0 - drop,
        "displacement": numbers.column("displacement"),
        "correlation": numbers.column("correlation"),
    }
    if parameters.reference != "absolute":
        from pytest_saliency.decide.drift_reference import BEYOND

        titles = {"iou_drop": "IoU drop", "concentration_change": "concentration"}
        for name, (column, _) in rooms.items():
            if name in limits:
                shown[f"{titles.get(column, column)} {BEYOND[parameters.reference]}"] = values[column]
    return Ranked(np.asarray(np.max(np.stack(rows), axis=0)) if rows else drop, shown)


def _limits(parameters: NoSemanticDriftParameters) -> dict[str, float]:
    return {name: getattr(parameters, name) for name in LIMITS if getattr(parameters, name) is not None}


def map_limits(parameters: NoSemanticDriftParameters) -> dict[str, float]:
    """Return the declared limits of maps, which a checkpoint can be held against."""
    return {name: limit for name, limit in _limits(parameters).items() if name != "max_accuracy_drop"}
