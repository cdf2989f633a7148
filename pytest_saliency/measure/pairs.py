"""Several measures of many pairs of maps, a few images at a time so that memory stays flat."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType

import torch
from torch import Tensor

from pytest_saliency.errors import CriterionError, MethodError
from pytest_saliency.measure.agreement import agreement
from pytest_saliency.measure.concentration import concentration_of
from pytest_saliency.measure.correlation import pattern_correlation
from pytest_saliency.measure.displacement import displacement
from pytest_saliency.measure.grid import Spread, spread
from pytest_saliency.measure.iou import iou
from pytest_saliency.measure.regions import Region, region_of


class _Pair:
    """Two batches of maps; what several measures need is made once, when the first of them asks."""

    def __init__(self, a: Tensor, b: Tensor, fraction: float, size: tuple[int, ...] | None) -> None:
        self.a, self.b, self.fraction, self.size = a, b, fraction, size

    @cached_property
    def grids(self) -> tuple[Spread, Spread]:
        return spread(self.a, self.size), spread(self.b, self.size)

    @cached_property
    def regions(self) -> tuple[Region, Region]:
        return region_of(self.grids[0], self.fraction), region_of(self.grids[1], self.fraction)


PAIR_MEASURES: Mapping[str, Callable[[_Pair], Tensor]] = MappingProxyType(
    {
        "agreement": lambda pair: agreement(*pair.regions),
        "iou": lambda pair: iou(*pair.regions),
        "displacement": lambda pair: displacement(pair.a, pair.b, pair.size),
        "correlation": lambda pair: pattern_correlation(pair.a, pair.b),
        "concentration_change": lambda pair: concentration_of(pair.grids[1]) - concentration_of(pair.grids[0]),
    }
)
"""The measures ``compare`` knows, by name."""


def compare(
    a_maps: Tensor,
    b_maps: Tensor,
    names: Sequence[str],
    *,
    fraction: float,
    size: tuple[int, ...] | None,
    batch: int = 8,
) -> dict[str, Tensor]:
    """Return the named measures of each pair of raw maps ``(N, *S)``: name -> (N,) float64, NaN where undefined.

    ``fraction`` and ``size`` are those of the top regions; ``size`` is also the grid of displacement and
    concentration. ``concentration_change`` is that of ``b_maps`` minus that of ``a_maps``. Maps at input size
    exist for ``batch`` images at a time only; 8 of 224x224 stay in a CPU's cache, a GPU likes more.
    Raises ``CriterionError`` for an unknown name and ``MethodError`` for shapes that do not fit.
    """
    unknown = [name for name in names if name not in PAIR_MEASURES]
    if unknown:
        known = ", ".join(PAIR_MEASURES)
        raise CriterionError(f"There is no measure {unknown[0]!r} of two maps; use one of {known}.")
    if a_maps.shape[0] != b_maps.shape[0]:
        raise MethodError(
            f"{a_maps.shape[0]} maps cannot be paired with {b_maps.shape[0]}; both must be of the same images."
        )
    parts: dict[str, list[Tensor]] = {name: [] for name in names}
    for start in range(0, a_maps.shape[0], batch):
        rows = slice(start, start + batch)
        pair = _Pair(a_maps[rows], b_maps[rows], fraction, size)
        for name, part in parts.items():
            part.append(PAIR_MEASURES[name](pair))
    empty = torch.empty(0, dtype=torch.float64)
    return {name: torch.cat(part) if part else empty for name, part in parts.items()}
