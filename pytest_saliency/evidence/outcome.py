"""What a verdict counts as in files that know only passed, warned and failed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

Record = Mapping[str, Any]
Outcome = Literal["passed", "warned", "failed", "not run"]


def outcome_of(record: Record) -> Outcome:
    """Return what the record's verdict counts as.

    A check that its contract lets warn only is warned; a known failure stays a failure, and so does a waived one. A
    check that ended in an error, or without a verdict where one is due, is failed.
    """
    verdict, policy = record.get("verdict"), record.get("policy") or {}
    if verdict == "PASS":
        return "passed"
    if verdict == "NOT_RUN":
        return "not run"
    if verdict == "FAIL" and policy.get("severity") == "warn":
        return "warned"
    if verdict == "INCONCLUSIVE" and (
        policy.get("severity") == "warn" or policy.get("on_inconclusive") in ("warn", "skip")
    ):
        return "warned"
    return "failed"


def names_of(records: Iterable[Record]) -> list[str]:
    """Return a name for each record: its node, with a number where a test made several records."""
    seen: dict[str, int] = {}
    made = []
    for record in records:
        node = str(record.get("node") or record.get("check") or "unnamed")
        count = seen[node] = seen.get(node, 0) + 1
        made.append(node if count == 1 else f"{node}#{count}")
    return made
