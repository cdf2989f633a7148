"""The JUnit XML of a run's records: what CI systems and test management read. Made from records alone.

It is not the file of pytest's ``--junit-xml``, which also holds the tests that are no checks. The same document gives
the same bytes; times are those of the run.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as Tree
from collections.abc import Mapping
from typing import Any

from pytest_saliency.evidence.outcome import names_of, outcome_of
from pytest_saliency.report.junit import properties

# What XML 1.0 cannot hold, not even escaped.
_UNUSABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_xml(document: Mapping[str, Any]) -> bytes:
    """Return the XML in UTF-8: a test case for each record, named like the check, with its measured values."""
    records = document["records"]
    outcomes = [_child(record) for record in records]
    suite = Tree.Element(
        "testsuite",
        {
            "name": "pytest-saliency",
            "tests": str(len(records)),
            "failures": str(outcomes.count("failure")),
            "errors": str(outcomes.count("error")),
            "skipped": str(outcomes.count("skipped")),
            "time": f"{sum(map(_seconds, records)):.3f}",
            "timestamp": _clean(document["run"].get("started")),
        },
    )
    for name, record, kind in zip(names_of(records), records, outcomes, strict=True):
        suite.append(_case(name, record, kind))
    root = Tree.Element("testsuites", {"name": "pytest-saliency"})
    root.append(suite)
    Tree.indent(root)
    made: bytes = Tree.tostring(root, encoding="utf-8", xml_declaration=True)
    return made + b"\n"


def _case(name: str, record: Mapping[str, Any], kind: str | None) -> Tree.Element:
    file, _, test = name.partition("::")
    case = Tree.Element(
        "testcase",
        {"classname": _clean(file), "name": _clean(test or file), "time": f"{_seconds(record):.3f}"},
    )
    held = Tree.SubElement(case, "properties")
    for key, value in properties(record):
        Tree.SubElement(held, "property", {"name": _clean(key), "value": _clean(value)})
    said = _clean(f"{record.get('verdict')}: {record.get('headline') or ''}")
    if kind is not None:
        Tree.SubElement(case, kind, {"message": said})
    elif outcome_of(record) == "warned":
        Tree.SubElement(case, "system-out").text = f"warned, as the contract declares: {said}"
    return case


def _child(record: Mapping[str, Any]) -> str | None:
    if record.get("verdict") == "ERROR":
        return "error"
    outcome = outcome_of(record)
    return {"failed": "failure", "not run": "skipped"}.get(outcome)


def _seconds(record: Mapping[str, Any]) -> float:
    spent = (record.get("execution") or {}).get("check_seconds")
    values = spent.values() if isinstance(spent, Mapping) else ()
    return float(sum(value for value in values if isinstance(value, int | float)))


def _clean(value: object) -> str:
    return _UNUSABLE.sub("\N{REPLACEMENT CHARACTER}", str(value or ""))
