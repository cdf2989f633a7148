"""``faithful``: what removing regions costs, as distributions of the advantage and as a table over methods."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from pytest_saliency.report.plots.columns import Floats, Record, bracketed, column, finite, listed, part
from pytest_saliency.report.plots.histogram import Series, histogram
from pytest_saliency.report.plots.marks import marks_of
from pytest_saliency.report.plots.plot import Plot, plot_name


@dataclass(frozen=True)
class DropCell:
    """Drops by an image's own region with one fill, over the images in swap blocks.

    ``softmax``: mean drop of the softmax probability in per cent (None where it was not measured: other methods'
    regions), ``log_odds``: mean drop of the log-odds; ``n`` images with a usable map, ``undefined`` the others.
    """

    softmax: float | None
    log_odds: float | None
    n: int
    undefined: int


@dataclass(frozen=True)
class DropRow:
    """One method of the table: ``cells`` by fill; ``tested``: it is the check's own method, not one beside it.

    Rows are over the same images only where their ``cases`` (a digest) and n are the same.
    """

    method: str
    node: str
    check: str
    subject: str
    cases: str
    tested: bool
    cells: Mapping[str, DropCell]


def advantage_plots(record: Record) -> list[Plot]:
    """Return for each fill how the advantage is spread, and the same beyond each method it is compared with."""
    if record.get("kind") != "faithful":
        return []
    made = []
    for fill in bracketed(record, "drops"):
        own, advantage, alone = own_drops(record, fill)
        note = f"{alone} without another image of their class, not in the test" if alone else ""
        plots = [
            histogram(
                plot_name("advantage", fill),
                f"Advantage of an image's own region, {fill} fill",
                "own drop − mean drop by other images' regions (log-odds)",
                Series(f"advantage with {fill}", advantage),
                marks_of(record, f"advantage[{fill}]", "estimate", "margin"),
                note=note,
            )
        ]
        for method in compared(record, fill):
            theirs = column(record, f"drop_of_{method}[{fill}]")
            if theirs is None or len(theirs) != len(own):
                continue
            blocked = _blocked(record, len(own))
            plots.append(
                histogram(
                    plot_name("against", method, fill),
                    f"Drop by the own method's region beyond that of {method}, {fill} fill",
                    f"own drop − drop by the region of {method} (log-odds)",
                    Series(f"difference to {method} with {fill}", (own - theirs)[blocked]),
                    marks_of(record, f"against[{method},{fill}]", "mean", "margin"),
                )
            )
        made += [plot for plot in plots if plot is not None]
    return made


def own_drops(record: Record, fill: str) -> tuple[Floats, Floats, int]:
    """Return the drop (n,) by each image's own region, the advantage (m,) of those in blocks, and how many are in none.

    The advantage is the own drop minus the mean drop by the other usable regions of the block; NaN without a usable
    map.
    """
    rows = listed(record, f"drops[{fill}]") or []
    blocks = _placed(record, len(rows))
    statuses = listed(record, "status") or []
    usable = [i < len(statuses) and statuses[i] == "ok" for i in range(len(rows))]
    own, advantage = np.full(len(rows), math.nan), np.full(len(rows), math.nan)
    inside = [i for members in blocks.values() for i in members]
    for members in blocks.values():
        for position, i in enumerate(members):
            row = rows[i]
            if not usable[i] or not isinstance(row, list) or len(row) != len(members):
                continue
            found = [finite(value) for value in row]
            mine = found[position]
            others = [
                value
                for place, value in enumerate(found)
                if place != position and usable[members[place]] and value is not None
            ]
            if mine is not None:
                own[i] = mine
                advantage[i] = mine - sum(others) / len(others) if others else math.nan
    return own, advantage[sorted(inside)], len(rows) - len(inside)


def compared(record: Record, fill: str) -> list[str]:
    """Return the methods whose regions were removed beside the check's own."""
    head, tail = "drop_of_", f"[{fill}]"
    names = (str(name) for name in part(record, "per_image"))
    return sorted(name[len(head) : -len(tail)] for name in names if name.startswith(head) and name.endswith(tail))


def drop_table(records: Iterable[Record]) -> list[DropRow]:
    """Return mean drops by method and fill, in the manner of Table III of the CASE paper (arXiv 2506.07327).

    One row for each ``faithful`` record that reached a verdict, followed by the methods it was compared with. The
    means are over the images in swap blocks with a usable map. The larger, the more the prediction rests on the
    region.
    """
    made = []
    for record in records:
        if record.get("kind") != "faithful" or not part(record, "per_image"):
            continue
        fills = bracketed(record, "drops")
        tested: dict[str, DropCell] = {}
        beside: dict[str, dict[str, DropCell]] = {}
        for fill in fills:
            own, _, _ = own_drops(record, fill)
            blocked = _blocked(record, len(own))
            softmax = column(record, f"softmax_drop[{fill}]")
            fits = softmax is not None and len(softmax) == len(own)
            tested[fill] = _cell(own[blocked], softmax[blocked] if fits and softmax is not None else None)
            for method in compared(record, fill):
                theirs = column(record, f"drop_of_{method}[{fill}]")
                if theirs is not None and len(theirs) == len(own):
                    beside.setdefault(method, {})[fill] = _cell(theirs[blocked], None)
        method = str(part(record, "method").get("name") or "")
        made.append(_row(record, method, True, tested))
        made += [_row(record, name, False, cells) for name, cells in beside.items()]
    return made


def fills_of(rows: Iterable[DropRow]) -> list[str]:
    """Return the columns of the table: every fill of any row, in order of their names."""
    return sorted({fill for row in rows for fill in row.cells})


def _row(record: Record, method: str, tested: bool, cells: Mapping[str, DropCell]) -> DropRow:
    return DropRow(
        method,
        str(record.get("node") or ""),
        str(record.get("check") or ""),
        str(part(record, "subjects", "model").get("name") or ""),
        str(part(record, "cases").get("digest") or ""),
        tested,
        cells,
    )


def _cell(drops: Floats, softmax: Floats | None) -> DropCell:
    seen = drops[~np.isnan(drops)]
    probability = None if softmax is None else softmax[~np.isnan(softmax)]
    return DropCell(
        None if probability is None or not probability.size else 100.0 * float(probability.mean()),
        float(seen.mean()) if seen.size else None,
        int(seen.size),
        int(drops.size - seen.size),
    )


def _placed(record: Record, count: int) -> dict[int, list[int]]:
    """Return the positions of each block's images in ascending order, which is the order of a row of D."""
    found: dict[int, list[int]] = {}
    for i, block in enumerate((listed(record, "block") or [])[:count]):
        if isinstance(block, int) and block >= 0:
            found.setdefault(block, []).append(i)
    return found


def _blocked(record: Record, count: int) -> list[int]:
    return sorted(i for members in _placed(record, count).values() for i in members)
