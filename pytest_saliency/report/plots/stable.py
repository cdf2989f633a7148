"""``stable``: how far maps agree with those of changed images, over all changes and by kind of change."""

from __future__ import annotations

import numpy as np

from pytest_saliency.report.plots.columns import Record, bracketed, by_unit, column, figure, listed, several
from pytest_saliency.report.plots.histogram import Series, histogram
from pytest_saliency.report.plots.marks import marks_of
from pytest_saliency.report.plots.plot import Plot
from pytest_saliency.report.plots.strips import Strip, strips

BINS = 20


def stable_plots(record: Record) -> list[Plot]:
    """Return the histogram of agreement in bins of 5 %, and one row for each kind of change; none for other kinds."""
    values = column(record, "agreement")
    if record.get("kind") != "stable" or values is None:
        return []
    found, unit = by_unit(record, values)
    marks = marks_of(record, "agreement", "mean")
    made = [
        histogram(
            "agreement-under-perturbation",
            "Agreement of a map with the maps of the changed image",
            "mean IoU of the top regions (1: the same)",
            Series("agreement over all changes of an image", found),
            marks,
            unit=unit,
            edges=np.linspace(0.0, 1.0, BINS + 1),
        ),
        strips(
            "agreement-by-perturbation",
            "Agreement by kind of change",
            [_row(record, family) for family in bracketed(record, "agreement")],
            (0.0, 1.0),
            "mean IoU of the top regions (1: the same)",
            limit=marks.limit,
            note=marks.limit_words(),
        ),
    ]
    return [plot for plot in made if plot is not None]


def _row(record: Record, family: str) -> Strip:
    values = column(record, f"agreement[{family}]")
    assert values is not None
    values = np.where((values >= 0.0) & (values <= 1.0), values, np.nan)
    seen = values[~np.isnan(values)]
    changed = sum(count for count in listed(record, f"changed[{family}]") or () if isinstance(count, int))
    words = f"{family}: {several(int(seen.size), 'image')}"
    if seen.size:
        words += f", mean {figure(float(seen.mean()))}, lowest {figure(float(seen.min()))}"
    if changed:
        words += f"; the prediction changed {several(changed, 'time')}"
    return Strip(words, values)
