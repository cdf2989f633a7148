"""The measures that can be held against a baseline: their range, and which way is worse.

A further measure is one more entry here, and its column in ``checks.compared``. Contracts are read with this, so numpy
stays out until numbers are at hand.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pytest_saliency.decide.tolerance import Tolerance
    from pytest_saliency.decide.values import FloatArray

LARGEST = sys.float_info.max
EXACT = ""
"""Tolerance of what is counted and is the same on every machine."""


@dataclass(frozen=True)
class Compared:
    """One measure. ``low`` to ``high`` is its range, None where it has none; ``worse`` is 1 where more is worse.

    ``absolute``: its size counts, not its sign. ``tolerance`` names the entry of ``tolerance.TOLERANCES``, and
    ``times`` how many such numbers make it up. ``unit`` ends the title.
    """

    name: str
    title: str
    low: float | None
    high: float | None
    worse: Literal[-1, 1]
    tolerance: str
    absolute: bool = False
    times: int = 1
    unit: str = ""

    def called(self, column: str) -> str:
        """Return what ``column`` holds in words: "advantage with blur (log-odds)"."""
        return f"{self.title}{fill_of(column)}{self.unit}"

    @property
    def width(self) -> float | None:
        """Return how much worse a number can get at most, None where there is no end."""
        return None if self.low is None or self.high is None else self.high - self.low

    def badness(self, column: str, values: FloatArray) -> FloatArray:
        """Return the numbers turned so that more is worse, NaN where undefined.

        Raises
        ------
        CriterionError
            A number lies outside of the range.
        """
        from pytest_saliency.decide.values import checked

        sized = abs(values) if self.absolute else values
        low = -LARGEST if self.low is None else self.low
        high = LARGEST if self.high is None else self.high
        turned: FloatArray = self.worse * checked(column, sized, low, high)
        return turned

    @property
    def range(self) -> tuple[float, float] | None:
        """Return between what a number lies, None where there is no end."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    @property
    def ends(self) -> tuple[float, float] | None:
        """Return the best and the worst that ``badness`` can be."""
        if self.low is None or self.high is None:
            return None
        return (self.low, self.high) if self.worse == 1 else (-self.high, -self.low)

    def off_by(self, region: int | None) -> Tolerance:
        """Return by how much the numbers of two runs may differ."""
        from pytest_saliency.decide.tolerance import Tolerance, tolerance_of

        if self.tolerance == EXACT:
            return Tolerance(0.0, 0.0)
        one = tolerance_of(self.tolerance, region)
        return Tolerance(self.times * one.every, self.times * one.few)


COMPARED: Mapping[str, tuple[Compared, ...]] = MappingProxyType(
    {
        "class_sensitive": (Compared("agreement", "agreement", 0.0, 1.0, 1, "agreement"),),
        "faithful": (
            # A difference of score drops, each of which may be off.
            Compared("advantage", "advantage", None, None, -1, "log_odds_drop", times=2, unit=" (log-odds)"),
        ),
        "no_semantic_drift": (
            Compared("iou_drop", "IoU drop", 0.0, 1.0, 1, "iou_drop"),
            Compared("displacement", "displacement", 0.0, 1.0, 1, "displacement"),
            Compared("correlation", "pattern correlation", -1.0, 1.0, -1, "correlation"),
            Compared(
                "concentration_change",
                "size of the concentration change",
                0.0,
                1.0,
                1,
                "concentration_change",
                absolute=True,
            ),
        ),
    }
)
"""The measures that a baseline keeps, by kind of the check that they come from."""

MEASURED: Mapping[str, tuple[Compared, ...]] = MappingProxyType(
    {
        **COMPARED,
        "avoids": (Compared("mass_inside", "share of mass in the region", 0.0, 1.0, 1, "mass_inside"),),
        "channel_activity": (Compared("active_share", "share of active channels", 0.0, 1.0, 1, EXACT),),
        "localized": (
            Compared("mass_inside", "share of mass inside the mask", 0.0, 1.0, -1, "mass_inside"),
            Compared("hit", "share of maps that point inside the mask", 0.0, 1.0, -1, EXACT),
        ),
        "model_dependent": (
            Compared("excess", "IoU with randomised models beyond chance", -1.0, 1.0, 1, "iou_drop", times=2),
        ),
        "not_vacuous": (Compared("vacuous", "share of maps that show nothing", 0.0, 1.0, 1, EXACT),),
        "planted_evidence": (Compared("own_share", "share of the map in its own cell", 0.0, 1.0, -1, "mass_inside"),),
        "stable": (Compared("agreement", "agreement under perturbation", 0.0, 1.0, -1, "agreement"),),
    }
)
"""The measures that can be compared between groups of images, by kind."""


def measure_names(kind: str) -> tuple[str, ...]:
    """Return what a check of ``kind`` measures of each image."""
    return tuple(measure.name for measure in MEASURED.get(kind, ()))


def measure_of(kind: str, column: str) -> Compared:
    """Return the measure that ``column`` holds, as ``advantage`` for ``advantage[blur]``."""
    base = column.partition("[")[0]
    return next(measure for measure in MEASURED[kind] if measure.name == base)


def fill_of(column: str) -> str:
    """Return " with blur" for ``advantage[blur]``, nothing where a column has no such part."""
    inside = column.partition("[")[2].rstrip("]")
    return f" with {inside}" if inside else ""
