"""``faithful`` with curves: what the prediction does as the strongest positions are removed, or given back first."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from pytest_saliency.report.plots.axes import Scale, nice_range, x_axis, y_axis
from pytest_saliency.report.plots.columns import Record, figure, finite, part, several
from pytest_saliency.report.plots.legend import MARGIN, Entry, legend
from pytest_saliency.report.plots.plot import Plot, plot_name
from pytest_saliency.report.plots.svg import WIDTH, dot, drawing, line, lines_of_text, path

LEFT, RIGHT = 60, 22
HEIGHT = 150
SCORES = (("probability", "probability", ""), ("log_odds", "log-odds", "_log_odds"))
WAYS = (
    ("deletion", "smaller is better", "", "full"),
    ("insertion", "larger is better", "6 3", "hollow"),
)


def curve_plots(record: Record) -> list[Plot]:
    """Return one plot for each fill and score; none where no curves were drawn."""
    if record.get("kind") != "faithful":
        return []
    found = part(record, "inputs", "curves")
    made = []
    for fill in sorted(map(str, found)):
        for score, words, tail in SCORES:
            plot = _curve_plot(fill, part(found, fill), score, words, tail)
            made += [] if plot is None else [plot]
    return made


def _curve_plot(fill: str, curves: Mapping[str, Any], score: str, words: str, tail: str) -> Plot | None:
    shares = _numbers(curves.get("shares"))
    lines = {way: _numbers(part(curves, way).get(score)) for way, *_ in WAYS}
    lines = {way: found for way, found in lines.items() if found and len(found) == len(shares)}
    rising = all(a < b for a, b in pairwise(shares)) and len(shares) > 1
    if not lines or not rising or shares[0] < 0.0 or shares[-1] > 1.0:
        return None
    areas = {way: finite(curves.get(f"{way}_area{tail}")) for way in lines}
    gain = finite(curves.get(f"srg{tail}"))
    entries, said = [], []
    for way, better, dash, dots in WAYS:
        if way not in lines:
            continue
        area = "" if areas[way] is None else f", area {figure(areas[way] or 0.0)} ({better})"
        entries.append(Entry("line", f"{way}{area}", dash, "accent" if way == "deletion" else "ink", dots))
        first, last = lines[way][0], lines[way][-1]
        said.append(f"{way.capitalize()} goes from {figure(first)} to {figure(last)}{area}.")
    body, y = legend(entries, 4.0)
    top = y + 8
    values = [value for found in lines.values() for value in found]
    low, high = (0.0, 1.0) if score == "probability" else nice_range(min(*values, 0.0), max(*values, 0.0), 5)[:2]
    across, up = Scale(0.0, 1.0, LEFT, WIDTH - RIGHT), Scale(low, high, top + HEIGHT, top)
    body += y_axis(up, LEFT, across.end, words, parts=5)
    if low < 0.0 < high:
        body.append(line(LEFT, up(0.0), across.end, up(0.0), tone="faint"))
    for way, _, dash, dots in WAYS:
        if way in lines:
            tone = "accent" if way == "deletion" else "ink"
            points = [(across(share), up(value)) for share, value in zip(shares, lines[way], strict=True)]
            body.append(path(points, tone=tone, width=2, dash=dash))
            body += [dot(x, y, 2.5, tone=tone, hollow=dots == "hollow") for x, y in points]
    axis, y = x_axis(across, up.start, "share removed or given back, strongest first", percent=True)
    count = finite(curves.get("n"))
    facts = [] if count is None else [f"mean over {several(int(count), 'image')} with a usable map"]
    if gain is not None:
        facts.append(f"symmetric relevance gain {figure(gain)} (0: the order knows nothing)")
    foot, y = lines_of_text(
        MARGIN, y, " · ".join([*facts, "for reading only, decides nothing"]), WIDTH - 2 * MARGIN, tone="faint"
    )
    title = f"Deletion and insertion, {fill} fill: {words} of the predicted class"
    alt = f"{title}. {' '.join(said)} {'; '.join(facts)}{'.' if facts else ''}".rstrip()
    return Plot(plot_name("curves", fill, score), title, drawing(y + 6, title, alt, [*body, *axis, *foot]), alt)


def _numbers(values: object) -> list[float]:
    """Return a list of numbers; an empty one where any of them is none."""
    found = [finite(value) for value in values] if isinstance(values, list) else []
    return [] if any(value is None for value in found) else [value for value in found if value is not None]
