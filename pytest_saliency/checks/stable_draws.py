"""``stable``: which changes each image gets, and how far its maps agree with the map of the unchanged image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from pytest_saliency.checks.common import Floats, Indices
from pytest_saliency.decide.randomness import Stream
from pytest_saliency.engine.perturb import Perturbation, Turns, sized
from pytest_saliency.measure.laid_back import iou_laid_back
from pytest_saliency.measure.pairs import compare

if TYPE_CHECKING:
    from torch import Tensor

    from pytest_saliency.engine.maps import Maps
    from pytest_saliency.engine.perturbed import Changed

Changes = Sequence[tuple[Perturbation, ...]]
"""By image, the changes it gets: family by family."""


def drawn(
    seed: int, case: str, families: Sequence[str], draws: int, strength: float, size: tuple[int, ...]
) -> tuple[Perturbation, ...]:
    """Return the changes of one image, ``draws`` of each family, from half to all of ``strength``.

    There is one flip only. Drawn by the image's id, so that batch, order and worker do not matter.
    """
    made = []
    for family in families:
        count = 1 if family == "flip" else draws
        uniform = Stream(seed, "stable", family, case).uniform(4 * count).reshape(count, 4)
        noise = Stream(seed, "stable", "seeds of noise", case).integers(2**32, count)
        for (far, way, axis, across), own in zip(uniform.tolist(), noise.tolist(), strict=True):
            turns = Turns(way < 0.5, axis < 0.5, 2.0 * across - 1.0, int(own))
            made.append(sized(family, 0.5 + 0.5 * far, turns, strength=strength, size=size))
    return tuple(made)


@dataclass(frozen=True)
class Agreements:
    """Agreement of each image with each of its changes (n, changes): NaN where it cannot be said.

    ``changed`` (n, changes): where the change changed the prediction, so that its map is not compared.
    """

    values: Floats
    changed: NDArray[np.bool_]

    def mean(self, columns: Sequence[int]) -> Floats:
        """Return each image's mean over some of its changes (n,), NaN where none of them can be compared."""
        part = self.values[:, list(columns)]
        known = ~np.isnan(part)
        count = known.sum(axis=1)
        total = np.where(known, part, 0.0).sum(axis=1)
        return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan), dtype=np.float64)

    def lowest(self, row: int) -> int | None:
        """Return the change with the lowest agreement of an image; None where none can be compared."""
        values = self.values[row]
        return None if bool(np.isnan(values).all()) else int(np.nanargmin(values))


def agreements(
    own: Maps, rows: Indices, predicted: NDArray[np.int64], made: Changed, changes: Changes, fraction: float,
    size: tuple[int, ...],
) -> Agreements:  # fmt: skip
    """Return how far the maps of the images at ``rows`` agree with those of their changes, image by image in ``made``.

    A map that was usable and is not on the changed image has lost everything: 0. A change that changes nothing, as one
    that a small strength rounds away, is not compared: there everything agrees.
    """
    count = len(changes[0])
    flat = [change for image in changes for change in image]
    repeated = np.repeat(rows, count)
    values = np.full(len(flat), np.nan)
    plain = np.flatnonzero([not change.geometric for change in flat])
    if plain.size:
        one, two = own.values[torch.from_numpy(repeated[plain])], made.maps.values[torch.from_numpy(plain)]
        values[plain] = compare(one, two, ["iou"], fraction=fraction, size=size)["iou"].numpy()
    for k in np.flatnonzero([change.geometric for change in flat]):
        values[k] = agreement(own.values[int(repeated[k])], made.maps.values[int(k)], flat[k], fraction, size)
    values = np.where(made.maps.ok, values, 0.0)
    changed = np.asarray(made.predicted != np.repeat(predicted, count))
    nothing = np.asarray([change.identity for change in flat], dtype=bool)
    values = np.where(own.ok[repeated] & ~changed & ~nothing, values, np.nan)
    return Agreements(values.reshape(-1, count), changed.reshape(-1, count))


def agreement(own: Tensor, other: Tensor, change: Perturbation, fraction: float, size: tuple[int, ...]) -> float:
    """Return the IoU of the top regions of a raw map (*s) and the map of the changed image."""
    if change.geometric:
        return iou_laid_back(own, other, change, fraction=fraction, size=size)
    return float(compare(own[None], other[None], ["iou"], fraction=fraction, size=size)["iou"])
