"""The whole self test: every part once, on the CPU, and the document of a run that says what came out."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pytest_saliency.engine.threads import cpu_threads
from pytest_saliency.evidence.selftest import coverage, linear, tampering, verdicts, waiving
from pytest_saliency.evidence.selftest.item import Item, Part, items_of
from pytest_saliency.records.runfile import run_document
from pytest_saliency.report.document import deviations

THREADS = 1
"""The models are tiny; more threads would only wait for each other."""

MEANT = ("planted-shortcut", "maps-of-chance")
"""Checks whose right verdict is not PASS."""


@dataclass(frozen=True)
class Outcome:
    """All items, the document of the run, and the seconds it took."""

    items: tuple[Item, ...]
    document: dict[str, Any]
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether every known answer came out."""
        return all(item.ok for item in self.items)


def run_selftest(tell: Callable[[str, list[Item]], None] | None = None, tester: str | None = None) -> Outcome:
    """Run every part; ``tell`` is called with the name and the items of each part when it is done."""
    started, clock = datetime.now(UTC), time.perf_counter()
    checks = verdicts.Verdicts()

    def document(items: list[Item]) -> dict[str, Any]:
        return document_of(checks.records, items, started, tester)

    parts = (
        Part(linear.GROUP, linear.items),
        Part(verdicts.GROUP, checks.items),
        Part(coverage.GROUP, coverage.items),
        Part(waiving.GROUP, waiving.items),
        Part(tampering.GROUP, lambda: tampering.items(document(made))),
    )
    made: list[Item] = []
    with cpu_threads(THREADS):
        for part in parts:
            items = items_of(part)
            made += items
            if tell is not None:
                tell(part.name, items)
    return Outcome(tuple(made), document(made), time.perf_counter() - clock)


def document_of(
    records: list[dict[str, Any]], items: list[Item], started: datetime, tester: str | None
) -> dict[str, Any]:
    """Return the document of the self test; ``run.selftest`` lists its items."""
    good = sum(item.ok for item in items)
    made = run_document(
        records,
        command="pytest-saliency selftest",
        started=started.isoformat(timespec="seconds"),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        exit_status=int(good != len(items)),
        root=Path(__file__).parent,
        tester=tester,
    )
    made["run"] |= {"git": None, "selftest": [item.to_dict() for item in items]}
    made["deviations"] = [
        *deviations(made),
        f"This is the self test of the tool: {good} of {len(items)} known answers came out. It says nothing of any"
        f" other model. Meant not to PASS: {', '.join(MEANT)}.",
    ]
    return made
