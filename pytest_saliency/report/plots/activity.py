"""How many channels of the layer the images set off (CASE, arXiv 2506.07327, eq. 10), by class where those are few."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pytest_saliency.report.classes import class_names
from pytest_saliency.report.plots.axes import Scale, nice_range, nice_step, x_axis
from pytest_saliency.report.plots.columns import (
    Floats,
    Record,
    by_unit,
    column,
    figure,
    finite,
    listed,
    measure,
    numbers,
    part,
    several,
)
from pytest_saliency.report.plots.histogram import Series, counted, histogram
from pytest_saliency.report.plots.legend import MARGIN
from pytest_saliency.report.plots.marks import marks_of
from pytest_saliency.report.plots.plot import Plot
from pytest_saliency.report.plots.svg import WIDTH, diamond, drawing, line, lines_of_text, rect

FEW = 10
ROW = 46
LEFT = 22
BINS = 20
KINDS = ("class_sensitive", "channel_activity")
SIDE = {"max": "upper", "min": "lower"}
LIMITS = (("active_share", "max"), ("active_share[least]", "min"))


@dataclass(frozen=True)
class Group:
    """The images of one class: their shares of active channels, and how many have none to give."""

    name: str
    shares: Floats
    undefined: int


def activity_plots(record: Record) -> list[Plot]:
    """Return the densities of the share of active channels; none for other kinds."""
    channels = finite(part(record, "inputs").get("channels"))
    found = listed(record, "active_channels")
    if record.get("kind") not in KINDS or found is None or channels is None or channels < 1.0:
        return []
    shares = numbers(found) / channels
    shares = np.where((shares >= 0.0) & (shares <= 1.0), shares, np.nan)
    groups = _groups(record, shares)
    seen = shares[~np.isnan(shares)]
    if not seen.size:
        return []
    low, high, _ = nice_range(float(seen.min()), float(seen.max()), BINS)
    low, high = max(low, 0.0), min(high, 1.0)
    width = nice_step(high - low, BINS)
    first, last = np.floor(low / width + 1e-9), np.ceil(high / width - 1e-9)
    edges = np.asarray(np.round(np.arange(first, last + 1) * width, 12), dtype=np.float64)
    layer = part(record, "subjects", "model").get("layer")
    title = f"Active channels of {layer if isinstance(layer, str) else 'the target layer'}, of {channels:.0f}"
    rows = [(group, density(group.shares, edges)) for group in groups]
    highest = max((max(values) for _, values in rows), default=0.0)
    scale = Scale(float(edges[0]), float(edges[-1]), LEFT, WIDTH - LEFT)
    y, body, said = 6.0, [], []
    for group, values in rows:
        made, y = _row(group, values, edges, scale, highest, y)
        body += made
        said.append(_said(group))
    axis, y = x_axis(scale, y, "share of channels that are active", percent=True)
    lost = int(np.isnan(shares).sum())
    note = f"n = {several(int(seen.size), 'image')}" + (f" · {lost} undefined, not drawn" if lost else "")
    note += " · densities with area 1, one height for all rows · ◇ mean"
    foot, y = lines_of_text(MARGIN, y, note, WIDTH - 2 * MARGIN, tone="faint")
    alt = f"{title}: densities over {several(int(seen.size), 'image')}. {' '.join(said)}"
    return [Plot("channel-activity", title, drawing(y + 6, title, alt, [*body, *axis, *foot]), alt)]


def activity_limit_plots(record: Record) -> list[Plot]:
    """Return a histogram of the share of active channels for each declared limit; none for other kinds."""
    values = column(record, "active_share")
    if record.get("kind") != "channel_activity" or values is None:
        return []
    found, unit = by_unit(record, values)
    made = []
    for name, word in LIMITS:
        if not measure(record, name):
            continue
        plot = histogram(
            f"active-share-{word}",
            f"Share of the layer's channels that an image sets off, {SIDE[word]} limit",
            "share of channels that are active",
            Series("share of active channels", found),
            marks_of(record, name, "mean"),
            unit=unit,
            between=(0.0, 1.0),
        )
        made += [] if plot is None else [plot]
    return made


def density(values: Floats, edges: Floats) -> list[float]:
    """Return the height of each bin, so that their area is 1; zeros where there is no number."""
    counts, _ = counted(values, edges)
    total, width = sum(counts), float(edges[1] - edges[0])
    return [count / (total * width) if total else 0.0 for count in counts]


def _groups(record: Record, shares: Floats) -> list[Group]:
    labels: Sequence[Any] = listed(record, "label") or []
    if len(labels) != len(shares) or not all(isinstance(label, int) for label in labels):
        return [_group("all images", shares)]
    found = sorted(set(labels))
    if not 1 < len(found) <= FEW:
        return [_group("all images", shares)]
    names = class_names(record)
    every = all(label in names for label in found)
    column = np.asarray(labels)
    return [_group(_named(label, names.get(label), every), shares[column == label]) for label in found]


def _named(label: int, name: str | None, every: bool) -> str:
    if name is None:
        return f"class {label}"
    return name if every else f"class {label} ({name})"


def _group(name: str, shares: Floats) -> Group:
    seen = shares[~np.isnan(shares)]
    return Group(name, seen, int(shares.size - seen.size))


def _row(
    group: Group, values: Sequence[float], edges: Floats, scale: Scale, highest: float, y: float
) -> tuple[list[str], float]:
    lost = f", {group.undefined} undefined" if group.undefined else ""
    words = f"{group.name}: {several(group.shares.size, 'image')}{lost}"
    if group.shares.size:
        words += f", mean {figure(100.0 * float(group.shares.mean()), 1)} %"
    body, y = lines_of_text(LEFT, y, words, WIDTH - 2 * LEFT)
    base = y + ROW
    for value, left, right in zip(values, edges[:-1], edges[1:], strict=True):
        if value > 0.0 and highest > 0.0:
            x, width = scale(float(left)), scale(float(right)) - scale(float(left))
            tall = (ROW - 8) * value / highest
            body.append(rect(x + 0.5, base - tall, max(width - 1.0, 0.5), tall, opacity=0.45, rim=True))
    body.append(line(scale.start, base, scale.end, base, tone="line"))
    if group.shares.size:
        mean = scale(float(group.shares.mean()))
        body += [line(mean, base - ROW + 4, mean, base, tone="ink", dash="2 2"), diamond(mean, base)]
    return body, base + 6


def _said(group: Group) -> str:
    lost = f", {group.undefined} undefined" if group.undefined else ""
    if not group.shares.size:
        return f"{group.name}: none defined{lost}."
    low, mean, high = (figure(100.0 * float(f(group.shares)), 1) for f in (np.min, np.mean, np.max))
    return f"{group.name}: mean {mean} % ({low} to {high} %) over {several(group.shares.size, 'image')}{lost}."
