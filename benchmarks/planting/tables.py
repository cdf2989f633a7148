"""What came out, as markdown: caught, missed and false alarms, by kind of failure and by check."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from common import table

from planting.kinds import FAILURES
from pytest_saliency.decide.rates import lower_bound, upper_bound

LEVEL = 0.05
Row = Mapping[str, Any]


def alarmed(row: Row) -> list[str]:
    """Return the checks of a run that are red."""
    return [check for check, one in row["checks"].items() if one["verdict"] != "PASS"]


def took(row: Row) -> bool:
    """Tell whether a plant's effect on the prediction was shown."""
    return bool(row["effect"] and row["effect"]["took"])


def failures_table(rows: Sequence[Row]) -> str:
    """Return one line a kind of failure: how many were planted, took, were caught, and with what effect."""
    lines = []
    for name, failure in FAILURES.items():
        if name == "clean":
            continue
        of_kind = [row for row in rows if row["failure"] == name]
        taken = [row for row in of_kind if took(row)]
        caught = [row for row in taken if alarmed(row)]
        effects = [row["effect"]["seen"] / row["effect"]["of"] for row in taken]
        lows = [row["effect"]["low"] for row in taken]
        shown = f"{min(effects):.0%} .. {max(effects):.0%}, {min(lows):.0%} at least" if taken else ""
        counts = (len(of_kind), len(taken), len(caught), len(taken) - len(caught))
        lines.append([failure.title, *map(str, counts), shown])
    return table(["failure", "planted", "took", "caught", "missed", "effect on the prediction, lower bound"], lines)


def checks_table(rows: Sequence[Row]) -> str:
    """Return caught plants by kind of failure (rows) and check (columns), and the false alarms below."""
    checks = sorted({check for row in rows for check in row["checks"]}, key=_order(rows))
    lines = []
    for name, failure in FAILURES.items():
        of_kind = [row for row in rows if row["failure"] == name and (name == "clean" or took(row))]
        if of_kind:
            cells = [_cell([row["checks"].get(check) for row in of_kind]) for check in checks]
            alone = [sum(alarmed(row) == [check] for row in of_kind) for check in checks]
            marked = [f"{cell} ({one} alone)" if one else cell for cell, one in zip(cells, alone, strict=True)]
            lines.append([failure.title, str(len(of_kind)), *marked])
    lines.append(lines.pop(0)) if lines and lines[0][0] == FAILURES["clean"].title else None
    return table(["failure", "runs", *checks], lines)


def _cell(outcomes: Sequence[Row | None]) -> str:
    declared = [one for one in outcomes if one is not None]
    if not declared:
        return "-"
    red = [one["verdict"] for one in declared if one["verdict"] != "PASS"]
    unsure = len(red) - red.count("FAIL")
    return f"{len(red)}" + (f" ({unsure} not FAIL)" if unsure else "")


def _order(rows: Sequence[Row]) -> Callable[[str], int]:
    seen: dict[str, int] = {}
    for row in rows:
        for check in row["checks"]:
            seen.setdefault(check, len(seen))
    return seen.__getitem__


def summary(rows: Sequence[Row]) -> list[str]:
    """Return the two numbers that matter, with exact bounds."""
    plants = [row for row in rows if row["failure"] != "clean" and took(row)]
    caught = sum(bool(alarmed(row)) for row in plants)
    clean = [row for row in rows if row["failure"] == "clean"]
    false = sum(bool(alarmed(row)) for row in clean)
    made = []
    if plants:
        made.append(
            f"Plants that took: {len(plants)}; caught {caught} ({caught / len(plants):.1%},"
            f" at least {lower_bound(caught, len(plants), LEVEL):.1%})."
        )
    if clean:
        made.append(
            f"Clean fine-tunings that proposed no limit: {len(clean)}; alarmed {false} ({false / len(clean):.1%},"
            f" at most {upper_bound(false, len(clean), LEVEL):.1%})."
        )
    return made


def listed(rows: Sequence[Row]) -> list[str]:
    """Return every missed plant, every plant that did not take, and every clean run that was alarmed, one a line."""
    made = []
    for row in rows:
        effect = row["effect"]
        if row["failure"] == "clean":
            if alarmed(row):
                said = "; ".join(f"{check}: {row['checks'][check]['headline']}" for check in alarmed(row))
                made.append(f"- false alarm: {row['key']}: {said}")
            continue
        shown = (
            f"{effect['seen']}/{effect['of']} {effect['what']}, control {effect['control_seen']}/{effect['control_of']}"
        )
        if not effect["took"]:
            made.append(f"- did not take: {row['key']}: {shown}")
        elif not alarmed(row):
            made.append(f"- missed: {row['key']}: {shown}")
    return sorted(made)
