"""Every plot of a record. A new one is one file in this room and one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from pytest_saliency.report.plots.activity import activity_limit_plots, activity_plots
from pytest_saliency.report.plots.agreement import agreement_plots
from pytest_saliency.report.plots.cascade import cascade_plots
from pytest_saliency.report.plots.curves import curve_plots
from pytest_saliency.report.plots.drift import drift_plots
from pytest_saliency.report.plots.drops import advantage_plots
from pytest_saliency.report.plots.forest import forest_plots
from pytest_saliency.report.plots.groups import group_plots
from pytest_saliency.report.plots.inside import inside_plots
from pytest_saliency.report.plots.invariance import invariance_plots
from pytest_saliency.report.plots.pasting import pasting_plots
from pytest_saliency.report.plots.planted import planted_plots
from pytest_saliency.report.plots.plot import Plot
from pytest_saliency.report.plots.stable import stable_plots
from pytest_saliency.report.plots.svg import plain
from pytest_saliency.report.plots.trajectory import trajectory_plots

PLOTS: tuple[Callable[[Mapping[str, Any]], list[Plot]], ...] = (
    agreement_plots,
    drift_plots,
    trajectory_plots,
    pasting_plots,
    advantage_plots,
    curve_plots,
    activity_plots,
    activity_limit_plots,
    inside_plots,
    stable_plots,
    invariance_plots,
    forest_plots,
    planted_plots,
    cascade_plots,
    group_plots,
)


def plots_of(record: Mapping[str, Any]) -> list[Plot]:
    """Return the plots of a record, in the order in which a report shows them; none where it reached no verdict.

    What a damaged record lacks is left out. The same record gives the same bytes.
    """
    if not isinstance(record.get("decision"), Mapping):
        return []
    made: list[Plot] = []
    taken: set[str] = set()
    for draw in PLOTS:
        for plot in draw(record):
            name, number = plot.name, 2
            while name in taken:
                name, number = f"{plot.name}-{number}", number + 1
            taken.add(name)
            made.append(replace(plot, name=name, title=plain(plot.title, 400), alt=plain(plot.alt, 4000)))
    return made
