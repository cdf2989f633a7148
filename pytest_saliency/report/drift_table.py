"""Architecture by method: the drift of several pairs of models side by side, and where their ranking turns round.

The drift paper (arXiv 2604.08513) found that which architecture keeps its evidence best depends on the attribution
method. From the records of one check over pairs and methods alone, so that it can be made again whenever they can be
read. For reading only: nothing here decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

Record = Mapping[str, Any]

KIND = "no_semantic_drift"
MEASURES = ("iou_drop", "displacement", "correlation", "concentration_change")
TITLES = {
    "iou_drop": "mean IoU drop",
    "displacement": "mean displacement",
    "correlation": "mean pattern correlation",
    "concentration_change": "mean change of concentration",
}
RANKED = "iou_drop"
RESAMPLES = 2_000
SURE = 0.95
"""A reversal that fewer resamples than this show may be chance."""


@dataclass(frozen=True)
class Cell:
    """One pair with one method: means over the kept images, and the numbers of images by id (or cluster)."""

    node: str
    verdict: str
    n: int
    means: Mapping[str, float | None]
    values: Mapping[str, tuple[float, float]]
    """By id or cluster: the sum of the ranked measure and how many images it is of."""


@dataclass(frozen=True)
class Reversal:
    """Two pairs of models whose order is one with the first method and the other with the second.

    ``steadier`` moves less with ``method``, more with ``other_method``. ``sure``: share of bootstrap resamples of the
    images in which both are so.
    """

    steadier: str
    other: str
    method: str
    other_method: str
    drops: tuple[float, float]
    other_drops: tuple[float, float]
    sure: float

    def sentence(self) -> str:
        """Return the reversal in words."""
        (a, b), (c, d) = self.drops, self.other_drops
        doubt = "" if self.sure >= SURE else ", so it may be chance"
        return (
            f"the stability ranking reverses: with {self.method} {self.steadier} moves less than {self.other} (IoU drop"
            f" {a:.2f} < {b:.2f}), with {self.other_method} more ({c:.2f} > {d:.2f}); both hold in"
            f" {100 * self.sure:.0f} % of {RESAMPLES:,} bootstrap resamples{doubt}"
        )


@dataclass(frozen=True)
class DriftTable:
    """The table of one check. ``cells`` by (pair, method); what did not run or reached no verdict is not there."""

    contract: str
    check: str
    pairs: tuple[str, ...]
    methods: tuple[str, ...]
    cells: Mapping[tuple[str, str], Cell]
    reversals: tuple[Reversal, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the table as plain JSON."""
        return {
            "contract": self.contract,
            "check": self.check,
            "rows": [
                {
                    "pair": pair,
                    "method": method,
                    "node": cell.node,
                    "verdict": cell.verdict,
                    "n": cell.n,
                    "means": dict(cell.means),
                }
                for (pair, method), cell in self.cells.items()
            ],
            "reversals": [
                {"pairs": [one.steadier, one.other], "methods": [one.method, one.other_method], "sure": one.sure}
                for one in self.reversals
            ],
        }


def drift_tables(records: Iterable[Record]) -> list[DriftTable]:
    """Return a table for each check of a contract that compares two pairs of models or more."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        if record.get("kind") == KIND and record.get("contract") and isinstance(record.get("decision"), Mapping):
            groups.setdefault((str(record["contract"]), str(record.get("check"))), []).append(record)
    made = [_table(contract, check, group) for (contract, check), group in sorted(groups.items())]
    return [table for table in made if len(table.pairs) > 1]


def _table(contract: str, check: str, group: Sequence[Record]) -> DriftTable:
    cells: dict[tuple[str, str], Cell] = {}
    for record in sorted(group, key=lambda one: str(one.get("node"))):
        method = str((record.get("method") or {}).get("name"))
        cells.setdefault((pair_of(record), method), _cell(record))
    pairs = tuple(dict.fromkeys(pair for pair, _ in cells))
    methods = tuple(dict.fromkeys(method for _, method in cells))
    return DriftTable(contract, check, pairs, methods, cells, _reversals(contract, check, pairs, methods, cells))


def pair_of(record: Record) -> str:
    """Return what a record's pair of models is called: as its item's name says it, or by both names."""
    named = (record.get("axes") or {}).get("pair")
    if named:
        return str(named)
    subjects = record.get("subjects") or {}
    return " to ".join(str((subjects.get(role) or {}).get("name")) for role in ("before", "after"))


def _cell(record: Record) -> Cell:
    columns = record.get("per_image") or {}
    means = {name: _mean(columns.get(name) or ()) for name in MEASURES}
    units = columns.get("cluster") or columns.get("id") or ()
    values: dict[str, tuple[float, float]] = {}
    for unit, value in zip(units, columns.get(RANKED) or (), strict=False):
        if _known(value):
            total, count = values.get(str(unit), (0.0, 0.0))
            values[str(unit)] = total + float(value), count + 1.0
    return Cell(str(record.get("node")), str(record.get("verdict")), len(columns.get("id") or ()), means, values)


def _known(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12


def _mean(column: Sequence[Any]) -> float | None:
    seen = [float(value) for value in column if _known(value)]
    return sum(seen) / len(seen) if seen else None


def _reversals(
    contract: str, check: str, pairs: Sequence[str], methods: Sequence[str], cells: Mapping[tuple[str, str], Cell]
) -> tuple[Reversal, ...]:
    found = []
    for one, two in combinations(pairs, 2):
        for first, second in combinations(methods, 2):
            four = [cells.get((pair, method)) for method in (first, second) for pair in (one, two)]
            drops = [None if cell is None else cell.means[RANKED] for cell in four]
            a, b, c, d = drops
            if a is None or b is None or c is None or d is None or (a - b) * (c - d) >= 0.0:
                continue
            sure = _sure([cell for cell in four if cell is not None], (contract, check, one, two, first, second))
            steady, other = (one, two) if a < b else (two, one)
            mine, theirs = ((a, b), (c, d)) if a < b else ((b, a), (d, c))
            found.append(Reversal(steady, other, first, second, mine, theirs, sure))
    return tuple(sorted(found, key=lambda reversal: -reversal.sure))


def _sure(cells: Sequence[Cell], names: Sequence[str]) -> float:
    """Return the share of resamples of the images (or clusters) in which both differences keep their sign.

    An image is drawn for all four at once, because their numbers of one image belong together.
    """
    import numpy as np

    from pytest_saliency.decide.randomness import Stream, seed_from

    units = sorted({unit for cell in cells for unit in cell.values})
    place = {unit: k for k, unit in enumerate(units)}
    sums, counts = np.zeros((len(units), 4)), np.zeros((len(units), 4))
    for column, cell in enumerate(cells):
        for unit, (total, count) in cell.values.items():
            sums[place[unit], column], counts[place[unit], column] = total, count
    drawn = Stream(seed_from("ranking reversal", *names), "resample").integers(len(units), RESAMPLES * len(units))
    weights = np.zeros((RESAMPLES, len(units)))
    np.add.at(weights, (np.repeat(np.arange(RESAMPLES), len(units)), drawn), 1.0)
    seen = weights @ counts
    means = np.divide(weights @ sums, seen, out=np.full(seen.shape, np.nan), where=seen > 0.0)
    whole = sums.sum(0) / counts.sum(0)
    kept = (means[:, 0] - means[:, 1]) * (whole[0] - whole[1]) > 0.0
    kept &= (means[:, 2] - means[:, 3]) * (whole[2] - whole[3]) > 0.0
    return float(kept.mean())


def table_lines(records: Iterable[Record]) -> list[str]:
    """Return the tables as lines of text, each followed by its reversals."""
    lines: list[str] = []
    for table in drift_tables(records):
        rows = [("mean IoU drop", *table.methods)]
        for pair in table.pairs:
            drops = [
                None if (cell := table.cells.get((pair, method))) is None else cell.means[RANKED]
                for method in table.methods
            ]
            rows.append((pair, *("–" if drop is None else f"{drop:.2f}" for drop in drops)))
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines.append(f"{table.contract}/{table.check}: architecture by method")
        for row in rows:
            cells = [
                row[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
            ]
            lines.append(f"  {'   '.join(cells)}".rstrip())
        lines += [f"  {one.sentence()}" for one in table.reversals]
        if len(table.methods) > 1 and not table.reversals:
            lines.append("  the stability ranking is the same with every method")
    return lines
