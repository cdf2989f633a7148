"""Each declared group by itself: how many, estimate, bounds. A read-out, which decides nothing.

Bounds are one-sided, each at level 1 - alpha and for one group by itself: among many groups some bound is wrong by
chance. ``subgroups`` is what compares groups.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pytest_saliency.decide import compare, means
from pytest_saliency.decide.decision import plain
from pytest_saliency.decide.values import FloatArray, Units, defined, filled, mean_of
from pytest_saliency.decide.worsening_measures import Compared


@dataclass(frozen=True)
class GroupRow:
    """One measure of one group: ``n`` units, ``missing`` of them without a number; ``undefined`` of its ``images``."""

    measure: str
    title: str
    group: str
    images: int
    n: int
    undefined: int
    missing: int
    estimate: float
    low: float
    high: float
    level: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON."""
        made: dict[str, Any] = plain({name: getattr(self, name) for name in self.__dataclass_fields__})
        return made


def members_of(groups: Sequence[str]) -> dict[str, list[int]]:
    """Return the positions of each group's images, groups in the order of their names."""
    found: dict[str, list[int]] = {}
    for i, name in enumerate(groups):
        found.setdefault(name, []).append(i)
    return {name: found[name] for name in sorted(found)}


def group_rows(
    measure: Compared,
    column: str,
    values: FloatArray,
    groups: Sequence[str],
    clusters: Sequence[Hashable] | None,
    alpha: float,
    seed: int,
) -> list[GroupRow]:
    """Return a row for each group: its mean over units, undefined images at the ends of the range in the bounds."""
    array = measure.worse * measure.badness(column, values)
    made = []
    for name, rows in members_of(groups).items():
        part = array[rows]
        units = Units(len(rows), None if clusters is None else [clusters[i] for i in rows])
        seen = units.average(part)
        low, high = _bounds(measure, units, part, array, alpha, seed)
        made.append(
            GroupRow(
                measure=column,
                title=f"mean {measure.called(column)}",
                group=name,
                images=len(rows),
                n=units.n,
                undefined=int(np.isnan(part).sum()),
                missing=int(np.isnan(seen).sum()),
                estimate=mean_of(defined(seen)),
                low=low,
                high=high,
                level=1.0 - alpha,
            )
        )
    return made


def _bounds(
    measure: Compared, units: Units, part: FloatArray, array: FloatArray, alpha: float, seed: int
) -> tuple[float, float]:
    ends = measure.range
    if ends is not None:
        down, up = (means.canonical(units.average(filled(part, end)), seed) for end in ends)
        return means.lower_bound(down, *ends, alpha), means.upper_bound(up, *ends, alpha)
    reach = float(np.max(np.abs(defined(array)), initial=0.0))
    seen = defined(units.average(part))
    down, up = (units.average(filled(part, end)) for end in (-reach, reach))
    return (
        compare.mean_reference(down, seed, seen).lower(alpha),
        compare.mean_reference(up, seed, seen).upper(alpha),
    )
