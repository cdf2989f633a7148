"""Contracts as standards, checks as requirements, and what the run declares about each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_saliency.evidence.cyclonedx_components import model_ref, number, properties, tested, text
from pytest_saliency.evidence.instants import read_day, shown_instant
from pytest_saliency.evidence.outcome import names_of
from pytest_saliency.evidence.release import release
from pytest_saliency.evidence.waivers import check_name

Record = Mapping[str, Any]
Part = dict[str, Any]

ASSESSOR = "assessor:1"
PYTHON = "checks in Python tests"
RESULTS = "results.json"


def standards(records: Sequence[Record]) -> list[Part]:
    """Return a standard for each contract, in the order of their names; its version is the SHA-256 of its text."""
    made = []
    for key, members in _by_contract(records).items():
        slug, digest = key
        standard: Part = {
            "bom-ref": _standard_ref(key),
            "name": f"explanation contract {slug}" if slug else PYTHON,
            "requirements": [_requirement(name, record) for name, record in members],
        }
        if digest:
            standard["version"] = digest
        made.append(standard)
    return made


def declarations(document: Mapping[str, Any], records: Sequence[Record]) -> Part:
    """Return assessor, claims, evidence and one attestation for each standard."""
    named = list(zip(names_of(records), records, strict=True))
    decided = [(name, record) for name, record in named if record.get("decision")]
    waived = {str(one["node"]): str(one["waiver"]) for one in release(document)["waived"]}
    waivers = {
        str(one.get("id")): one for one in document.get("waivers") or () if str(one.get("id")) in waived.values()
    }
    tester = ((document.get("run") or {}).get("tester") or {}).get("name")
    assessor: Part = {"bom-ref": ASSESSOR, "thirdParty": False}
    if tester:
        assessor["organization"] = {"contact": [{"name": str(tester)}]}
    when = instant_or_none((document.get("run") or {}).get("finished"))
    return {
        "assessors": [assessor],
        "attestations": [_attestation(key, members, waived) for key, members in _by_contract(records).items()],
        "claims": [_claim(name, record, waived) for name, record in decided],
        "evidence": [
            *(_evidence(name, record, tester, when) for name, record in decided),
            *(_waiver(name, waivers[name]) for name in sorted(waivers)),
        ],
    }


def _by_contract(records: Sequence[Record]) -> dict[tuple[str, str], list[tuple[str, Record]]]:
    found: dict[tuple[str, str], list[tuple[str, Record]]] = {}
    for name, record in zip(names_of(records), records, strict=True):
        key = (str(record.get("contract") or ""), str(record.get("contract_sha256") or ""))
        found.setdefault(key, []).append((name, record))
    return dict(sorted(found.items()))


def _standard_ref(key: tuple[str, str]) -> str:
    return f"standard:{':'.join(key)}" if key[0] else "standard:python"


def _requirement(name: str, record: Record) -> Part:
    kind = str(record.get("kind"))
    criterion = record.get("criterion") or {}
    reference = record.get("requirement")
    return {
        "bom-ref": f"requirement:{name}",
        "identifier": check_name(record),
        "text": _statement(kind),
        "descriptions": [f"Evidence for requirement {reference}."] if reference else [],
        "properties": properties(
            {"kind": record.get("kind"), "severity": (record.get("policy") or {}).get("severity")}
            | {f"criterion:{key}": criterion[key] for key in sorted(criterion)}
        ),
    }


def _attestation(key: tuple[str, str], members: Sequence[tuple[str, Record]], waived: Mapping[str, str]) -> Part:
    verdicts = [str(record.get("verdict")) for _, record in members]
    counted = ", ".join(f"{verdicts.count(one)} {one}" for one in sorted(set(verdicts)))
    of = f"explanation contract {key[0]}" if key[0] else PYTHON
    return {
        "summary": f"{len(members)} check{'s' if len(members) != 1 else ''} of {of}: {counted}",
        "assessor": ASSESSOR,
        "map": [_mapped(name, record, waived) for name, record in members],
    }


def _mapped(name: str, record: Record, waived: Mapping[str, str]) -> Part:
    verdict = str(record.get("verdict"))
    conformance: Part = {
        "score": 1 if verdict == "PASS" else 0,
        "rationale": f"{verdict}: {record.get('headline') or 'no reason was recorded'}",
    }
    waiver = waived.get(str(record.get("node")))
    if waiver is not None and verdict != "PASS":
        conformance["mitigationStrategies"] = [f"waiver:{waiver}"]
    made: Part = {"requirement": f"requirement:{name}", "conformance": conformance}
    if record.get("decision"):
        made["claims"] = [f"claim:{name}"]
    return made


def _claim(name: str, record: Record, waived: Mapping[str, str]) -> Part:
    verdict, decision = str(record.get("verdict")), record["decision"]
    claim: Part = {
        "bom-ref": f"claim:{name}",
        "predicate": _statement(str(record.get("kind"))),
        "reasoning": f"{verdict}: {record.get('headline')}. "
        + " ".join(
            f"{'Shown' if leg['holds'] else 'Not shown'}: {leg['statement']} (p = {text(leg['p'])})."
            for leg in decision.get("legs") or ()
        ),
    }
    subject = tested(record)
    if subject is not None:
        claim["target"] = model_ref(subject)
    side = {"PASS": "evidence", "FAIL": "counterEvidence"}.get(verdict)
    if side is not None:
        claim[side] = [f"evidence:{name}"]
    waiver = waived.get(str(record.get("node")))
    if waiver is not None and verdict != "PASS":
        claim["mitigationStrategies"] = [f"waiver:{waiver}"]
    return claim


def _evidence(name: str, record: Record, tester: object, when: str | None) -> Part:
    cases = record.get("cases") or {}
    made: Part = {
        "bom-ref": f"evidence:{name}",
        "propertyName": "pytest-saliency:decision",
        "description": f"{cases.get('kept')} of {cases.get('n')} cases; {_measured(record)}",
        "data": [{"name": f"the record of {name}", "contents": {"url": RESULTS}}],
    }
    if when:
        made["created"] = when
    if tester:
        made["author"] = {"name": str(tester)}
    return made


def _measured(record: Record) -> str:
    rows = []
    for measure in record["decision"]["measures"].values():
        interval = measure["interval"]
        limit = f", limit {measure['side']} {number(measure['limit'])}" if measure["limit"] is not None else ""
        rows.append(
            f"{measure['title']} {number(measure['estimate'])}{limit}, n = {measure['n']}; one-sided bounds at"
            f" {number(interval['level'])} each: {number(interval['low'])} and {number(interval['high'])}"
            f" ({interval['method']})"
        )
    return "; ".join(rows)


def _waiver(name: str, waiver: Mapping[str, Any]) -> Part:
    made: Part = {
        "bom-ref": f"waiver:{name}",
        "propertyName": "pytest-saliency:waiver",
        "description": f"{waiver.get('reason')} (risk {waiver.get('risk')}). {waiver.get('why')}",
        "author": {"name": str(waiver.get("requested_by"))},
        "reviewer": {"name": str(waiver.get("approved_by"))},
    }
    for key in ("created", "expires"):
        when = instant_or_none(waiver.get(key), whole_day=key == "expires")
        if when:
            made[key] = when
    return made


def instant_or_none(written: object, *, whole_day: bool = False) -> str | None:
    """Return an instant, or the start or end of a day, as CycloneDX takes it; None where it cannot be read."""
    try:
        return shown_instant(read_day(str(written), whole_day=whole_day))
    except ValueError:
        return None


def _statement(kind: str) -> str:
    from pytest_saliency.checks.registry import KINDS

    return KINDS[kind].claim if kind in KINDS else f"A check of kind {kind} holds."
