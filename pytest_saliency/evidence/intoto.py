"""The result of a run as an in-toto Statement (v1) with the predicate test-result (v0.1).

https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md and spec/predicates/test-result.md. What was
tested is the subject, what it was tested by the configuration, contracts first. A check that did not run is in none of
the three lists, and keeps the result from being PASSED.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_saliency.evidence.layout import LOCK_SUFFIX, WAIVERS
from pytest_saliency.evidence.outcome import names_of, outcome_of
from pytest_saliency.evidence.split import models_of

STATEMENT = "https://in-toto.io/Statement/v1"
TEST_RESULT = "https://in-toto.io/attestation/test-result/v0.1"
STATE = "saliencyState"
"""Name of a digest over a model's numbers in memory, where no file of weights is known; no file has this SHA-256."""


def statement(document: Mapping[str, Any], configuration: Mapping[str, str]) -> dict[str, Any]:
    """Return the statement; ``configuration`` maps paths in the bundle to their SHA-256."""
    records = document["records"]
    lists: dict[str, list[str]] = {"passed": [], "warned": [], "failed": [], "not run": []}
    for name, record in zip(names_of(records), records, strict=True):
        lists[outcome_of(record)].append(name)
    return {
        "_type": STATEMENT,
        "subject": subjects(document),
        "predicateType": TEST_RESULT,
        "predicate": {
            "result": _result(lists),
            "configuration": [
                {"name": path, "digest": {"sha256": configuration[path]}} for path in sorted(configuration, key=_rank)
            ],
            "passedTests": lists["passed"],
            "warnedTests": lists["warned"],
            "failedTests": lists["failed"],
        },
    }


def subjects(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return each model that was tested, by its digests; a model without any cannot be a subject."""
    found = []
    for model in models_of(document["records"]):
        digest = {}
        if model["weights_sha256"]:
            digest["sha256"] = model["weights_sha256"]
        if model["state_sha256"]:
            digest[STATE] = model["state_sha256"]
        if digest:
            found.append({"name": str(model["name"]), "digest": digest})
    return found


def _result(lists: Mapping[str, list[str]]) -> str:
    if lists["failed"] or not any(lists.values()):
        return "FAILED"
    return "WARNED" if lists["warned"] or lists["not run"] else "PASSED"


def _rank(path: str) -> tuple[int, str]:
    if path == WAIVERS:
        return 2, path
    return (1 if path.endswith(LOCK_SUFFIX) else 0), path
