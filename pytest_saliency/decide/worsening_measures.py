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
"""The measures by kind of the check that they come from."""


def measure_names(kind: str) -> tuple[str, ...]:
    """Return what a check of ``kind`` measures that can be held against a baseline."""
    return tuple(measure.name for measure in COMPARED.get(kind, ()))


def measure_of(kind: str, column: str) -> Compared:
    """Return the measure that ``column`` holds, as ``advantage`` for ``advantage[blur]``."""
    base = column.partition("[")[0]
    return next(measure for measure in COMPARED[kind] if measure.name == base)


def fill_of(column: str) -> str:
    """Return " with blur" for ``advantage[blur]``, nothing where a column has no such part."""
    inside = column.partition("[")[2].rstrip("]")
    return f" with {inside}" if inside else ""
