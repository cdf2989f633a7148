"""``class_sensitive``: how far the maps for two classes of an image agree, beside their own repeat and chance."""

from __future__ import annotations

import numpy as np

from pytest_saliency.report.plots.columns import Record, by_unit, column, part
from pytest_saliency.report.plots.histogram import Series, histogram
from pytest_saliency.report.plots.marks import marks_of
from pytest_saliency.report.plots.plot import Plot

BINS = 20
OTHERS = (
    ("self_agreement", "with its own repeat under jitter"),
    ("other_image_agreement", "with another image's map"),
)


def agreement_plots(record: Record) -> list[Plot]:
    """Return the histogram of agreement in bins of 5 %; none for other kinds."""
    values = column(record, "agreement")
    if record.get("kind") != "class_sensitive" or values is None:
        return []
    found, unit = by_unit(record, values)
    others = []
    for name, label in OTHERS:
        given = column(record, name)
        if given is not None:
            others.append(Series(label, by_unit(record, given)[0]))
    units = bool(part(record, "cases").get("units"))
    plot = histogram(
        "agreement",
        f"Agreement of the maps for {'a label and its counterpart' if units else 'the two most likely classes'}",
        "share of the top region that both maps share",
        Series(f"agreement of the maps for {'the label and its counterpart' if units else 'top-1 and top-2'}", found),
        marks_of(record, "agreement", "median", mean=float(np.nanmean(found)) if (~np.isnan(found)).any() else None),
        unit=unit,
        others=others,
        edges=np.linspace(0.0, 1.0, BINS + 1),
    )
    return [] if plot is None else [plot]
