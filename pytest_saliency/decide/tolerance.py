"""How far numbers may differ between machines, and whether a verdict would survive it.

Decisions are byte-identical for the same numbers. The numbers themselves are not: another batch size, another number
of threads or another device adds float32 products in another order. That moves every map a little. In a few images it
does more: a ReLU behind the target layer whose input is zero within rounding switches its gradient on or off, and
positions that are nearly tied at the edge of a top region change places. So the tolerance of a measure has two parts:
every image's number may differ by ``every``, and those of a ``FEW`` of the images by ``few``.

Largest differences seen in per-image numbers of six methods, over matched filters, small networks trained on digits at
8x8 and 32x32, and ResNet-18 with random weights at 64x64 (layers 2 to 4) and at 224x224, which is worse conditioned
than a trained network (``python -m tests.checks.test_same_numbers`` measures again; with top regions on the layer's own
grid, one position of 13 and 0.06 of an IoU were seen to change too):

====================  =========================  ===============================
measure               batch 1, 4, 32; shuffled;  float64 instead of float32
                      threads 1, 2 (at 8x8)
====================  =========================  ===============================
agreement             0; 1 image in 40: 0.015    2e-4
IoU drop              0                          4e-5; 1 image in 40: 0.012
displacement          1e-6                       1e-6; 1 image in 40: 0.002
correlation           7e-6                       5e-6; 1 image in 40: 0.011
concentration change  8e-6                       4e-6; 1 image in 40: 0.004
mass in a region      4e-7                       3e-7
drop of log-odds      4e-6                       2e-6; 1e-4 where a region moved
====================  =========================  ===============================

Batches of 4 for 32 and a second thread changed nothing at all there, shuffling next to nothing. A GPU was not
measured; the margins (``every`` five times what was seen or more, ``few`` three times, ``FEW`` twice) are meant to
hold it. Taken as they are, and seen to change nowhere: which class is predicted, hence which images are kept, and
which maps are blank. Half precision is another matter: its differences are far larger than these.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from pytest_saliency.decide.verdict import Verdict
from pytest_saliency.decide.words import percent

FloatArray = npt.NDArray[np.float64]
Way = Literal[-1, 1]

FEW = 0.05
"""Share of the images whose numbers may differ by ``Tolerance.few``; seen: 1 in 40."""

LARGE_REGION = 1_000
"""Regions of more positions than this change in steps below ``Tolerance.every``."""


@dataclass(frozen=True)
class Tolerance:
    """By how much the numbers of two runs may differ: those of all images by ``every``, of a ``FEW`` by ``few``."""

    every: float
    few: float

    def moved(
        self, values: FloatArray, way: Way | FloatArray, limit: float | FloatArray, low: float, high: float
    ) -> FloatArray:
        """Return ``values`` (n,) moved by the tolerance up (``way`` 1) or down (-1), within ``low`` to ``high``.

        The ``FEW`` are the images that moving can bring across ``limit``, the nearest first, and then any others, in
        order. ``way`` and ``limit`` may be one for each image. NaN stays NaN.
        """
        known = np.flatnonzero(~np.isnan(values))
        moved = values + np.asarray(way) * self.every
        ahead = (np.asarray(way) * (np.asarray(limit) - values))[known]
        # Images beyond the limit already, or out of reach of it, come after those that can cross it.
        crossing = (ahead >= 0.0) & (ahead <= self.few)
        order = known[np.lexsort((np.where(crossing, ahead, 0.0), ~crossing))]
        chosen = order[: math.ceil(FEW * known.size)]
        moved[chosen] = (values + np.asarray(way) * self.few)[chosen]
        clipped: FloatArray = np.clip(moved, low, high)
        return clipped

    @property
    def mean(self) -> float:
        """Return by how much the mean of the images' numbers may differ at most."""
        return (1.0 - FEW) * self.every + FEW * max(self.every, self.few)

    def to_dict(self) -> dict[str, float]:
        return {"every": self.every, "few": self.few}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        return cls(float(data["every"]), float(data["few"]))


TOLERANCES: Mapping[str, Tolerance] = MappingProxyType(
    {
        "agreement": Tolerance(1e-3, 0.05),
        "iou_drop": Tolerance(1e-3, 0.05),
        "displacement": Tolerance(1e-4, 0.01),
        "correlation": Tolerance(1e-4, 0.05),
        "concentration_change": Tolerance(1e-4, 0.02),
        # Counts of predictions; taken as they are.
        "accuracy_drop": Tolerance(0.0, 0.0),
        "log_odds_drop": Tolerance(1e-4, 0.01),
        # A share of mass, as concentration is, and moved by as much.
        "mass_inside": Tolerance(1e-4, 0.02),
    }
)
"""The tolerance of every measure that is decided on."""

REGION_MEASURES = frozenset({"agreement", "iou_drop"})


def tolerance_of(name: str, region: int | None = None) -> Tolerance:
    """Return the tolerance of a measure; ``region`` is the number of positions in a top region, where there is one.

    Numbers of small regions are quotients of small counts: they are the same to the last bit or differ by a whole
    position, which then may be much. So ``every`` is 0 for them, or all images whose number is exactly the limit
    would count as undecided; and ``few`` is at least two positions, the most by which one exchanged position changes
    an IoU.
    """
    base = TOLERANCES[name]
    if region is None or name not in REGION_MEASURES:
        return base
    return Tolerance(base.every if region > LARGE_REGION else 0.0, min(1.0, max(base.few, 2.0 / region)))


@dataclass(frozen=True)
class Sensitivity:
    """Which verdicts the numbers of another run could give.

    ``tolerance`` by measure; ``verdicts``: every verdict that can be reached within it, the best first; the
    verdict itself is among them.
    """

    tolerance: Mapping[str, Tolerance]
    verdicts: tuple[Verdict, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "tolerance": {name: entry.to_dict() for name, entry in self.tolerance.items()},
            "few_share": FEW,
            "verdicts": [verdict.value for verdict in self.verdicts],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        return cls(
            {name: Tolerance.from_dict(entry) for name, entry in data["tolerance"].items()},
            tuple(Verdict(word) for word in data["verdicts"]),
        )

    @property
    def settled(self) -> bool:
        """Say whether every run within the tolerance gives the same verdict."""
        return len(self.verdicts) == 1

    def notes(self, verdict: Verdict) -> tuple[str, ...]:
        """Return the sentence that a verdict near its limit carries; none where it is settled."""
        others = [other.value for other in self.verdicts if other is not verdict]
        if not others:
            return ()
        sizes = ", ".join(f"{name} {_size(entry)}" for name, entry in self.tolerance.items())
        return (
            "the verdict is as close to the limit as numbers differ between machines and batch sizes: within that"
            f" tolerance ({sizes}) it could also be {' or '.join(others)}; do not rely on it: add images, or look at"
            " the limit again",
        )


def _size(tolerance: Tolerance) -> str:
    if tolerance.few <= tolerance.every:
        return f"{tolerance.every:g}"
    return f"{tolerance.every:g}, and {tolerance.few:.2g} for {percent(FEW)} of the images"


RANKS = (Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.FAIL)


def reachable(
    tolerance: Mapping[str, Tolerance], verdict: Verdict, toward_pass: Verdict, toward_fail: Verdict
) -> Sensitivity:
    """Return the sensitivity of ``verdict`` from what its numbers give when all are moved one way or the other.

    Better numbers never give a worse verdict, so whatever lies between the outermost two can be reached too. That is
    exact for counts, the sign test and the permutation tests in their numbers, and for betting bounds in their limit.
    Wilcoxon's statistic grows with every number, but the variance of its approximation follows the ties, so that its
    p-value can also fall a little (by a fifth at most in simulation, with most numbers tied); should that ever turn
    a verdict the wrong way round, it is among those reported all the same.
    """
    ranks = [RANKS.index(entry) for entry in (verdict, toward_pass, toward_fail)]
    return Sensitivity(tolerance, RANKS[min(ranks) : max(ranks) + 1])
