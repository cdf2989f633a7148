"""The FAIL alarms of a contract taken together: Holm's adjustment over all checks that it declares.

A verdict is unadjusted, so that it does not depend on which other checks ran. Who quotes one failed check out of many
needs the adjusted p-value beside it. Declared checks without a result take part with p = 1, so that leaving checks out
of a run makes no adjusted p-value smaller.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pytest_saliency.decide.family import adjusted, alarm_of
from pytest_saliency.decide.words import p_value, several

Record = Mapping[str, Any]


def families_of(records: Iterable[Record]) -> list[dict[str, Any]]:
    """Return each contract with its number of checks and every FAIL alarm: p, and p adjusted over the contract."""
    by_contract: dict[str, list[Record]] = {}
    for record in records:
        if record.get("contract"):
            by_contract.setdefault(str(record["contract"]), []).append(record)
    return [_family(name, found) for name, found in sorted(by_contract.items())]


def _family(contract: str, records: list[Record]) -> dict[str, Any]:
    p_values = {str(record.get("node")): alarm_of(record.get("decision") or {}) for record in records}
    made = adjusted(p_values)
    failed = sorted(str(record.get("node")) for record in records if record.get("verdict") == "FAIL")
    return {
        "contract": contract,
        "checks": len(p_values),
        "alarms": [{"node": node, "p": p_values[node], "adjusted": made[node]} for node in failed],
    }


def family_line(record: Record, document: Mapping[str, Any]) -> str:
    """Return what a report says of a failed check's adjusted p-value; "" for any other check."""
    if record.get("verdict") != "FAIL" or not record.get("contract"):
        return ""
    for family in document.get("families") or families_of(document["records"]):
        for alarm in family["alarms"]:
            if family["contract"] == record["contract"] and alarm["node"] == record.get("node"):
                return (
                    f"FAIL alarm {p_value(alarm['p'])}; adjusted over the contract's"
                    f" {several(family['checks'], 'check')} (Holm) {p_value(alarm['adjusted'])}, for whoever quotes"
                    " this check singly. The verdict is unadjusted."
                )
    return ""


def family_lines(document: Mapping[str, Any]) -> list[str]:
    """Return a line for each contract with a FAIL: every alarm with its adjusted p-value."""
    lines = []
    for family in document.get("families") or families_of(document["records"]):
        if family["alarms"]:
            alarms = ", ".join(
                f"{str(alarm['node']).rpartition('::')[2]} {p_value(alarm['adjusted'])}" for alarm in family["alarms"]
            )
            lines.append(
                f"contract {family['contract']}: FAIL adjusted over its {several(family['checks'], 'check')} (Holm),"
                f" for claims quoted singly: {alarms}"
            )
    return lines
