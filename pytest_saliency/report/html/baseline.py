"""The approved baseline of a check in the report: who approved it, what it is, which limits changed since."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_saliency.report.html.text import NOTHING, instant, setting

Record = Mapping[str, Any]
WAYS = {"looser": "looser", "tighter": "tighter", "changed": "changed"}


def baseline_view(record: Record) -> dict[str, Any] | None:
    """Return the baseline that a record names, or was held against; None where there is none."""
    held = record.get("baseline") or {}
    against = (record.get("inputs") or {}).get("baseline") or {}
    if not held.get("selector") and not against:
        return None
    approved = held.get("approved") or against.get("approved") or {}
    rows = [
        ("Baseline", str(held.get("selector") or against.get("selector"))),
        ("State", str(held.get("state") or "approved")),
        ("Approved by", str(approved.get("by") or NOTHING)),
        ("Approved at", instant(approved["at"]) if approved.get("at") else NOTHING),
        ("Reason", str(approved.get("reason") or NOTHING)),
        ("SHA-256 of the baseline", str(held.get("sha256") or against.get("sha256") or NOTHING)),
    ]
    if against.get("verdict"):
        rows.append(("Verdict of the baseline", str(against["verdict"])))
    return {"rows": rows, "changes": [_change(one) for one in held.get("changes") or ()]}


def loosened(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Return every limit that is looser than when the baseline of its check was approved."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for record in records:
        held = record.get("baseline") or {}
        approved = held.get("approved") or {}
        for one in held.get("changes") or ():
            if one.get("way") == "looser":
                where = str(held.get("selector"))
                by, at = str(approved.get("by") or NOTHING), instant(approved.get("at"))
                found[where, str(one.get("parameter"))] = {"selector": where, "by": by, "at": at, **_change(one)}
    return [found[key] for key in sorted(found)]


def _change(one: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "parameter": str(one.get("parameter")),
        "then": setting(one.get("then")),
        "now": setting(one.get("now")),
        "way": WAYS.get(str(one.get("way")), "changed"),
    }
