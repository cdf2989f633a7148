"""``class_sensitive``: do the maps for the two most likely classes of an image differ?

A_i is the agreement of the top regions of image i's maps for its top-1 and top-2 class (CASE, arXiv 2506.07327,
eq. 7-8). The decision is in ``decide.class_sensitive``.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pytest_saliency.checks.parameters import OpenShare, Parameters, Share

if TYPE_CHECKING:
    from pytest_saliency.checks.common import Indices
    from pytest_saliency.checks.numbers import Numbers
    from pytest_saliency.checks.result import Result
    from pytest_saliency.checks.worst import Ranked
    from pytest_saliency.decide.decision import Decision
    from pytest_saliency.engine.explained import Explained
    from pytest_saliency.engine.maps import Maps


DECLARED = (
    "images have several labels: the maps are for a label that is present and for its counterpart, the one that it is"
    " declared against (in columns: top1, top2)"
)


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
    from pytest_saliency.checks.gallery import Gallery, told
    from pytest_saliency.checks.numbers import Numbers, seed_of
    from pytest_saliency.checks.one_model import of_one_model
    from pytest_saliency.measure.pairs import compare
    from pytest_saliency.measure.regions import region_size

    one = explained["model"]
    first, second = one.maps(parameters.method, "top1"), one.maps(parameters.method, "top2")
    mask = common.wanted(one, parameters.keep)
    kept = common.keep(one, mask, "not correct")
    common.refuse_degenerate(first, kept)
    size = one.input_size if parameters.grid == "input" else None
    watch = common.clock()

    def agreement(a: Maps, a_rows: common.Indices, b: Maps, b_rows: common.Indices) -> common.Floats:
        made = compare(a.values[a_rows], b.values[b_rows], ["agreement"], fraction=parameters.top_k, size=size)
        return np.where(a.ok[a_rows] & b.ok[b_rows], made["agreement"].numpy(), np.nan)

    rows = kept.indices
    again = None if parameters.rule == "published" else one.maps_jittered(parameters.method)
    activity = one.channel_activity()
    columns = common.base_columns(one, kept)
    with watch.stage("measure"):
        between = agreement(first, rows, second, rows)
        columns |= {
            "top1": first.classes[rows].tolist(),
            "top2": second.classes[rows].tolist(),
            "agreement": between.tolist(),
            "status_top1": first.status[rows].tolist(),
            "status_top2": second.status[rows].tolist(),
            "active_channels": activity.counts[rows].tolist(),
        }
        if again is not None:
            # A jitter that changes the prediction says nothing about a stable explanation: it counts against.
            changed = ~one.jitter_kept_prediction[rows]
            columns["self_agreement"] = np.where(changed, np.nan, agreement(first, rows, again, rows)).tolist()
            columns["prediction_changed"] = changed.tolist()
        if len(rows) > 1:
            columns["other_image_agreement"] = agreement(first, rows, first, _others(one, rows)).tolist()
    inputs = {
        "size": None if size is None else list(size),
        "region": region_size(parameters.top_k, prod(size or first.values.shape[1:])),
        "channels": activity.channels,
        "warnings": [*common.warnings_of(kept, first, second), *([DECLARED] if one.multi_label else [])],
        **({"units": True} if one.multi_label else {}),
    }
    numbers = Numbers.made(
        columns,
        common.everyone(explained, kept, mask, "not correct"),
        inputs,
        seed_of(parameters, one.cases.unordered_digest, check),
    )
    with watch.stage("decide"):
        made = decision(parameters, numbers)
    cases = common.case_record(one, kept)
    words = ("label", "counterpart") if one.multi_label else ("top-1", "top-2")

    def caption(i: int) -> list[str]:
        name = one.cases.class_name
        return [
            one.cases.ids[rows[i]],
            f"{words[0]} {name(int(first.classes[rows[i]]))}",
            f"{words[1]} {name(int(second.classes[rows[i]]))}",
            told("agreement", between[i]),
        ]

    return of_one_model(
        "class_sensitive",
        check,
        explained,
        first,
        kept,
        made,
        parameters,
        cases,
        numbers,
        ranked(parameters, numbers),
        Gallery(
            one,
            kept,
            between,
            (first, second),
            (f"{words[0]} map", f"{words[1]} map"),
            caption,
            f"{check}: {made.verdict}, {first.method}",
        ),
        watch.seconds,
        {"top1": first, "top2": second, **({} if again is None else {"again": again})},
    )


def _others(one: Explained, rows: Indices) -> Indices:
    """Return another image for each row: the one before in the order of ids; of units the last of another cluster."""
    import numpy as np

    from pytest_saliency.checks.fates import another_image

    clusters = one.cases.clusters
    units = None if not one.multi_label or clusters is None else [clusters[i] for i in rows]
    return np.asarray(rows[another_image(len(rows), units)])


def decision(parameters: ClassSensitiveParameters, numbers: Numbers) -> Decision:
    """Decide from the numbers of a run, or of a record."""
    import numpy as np

    from pytest_saliency.decide.class_sensitive import decide
    from pytest_saliency.decide.class_sensitive_words import CLASSES, LABELS
    from pytest_saliency.decide.tolerance import tolerance_of

    changed = numbers.per_image.get("prediction_changed")
    made = decide(
        numbers.column("agreement"),
        numbers.given("self_agreement"),
        max_agreement=parameters.max_agreement,
        alpha=parameters.alpha,
        max_undefined=parameters.max_undefined,
        rule=parameters.rule,
        clusters=numbers.clusters(),
        other_image_agreement=numbers.given("other_image_agreement"),
        prediction_changed=None if changed is None else np.asarray(changed, dtype=bool),
        tolerance=tolerance_of("agreement", int(numbers.inputs["region"])),
        compared=LABELS if numbers.inputs.get("units") else CLASSES,
        seed=numbers.seed,
    )
    return numbers.noted(made)


def ranked(parameters: ClassSensitiveParameters, numbers: Numbers) -> Ranked:
    """Return the images by the agreement of their two maps, from the numbers of a run or of a record."""
    from pytest_saliency.checks.worst import Ranked

    between = numbers.column("agreement")
    return Ranked(between, {"agreement": between})
