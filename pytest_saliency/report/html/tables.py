"""Tables over several checks: drift by architecture and method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from pytest_saliency.report.html.plots import Drawn, problem_of

Record = Mapping[str, Any]


def tables_shown(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Return each table with its plots and what is to be noticed about it; none where there is nothing to compare."""
    from dataclasses import replace

    from pytest_saliency.report.drift_table import drift_tables
    from pytest_saliency.report.plots.heat import heat_plots
    from pytest_saliency.report.plots.svg import plain

    made = []
    for table in drift_tables(records):
        drawn = []
        for one in heat_plots(table):
            plot = replace(one, title=plain(one.title, 400), alt=plain(one.alt, 4000))
            problem = problem_of(plot.svg)
            drawn.append(Drawn(plot.title, plot.alt, None if problem else Markup(plot.svg), problem))
        made.append(
            {
                "contract": table.contract,
                "check": table.check,
                "pairs": len(table.pairs),
                "methods": len(table.methods),
                "reversals": [one.sentence() for one in table.reversals],
                "plots": drawn,
            }
        )
    return made
