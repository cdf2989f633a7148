"""Scales: from numbers to places, and the round numbers written at an axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, floor, log10

from pytest_saliency.report.plots.svg import SMALL, WIDTH, line, lines_of_text, text

SAME = 1e-9


@dataclass(frozen=True)
class Scale:
    """A linear scale: ``low`` lies at ``start``, ``high`` at ``end`` (both in units of the drawing)."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the place of ``value``; one beyond the scale is put at its end."""
        inside = min(max(value, self.low), self.high)
        return self.start + (inside - self.low) / (self.high - self.low) * (self.end - self.start)

    def holds(self, value: float) -> bool:
        """Tell whether ``value`` lies on the scale."""
        return self.low - SAME <= value <= self.high + SAME


def nice_step(span: float, parts: int) -> float:
    """Return the smallest of 1, 2, 2.5, 5 and 10 times a power of ten of which at most ``parts`` cover ``span``."""
    raw = span / max(1, parts)
    if raw <= 0.0:
        return 1.0
    power = 10.0 ** floor(log10(raw))
    return next((m * power for m in (1.0, 2.0, 2.5, 5.0) if raw <= m * power * (1.0 + SAME)), 10.0 * power)


def nice_range(low: float, high: float, parts: int) -> tuple[float, float, float]:
    """Return (low, high, step): round numbers around the given ones, about ``parts`` steps apart."""
    if high - low <= SAME * max(1.0, abs(low), abs(high)):
        room = max(abs(low), abs(high), 1.0) * 0.05
        low, high = low - room, high + room
    step = nice_step(high - low, parts)
    first, last = floor(low / step + SAME), ceil(high / step - SAME)
    return first * step, max(last, first + 1) * step, step


def ticks(low: float, high: float, parts: int) -> list[float]:
    """Return round numbers from ``low`` to ``high``, two of them at least."""
    step, first, last = 1.0, 0, 0
    for finer in range(parts, 4 * parts):
        step = nice_step(high - low, finer)
        first, last = ceil(low / step - SAME), floor(high / step + SAME)
        if last > first:
            break
    return [round(number * step, 12) for number in range(first, last + 1)]


def labels(values: Sequence[float]) -> list[str]:
    """Return the numbers with as many decimals as it takes to tell each from the next."""
    gap = min((b - a for a, b in pairwise(values)), default=1.0)
    largest, near = max(map(abs, values), default=0.0), 1e-3 * gap
    if (largest >= 1e6 and gap > 1e-3 * largest) or 0.0 < largest < 1e-4:
        return [f"{value:.4g}".replace("-", "−") for value in values]
    decimals = next((d for d in range(12) if all(abs(round(value, d) - value) <= near for value in values)), 12)
    return [f"{value if abs(value) > near else 0.0:.{decimals}f}".replace("-", "−") for value in values]


def x_axis(scale: Scale, y: float, label: str, *, parts: int = 5, percent: bool = False) -> tuple[list[str], float]:
    """Return the axis below a plot at height ``y`` with its label, and the y below it."""
    places = ticks(scale.low, scale.high, parts)
    names = labels([100.0 * value for value in places] if percent else places)
    body = [line(scale.start, y, scale.end, y, tone="faint")]
    for place, name in zip(places, names, strict=True):
        body += [
            line(scale(place), y, scale(place), y + 4, tone="faint"),
            text(scale(place), y + 16, name + (" %" if percent else ""), tone="faint", anchor="middle"),
        ]
    room = 2.0 * min((scale.start + scale.end) / 2 - 4, WIDTH - (scale.start + scale.end) / 2 - 4)
    words, y = lines_of_text((scale.start + scale.end) / 2, y + 20, label, room, anchor="middle")
    return [*body, *words], y + 5


def y_axis(scale: Scale, left: float, right: float, label: str, *, parts: int = 4, percent: bool = False) -> list[str]:
    """Return faint lines across the plot with their numbers at the left, and the label upright beside them."""
    places = ticks(scale.low, scale.high, parts)
    names = labels([100.0 * value for value in places] if percent else places)
    body = [text(12, (scale.start + scale.end) / 2, label, anchor="middle", upright=True)]
    for place, name in zip(places, names, strict=True):
        body += [
            line(left, scale(place), right, scale(place), tone="line"),
            text(left - 5, scale(place) + 4, name + (" %" if percent else ""), tone="faint", size=SMALL, anchor="end"),
        ]
    return body
