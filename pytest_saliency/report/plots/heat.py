"""Architecture by method as a heat table: one block a measure, darker where more moved."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_saliency.report.drift_table import MEASURES, RANKED, TITLES, DriftTable
from pytest_saliency.report.plots.columns import figure, finite
from pytest_saliency.report.plots.legend import MARGIN
from pytest_saliency.report.plots.plot import Plot, plot_name
from pytest_saliency.report.plots.svg import SMALL, WIDTH, drawing, lines_of_text, rect, text, wrapped

NAMES, ROW, MOST = 110, 30, 5
"""Room for the names of pairs, height of a row, and methods beside each other."""


def heat_plots(table: DriftTable) -> list[Plot]:
    """Return a plot for each measure that any cell has a number of."""
    return [plot for plot in (_plot(table, name) for name in MEASURES) if plot is not None]


def _plot(table: DriftTable, name: str) -> Plot | None:
    numbers = {key: finite(cell.means.get(name)) for key, cell in table.cells.items()}
    moved = {key: _moved(name, value) for key, value in numbers.items() if value is not None}
    if not moved:
        return None
    most = max(*moved.values(), 1e-9)
    y, body, said = 8.0, [], []
    for start in range(0, len(table.methods), MOST):
        part = table.methods[start : start + MOST]
        width = (WIDTH - MARGIN - NAMES) / len(part)
        heads = [wrapped(method, width - 4, SMALL) for method in part]
        tall = 15 * max(len(head) for head in heads)
        for k, head in enumerate(heads):
            middle = NAMES + (k + 0.5) * width
            body += [text(middle, y + 12 + 15 * i, one, anchor="middle", size=SMALL) for i, one in enumerate(head)]
        y += tall + 6
        for pair in table.pairs:
            names, _ = lines_of_text(MARGIN, y + 4, pair, NAMES - MARGIN - 4)
            body += names
            deep = max(ROW, 15 * len(names) + 8)
            body += _cells(table, pair, part, numbers, moved, most, y, width, deep)
            y += deep + 2
        y += 8
    for pair in table.pairs:
        shown = ((method, numbers.get((pair, method))) for method in table.methods)
        said.append(f"{pair}: " + ", ".join(f"{m} {'none' if v is None else figure(v)}" for m, v in shown))
    notes = [one.sentence() for one in table.reversals] if name == RANKED else []
    foot = "darker: the evidence moved more; for reading only, decides nothing"
    for words in (*notes, foot):
        made, y = lines_of_text(MARGIN, y, words, WIDTH - 2 * MARGIN, tone="faint" if words == foot else "ink")
        body += made
        y += 2
    title = f"{TITLES[name][0].upper()}{TITLES[name][1:]} by architecture and method ({table.check})"
    alt = f"{title}. {'; '.join(said)}. {' '.join(f'{one[0].upper()}{one[1:]}.' for one in notes)}".rstrip()
    return Plot(plot_name("heat", table.check, name), title, drawing(y + 6, title, alt, body), alt)


def _cells(
    table: DriftTable,
    pair: str,
    methods: Sequence[str],
    numbers: dict[tuple[str, str], float | None],
    moved: dict[tuple[str, str], float],
    most: float,
    y: float,
    width: float,
    deep: float,
) -> list[str]:
    body = []
    for k, method in enumerate(methods):
        x = NAMES + k * width
        value = numbers.get((pair, method))
        if value is None:
            body.append(text(x + width / 2, y + deep / 2 + 4, "–", tone="faint", anchor="middle"))
            continue
        body.append(rect(x + 1, y, width - 2, deep, tone="accent", opacity=0.08 + 0.6 * moved[pair, method] / most))
        turned = any(
            pair in (one.steadier, one.other) and method in (one.method, one.other_method) for one in table.reversals
        )
        shown = figure(value) + (" ⇄" if turned else "")
        body.append(text(x + width / 2, y + deep / 2 + 4, shown, anchor="middle"))
    return body


def _moved(name: str, value: float) -> float:
    return max(0.0, 1.0 - value) if name == "correlation" else abs(value)
