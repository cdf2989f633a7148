"""Every measure that exists: what it is called, its unit, its range and which way is good. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Better(StrEnum):
    """Which way of a measure is the good one."""

    LOWER = "lower"
    HIGHER = "higher"
    NEAR_ZERO = "near zero"
    NEITHER = "neither"


@dataclass(frozen=True)
class MeasureInfo:
    """A measure as reports print it. ``low`` and ``high``: its range (infinite where unbounded).

    ``version`` rises whenever the same inputs would give another number.
    """

    name: str
    title: str
    unit: str
    low: float
    high: float
    better: Better
    version: int = 1


_INF = float("inf")

MEASURES: Mapping[str, MeasureInfo] = MappingProxyType(
    {
        info.name: info
        for info in (
            MeasureInfo("agreement", "agreement of the top regions", "share", 0.0, 1.0, Better.LOWER),
            MeasureInfo("iou", "IoU of the top regions", "share", 0.0, 1.0, Better.HIGHER),
            MeasureInfo("iou_drop", "IoU drop of the top regions", "share", 0.0, 1.0, Better.LOWER),
            MeasureInfo(
                "displacement", "displacement of the centre of mass", "of the diagonal", 0.0, 1.0, Better.LOWER
            ),
            MeasureInfo("correlation", "pattern correlation", "Pearson's r", -1.0, 1.0, Better.HIGHER),
            MeasureInfo("concentration", "concentration", "share of mass in top 10 %", 0.0, 1.0, Better.HIGHER),
            MeasureInfo(
                "concentration_change",
                "change of concentration",
                "share of mass in top 10 %",
                -1.0,
                1.0,
                Better.NEAR_ZERO,
            ),
            MeasureInfo("log_odds_drop", "drop of the log-odds", "nats", -_INF, _INF, Better.HIGHER),
            MeasureInfo("softmax_drop", "drop of the softmax probability", "probability", -1.0, 1.0, Better.HIGHER),
            MeasureInfo("deletion_area", "area under the deletion curve", "probability", 0.0, 1.0, Better.LOWER),
            MeasureInfo("insertion_area", "area under the insertion curve", "probability", 0.0, 1.0, Better.HIGHER),
            MeasureInfo("srg", "symmetric relevance gain", "probability", -1.0, 1.0, Better.HIGHER),
            MeasureInfo(
                "deletion_area_log_odds", "log-odds area under the deletion curve", "nats", -_INF, _INF, Better.LOWER
            ),
            MeasureInfo(
                "insertion_area_log_odds", "log-odds area under the insertion curve", "nats", -_INF, _INF, Better.HIGHER
            ),
            MeasureInfo("srg_log_odds", "symmetric relevance gain in log-odds", "nats", -_INF, _INF, Better.HIGHER),
            MeasureInfo("active_channels", "active channels", "channels", 0.0, _INF, Better.NEITHER),
            MeasureInfo("active_share", "share of active channels", "share", 0.0, 1.0, Better.NEITHER),
            MeasureInfo("accuracy", "accuracy", "share", 0.0, 1.0, Better.HIGHER),
            MeasureInfo("macro_auc", "macro AUC", "area", 0.0, 1.0, Better.HIGHER),
        )
    }
)
"""Measures by name."""
