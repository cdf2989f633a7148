"""Which model the run is about: the one under test with its digest, and what it is compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_saliency.report.html.text import name
from pytest_saliency.report.roles import role_title

Record = Mapping[str, Any]
TESTED = "Model under test"
COMPARED = "Compared with"
TITLES = {"model": TESTED, "after": TESTED, "before": COMPARED}
"""What a model is by its role in a check."""
LISTED = ("nulls", "checkpoints")
"""Models of which a check may have many, and of which none is under test."""


def model_rows(records: Sequence[Record]) -> list[tuple[str, str, str, str]]:
    """Return (what it is, name, what the digest is of, digest) of every model, those under test first.

    A model that checks call by several names has them all; one that one check tests and another compares with stands
    in both lists.
    """
    found: dict[tuple[str, str, str], set[str]] = {}
    for record in records:
        for role, subject in (record.get("subjects") or {}).items():
            if role.partition(".")[0] in LISTED:  # with the check that looked at them
                continue
            key = TITLES.get(role) or _titled(role, record), *_digest(subject)
            found.setdefault(key, set()).add(name(subject.get("name")))
    rows = [(what, ", ".join(sorted(names)), of, digest) for (what, of, digest), names in found.items()]
    return sorted(rows, key=lambda row: (row[0] != TESTED, row))


def _titled(role: str, record: Record) -> str:
    """Return "Training 2 of any-seed", or "Model x" for a role that has no words of its own."""
    words = role_title(role, str(record.get("check")))
    return f"Model {role}" if words == role else words[0].upper() + words[1:]


def _digest(subject: Mapping[str, Any]) -> tuple[str, str]:
    weights, state = subject.get("weights_sha256"), subject.get("state_sha256")
    if weights:
        return "SHA-256 of the weights file", str(weights)
    return ("SHA-256 of the model's state (not from a weights file)", str(state)) if state else ("no digest", "")
