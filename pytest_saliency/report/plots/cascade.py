"""``model_dependent``: each image's excess, and what is left of the maps as the model forgets from the top down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pytest_saliency.decide.randomised import telling
from pytest_saliency.report.plots.axes import Scale, x_axis, y_axis
from pytest_saliency.report.plots.columns import Record, by_unit, column, figure, finite, listed, part, several
from pytest_saliency.report.plots.histogram import Series, histogram
from pytest_saliency.report.plots.legend import MARGIN, Entry, legend
from pytest_saliency.report.plots.marks import marks_of
from pytest_saliency.report.plots.plot import Plot
from pytest_saliency.report.plots.svg import WIDTH, dot, drawing, line, lines_of_text, path, plain

LEFT, RIGHT = 60, 22
HEIGHT = 150


def cascade_plots(record: Record) -> list[Plot]:
    """Return the histogram of the excess and the similarity over the stages of the cascade; none for other kinds."""
    if record.get("kind") != "model_dependent":
        return []
    return [plot for plot in (_excess(record), _cascade(record)) if plot is not None]


def _excess(record: Record) -> Plot | None:
    similarity, floor, likeness = (column(record, name) for name in ("similarity", "floor", "likeness"))
    names = listed(record, "set")
    if similarity is None or floor is None or likeness is None or names is None:
        return None
    if not len(similarity) == len(floor) == len(likeness) == len(names):
        return None
    limit = finite(part(record, "criterion").get("max_excess")) or 0.0
    told = ~np.isnan(similarity)
    excess = telling(similarity, floor, likeness, limit)[told]
    kept = [name for name, one in zip(names, told, strict=True) if one]
    found, _ = by_unit({"per_image": {"cluster": kept}}, excess)
    return histogram(
        "excess",
        "IoU with the maps of randomised models, beyond that with other images' maps",
        "IoU with randomised models − IoU with other images (0: no more alike)",
        Series("excess over other images' maps", found),
        marks_of(record, "excess", "mean"),
        unit="set",
        between=(-1.0, 1.0),
    )


def _cascade(record: Record) -> Plot | None:
    stages = part(record, "inputs").get("cascade")
    rows = [one for one in stages if isinstance(one, Mapping)] if isinstance(stages, list) else []
    points = [(finite(one.get("modules")), finite(one.get("mean")), one) for one in rows]
    known = [(modules, mean, one) for modules, mean, one in points if modules is not None and mean is not None]
    known = [one for one in known if 0.0 <= one[1] <= 1.0 and one[0] > 0.0]
    if not known:
        return None
    floor = finite(part(record, "decision", "readouts").get("floor"))
    title = "Similarity to the trained model's maps as its modules are drawn anew from the top down"
    entries = [Entry("line", "mean IoU with the trained model's map", "", "accent", "full")]
    if floor is not None and 0.0 <= floor <= 1.0:
        entries.append(Entry("line", f"with other images' trained maps: {figure(floor)}", "6 3", "ink"))
    body, y = legend(entries, 4.0)
    top = y + 8
    most = max(modules for modules, _, _ in known)
    across, up = Scale(0.0, most, LEFT, WIDTH - RIGHT), Scale(0.0, 1.0, top + HEIGHT, top)
    body += y_axis(up, LEFT, across.end, "mean IoU", parts=5)
    for modules, _, one in known:
        ends = _quartiles(one)
        if ends is not None:
            body.append(line(across(modules), up(ends[0]), across(modules), up(ends[1]), tone="accent", width=1.2))
    places = [(across(0.0), up(1.0)), *((across(modules), up(mean)) for modules, mean, _ in known)]
    body.append(path(places, tone="accent", width=2))
    body += [dot(x, at, 2.8, tone="accent") for x, at in places]
    if floor is not None and 0.0 <= floor <= 1.0:
        body.append(line(LEFT, up(floor), across.end, up(floor), tone="ink", width=1.4, dash="6 3"))
    axis, y = x_axis(across, up.start, "modules drawn anew, from the top layer down")
    seeds = [int(value) for *_, one in known if (value := finite(one.get("seeds"))) is not None]
    note = f"bars: quartiles of the images · {_seeds(seeds)} · only the last stage decides"
    foot, y = lines_of_text(MARGIN, y, note, WIDTH - 2 * MARGIN, tone="faint")
    said = " ".join(
        f"{several(int(modules), 'module')}, down to {plain(one.get('down_to'), 60)}: {figure(mean)}."
        for modules, mean, one in known
    )
    beside = "" if floor is None else f" Other images' trained maps: {figure(floor)}."
    alt = f"{title}. Mean IoU by stage. {said}{beside}"
    return Plot("cascade", title, drawing(y + 6, title, alt, [*body, *axis, *foot]), alt)


def _quartiles(stage: Mapping[str, Any]) -> tuple[float, float] | None:
    found = stage.get("quartiles")
    if not isinstance(found, list) or len(found) != 3:
        return None
    low, _, high = (finite(value) for value in found)
    return None if low is None or high is None else (low, high)


def _seeds(seeds: Sequence[int]) -> str:
    if not seeds:
        return "seeds not known"
    return f"{several(seeds[-1], 'seed')} for the whole model" + (f", {seeds[0]} a stage" if len(seeds) > 1 else "")
