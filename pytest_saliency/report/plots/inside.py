"""``localized``, ``avoids``: how much of each map lies inside the region, with the limit and what chance would give."""

from __future__ import annotations

import numpy as np

from pytest_saliency.report.plots.columns import Record, by_unit, column
from pytest_saliency.report.plots.histogram import Series, histogram
from pytest_saliency.report.plots.marks import marks_of
from pytest_saliency.report.plots.plot import Plot

WHERE = {
    "localized": ("Share of the map's mass inside the mask", "share of mass inside the mask"),
    "avoids": ("Share of the map's mass in the region to avoid", "share of mass in the region"),
}


def inside_plots(record: Record) -> list[Plot]:
    """Return the histogram of the mass inside in bins of 5 %, the regions' own size beside it; none for other kinds."""
    kind = str(record.get("kind"))
    values, shares = column(record, "mass_inside"), column(record, "region_share")
    if kind not in WHERE or values is None:
        return []
    title, label = WHERE[kind]
    found, unit = by_unit(record, values)
    others = []
    if shares is not None and len(shares) == len(values):
        others.append(Series("share that the region covers (an even map)", by_unit(record, shares)[0]))
    plot = histogram(
        "mass-inside",
        title,
        label,
        Series(label, found),
        marks_of(record, "mass_inside", "mean"),
        unit=unit,
        others=others,
        edges=np.linspace(0.0, 1.0, 21),
    )
    return [] if plot is None else [plot]
