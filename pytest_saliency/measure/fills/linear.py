"""The fill ``noisy_linear``: every removed pixel is the weighted mean of its neighbours, plus a little noise.

Source: Rong, Leemann, Borisov, Kasneci and Kasneci, "A consistent and efficient evaluation strategy for attribution
methods" (ROAD, arXiv 2202.00449, ICML 2022): neighbours that share a side weigh 1/6, diagonal ones 1/12, those beyond
the border are left out and the others scaled up; the noise is Gaussian with a standard deviation of 0.01, as in the
code that its authors published. The equations of all removed pixels are solved together, as one sparse system.

Regions here have fractional weights where positions are tied at their edge, which the paper does not know. A
neighbour therefore counts with the value that it has in the final image, that is (1 - w) of its own pixel and w of
its filled one: with weights of 0 and 1 this is the paper's system, and in between it moves without jumps, so that
a tie broken by rounding changes nothing. Where the whole image is removed no pixel is left to start from, and the
fill is the mean of each channel.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import splu
from torch import Tensor

from pytest_saliency.measure.fills.fill import Imputer, RegionFill

NOISE = 0.01
"""Standard deviation of the noise, in pixel values from 0 to 1."""

SIDE, DIAGONAL = 1 / 6, 1 / 12
"""Weights of the neighbours of a pixel of a flat image."""

Floats = NDArray[np.float64]


def neighbour_weights(dimensions: int) -> dict[tuple[int, ...], float]:
    """Return the weight of each neighbour by its offset; they sum to 1.

    Flat images: the paper's eight. Volumes and sequences, of which the paper says nothing: the neighbours that share
    a face, all equal (1/6 each in a volume).
    """
    made: dict[tuple[int, ...], float] = {}
    for offset in product((-1, 0, 1), repeat=dimensions):
        steps = sum(map(abs, offset))
        if dimensions == 2 and steps:
            made[offset] = SIDE if steps == 1 else DIAGONAL
        elif steps == 1:
            made[offset] = 1 / (2 * dimensions)
    return made


@lru_cache(maxsize=4)
def _neighbours(shape: tuple[int, ...]) -> tuple[Any, Floats]:
    """Return the weights between all positions (P, P), sparse, and what those of each position sum to (P,)."""
    count = int(np.prod(shape))
    place = np.arange(count).reshape(shape)
    rows, columns, values = [], [], []
    for offset, weight in neighbour_weights(len(shape)).items():
        here = place[tuple(slice(max(0, -o), n - max(0, o)) for o, n in zip(offset, shape, strict=True))].ravel()
        there = place[tuple(slice(max(0, o), n - max(0, -o)) for o, n in zip(offset, shape, strict=True))].ravel()
        rows.append(here)
        columns.append(there)
        values.append(np.full(here.size, weight))
    coordinates = (np.concatenate(rows), np.concatenate(columns))
    between = scipy.sparse.csr_array((np.concatenate(values), coordinates), shape=(count, count))
    total: Floats = np.asarray(between @ np.ones(count))
    return between, total


class Interpolation:
    """The linear system of one region, factorised once for all channels of all images that lose it.

    For a removed position p with weight w_p and its neighbours q:
    ``v_p sum_q a_pq = sum_q a_pq ((1 - w_q) x_q + w_q v_q)``.
    In y = w v the matrix is symmetric and positive definite, so that it needs no pivoting.
    """

    def __init__(self, weights: Floats) -> None:
        """``weights`` (*S) in [0, 1]: how much of each position is removed."""
        flat = np.asarray(weights, dtype=np.float64).ravel()
        self.touched = np.flatnonzero(flat > 0.0)
        self.whole = bool((flat >= 1.0).all()) or flat.size == 1
        self._weights, self._left = flat[self.touched], 1.0 - flat
        if self.whole or not self.touched.size:
            return
        between, total = _neighbours(tuple(weights.shape))
        self._from = between[self.touched]
        matrix = scipy.sparse.diags_array(total[self.touched] / self._weights) - self._from[:, self.touched]
        self._factor = splu(
            scipy.sparse.csc_matrix(matrix),
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )

    def values(self, planes: Floats) -> Floats:
        """Return what the touched positions of ``planes`` (K, P) become, (K, touched), without noise."""
        if self.whole:
            return np.repeat(planes.mean(axis=1, keepdims=True), self.touched.size, axis=1)
        if not self.touched.size:
            return np.zeros((len(planes), 0))
        known = np.asarray(self._from @ (planes * self._left).T)
        solved: Floats = self._factor.solve(known)
        return (solved / self._weights[:, None]).T


def _prepare(weights: Tensor) -> Imputer:
    system = Interpolation(weights.detach().cpu().double().numpy())

    def impute(images: Tensor, noise: Tensor | None) -> Tensor:
        planes = images.detach().to("cpu", torch.float64, copy=True).flatten(2).flatten(0, 1)
        values = torch.from_numpy(np.ascontiguousarray(system.values(planes.numpy())))
        places = torch.from_numpy(system.touched)
        if noise is not None:
            drawn = noise.detach().cpu().double().flatten(2).flatten(0, 1)[:, places]
            # Noise must not leave the range of pixels: what a model makes of those below black is nobody's evidence.
            values = (values + NOISE * drawn).clamp_(0.0, 1.0)
        planes[:, places] = values
        return planes.reshape(images.shape).to(images.device, images.dtype)

    return impute


NOISY_LINEAR = RegionFill(
    "noisy_linear",
    1,
    "the weighted mean of the neighbouring pixels, solved for all removed pixels together, with Gaussian noise"
    f" (standard deviation {NOISE:g}); ROAD, arXiv 2202.00449",
    _prepare,
    noisy=True,
)
