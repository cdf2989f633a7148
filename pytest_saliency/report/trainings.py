"""The trainings that a record of ``seed_robust`` joins, each by itself, as every reader takes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pytest_saliency.report.measured import Record, limited, shown, title_of


@dataclass(frozen=True)
class TrainingRow:
    """One training: verdict, the limit that says most of it (one that does not hold first), and all in words.

    The texts of the measure are empty where the check has no limit with a measure, as in a damaged file.
    """

    name: str
    verdict: str
    measure: str
    estimate: str
    bound: str
    limit: str
    n: str
    headline: str

    @property
    def holds(self) -> bool:
        """Tell whether there is nothing to explain."""
        return self.verdict == "PASS"


def training_rows_of(record: Record) -> list[TrainingRow]:
    """Return the trainings in the order of the contract; none for a check that joins none."""
    found = _readouts(record).get("trainings")
    if not isinstance(found, Mapping):
        return []
    rows = [(str(key), one) for key, one in found.items() if isinstance(one, Mapping)]
    return [_row(key, one) for key, one in sorted(rows, key=lambda row: _place(row[0]))]


def shown_training(record: Record) -> str:
    """Return the name of the training whose images a record lists and draws; "" for a check that joins none."""
    return str(_readouts(record).get("shown_training") or "")


def _readouts(record: Record) -> Mapping[str, Any]:
    readouts = (record.get("decision") or {}).get("readouts") or {}
    return readouts if isinstance(readouts, Mapping) else {}


def _row(key: str, one: Mapping[str, Any]) -> TrainingRow:
    measures = limited({"decision": {"measures": one.get("measures") or {}}})
    estimate = bound = limit = title = ""
    if measures:
        first = measures[0]
        estimate, bound, limit = shown(first)
        side = "|x| <=" if first["side"] == "abs<=" else str(first["side"])
        title, limit = title_of(first), f"{side} {limit}"
    name = key.partition(": ")[2] or key
    n = str(one.get("n", ""))
    return TrainingRow(name, str(one.get("verdict")), title, estimate, bound, limit, n, str(one.get("headline") or ""))


def _place(key: str) -> tuple[int, str]:
    number = key.partition(":")[0]
    return (int(number), key) if number.isdecimal() else (0, key)
