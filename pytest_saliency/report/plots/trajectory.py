"""``no_semantic_drift`` over checkpoints: each limited measure with bounds and limit, and accuracy below it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_saliency.report.plots.axes import Scale, nice_range, y_axis
from pytest_saliency.report.plots.columns import Record, figure, finite, measure, part, several
from pytest_saliency.report.plots.legend import MARGIN, Entry, legend
from pytest_saliency.report.plots.marks import marks_of
from pytest_saliency.report.plots.plot import Plot, plot_name
from pytest_saliency.report.plots.svg import SMALL, WIDTH, dot, drawing, line, lines_of_text, path, rect, text

LEFT, RIGHT = 60, 22
HEIGHT, STRIP = 150, 56
LABELS = 12
Points = Sequence[Mapping[str, Any]]


def trajectory_plots(record: Record) -> list[Plot]:
    """Return a plot for each limited measure; none where no checkpoints were followed."""
    found = part(record, "decision", "readouts", "trajectory")
    points = found.get("points")
    if record.get("kind") != "no_semantic_drift" or not isinstance(points, list) or not points:
        return []
    points = [point for point in points if isinstance(point, Mapping)]
    names = sorted({str(name) for point in points for name in part(point, "bounds")})
    made = [_plot(record, found, points, name) for name in names]
    return [plot for plot in made if plot is not None]


def _plot(record: Record, found: Mapping[str, Any], points: Points, name: str) -> Plot | None:
    means = [finite(part(point, "means").get(name)) for point in points]
    known = [value for value in means if value is not None]
    if not known:
        return None
    marks = marks_of(record, name, "mean")
    bounds = [(finite(b.get("low")), finite(b.get("high"))) for b in (part(p, "bounds", name) for p in points)]
    title = str(measure(record, name).get("title") or name.replace("_", " "))
    reach = [*known, *marks.limits(), *(value for pair in bounds for value in pair if value is not None)]
    low, high, _ = nice_range(min(*reach, 0.0), max(*reach, 0.0), 5)
    across = Scale(0.5, len(points) + 0.5, LEFT, WIDTH - RIGHT)
    body, y = legend(_entries(title, marks.limit_words()), 4.0)
    up = Scale(low, high, y + 8 + HEIGHT, y + 8)
    body += _forbidden(marks.side, marks.limits(), up, across)
    body += y_axis(up, LEFT, across.end, title, parts=5)
    body += [line(LEFT, up(at), across.end, up(at), tone="bad", width=2) for at in marks.limits()]
    for k, ((under, over), mean) in enumerate(zip(bounds, means, strict=True), start=1):
        if under is not None and over is not None:
            body.append(line(across(k), up(under), across(k), up(over), width=1.5))
            body += [line(across(k) - 4, up(end), across(k) + 4, up(end), width=1.5) for end in (under, over)]
        if mean is not None:
            body.append(dot(across(k), up(mean), 3.0, tone="accent"))
    places = [(across(k), up(mean)) for k, mean in enumerate(means, start=1) if mean is not None]
    body.append(path(places, tone="accent", width=1.5))
    moved = next((k for k, p in enumerate(points, start=1) if p.get("name") == found.get("moved_at")), None)
    if moved is not None and found.get("moved_at") is not None:
        body.append(line(across(moved - 0.5), up.end, across(moved - 0.5), up.start, tone="bad", dash="4 3"))
    y = up.start
    accuracies = [finite(point.get("accuracy")) for point in points]
    if any(value is not None for value in accuracies):
        strip, y = _accuracy(accuracies, across, y + 22)
        body += strip
    step = -(-len(points) // LABELS)
    for k in range(1, len(points) + 1, step):
        body.append(text(across(k), y + 14, str(k), tone="faint", anchor="middle", size=SMALL))
    words = _words(points, moved)
    foot, y = lines_of_text(MARGIN, y + 20, words, WIDTH - 2 * MARGIN, tone="faint")
    said = _said(title, points, means, accuracies, found)
    heading = f"{title[0].upper()}{title[1:]} over {several(len(points), 'checkpoint')}"
    return Plot(plot_name("trajectory", name), heading, drawing(y + 6, heading, said, [*body, *foot]), said)


def _entries(title: str, limit: str) -> list[Entry]:
    made = [
        Entry("line", f"{title} against the model before, with one-sided bounds", tone="accent", dots="full"),
        Entry("line", "accuracy on all cases", "6 3", dots="hollow"),
    ]
    return [*made, Entry("line", limit, tone="bad")] if limit else made


def _forbidden(side: str, limits: Sequence[float], up: Scale, across: Scale) -> list[str]:
    spans = []
    if limits and side in ("<=", "abs<="):
        spans.append((up.high, limits[-1]))
    if limits and side in (">=", "abs<="):
        spans.append((limits[0], up.low))
    width = across.end - LEFT
    made = [(up(top), up(bottom)) for top, bottom in spans if top > bottom]
    return [rect(LEFT, top, width, bottom - top, tone="bad", opacity=0.09) for top, bottom in made]


def _accuracy(values: Sequence[float | None], across: Scale, top: float) -> tuple[list[str], float]:
    known = [value for value in values if value is not None]
    low = max(0.0, min(0.9, nice_range(min(known), 1.0, 4)[0]))
    up = Scale(low, 1.0, top + STRIP, top)
    body = y_axis(up, LEFT, across.end, "accuracy", parts=2, percent=True)
    places = [(across(k), up(value)) for k, value in enumerate(values, start=1) if value is not None]
    body.append(path(places, dash="6 3"))
    return [*body, *(dot(x, y, 2.5, hollow=True) for x, y in places)], top + STRIP


def _words(points: Points, moved: int | None) -> str:
    names = {1: "first", len(points): "last"}
    if moved is not None:
        names[moved] = "from here on a limit is shown to be exceeded"
    said = [f"{k}: {points[k - 1].get('name')} ({what})" for k, what in sorted(names.items())]
    return "checkpoints in order · " + " · ".join(said)


def _said(
    title: str,
    points: Points,
    means: Sequence[float | None],
    accuracies: Sequence[float | None],
    found: Mapping[str, Any],
) -> str:
    rows = []
    for point, mean, accuracy in zip(points, means, accuracies, strict=True):
        value = "undefined" if mean is None else figure(mean)
        share = "" if accuracy is None else f" at accuracy {figure(100 * accuracy, 1)} %"
        rows.append(f"{point.get('name')} {value}{share}")
    moved = found.get("moved_at")
    since = f"From {moved} on" if moved else "From no checkpoint on"
    by = f"{title[0].upper()}{title[1:]} by checkpoint: {'; '.join(rows)}."
    return f"{by} {since} a limit of the check is shown to be exceeded."
