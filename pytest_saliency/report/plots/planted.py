"""``planted_evidence``: how much of each mosaic's map lies in the cell of its class, beside chance."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pytest_saliency.decide.planted import seen_of
from pytest_saliency.report.plots.columns import Floats, Record, by_unit, column, finite, listed, part, several
from pytest_saliency.report.plots.histogram import Series, histogram
from pytest_saliency.report.plots.marks import Marks, marks_of
from pytest_saliency.report.plots.plot import Plot


def planted_plots(record: Record) -> list[Plot]:
    """Return the histogram of the share in the own cell, over the images that the model sees; none for other kinds."""
    values, drops = column(record, "own_share"), column(record, "cell_drop")
    if record.get("kind") != "planted_evidence" or values is None or drops is None or len(drops) != len(values):
        return []
    inside = seen_of(drops)
    chance = finite(part(record, "decision", "readouts").get("chance"))
    found, unit = _of_the_seen(record, values, inside)
    marks = marks_of(record, "own_share", "mean")
    lost = int((~inside).sum())
    plot = histogram(
        "own-share",
        "Share of the map in the cell of its class",
        "share of the positive mass in the class's own cell (1: all)",
        Series("share in the own cell", found),
        marks if chance is None else _with(marks, chance),
        unit=unit,
        between=(0.0, 1.0),
        note=f"{several(lost, 'image')} that the model does not see in the mosaic left out" if lost else "",
    )
    return [] if plot is None else [plot]


def _of_the_seen(record: Record, values: Floats, inside: NDArray[np.bool_]) -> tuple[Floats, str]:
    names = listed(record, "set")
    if names is None or len(names) != len(values):
        return values[inside], "image"
    kept = [name for name, one in zip(names, inside, strict=True) if one]
    means, _ = by_unit({"per_image": {"cluster": kept}}, values[inside])
    return means, "set"


def _with(marks: Marks, chance: float) -> Marks:
    from dataclasses import replace

    return replace(marks, means={"chance": chance})
