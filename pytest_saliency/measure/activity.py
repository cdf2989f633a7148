"""Channel activity: how many channels of a layer an image sets off.

A channel is active where its activation, averaged over the positions, is above a small threshold (CASE, arXiv
2506.07327, eq. 10). The share of channels is reported beside the count, because layers differ in how many they
have: few of 32 and few of 2048 are not the same finding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pytest_saliency.errors import CriterionError, MethodError
from pytest_saliency.measure.grid import exact, finite_rows

THRESHOLD = 0.001
"""The CASE paper's threshold of the pooled activation."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ClassActivity:
    """Activity over the images of one class: ``count`` and ``share`` are means, NaN without a usable image.

    ``images``: how many the means are over; ``undefined``: how many more had activations that are not finite.
    """

    label: int
    images: int
    undefined: int
    count: float
    share: float


@dataclass(frozen=True)
class ChannelActivity:
    """Active channels of each image.

    ``counts`` (N,) float64, NaN where an activation is not finite; ``channels``: how many the layer has;
    ``threshold``: above which a pooled activation counts.
    """

    counts: Floats
    channels: int
    threshold: float

    @property
    def shares(self) -> Floats:
        """The share of the layer's channels that is active, (N,)."""
        return self.counts / self.channels

    def by_class(
        self, labels: Sequence[int] | NDArray[Any], correct: Sequence[bool] | NDArray[np.bool_]
    ) -> tuple[ClassActivity, ...]:
        """Return the means over the correctly predicted images of each class, by rising label.

        ``labels`` and ``correct`` (N,). A class without a correctly predicted image is there with 0 images.
        Raises ``CriterionError`` where there is not one of each an image.
        """
        classes, right = np.asarray(labels), np.asarray(correct, dtype=np.bool_)
        if classes.shape != self.counts.shape or right.shape != self.counts.shape:
            raise CriterionError(
                f"Channel activity of {len(self.counts)} images needs as many labels and marks of correct predictions,"
                f" not {classes.size} and {right.size}."
            )
        made = []
        for label in np.unique(classes).tolist():
            mine = self.counts[(classes == label) & right]
            seen = mine[~np.isnan(mine)]
            count = float(seen.mean()) if seen.size else float("nan")
            made.append(ClassActivity(int(label), seen.size, mine.size - seen.size, count, count / self.channels))
        return tuple(made)


def pooled(activations: Tensor) -> Tensor:
    """Return the mean over the positions of ``activations`` (N, K, *S): (N, K) float64."""
    if activations.ndim < 2 or activations.numel() == 0:
        raise MethodError(f"Activations must have the shape (images, channels, ...), not {tuple(activations.shape)}.")
    double = exact(activations)
    return double.flatten(2).mean(2) if double.ndim > 2 else double


def channel_activity(pooled_activations: Tensor, threshold: float = THRESHOLD) -> ChannelActivity:
    """Return which share of the channels each image sets off, from activations averaged over positions (N, K).

    Raises ``MethodError`` for another shape and ``CriterionError`` for a threshold that is not finite.
    """
    if pooled_activations.ndim != 2 or pooled_activations.shape[1] == 0:
        raise MethodError(
            f"Pooled activations must have the shape (images, channels), not {tuple(pooled_activations.shape)}; average"
            " over the positions first."
        )
    if not np.isfinite(threshold):
        raise CriterionError(f"The threshold of an active channel must be a finite number, not {threshold!r}.")
    values = exact(pooled_activations)
    counts = (values > threshold).sum(1).double().masked_fill(~finite_rows(values), float("nan"))
    return ChannelActivity(counts.cpu().numpy(), values.shape[1], float(threshold))
