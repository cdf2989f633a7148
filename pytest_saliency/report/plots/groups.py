"""Each declared group by itself: estimate and bounds of every measure, one row a group."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pytest_saliency.report.grouped import limited_group_rows_of
from pytest_saliency.report.plots.axes import Scale, nice_range, x_axis
from pytest_saliency.report.plots.columns import Record, figure, finite, several
from pytest_saliency.report.plots.legend import MARGIN, interval
from pytest_saliency.report.plots.plot import Plot, plot_name
from pytest_saliency.report.plots.svg import WIDTH, dot, drawing, line, lines_of_text

LEFT = 22
ROW = 20
MOST = 60


def group_plots(record: Record) -> list[Plot]:
    """Return a plot for each limited measure that the record has by group; none where the cases declare no groups."""
    rows = limited_group_rows_of(record)
    measures = list(dict.fromkeys(str(row.get("measure")) for row in rows))
    made = [_plot(name, [row for row in rows if str(row.get("measure")) == name][:MOST]) for name in measures]
    return [plot for plot in made if plot is not None]


def _plot(name: str, rows: list[Mapping[str, Any]]) -> Plot | None:
    found = (finite(row.get(key)) for row in rows for key in ("estimate", "low", "high"))
    known = [value for value in found if value is not None]
    if not known:
        return None
    low, high, _ = nice_range(min(known), max(known), 5)
    scale = Scale(low, high, LEFT, WIDTH - LEFT)
    what = str(rows[0].get("title") or name)
    title = f"{what[:1].upper()}{what[1:]} by group"
    y, body, said = 6.0, [], []
    for row in rows:
        words = _words(row)
        text, y = lines_of_text(LEFT, y, words, WIDTH - 2 * LEFT)
        body += text
        middle = y + ROW / 2
        body.append(line(scale.start, middle, scale.end, middle, tone="line"))
        estimate, lower, upper = (finite(row.get(key)) for key in ("estimate", "low", "high"))
        ends = [scale(low if lower is None else lower), scale(high if upper is None else upper)]
        body += interval(min(ends), max(ends), middle)
        if estimate is not None:
            body.append(dot(scale(estimate), middle))
        y += ROW
        said.append(f"{words}.")
    axis, y = x_axis(scale, y + 4, what)
    level = finite(rows[0].get("level"))
    share = "" if level is None else f"{100.0 * level:.6g} % "
    note = f"● estimate, ├┤ one-sided {share}bounds of each group by itself; decides nothing"
    foot, y = lines_of_text(MARGIN, y, note, WIDTH - 2 * MARGIN, tone="faint")
    alt = f"{title}. {' '.join(said)}"
    return Plot(plot_name("groups", name), title, drawing(y + 6, title, alt, [*body, *axis, *foot]), alt)


def _words(row: Mapping[str, Any]) -> str:
    values = [finite(row.get(key)) for key in ("estimate", "low", "high")]
    shown = ["unbounded" if value is None or math.isnan(value) else figure(value) for value in values]
    if values[0] is None:
        shown[0] = "undefined"
    n, lost = finite(row.get("n")) or 0.0, finite(row.get("undefined")) or 0.0
    missing = f", {several(int(lost), 'image')} undefined" if lost else ""
    return f"{row.get('group')}: n = {int(n)}{missing}, {shown[0]} ({shown[1]} to {shown[2]})"
