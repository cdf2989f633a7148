"""The lines above a plot that say what its marks are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_saliency.report.plots.svg import SMALL, WIDTH, diamond, dot, line, lines_of_text, rect

MARGIN = 8
SAMPLE = 24


@dataclass(frozen=True)
class Entry:
    """``mark``: ``bars``, ``line``, ``interval`` or ``mean``. A line has a ``dash``, and full or hollow ``dots``."""

    mark: str
    words: str
    dash: str = ""
    tone: str = "ink"
    dots: str = ""


def legend(entries: Sequence[Entry], y: float) -> tuple[list[str], float]:
    """Return one line or more for each entry from the top ``y`` downwards, and the y below them."""
    body: list[str] = []
    for entry in entries:
        middle = y + 8
        body += _sample(entry, MARGIN, middle)
        words, y = lines_of_text(MARGIN + SAMPLE + 6, y, entry.words, WIDTH - 2 * MARGIN - SAMPLE - 6, size=SMALL)
        body += words
        y += 1
    return body, y + 3


def _sample(entry: Entry, x: float, y: float) -> list[str]:
    end = x + SAMPLE
    if entry.mark == "bars":
        return [rect(x + 4, y - 5, SAMPLE - 8, 10, tone=entry.tone, opacity=0.45, rim=True)]
    if entry.mark == "interval":
        return [*interval(x + 1, end - 1, y), dot((x + end) / 2, y)]
    if entry.mark == "mean":
        return [diamond((x + end) / 2, y)]
    body = [line(x, y, end, y, tone=entry.tone, width=1.8, dash=entry.dash)]
    if entry.dots:
        body.append(dot((x + end) / 2, y, 2.5, tone=entry.tone, hollow=entry.dots == "hollow"))
    return body


def interval(low: float, high: float, y: float) -> list[str]:
    """Return a bar with caps between two places."""
    caps = [line(x, y - 4, x, y + 4, width=1.5) for x in (low, high)]
    return [line(low, y, high, y, width=1.5), *caps]
