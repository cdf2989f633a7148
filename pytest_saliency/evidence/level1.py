"""Level 1: what a bundle says follows from its numbers and its contracts. Neither torch nor a network is needed."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pytest_saliency.evidence.again import check_records, guarded
from pytest_saliency.evidence.canonical import canonical, parse, settled
from pytest_saliency.evidence.compared import first_difference
from pytest_saliency.evidence.declared import check_contracts
from pytest_saliency.evidence.deviating import derived, unfounded
from pytest_saliency.evidence.findings import Found
from pytest_saliency.evidence.folder import content_of, listing
from pytest_saliency.evidence.intoto import subjects
from pytest_saliency.evidence.layout import (
    ATTESTATION,
    BOM,
    CASES,
    CONTRACT_SUFFIX,
    JUNIT,
    LOCK_SUFFIX,
    MAPS,
    PICTURES,
    REPORT,
    RESULTS,
    RUN,
    SIGNATURES,
    WAIVERS,
)
from pytest_saliency.evidence.level0 import left_behind
from pytest_saliency.evidence.manifest import Entry
from pytest_saliency.evidence.rendered import rendered
from pytest_saliency.evidence.split import cases_lines, data_of, models_of, results_part, run_part
from pytest_saliency.records.tool import tool_version
from pytest_saliency.report.merge_runs import instant_of

MAX_BYTES = 1 << 30
RENDERED = (ATTESTATION, JUNIT, REPORT, BOM)
WORDED = ("why", "problems", "line")
"""What another release may word otherwise in the assessment of a waiver."""


def check_numbers(folder: Path, document: Mapping[str, Any]) -> Found:
    """Return what level 1 found in the bundle at ``folder``, which makes up ``document``."""
    found = Found(1)
    written_by = str((document["run"].get("versions") or {}).get("pytest-saliency"))
    same = written_by == tool_version()
    check_records(document, found)
    guarded(found, RUN, "the parts of the document", lambda: _parts(folder, document, found))
    guarded(found, "contract/", "contracts", lambda: check_contracts(folder, document, same, found))
    guarded(found, RUN, "waivers", lambda: _waivers(folder, document, same, found))
    guarded(found, RUN, "deviations", lambda: _deviations(folder, document, same, found))
    guarded(found, RUN, "families", lambda: _families(document, found))
    guarded(found, RUN, "order", lambda: _order(document, found))
    guarded(found, RESULTS, "attachments", lambda: _attachments(folder, document, found))
    guarded(found, SIGNATURES, "signatures", lambda: _signatures(folder, document, found))
    guarded(found, ATTESTATION, "subjects", lambda: _models(folder, document, found))
    if same:
        guarded(found, REPORT, "rendering", lambda: _rendered(folder, document, found))
    else:
        found.skipped.append(
            f"{', '.join(RENDERED)} byte by byte: written by pytest-saliency {written_by}, and this is {tool_version()}"
        )
    return found


def _parts(folder: Path, document: Mapping[str, Any], found: Found) -> None:
    """Check that the three parts are spelled as they are written, and that what is gathered is what is there."""
    run = parse(content_of(folder, RUN, MAX_BYTES))
    for key, made in (("models", models_of(document["records"])), ("data", data_of(document["records"]))):
        difference = first_difference(run.get(key), made, key)
        if difference is not None:
            found.add(RUN, f"its {key} are not those of {RESULTS}: {difference}")
            return
    for path, content in (
        (RUN, canonical(run_part(document))),
        (RESULTS, canonical(results_part(document))),
        (CASES, cases_lines(document)),
    ):
        if content_of(folder, path, 1 << 32) != content:
            found.add(path, "is not spelled as this package writes it")


def _models(folder: Path, document: Mapping[str, Any], found: Found) -> None:
    """Check that the models under test are the same in all files that name them."""
    wanted = subjects(document)
    files = listing(folder).files
    if ATTESTATION in files:
        said = parse(content_of(folder, ATTESTATION, MAX_BYTES))
        difference = first_difference(said.get("subject"), wanted, "subject")
        if difference is not None:
            found.add(ATTESTATION, f"is about other models than {RESULTS}: {difference}")
    if BOM in files:
        content = content_of(folder, BOM, MAX_BYTES).decode("utf-8", "replace")
        for subject in wanted:
            for digest in subject["digest"].values():
                if str(digest) not in content:
                    found.add(BOM, f"does not name model {subject['name']} with digest {digest}")


def _rendered(folder: Path, document: Mapping[str, Any], found: Found) -> None:
    files = listing(folder).files
    configuration = {
        path: Entry.of(content_of(folder, path, MAX_BYTES)).sha256
        for path in files
        if path == WAIVERS or path.endswith((CONTRACT_SUFFIX, LOCK_SUFFIX))
    }

    def picture(path: str) -> bytes | None:
        return content_of(folder, path, MAX_BYTES) if path in files and path.startswith(f"{PICTURES}/") else None

    made = rendered(document, configuration, picture)
    before = len(found.findings)
    for path, content in made.items():
        if path not in files:
            found.add(path, "is missing, and every bundle of this release has one")
        elif content_of(folder, path, MAX_BYTES) != content:
            found.add(path, "does not say what the records say: made again from them, it has other bytes")
    if len(found.findings) == before:
        names = ", ".join(sorted(path for path in made if path in files))
        found.checked.append(f"{names} are what the records give, byte by byte")
    if BOM in files and BOM not in made:
        found.skipped.append(f"{BOM} byte by byte: this release does not write one")


def _waivers(folder: Path, document: Mapping[str, Any], same: bool, found: Found) -> None:
    """Judge the waivers of the bundle again, at the time the run ended; sentences too where this release said them."""
    from pytest_saliency.evidence.waivers import assess, read_waivers

    said = document.get("waivers") or []
    if WAIVERS not in listing(folder).files:
        if said:
            found.add(RUN, f"cites {len(said)} waivers, and there is no {WAIVERS}")
        return
    ended = datetime.fromisoformat(str(document["run"]["finished"]))
    ended = ended if ended.tzinfo is not None else ended.replace(tzinfo=UTC)
    made = assess(read_waivers(content_of(folder, WAIVERS, MAX_BYTES), WAIVERS), document["records"], ended)
    if [row.get("id") for row in said] != [row["id"] for row in made]:
        found.add(RUN, f"does not cite the waivers of {WAIVERS}, each once and in order")
        return
    for row, again in zip(said, settled(made), strict=True):
        keys = sorted({*row, *again}) if same else [key for key in again if key not in WORDED]
        for key in keys:
            difference = first_difference(row.get(key), again.get(key), key)
            if difference is not None:
                found.add(RUN, f"waiver {again['id']}: {difference}, as {WAIVERS} and the records give it")
    if made:
        found.checked.append(f"{len(made)} waivers are judged as at the end of the run")


def _families(document: Mapping[str, Any], found: Found) -> None:
    """Adjust the FAIL alarms of every contract again."""
    from pytest_saliency.report.families import families_of

    said = document.get("families")
    difference = None if said is None else first_difference(said, settled(families_of(document["records"])), "families")
    if difference is not None:
        found.add(RUN, f"{difference}, as the records give it")


def _deviations(folder: Path, document: Mapping[str, Any], same: bool, found: Found) -> None:
    if not same:
        return
    said = document.get("deviations") or []
    for line in derived(document):
        if line not in said:
            found.add(RUN, f"does not tell this deviation: {line}")
    for line in unfounded(document, listing(folder).files):
        found.add(RUN, f"tells a deviation that follows from nothing in it: {line}")


def _order(document: Mapping[str, Any], found: Found) -> None:
    """Check that the run went forward, and that each check of a contract is there once, in the order of a run."""
    for part in (document["run"], *(document["run"].get("merged") or ())):
        if instant_of({"id": "", **part}, "finished") < instant_of({"id": "", **part}, "started"):
            found.add(RUN, f"finished at {part['finished']}, before it started at {part['started']}")
    nodes = [str(record.get("node")) for record in document["records"]]
    if nodes != sorted(nodes):
        found.add(RESULTS, "does not have its records in the order of their nodes")
    declared = [str(one.get("node")) for one in document["records"] if one.get("contract") is not None]
    for node, count in Counter(declared).items():
        if count > 1:
            found.add(RESULTS, f"has {count} records of {node}, and a check of a contract is decided once")


def _attachments(folder: Path, document: Mapping[str, Any], found: Found) -> None:
    """Check that every map and picture is the one that a record names, and none is there besides."""
    files = listing(folder).files
    named: dict[str, str | None] = {}
    for record in document["records"]:
        named |= dict.fromkeys(record.get("pictures") or ())
        named |= {tile["path"]: tile["sha256"] for row in record.get("gallery") or () for tile in row["tiles"]}
        if record.get("maps"):
            named[record["maps"]["path"]] = record["maps"]["sha256"]
    there = {path for path in files if path.startswith((f"{MAPS}/", f"{PICTURES}/"))}
    for path in sorted(there - set(named)):
        found.add(path, f"is named by no record of {RESULTS}")
    for path, sha256 in named.items():
        if path not in there:
            found.add(RESULTS, f"names {path!r}, which is not there")
        elif sha256 is not None and Entry.of(content_of(folder, path, MAX_BYTES)).sha256 != sha256:
            found.add(path, f"is not the file that {RESULTS} names: its SHA-256 differs")


def _signatures(folder: Path, document: Mapping[str, Any], found: Found) -> None:
    for path in listing(folder).files:
        if path.startswith(f"{SIGNATURES}/") and not left_behind(path):
            envelope = parse(content_of(folder, path, MAX_BYTES))
            statement = parse(base64.b64decode(envelope["payload"], validate=True))
            difference = first_difference(statement["subject"][1:], subjects(document), "subject")
            if difference is not None:
                found.add(path, f"was signed for other models than {RESULTS} has: {difference}")
