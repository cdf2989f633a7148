"""``invariant_execution``: how far each map is from the same map computed otherwise, one row a variant."""

from __future__ import annotations

import numpy as np

from pytest_saliency.report.plots.columns import Floats, Record, bracketed, column, finite, listed, part, several
from pytest_saliency.report.plots.plot import Plot
from pytest_saliency.report.plots.strips import Strip, strips

LOWEST, HIGHEST = -9.0, 1.0
"""Powers of ten between which differences are drawn: smaller ones, none among them, lie at the left end."""


def invariance_plots(record: Record) -> list[Plot]:
    """Return the differences on a scale of powers of ten; none for other kinds."""
    if record.get("kind") != "invariant_execution":
        return []
    limit = finite(part(record, "criterion").get("max_difference"))
    place = None if limit is None else _power(np.asarray([limit]))[0]
    plot = strips(
        "difference-by-variant",
        "Difference of the maps, by the way they were computed",
        [_row(record, variant) for variant in bracketed(record, "difference")],
        (LOWEST, HIGHEST),
        "largest difference as a share of the map's largest value, as a power of ten (−3: a thousandth)",
        limit=None if place is None else float(place),
        below=False,
        note="" if limit is None else f"limit ≤ {limit:g}; what is smaller than a billionth lies at the left end",
    )
    return [] if plot is None else [plot]


def _power(values: Floats) -> Floats:
    shown = np.where(values > 10.0**LOWEST, values, 10.0**LOWEST)
    made: Floats = np.where(np.isnan(values), np.nan, np.minimum(np.log10(shown), HIGHEST))
    return made


def _row(record: Record, variant: str) -> Strip:
    values = column(record, f"difference[{variant}]")
    assert values is not None
    seen = values[~np.isnan(values)]
    flips = sum(one is True for one in listed(record, f"flipped[{variant}]") or ())
    words = f"{variant}: {several(int(seen.size), 'image')}"
    if seen.size:
        words += f", median {np.median(seen):.2g}, largest {seen.max():.2g}"
    if flips:
        words += f"; {several(flips, 'prediction')} changed"
    return Strip(words, _power(values))
