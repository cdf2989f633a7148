"""How well a classifier classifies: accuracy and macro AUC. numpy only, usable without torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pytest_saliency.errors import CasesError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Performance:
    """One figure of a classifier. ``value`` is NaN exactly where ``reason`` says why it is undefined.

    ``classes``: the class indices it is an average over.
    """

    value: float
    reason: str | None
    classes: tuple[int, ...]


def _checked(logits: ArrayLike, labels: ArrayLike) -> tuple[Floats, NDArray[np.int64]]:
    scores = np.asarray(logits, dtype=np.float64)
    truth = np.asarray(labels, dtype=np.int64)
    if scores.ndim != 2 or truth.shape != scores.shape[:1]:
        raise CasesError(
            f"Logits of shape {scores.shape} and labels of shape {truth.shape} do not belong together; expected"
            " (images, classes) and (images,)."
        )
    if truth.size and (truth.min() < 0 or truth.max() >= scores.shape[1]):
        raise CasesError(
            f"The labels run from {truth.min()} to {truth.max()}, but the model has {scores.shape[1]} classes (0 to"
            f" {scores.shape[1] - 1}); mend the labels or the model's number of classes."
        )
    return scores, truth


def accuracy(logits: ArrayLike, labels: ArrayLike) -> float:
    """Return the share of images whose largest logit (N, C) is that of their label (N,); NaN without images.

    An image with a logit that is not finite counts as wrong. Raises ``CasesError`` for shapes or labels that do
    not fit.
    """
    scores, truth = _checked(logits, labels)
    if truth.size == 0:
        return float("nan")
    broken = np.any(~np.isfinite(scores), axis=1, keepdims=True)
    right = ~broken[:, 0] & (np.where(broken, 0.0, scores).argmax(axis=1) == truth)
    return float(right.mean())


def all_log_odds(logits: Floats) -> Floats:
    """Return the log-odds of every class (N, C): logit minus logsumexp of the others. Finite logits only."""
    rows = np.arange(logits.shape[0])
    top = logits.argmax(axis=1)
    shifted = logits - logits[rows, top][:, None]
    # Every class but the largest sees the largest (1.0) among the others, so that this difference is safe.
    raised = np.exp(shifted)
    raised[rows, top] = 0.0
    rest = raised.sum(axis=1)
    others = np.log1p(rest[:, None] - raised)
    # The largest class sees only the rest, which may be far below it: sum that relative to the runner-up.
    shifted[rows, top] = -np.inf
    second = shifted.max(axis=1)
    others[rows, top] = second + np.log(np.exp(shifted - second[:, None]).sum(axis=1))
    shifted[rows, top] = 0.0
    odds: Floats = shifted - others
    return odds


def rank_auc(scores: Floats, positive: NDArray[np.bool_]) -> float:
    """Return the chance that a positive scores above a negative, ties counted half (Mann-Whitney U / (n1 n0))."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - (counts - 1) / 2.0
    ranks = middle[inverse]
    n_positive = int(positive.sum())
    n_negative = positive.size - n_positive
    u = float(ranks[positive].sum()) - n_positive * (n_positive + 1) / 2.0
    return u / (n_positive * n_negative)


def macro_auc_of(logits: ArrayLike, labels: ArrayLike) -> Performance:
    """Return the one-vs-rest area under the ROC curve, averaged over the classes present in ``labels``.

    Each class is ranked by its log-odds, a monotone form of the softmax probability that does not saturate.
    Undefined (NaN, with the reason) without images, with fewer than two classes present, or with a logit that
    is not finite. Raises ``CasesError`` for shapes or labels that do not fit.
    """
    scores, truth = _checked(logits, labels)
    present = tuple(int(c) for c in np.unique(truth))
    reason = None
    if len(present) < 2:
        found = f"only class {present[0]} is" if present else "no class is"
        reason = f"the area under the ROC curve needs at least two classes among the labels; {found} present"
    elif not np.isfinite(scores).all():
        bad = int((~np.isfinite(scores)).any(axis=1).sum())
        reason = f"{bad} of {truth.size} images have logits that are not finite and cannot be ranked"
    if reason is not None:
        return Performance(float("nan"), reason, present)
    odds = all_log_odds(scores)
    areas = [rank_auc(odds[:, c], truth == c) for c in present]
    return Performance(float(np.mean(areas)), None, present)


def macro_auc(logits: ArrayLike, labels: ArrayLike) -> float:
    """Return the value of ``macro_auc_of``; NaN where it is undefined, for which that function has the reason."""
    return macro_auc_of(logits, labels).value
