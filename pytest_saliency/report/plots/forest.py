"""``beats_null_explainers``: the advantage over each control with each fill, with its bounds and the margin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_saliency.report.plots.axes import Scale, nice_range, x_axis
from pytest_saliency.report.plots.columns import Record, figure, finite, listed, part, several
from pytest_saliency.report.plots.legend import MARGIN, interval
from pytest_saliency.report.plots.plot import Plot
from pytest_saliency.report.plots.svg import SMALL, WIDTH, dot, drawing, line, lines_of_text, plain, text

LEFT, RIGHT = 20, 20
ROW = 30
LONGEST = 40


def forest_plots(record: Record) -> list[Plot]:
    """Return one plot with a row for each control and fill; none for other kinds."""
    if record.get("kind") != "beats_null_explainers":
        return []
    rows = [
        (str(name), found)
        for name, found in part(record, "decision", "measures").items()
        if str(name).startswith("advantage[") and finite(part(found).get("estimate")) is not None
    ]
    limit = next((value for _, found in rows if (value := finite(found.get("limit"))) is not None), None)
    if not rows or limit is None:
        return []
    title = "Advantage over explainers that know nothing, by control and fill"
    known = [limit, *(value for _, found in rows for value in _numbers(found) if value is not None)]
    low, high, _ = nice_range(min(0.0, *known), max(0.0, *known), 5)
    scale = Scale(low, high, LEFT, WIDTH - RIGHT)
    words = f"margin > {limit:g}".replace("-", "−")
    top = 22.0
    base = top + ROW * len(rows) + 4
    body = [
        line(scale(limit), top - 4, scale(limit), base, tone="bad", width=2),
        text(min(max(scale(limit), 45.0), WIDTH - 45.0), top - 8, words, tone="bad", anchor="middle", bold=True),
    ]
    if low < 0.0 < high and limit != 0.0:
        body.append(line(scale(0.0), top - 4, scale(0.0), base, tone="faint", dash="2 2"))
    said = []
    for place, (name, found) in enumerate(rows):
        estimate, below, above = _numbers(found)
        y = top + ROW * place
        called = plain(" with ".join(name.removeprefix("advantage[").removesuffix("]").split(",", 1)), LONGEST)
        body.append(text(MARGIN, y + 10, called, size=SMALL))
        ends = (scale.low if below is None else below, scale.high if above is None else above)
        body += interval(scale(ends[0]), scale(ends[1]), y + 19)
        if estimate is not None:
            body.append(dot(scale(estimate), y + 19))
            bounds = " and ".join(figure(value) for value in (below, above) if value is not None)
            said.append(f"Over {called}: {figure(estimate)}{f', bounds {bounds}' if bounds else ''}.")
    axis, y = x_axis(scale, base, "mean own drop − drop by the control's region (log-odds)")
    count = finite(rows[0][1].get("n"))
    unit = "image" if listed(record, "cluster") is None else "cluster"
    note = "" if count is None else f"n = {several(int(count), unit)} · "
    words_below = f"{note}dot: mean, bar: its two one-sided bounds"
    foot, y = lines_of_text(MARGIN, y, words_below, WIDTH - 2 * MARGIN, tone="faint")
    alt = f"{title}, {words}. {' '.join(said)}"
    return [Plot("advantages", title, drawing(y + 6, title, alt, [*body, *axis, *foot]), alt)]


def _numbers(found: Mapping[str, Any]) -> tuple[float | None, float | None, float | None]:
    bounds = part(found, "interval")
    return finite(found.get("estimate")), finite(bounds.get("low")), finite(bounds.get("high"))
