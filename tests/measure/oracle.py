"""Second derivations of the measures: float64, one image at a time, plain loops, written from the definitions."""

from __future__ import annotations

import itertools
import math
from decimal import ROUND_HALF_UP, Decimal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def enlarge(map_: Floats, size: tuple[int, ...]) -> Floats:
    """Rectify, then resize linearly: every target position is the weighted sum of its 2 ** D source neighbours."""
    positive = np.where(map_ > 0, map_, 0.0).astype(np.float64)
    out = np.zeros(size)
    for place in itertools.product(*(range(length) for length in size)):
        total = 0.0
        neighbours = []
        for t, source, target in zip(place, positive.shape, size, strict=True):
            at = min(max((t + 0.5) * source / target - 0.5, 0.0), source - 1.0)
            low = math.floor(at)
            neighbours.append([(low, 1.0 - (at - low)), (min(low + 1, source - 1), at - low)])
        for corner in itertools.product(*neighbours):
            total += positive[tuple(i for i, _ in corner)] * math.prod(w for _, w in corner)
        out[place] = total
    return out


def size_of(fraction: float, positions: int) -> int:
    exact = Decimal(str(fraction)) * positions
    return max(1, int(exact.quantize(Decimal(1), rounding=ROUND_HALF_UP)))


def weights(values: Floats, fraction: float, tolerance: float = 1e-6) -> tuple[Floats, int]:
    """Region weights of rectified ``values`` on their grid, and k'. Sorts, then walks the positions."""
    flat = values.ravel()
    out = np.zeros(flat.size)
    top = flat.max(initial=0.0)
    ranked = sorted((v for v in flat if v > tolerance * top), reverse=True)
    k = min(size_of(fraction, flat.size), len(ranked))
    if k == 0:
        return out, 0
    edge = ranked[k - 1]
    tied = [i for i, v in enumerate(flat) if abs(v - edge) <= tolerance * top and v > tolerance * top]
    above = [i for i, v in enumerate(flat) if v > edge + tolerance * top]
    for i in above:
        out[i] = 1.0
    for i in tied:
        out[i] = (k - len(above)) / len(tied)
    return out, k


def agreement(a: Floats, b: Floats, k_a: int, k_b: int) -> float:
    if k_a == 0 or k_b == 0:
        return math.nan
    return float(sum(min(x, y) for x, y in zip(a, b, strict=True)) / max(k_a, k_b))


def iou(a: Floats, b: Floats) -> float:
    if not a.any() or not b.any():
        return math.nan
    pairs = list(zip(a, b, strict=True))
    return float(sum(min(p) for p in pairs) / sum(max(p) for p in pairs))


def centre(values: Floats) -> Floats:
    total = 0.0
    moment = np.zeros(values.ndim)
    for place in itertools.product(*(range(length) for length in values.shape)):
        total += values[place]
        moment += values[place] * np.array(place)
    return moment / total if total > 0 else np.full(values.ndim, np.nan)


def displacement(a: Floats, b: Floats) -> float:
    return float(np.linalg.norm(centre(a) - centre(b)) / math.sqrt(sum(length**2 for length in a.shape)))


def concentration(values: Floats, fraction: float) -> float:
    ranked = sorted(values.ravel(), reverse=True)
    total = sum(ranked)
    return sum(ranked[: size_of(fraction, len(ranked))]) / total if total > 0 else math.nan
