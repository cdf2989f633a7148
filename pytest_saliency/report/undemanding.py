"""Checks that passed and say less than they seem to: of a control, of one model twice, at chance, with looser defaults.

A contract may ask for so little. Whoever reads the decision alone must not have to find it in the notes of a check.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]
USUAL = {
    "alpha": (0.05, 1),
    "max_undefined": (0.05, 1),
    "min_kept": (0.5, -1),
    "min_compared": (0.5, -1),
    "min_seen": (0.5, -1),
}
"""What stands in a contract that says nothing, and the sign that makes a larger number ask for less."""
LIMITS = {"max_mass": 1, "min_mass": -1, "min_hits": -1, "min_share": -1}
"""Limits that chance can meet, and the sign that makes a larger one ask for less."""
READ = ("architecture", "preprocess", "layer", "contrast")
"""What may differ between two models of one state, and be what a check is about."""


def undemanding(records: Sequence[Record]) -> list[str]:
    """Return a sentence for each check that passed and asked for little, as far as its record shows it."""
    return [said for record in records if record["verdict"] == "PASS" for said in _said(record)]


def _said(record: Record) -> list[str]:
    from pytest_saliency.engine.methods.names import CONTROLS

    node, criterion, found = str(record["node"]), record.get("criterion") or {}, []
    method = str((record.get("method") or {}).get("name") or "")
    if method.partition("[")[0] in CONTROLS:
        found.append(f"{node} passed with the maps of {method}, which know nothing of what the model found.")
    subjects = record.get("subjects") or {}
    before, after = ((subjects.get(role) or {}) for role in ("before", "after"))
    if before.get("state_sha256") and before.get("state_sha256") == after.get("state_sha256"):
        names = f"{before.get('name')} and {after.get('name')} hold the same numbers"
        other = [key for key in READ if before.get(key) != after.get(key)]
        found.append(
            f"{node} compares two readings of one state: {names}, and differ in {' and '.join(other)}."
            if other
            else f"{node} compares a model with itself: {names}."
        )
    chance = ((record.get("decision") or {}).get("readouts") or {}).get("chance")
    if isinstance(chance, int | float) and math.isfinite(chance):
        easy = [
            f"{name} {criterion[name]:g}"
            for name, sign in LIMITS.items()
            if criterion.get(name) is not None and sign * criterion[name] >= sign * chance
        ]
        if easy:
            found.append(f"{node} asks for no more than chance ({chance:.2g}): {', '.join(easy)}.")
    for name, (usual, sign) in USUAL.items():
        value = criterion.get(name)
        if isinstance(value, int | float) and sign * value > sign * usual:
            found.append(f"{node} passed with {name} {value:g}, where {usual:g} is usual.")
    return found
