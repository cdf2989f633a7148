"""What changed between the criterion that was approved and the one that is declared now, limit by limit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pytest_saliency.records.baseline_entry import Entry
from pytest_saliency.records.baseline_key import Key
from pytest_saliency.records.baselines import find

Way = Literal["looser", "tighter", "changed"]
COMPARING = "not_worse_than_baseline"
"""The kind that compares with a baseline; other kinds name a check by ``of`` too, and need none."""
READ_ONLY = frozenset({"curves"})
"""Parameters that only ask for more to read."""
ALL_HOLD = frozenset({"fill", "against"})
"""Lists whose every entry must hold, so that a shorter one is easier."""
RULES = ("full", "published")
"""From strict to easy: the published rule has fewer legs."""


@dataclass(frozen=True)
class Change:
    """One parameter that is not what it was; ``way`` says what that does to the verdict."""

    parameter: str
    then: Any
    now: Any
    way: Way

    @property
    def text(self) -> str:
        """Return it in one line: "max_agreement 0.50 -> 0.70 (looser)"."""
        return f"{self.parameter} {_shown(self.then)} -> {_shown(self.now)} ({self.way})"

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"parameter": self.parameter, "then": self.then, "now": self.now, "way": self.way}


def changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    """Return every parameter that differs, the looser ones first.

    A larger ``max_...`` or ``alpha``, a smaller ``min_...``, or a limit that is gone, makes PASS easier.
    """
    then, now = _flat(then), _flat(now)
    found = [
        Change(name, then.get(name), now.get(name), _way(name, then.get(name), now.get(name)))
        for name in dict.fromkeys((*then, *now))
        if name not in READ_ONLY and then.get(name) != now.get(name)
    ]
    order = ("looser", "changed", "tighter")
    return sorted(found, key=lambda change: (order.index(change.way), change.parameter))


def looser(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    """Return the changes that make PASS easier."""
    return [change for change in changes(then, now) if change.way == "looser"]


def annotate(records: Sequence[dict[str, Any]], folder: Path) -> list[str]:
    """Put ``baseline`` into every record that has an entry in ``folder``; returns problems, one sentence each.

    ``baseline`` is ``{"selector", "state", "sha256", "approved", "changes"}``: state ``approved``, ``approved, a
    candidate waits`` or ``not approved``; ``approved`` is ``{"by", "at", "reason"}`` or None; ``changes`` are those of
    the criterion since then, each ``{"parameter", "then", "now", "way"}``.
    """
    from pytest_saliency.errors import SaliencyError

    problems: dict[str, None] = {}
    comparing = _comparing(records)
    for record in records:
        key = key_of(record)
        if key is None:
            continue
        try:
            shelf = find(folder, key)
        except SaliencyError as error:
            problems[str(error)] = None
            continue
        entry = shelf.approved or shelf.waiting
        if entry is None:
            continue
        approved = shelf.approved is not None and shelf.approved.approval is not None
        state = "approved" if approved else "not approved"
        if approved and shelf.waiting is not None:
            state = "approved, a candidate waits"
        record["baseline"] = {
            **(record.get("baseline") or {}),
            "selector": key.selector,
            "state": state,
            "sha256": entry.sha256,
            "approved": entry.approval,
            "changes": [
                change.to_dict()
                for change in (
                    *since(entry, record.get("criterion")),
                    *compared_changes(entry, comparing.get(key, {}), complete=False),
                )
                if approved
            ],
        }
    return list(problems)


def since(entry: Entry, criterion: Mapping[str, Any] | None) -> list[Change]:
    """Return what changed since ``entry`` was made; nothing where the criterion is not known."""
    return changes(entry.criterion, criterion) if criterion else []


def compared_changes(entry: Entry, now: Mapping[str, Mapping[str, Any]], *, complete: bool) -> list[Change]:
    """Return what changed in the checks that compare with ``entry``; ``now`` has their limits by id.

    With ``complete`` a check that is not in ``now`` compares no more, which is looser.
    """
    found = []
    for check, then in (entry.data.get("compared") or {}).items():
        if check in now:
            found += [
                Change(f"{check}: {change.parameter}", change.then, change.now, change.way)
                for change in changes(then, now[check])
            ]
        elif complete:
            found.append(Change(f"{check}", "compares with it", None, "looser"))
    return found


def _comparing(records: Sequence[Mapping[str, Any]]) -> dict[Key, dict[str, Mapping[str, Any]]]:
    """Return, by key of the baseline, the limits of the checks of this run that compare with it."""
    from pytest_saliency.records.baseline_status import limits_of

    made: dict[Key, dict[str, Mapping[str, Any]]] = {}
    for record in records:
        criterion = record.get("criterion") or {}
        # What did not run, or ended in an error, has no criterion.
        if record.get("contract") and record.get("kind") == COMPARING and "of" in criterion:
            key = Key.made(record["contract"], criterion["of"], record.get("axes") or {})
            made.setdefault(key, {})[str(record["check"])] = limits_of(criterion)
    return made


def key_of(record: Mapping[str, Any]) -> Key | None:
    """Return the key of a record that a baseline can be of; None for other kinds, and for tests that name none."""
    from pytest_saliency.decide.worsening_measures import COMPARED
    from pytest_saliency.records.baseline_key import python_key

    if record.get("kind") not in COMPARED:
        return None
    if record.get("contract"):
        return Key.of(record)
    name = (record.get("baseline") or {}).get("name")
    return python_key(name) if name else None


def loosened_lines(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line for every limit that is looser than when the baseline was approved."""
    lines = []
    for record in records:
        held = record.get("baseline") or {}
        for row in held.get("changes") or ():
            if row["way"] == "looser":
                approved = held.get("approved") or {}
                change = Change(row["parameter"], row["then"], row["now"], row["way"])
                lines.append(
                    f"loosened since {approved.get('by')} approved the baseline on {str(approved.get('at'))[:10]}:"
                    f" {held['selector']}: {change.text}"
                )
    return list(dict.fromkeys(lines))


def _flat(criterion: Mapping[str, Any]) -> dict[str, Any]:
    """Return the criterion with limits by name as keys of their own: ``max_worsening.agreement``."""
    made: dict[str, Any] = {}
    for name, value in criterion.items():
        if isinstance(value, Mapping):
            made |= {f"{name}.{inner}": entry for inner, entry in value.items()}
        else:
            made[name] = list(value) if isinstance(value, tuple) else value
    return made


def _way(name: str, then: Any, now: Any) -> Way:
    if name in ALL_HOLD:
        before, after = set(then or ()), set(now or ())
        return "looser" if after < before else "tighter" if after > before else "changed"
    if name == "rule" and {then, now} == set(RULES):
        return "looser" if now == RULES[-1] else "tighter"
    if name == "max_disadvantage":  # none: the method must be better
        then, now = then or 0.0, now or 0.0
    upper, lower = name.startswith("max_") or name == "alpha", name.startswith("min_")
    if not (upper or lower):
        return "changed"
    if now is None or then is None:
        # A limit that is not declared binds nothing.
        return "looser" if now is None else "tighter"
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in (then, now)):
        return "changed"
    return "looser" if (now > then) == upper else "tighter"


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:.2f}" if round(value, 2) == value else f"{value:g}"
    if isinstance(value, list):
        return ", ".join(str(entry) for entry in value)
    return str(value)
