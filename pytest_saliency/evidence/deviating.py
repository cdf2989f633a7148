"""What a run's document must tell as deviations, and which lines it may tell beside them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from pytest_saliency.evidence.layout import CONTRACT_SUFFIX, CONTRACTS

Document = Mapping[str, Any]

_CONTRACT = re.compile(
    r"contract (?P<slug>\S+) \(.*\)"
    r" (?:(?P<gone>cannot be read for the bundle: |changed during the run; )|cannot be resolved for the bundle: ).*",
    re.DOTALL,
)
_SELFTEST = "This is the self test of the tool: "


def derived(document: Document) -> list[str]:
    """Return the deviations that follow from the document; those of runs that were merged are among them."""
    from pytest_saliency.report.document import deviations
    from pytest_saliency.report.merge_runs import differences

    run = {"git": None, "tester": None, "exit_status": None, **document["run"]}
    made = deviations({**document, "run": run, "locks": document.get("locks") or []})
    if run.get("merged"):
        made += differences(run["merged"], document["records"])
    return list(dict.fromkeys(made))


def with_derived(document: Document, original: Document) -> list[str]:
    """Return the deviations of ``document``, which was made of ``original`` by replacing texts.

    What follows from the document is said as it follows now; what the original said besides comes after it.
    """
    lines = zip(original.get("deviations") or (), document.get("deviations") or (), strict=True)
    old = set(derived(original))
    return list(dict.fromkeys((*derived(document), *(now for was, now in lines if was not in old))))


def unfounded(document: Document, files: Collection[str]) -> list[str]:
    """Return the lines that neither follow from the document nor are of a kind that cannot be made again.

    ``files`` are those of the bundle: a contract that lies in it is not one that could not be taken in.
    """
    known = set(derived(document))
    return [
        line
        for line in document.get("deviations") or ()
        if line not in known and not _may_stand(str(line), document, files)
    ]


def _may_stand(line: str, document: Document, files: Collection[str]) -> bool:
    from pytest_saliency.report.merge import KEPT_WAIVERS

    merged = bool(document["run"].get("merged"))
    if line == KEPT_WAIVERS:
        return merged
    if line.startswith(_SELFTEST):
        items = document["run"].get("selftest") or ()
        good = sum(item.get("ok") is True for item in items)
        return bool(items) and line.startswith(f"{_SELFTEST}{good} of {len(items)} known answers")
    found = _CONTRACT.fullmatch(line)
    if found is None:
        return False
    digests = {one.get("contract_sha256") for one in document["records"] if one.get("contract") == found["slug"]}
    there = f"{CONTRACTS}/{found['slug']}{CONTRACT_SUFFIX}" in files
    # Of runs that were merged, one may have said so of a text that the others still had.
    return bool(digests) and (merged or not found["gone"] or not there or len(digests) > 1)
