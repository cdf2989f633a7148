"""Rows of numbers on one scale: from the lowest to the highest, the middle half, median and mean, and a limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pytest_saliency.report.plots.axes import Scale, x_axis
from pytest_saliency.report.plots.columns import Floats
from pytest_saliency.report.plots.legend import MARGIN
from pytest_saliency.report.plots.plot import Plot
from pytest_saliency.report.plots.svg import WIDTH, diamond, dot, drawing, line, lines_of_text, rect

LEFT = 22
ROW = 16


@dataclass(frozen=True)
class Strip:
    """One row: its numbers (NaN where undefined, which are not drawn) and the words above it, which say them."""

    words: str
    values: Floats


def strips(
    name: str,
    title: str,
    rows: Sequence[Strip],
    scale: tuple[float, float],
    label: str,
    *,
    limit: float | None = None,
    below: bool = True,
    note: str = "",
) -> Plot | None:
    """Return one row a strip; None where no number is defined. ``below``: the side of the limit that is forbidden."""
    if not any((~np.isnan(row.values)).any() for row in rows):
        return None
    across = Scale(*scale, LEFT, WIDTH - LEFT)
    body: list[str] = []
    y = 6.0
    for row in rows:
        words, y = lines_of_text(LEFT, y, row.words, WIDTH - 2 * LEFT)
        body += words
        middle = y + ROW / 2
        if limit is not None:
            ends = (across.start, across(limit)) if below else (across(limit), across.end)
            body.append(rect(ends[0], y, max(0.0, ends[1] - ends[0]), ROW, tone="bad", opacity=0.09))
            body.append(line(across(limit), y, across(limit), y + ROW, tone="bad", width=2))
        body += _strip(row.values[~np.isnan(row.values)], across, middle)
        y += ROW + 4
    axis, y = x_axis(across, y, label)
    said = "bar: the middle half of the images · line: from the lowest to the highest · ● median · ◇ mean"
    foot, y = lines_of_text(MARGIN, y, " · ".join([said, *([note] if note else [])]), WIDTH - 2 * MARGIN, tone="faint")
    alt = " ".join([f"{title}.", *(f"{row.words}." for row in rows), *([f"{note}."] if note else [])])
    return Plot(name, title, drawing(y + 6, title, alt, [*body, *axis, *foot]), alt)


def _strip(values: Floats, across: Scale, y: float) -> list[str]:
    if not values.size:
        return []
    low, first, median, third, high = (across(float(value)) for value in np.quantile(values, [0, 0.25, 0.5, 0.75, 1]))
    return [
        line(low, y, high, y, width=1.5),
        rect(first, y - 5, max(third - first, 1.0), 10, tone="accent", opacity=0.45, rim=True),
        dot(median, y),
        diamond(across(float(values.mean())), y),
    ]
