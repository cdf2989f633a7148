"""How numbers are spread over images, with the limit they are held to and what was estimated from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pytest_saliency.report.plots.axes import Scale, nice_range, nice_step, x_axis, y_axis
from pytest_saliency.report.plots.columns import Floats, figure, several
from pytest_saliency.report.plots.legend import MARGIN, Entry, interval, legend
from pytest_saliency.report.plots.marks import Marks
from pytest_saliency.report.plots.plot import Plot
from pytest_saliency.report.plots.svg import (
    SMALL,
    WIDTH,
    diamond,
    dot,
    drawing,
    line,
    lines_of_text,
    path,
    rect,
    text,
    width_of,
)

LEFT, RIGHT = 60, 22
HEIGHT = 132
BINS, MANY_BINS, MANY = 20, 32, 200
DASHES = ("6 3", "1.5 2.5", "8 3 1.5 3")
EDGE = 1e-9
"""A number this close to a bin's edge is meant to lie on it: shares of positions are rarely exact in binary."""


@dataclass(frozen=True)
class Series:
    """Numbers of one kind, NaN where undefined."""

    label: str
    values: Floats

    @property
    def seen(self) -> Floats:
        """The defined ones."""
        return self.values[~np.isnan(self.values)]

    @property
    def undefined(self) -> int:
        """How many are not."""
        return int(np.isnan(self.values).sum())


def edges_for(series: Sequence[Series], marks: Marks, low: float, high: float) -> Floats:
    """Return the edges of some 20 bins of a round width that hold all numbers and marks, within ``low`` .. ``high``.

    ``low`` and ``high``: between which the measure lies by its definition; they may be infinite.
    """
    bins = MANY_BINS if series and series[0].seen.size >= MANY else BINS
    seen = [*marks.known(), *(float(value) for one in series for value in one.seen)]
    inside = [min(max(value, low), high) for value in seen] or [max(low, 0.0), min(high, 1.0)]
    first, last, _ = nice_range(min(inside), max(inside), bins)
    width = nice_step(last - first, bins)
    start, stop = np.floor(first / width + EDGE), np.ceil(last / width - EDGE)
    for limit in marks.limits():  # the side that must not be reached stays in sight
        start, stop = min(start, np.ceil(limit / width) - 1), max(stop, np.floor(limit / width) + 1)
    start, stop = max(start, np.floor(low / width + EDGE)), min(stop, np.ceil(high / width - EDGE))
    return np.asarray(np.round(np.arange(start, stop + 1) * width, 12), dtype=np.float64)


def counted(values: Floats, edges: Floats) -> tuple[list[int], int]:
    """Return how many of the defined ``values`` lie in each bin, its lower edge included, and how many in none.

    The last bin includes its upper edge too.
    """
    span = float(edges[-1] - edges[0])
    nudged = values + EDGE * span
    inside = (nudged >= edges[0]) & (values <= edges[-1] + EDGE * span)
    bins = np.minimum(np.searchsorted(edges, nudged[inside], side="right") - 1, len(edges) - 2)
    counts = np.bincount(bins, minlength=len(edges) - 1)
    return [int(count) for count in counts], int(values.size - inside.sum())


def histogram(
    name: str,
    title: str,
    x_label: str,
    main: Series,
    marks: Marks,
    *,
    unit: str = "image",
    others: Sequence[Series] = (),
    edges: Floats | None = None,
    between: tuple[float, float] = (-np.inf, np.inf),
    note: str = "",
) -> Plot | None:
    """Return bars of ``main``, outlines of ``others``, the limit and the estimate; None where nothing is defined."""
    shown = [one for one in others if one.seen.size]
    if not main.seen.size:
        return None
    edges = edges_for([main, *shown], marks, *between) if edges is None else edges
    scale = Scale(float(edges[0]), float(edges[-1]), LEFT, WIDTH - RIGHT)
    decimals = 2 if edges[-1] - edges[0] > 0.25 else 3
    counts = {id(one): counted(one.seen, edges) for one in (main, *shown)}
    shares = {key: [count / max(1, sum(found) + lost) for count in found] for key, (found, lost) in counts.items()}
    body, y = legend(_entries(main, shown, marks, decimals), 4.0)
    highest = max(max(rows) for rows in shares.values())
    y += 14  # the limit's own words
    top = y + 16
    up = Scale(0.0, nice_range(0.0, max(highest, 0.05), 4)[1], top + HEIGHT, top)
    base = up.start
    body += _forbidden(marks, scale, y + 2, base)
    body += y_axis(up, LEFT, scale.end, f"share of {unit}s", percent=True)
    body += _bars(shares[id(main)], edges, scale, up)
    for number, one in enumerate(shown):
        body.append(_outline(shares[id(one)], edges, scale, up, DASHES[number % len(DASHES)]))
    body += _limit_lines(marks, scale, y + 2, base, decimals)
    body += _estimates(marks, scale, y + 10)
    axis, y = x_axis(scale, base, x_label)
    body += axis
    facts = _facts(main, marks, unit, {one.label: one for one in shown}, {k: v[1] for k, v in counts.items()})
    foot, y = lines_of_text(
        MARGIN, y, " · ".join([*facts, *([note] if note else [])]), WIDTH - 2 * MARGIN, tone="faint"
    )
    said = _said(main, shown, marks, unit, facts, decimals, note)
    return Plot(name, title, drawing(y + 6, title, said, [*body, *foot]), said)


def _entries(main: Series, others: Sequence[Series], marks: Marks, decimals: int) -> list[Entry]:
    made = [Entry("bars", main.label, tone="accent")]
    made += [
        Entry("line", f"{one.label}: mean {figure(float(one.seen.mean()), decimals)}", DASHES[i % len(DASHES)])
        for i, one in enumerate(others)
    ]
    if marks.estimate is not None:
        made.append(Entry("interval", marks.estimate_words(decimals)))
    made += [Entry("mean", f"{name} {figure(value, decimals)}") for name, value in marks.means.items()]
    return made


def _bars(shares: Sequence[float], edges: Floats, scale: Scale, up: Scale) -> list[str]:
    made = []
    for share, left, right in zip(shares, edges[:-1], edges[1:], strict=True):
        if share > 0.0:
            x, width = scale(float(left)), scale(float(right)) - scale(float(left))
            height = up.start - up(share)
            made.append(rect(x + 0.5, up(share), max(width - 1.0, 0.5), height, tone="accent", opacity=0.45, rim=True))
    return made


def _outline(shares: Sequence[float], edges: Floats, scale: Scale, up: Scale, dash: str) -> str:
    points = [(scale(float(edges[0])), up(0.0))]
    for share, left, right in zip(shares, edges[:-1], edges[1:], strict=True):
        points += [(scale(float(left)), up(share)), (scale(float(right)), up(share))]
    points.append((scale(float(edges[-1])), up(0.0)))
    return path(points, tone="ink", width=1.6, dash=dash)


def _forbidden(marks: Marks, scale: Scale, top: float, base: float) -> list[str]:
    """Shade the side of the limit on which the estimate must not lie."""
    if marks.limit is None:
        return []
    spans = {
        "<": [(marks.limit, scale.high)],
        "<=": [(marks.limit, scale.high)],
        ">": [(scale.low, marks.limit)],
        ">=": [(scale.low, marks.limit)],
        "abs<=": [(scale.low, -marks.limit), (marks.limit, scale.high)],
    }.get(marks.side, [])
    places = [(scale(low), scale(high)) for low, high in spans if high > low]
    return [rect(a, top, b - a, base - top, tone="bad", opacity=0.09) for a, b in places if b > a]


def _limit_lines(marks: Marks, scale: Scale, top: float, base: float, decimals: int) -> list[str]:
    if marks.limit is None:
        return []
    limits = marks.limits()
    body = [line(scale(at), top, scale(at), base, tone="bad", width=2) for at in limits if scale.holds(at)]
    words = marks.limit_words(decimals)
    half = width_of(words, SMALL, bold=True) / 2 + 2
    middle = min(max(scale(limits[-1]), scale.start + half), WIDTH - half)
    return [*body, text(middle, top - 4, words, tone="bad", anchor="middle", bold=True)]


def _estimates(marks: Marks, scale: Scale, y: float) -> list[str]:
    body: list[str] = []
    low, high = marks.low, marks.high
    if marks.estimate is not None:
        if low is not None or high is not None:
            body += interval(scale(scale.low if low is None else low), scale(scale.high if high is None else high), y)
        if scale.holds(marks.estimate):
            body.append(dot(scale(marks.estimate), y))
    return body + [diamond(scale(value), y) for value in marks.means.values() if scale.holds(value)]


def _facts(main: Series, marks: Marks, unit: str, others: dict[str, Series], outside: dict[int, int]) -> list[str]:
    facts = [f"n = {several(main.seen.size, unit)}"]
    if main.undefined:
        facts.append(f"{main.undefined} undefined, not drawn")
    facts += [f"{label}: {one.undefined} undefined" for label, one in others.items() if one.undefined]
    lost = outside[id(main)]
    if lost:
        facts.append(f"{lost} outside the scale, not drawn")
    return facts


def _said(
    main: Series, others: Sequence[Series], marks: Marks, unit: str, facts: Sequence[str], decimals: int, note: str
) -> str:
    seen = main.seen
    said = [
        f"Histogram of {main.label} over {several(seen.size, unit)}: from {figure(float(seen.min()), decimals)} to"
        f" {figure(float(seen.max()), decimals)}, median {figure(float(np.median(seen)), decimals)}.",
        *(f"{fact[0].upper()}{fact[1:]}." for fact in facts[1:]),
    ]
    estimate = marks.estimate_words(decimals)
    means = [f"{name} {figure(value, decimals)}" for name, value in marks.means.items()]
    limit = marks.limit_words(decimals)
    marked = "; ".join(filter(None, (estimate, *means, limit)))
    if marked:
        said.append(f"Marked: {marked}.")
    reaching = _beyond(main, marks)
    if reaching is not None:
        said.append(f"{reaching} of {several(seen.size, unit)} beyond the {marks.word}.")
    said += [
        f"{one.label[0].upper()}{one.label[1:]}: mean {figure(float(one.seen.mean()), decimals)} over"
        f" {several(one.seen.size, unit)}."
        for one in others
    ]
    return " ".join([*said, *([f"{note[0].upper()}{note[1:]}."] if note else [])])


def _beyond(main: Series, marks: Marks) -> int | None:
    """Return how many numbers lie on the forbidden side by themselves."""
    limit, seen = marks.limit, main.seen
    if limit is None:
        return None
    found = {
        "<": seen >= limit - EDGE,
        "<=": seen > limit + EDGE,
        ">": seen <= limit + EDGE,
        ">=": seen < limit - EDGE,
        "abs<=": np.abs(seen) > limit + EDGE,
    }.get(marks.side)
    return None if found is None else int(found.sum())
