"""``class_sensitive``: do the maps for the two most likely classes of an image differ?

A_i is the agreement of the top regions of image i's maps for its top-1 and top-2 class (CASE, arXiv 2506.07327,
eq. 7-8). The decision is in ``decide.class_sensitive``.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pytest_saliency.checks.parameters import OpenShare, Parameters, Share

if TYPE_CHECKING:
    from pytest_saliency.checks.result import Result
    from pytest_saliency.engine.explained import Explained
    from pytest_saliency.engine.maps import Maps


class ClassSensitiveParameters(Parameters):
    """Parameters of ``class_sensitive``; the defaults are the published protocol of the CASE paper."""

    method: str = "case"
    top_k: OpenShare = Field(default=0.05, description="share of positions that forms a map's top region")
    max_agreement: Share = Field(default=0.5, description="the maps for top-1 and top-2 may agree this much at most")
    keep: Literal["correct", "all"] = Field(default="correct", description="which images the check looks at")
    rule: Literal["full", "published"] = Field(
        default="full", description="'published' decides by the paper's Wilcoxon test alone"
    )
    grid: Literal["input", "layer"] = Field(default="input", description="resolution at which regions are taken")


def run(explained: Mapping[str, Explained], parameters: ClassSensitiveParameters, check: str) -> Result:
    """Measure agreement between classes and with a jittered repeat, and decide."""
    import numpy as np

    from pytest_saliency.checks import common
    from pytest_saliency.checks.result import Result
    from pytest_saliency.decide.class_sensitive import decide
    from pytest_saliency.decide.tolerance import tolerance_of
    from pytest_saliency.measure.pairs import compare
    from pytest_saliency.measure.regions import region_size

    one = explained["model"]
    first, second = one.maps(parameters.method, "top1"), one.maps(parameters.method, "top2")
    everything = np.ones(len(one.cases), dtype=bool)
    kept = common.keep(one, one.correct if parameters.keep == "correct" else everything, "not correct")
    common.refuse_degenerate(first, kept)
    size = one.input_size if parameters.grid == "input" else None
    region = region_size(parameters.top_k, prod(size or first.values.shape[1:]))
    watch = common.clock()

    def agreement(a: Maps, a_rows: common.Indices, b: Maps, b_rows: common.Indices) -> common.Floats:
        made = compare(a.values[a_rows], b.values[b_rows], ["agreement"], fraction=parameters.top_k, size=size)
        return np.where(a.ok[a_rows] & b.ok[b_rows], made["agreement"].numpy(), np.nan)

    rows = kept.indices
    again = None if parameters.rule == "published" else one.maps_jittered(parameters.method)
    with watch.stage("measure"):
        between = agreement(first, rows, second, rows)
        itself = changed = None
        if again is not None:
            # A jitter that changes the prediction says nothing about a stable explanation: it counts against.
            changed = ~one.jitter_kept_prediction[rows]
            itself = np.where(changed, np.nan, agreement(first, rows, again, rows))
        chance = agreement(first, rows, first, np.roll(rows, 1)) if len(rows) > 1 else None
    with watch.stage("decide"):
        decision = decide(
            between,
            itself,
            max_agreement=parameters.max_agreement,
            alpha=parameters.alpha,
            max_undefined=parameters.max_undefined,
            rule=parameters.rule,
            clusters=common.clusters_of(one, kept),
            other_image_agreement=chance,
            prediction_changed=changed,
            tolerance=tolerance_of("agreement", region),
            seed=common.seed_of(parameters, one, check),
        )
    columns = common.base_columns(one, kept)
    columns |= {
        "top1": first.classes[rows].tolist(),
        "top2": second.classes[rows].tolist(),
        "agreement": between.tolist(),
        "status_top1": first.status[rows].tolist(),
        "status_top2": second.status[rows].tolist(),
    }
    if itself is not None:
        columns["self_agreement"] = itself.tolist()
    worst, table = common.worst_rows(one, kept, between, {"agreement": between})

    def pictures(path: Path) -> Path | None:
        name = one.cases.class_name
        captions = [
            [
                one.cases.ids[rows[i]],
                f"top-1 {name(int(first.classes[rows[i]]))}",
                f"top-2 {name(int(second.classes[rows[i]]))}",
                f"agreement {between[i]:.2f}",
            ]
            for i in worst
        ]
        heading = f"{check}: {decision.verdict}, {first.method}"
        return common.draw(path, one, kept, worst, [first, second], ["top-1 map", "top-2 map"], captions, heading)

    return Result(
        kind="class_sensitive",
        check=check,
        method=first.method,
        method_version=first.version,
        method_details=common.method_details(first, kept),
        decision=common.with_warnings(decision, kept, first, second),
        parameters=parameters.model_dump(mode="json"),
        subjects={"model": one.identity()},
        cases=common.case_record(one, kept),
        per_image=columns,
        worst=table,
        execution=common.execution_record(explained, watch.seconds),
        pictures=pictures,
    )
