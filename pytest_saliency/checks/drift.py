"""The measures between two subjects' maps, and what a drift record shows beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pytest_saliency.checks.common import Floats, Indices, Kept
from pytest_saliency.checks.fates import WHY as WHY
from pytest_saliency.engine.explained import Explained
from pytest_saliency.engine.maps import Maps
from pytest_saliency.engine.methods.names import GRADIENT_METHODS
from pytest_saliency.engine.multi_label import margins
from pytest_saliency.errors import CasesError, SubjectError
from pytest_saliency.measure.concentration import concentration
from pytest_saliency.measure.grid import resize
from pytest_saliency.measure.pairs import compare
from pytest_saliency.measure.performance import accuracy, macro_auc_of

if TYPE_CHECKING:
    from pytest_saliency.checks.drift_pasting import Example
    from pytest_saliency.checks.no_semantic_drift import NoSemanticDriftParameters
    from pytest_saliency.report.gallery import GalleryRow

CAUSE = "magnitude only, cause not identified"
LOW_MARGIN = 0.25  # the share of images, least certain before, that forms the low-margin slice


def same_cases(before: Explained, after: Explained) -> None:
    """Raise unless both were explained over the same images in the same order."""
    if before.cases is after.cases:
        return
    if before.cases.ids != after.cases.ids or before.cases.digest != after.cases.digest:
        raise CasesError(
            f"'{before.subject.name}' and '{after.subject.name}' were explained over different cases; drift compares"
            " maps of the same images. Explain both over one Cases object."
        )


def kept_mask(before: Explained, after: Explained, keep: str) -> tuple[NDArray[np.bool_], str]:
    """Return which images to look at, and the target whose class is the same in both."""
    if before.logits.shape[1] != after.logits.shape[1]:
        raise SubjectError(
            f"'{before.subject.name}' has {before.logits.shape[1]} classes and '{after.subject.name}' has"
            f" {after.logits.shape[1]}; drift explains one and the same class in both."
        )
    if keep == "both_correct":
        return before.correct & after.correct, "label"
    if keep == "same_prediction":
        return np.asarray(before.predicted == after.predicted), "top1"
    return np.ones(len(before.cases), dtype=bool), "label"


def common_size(before: Explained, after: Explained) -> tuple[int, ...]:
    """Return the size at which both subjects' maps are compared: the input of the subject before.

    Raises
    ------
    SubjectError
        The two see different parts of an image, so that their maps cannot be laid over each other.
    """
    one, two = before.subject.preprocess, after.subject.preprocess
    if before.input_size != after.input_size and (one.function or two.function):
        raise SubjectError(
            f"'{before.subject.name}' sees {before.input_size} and '{after.subject.name}' {after.input_size}, through"
            " a callable preprocess; whether they see the same part of an image is not known. Declare both as"
            " mappings with resize."
        )
    if not one.same_view(two):
        raise SubjectError(
            f"'{before.subject.name}' and '{after.subject.name}' crop images differently ({one.describe()} and"
            f" {two.describe()}), so their maps cover different parts. Give both the same resize and center_crop."
        )
    return before.input_size


def measure(a: Maps, b: Maps, rows: Indices, fraction: float, size: tuple[int, ...]) -> dict[str, Floats]:
    """Return IoU drop, displacement, pattern correlation and concentration change of the images at ``rows``.

    Unusable before: NaN in all, the image is undefined. Usable before and not after is drift itself: IoU drop 1,
    displacement 1, correlation 0, and all of the concentration gone.
    """
    left, right = a.values[rows], b.values[rows]
    made = compare(left, right, ["iou", "displacement", "concentration_change"], fraction=fraction, size=size)
    made |= compare(left, _on_grid(right, tuple(left.shape[1:])), ["correlation"], fraction=fraction, size=None)
    values = {
        "iou_drop": 1.0 - made["iou"].numpy(),
        "displacement": made["displacement"].numpy(),
        "correlation": made["correlation"].numpy(),
        "concentration_change": made["concentration_change"].numpy(),
    }
    gone = a.ok[rows] & ~b.ok[rows]
    before = concentration(left, size=size).numpy()
    for name, worst in (("iou_drop", 1.0), ("displacement", 1.0), ("correlation", 0.0)):
        values[name] = np.where(gone, worst, values[name])
    values["concentration_change"] = np.where(gone, -before, values["concentration_change"])
    return {name: np.where(a.ok[rows], column, np.nan) for name, column in values.items()}


def concentrations(maps: Maps, rows: Indices, size: tuple[int, ...]) -> Floats:
    """Return the mass share in the top 10 % of positions of the maps at ``rows``, NaN where a map is unusable."""
    return np.where(maps.ok[rows], concentration(maps.values[rows], size=size).numpy(), np.nan)


def _on_grid(maps: Tensor, grid: tuple[int, ...]) -> Tensor:
    """Return rectified maps on another layer's grid; correlation does not see the rectification twice."""
    if tuple(maps.shape[1:]) == grid:
        return maps
    resized = resize(torch.nan_to_num(maps, nan=0.0).clamp(min=0).double(), grid)
    return resized.reshape(len(maps), *grid).to(maps.dtype)


def readouts(
    before: Explained,
    after: Explained,
    parameters: NoSemanticDriftParameters,
    kept: Kept,
    size: tuple[int, ...],
) -> dict[str, Any]:
    """Return what every drift record carries beside the decision.

    Accuracy and macro AUC of both subjects; the measures on all images and on the least certain quarter (images
    where fine-tuning broke evidence and prediction together must not vanish behind ``keep``); and the range of the
    mean IoU drop over the gradient methods.
    """
    labels = np.asarray(before.cases.labels)
    performance = {role: performance_of(one) for role, one in (("before", before), ("after", after))}
    a, b = before.maps(parameters.method, "label"), after.maps(parameters.method, "label")
    order = np.asarray(sorted(range(len(labels)), key=lambda i: before.cases.ids[i]), dtype=np.int64)
    overall = measure(a, b, order, parameters.top_fraction, size)
    margin = _certainty(before)[order]
    low = np.argsort(margin, kind="stable")[: max(1, round(LOW_MARGIN * len(margin)))]
    methods = {}
    for name in GRADIENT_METHODS:
        maps = before.maps(name, "label"), after.maps(name, "label")
        if (maps[0].status == "degenerate").all() or not len(kept.indices):
            continue
        values = compare(
            maps[0].values[kept.indices],
            maps[1].values[kept.indices],
            ["iou"],
            fraction=parameters.top_fraction,
            size=size,
        )["iou"].numpy()
        methods[name] = _mean(1.0 - values)
    known = [value for value in methods.values() if value is not None]
    return {
        "performance": performance,
        "all_images": {name: _mean(column) for name, column in overall.items()},
        "low_margin": {name: _mean(column[low]) for name, column in overall.items()} | {"n": len(low)},
        "iou_drop_by_method": methods,
        "iou_drop_range": max(known) - min(known) if known else None,
        "cause": CAUSE,
    }


RECALL = (
    "images have several labels: accuracy is the share of present labels that the model finds; absent labels are not"
    " looked at"
)


def performance_of(one: Explained) -> dict[str, Any]:
    """Return accuracy and macro AUC over all cases, and why there is none; of units the share of labels found."""
    if one.multi_label:
        return {"accuracy": float(one.correct.mean()), "macro_auc": float("nan"), "note": RECALL}
    scores, labels = one.logits.numpy(), np.asarray(one.cases.labels)
    area = macro_auc_of(scores, labels)
    return {"accuracy": accuracy(scores, labels), "macro_auc": area.value, "note": area.reason}


def _certainty(one: Explained) -> Floats:
    """Return how certain the model is of each case: softmax of its top-1 minus that of its top-2 class.

    Of a unit how far its log-odds are from the threshold, on either side.
    """
    if one.multi_label:
        rows = range(len(one.cases))
        return np.asarray(margins(one.cases, one.logits, torch.tensor(one.cases.labels), rows).abs().numpy())
    top = np.sort(one.logits.double().softmax(1).numpy(), axis=1)
    return np.asarray(top[:, -1] - top[:, -2])


def _mean(column: Floats) -> float | None:
    defined = column[~np.isnan(column)]
    return float(defined.mean()) if defined.size else None


def pasted_row(before: Explained, kept: Kept, maps: tuple[Maps, Maps], example: Example) -> GalleryRow:
    """Return the pictures of one pasted region: the lender with its maps, the receiver with region and with control."""
    from pytest_saliency.report.gallery import GalleryRow

    lender, receiver = (int(kept.indices[i]) for i in (example.lender, example.receiver))
    cases = before.cases
    name, other = (cases.class_name(cases.labels[i]) for i in (lender, receiver))
    return GalleryRow(
        id=cases.ids[lender],
        label=name,
        why="region pasted into another class",
        caption=(
            f"its newly used region, put into {cases.ids[receiver]} ({other})",
            f"the prediction {'becomes' if example.followed else 'does not become, or with the control too,'} {name}",
        ),
        image=before.pixels(lender).numpy(),
        maps=tuple(one.values[lender].numpy() for one in maps),
        pictures=(
            (f"{cases.ids[receiver]} with the region", example.pasted),
            (f"{cases.ids[receiver]} with a control region", example.control),
        ),
    )
