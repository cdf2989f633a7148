"""Several runs (machines, shards of one CI job) as one document; nothing is ever chosen silently.

The result depends on the runs alone, not on the order in which they are given.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pytest_saliency.errors import SaliencyError
from pytest_saliency.records.hashing import to_json
from pytest_saliency.records.record import FORMAT
from pytest_saliency.report.families import families_of
from pytest_saliency.report.merge_runs import (
    NOT_RUN,
    Document,
    differences,
    distinct,
    instant_of,
    merged_run,
    name_of,
    parts_of,
)
from pytest_saliency.report.merge_shards import check_shards

Record = Mapping[str, Any]

BESIDE = ("execution", "pictures", "gallery", "maps", "notes")
"""What may differ between two records of one result: where and how fast it was made, and what was drawn of it."""
KEPT_WAIVERS = "The waivers stand as each run assessed them; they were not assessed again when the runs were merged."
NOT_SELECTED = "declared, but not selected"


class MergeError(SaliencyError):
    """The runs contradict each other, so that one document cannot speak for both."""


def merge(
    documents: Sequence[Document], waivers: Sequence[Mapping[str, Any]] | None = None, *, partial: bool = False
) -> dict[str, Any]:
    """Return one document for all runs.

    A verdict (also ERROR) takes the place of NOT_RUN; the same result in several runs counts once. Where runs differ
    in packages, commit, models or cases, ``deviations`` says so. ``waivers``: assessments made for the merged records,
    instead of those in the runs. ``partial``: shards of a session may be missing, which ``deviations`` says.

    Raises
    ------
    ShardsError
        Runs are shards, but not of one session, or not all of them.
    MergeError
        Two runs decided one check differently, or ran two versions of one contract.
    SaliencyError
        A document does not say which run it is.
    """
    if not documents:
        raise MergeError("there is nothing to merge; name the JSON files or bundles of at least one run.")
    parts = distinct(part for document in documents for part in parts_of(document))
    check_shards(parts, partial)
    if len(parts) == 1 and waivers is None and len({to_json(document) for document in documents}) == 1:
        return dict(documents[0])
    _refuse_two_contracts(documents)
    records = _records(documents)
    merged: dict[str, Any] = {
        "format": FORMAT,
        "run": merged_run(parts) if len(parts) > 1 else dict(min((d["run"] for d in documents), key=to_json)),
        "records": records,
        "waivers": _waivers(documents) if waivers is None else [dict(waiver) for waiver in waivers],
        "locks": _each_once(lock for document in documents for lock in document.get("locks") or ()),
    }
    kept = {said for document in documents for said in _own_deviations(document)}
    told = {*kept, *_derived(merged, parts)}
    if merged["waivers"] and waivers is None and len(parts) > 1:
        told.add(KEPT_WAIVERS)
    merged["deviations"] = sorted(told)
    merged["families"] = families_of(records)
    return merged


def _records(documents: Sequence[Document]) -> list[dict[str, Any]]:
    by_node: dict[str, list[tuple[list[dict[str, Any]], Document]]] = {}
    for document in documents:
        here: dict[str, list[dict[str, Any]]] = {}
        for record in document["records"]:
            if not isinstance(record.get("node"), str):
                raise MergeError("a record names no node; write the records again with pytest --saliency-json.")
            here.setdefault(record["node"], []).append(dict(record))
        for node, found in here.items():
            by_node.setdefault(node, []).append((found, document))
    return [record for node in sorted(by_node) for record in _one_of(node, by_node[node])]


def _one_of(node: str, candidates: Sequence[tuple[list[dict[str, Any]], Document]]) -> list[dict[str, Any]]:
    """Return the records of a node; a test in Python may leave several, which belong together."""
    decided = [entry for entry in candidates if any(record["verdict"] != NOT_RUN for record in entry[0])]
    if not decided:
        return min((found for found, _ in candidates), key=_preference)
    first = min(decided, key=lambda entry: _said(entry[0]))
    for other in decided:
        if _said(other[0]) != _said(first[0]):
            raise MergeError(_conflict(node, first, other))
    chosen = min((found for found, _ in decided), key=_preference)
    for place, record in enumerate(chosen):
        notes = {str(note) for found, _ in decided for note in found[place].get("notes") or ()}
        said = [str(note) for note in record.get("notes") or ()]
        record["notes"] = [*said, *sorted(notes - set(said))]
    return chosen


def _result(record: Record) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in BESIDE}


def _said(records: Sequence[Record]) -> bytes:
    """Return what the records say in one spelling: a bundle writes 1.0 as 1."""
    from pytest_saliency.evidence.canonical import canonical

    return canonical([_result(record) for record in records])


def _preference(records: Sequence[Record]) -> tuple[bool, bool, str]:
    """Order records that say the same: those with pictures first, then those that say why a check did not run."""
    vague = all(str(record.get("headline")).startswith(NOT_SELECTED) for record in records)
    return not any(record.get("gallery") for record in records), vague, to_json(list(records))


def _conflict(
    node: str, first: tuple[list[dict[str, Any]], Document], other: tuple[list[dict[str, Any]], Document]
) -> str:
    said = sorted(
        (f"{' and '.join(str(record['verdict']) for record in found)} in {_origin(document, node)}")
        for found, document in (first, other)
    )
    if len(first[0]) == len(other[0]):
        pairs = [(_result(a), _result(b)) for a, b in zip(first[0], other[0], strict=True)]
        keys = sorted(
            {key for a, b in pairs for key in {*a, *b} if _said([{key: a.get(key)}]) != _said([{key: b.get(key)}])}
        )
        differ = f"they differ in {', '.join(keys)}"
    else:
        differ = "they have different numbers of records"
    return (
        f"{node}: two runs decided it, and not alike: {' and '.join(said)}; {differ}. Which of them counts is not for"
        " a merge to choose: leave one of the runs out, or run the check once."
    )


def _origin(document: Document, node: str) -> str:
    parts = parts_of(document)
    return " and ".join(name_of(part) for part in parts if node in part["nodes"]) or name_of(parts[0])


def _refuse_two_contracts(documents: Sequence[Document]) -> None:
    seen: dict[str, dict[str, str]] = {}
    for document in documents:
        for record in document["records"]:
            slug, digest = record.get("contract"), record.get("contract_sha256")
            if slug and digest:
                seen.setdefault(str(slug), {}).setdefault(str(digest), _origin(document, str(record.get("node"))))
    for slug, digests in sorted(seen.items()):
        if len(digests) > 1:
            said = " and ".join(f"sha256 {digest} in {origin}" for digest, origin in sorted(digests.items()))
            raise MergeError(
                f"contract {slug}: the runs used different texts of it: {said}. Runs of different contracts are not"
                " parts of one run; run the checks again with one of them."
            )


def _waivers(documents: Sequence[Document]) -> list[dict[str, Any]]:
    """Return each waiver once: as assessed by the newest run that had the check, else by the newest run."""
    by_name: dict[str, list[tuple[bool, Any, str, dict[str, Any]]]] = {}
    for document in documents:
        finished = max(instant_of(part, "finished") for part in parts_of(document))
        for waiver in document.get("waivers") or ():
            entry = (waiver.get("state") != "unused", finished, to_json(waiver), dict(waiver))
            by_name.setdefault(to_json([waiver.get("id"), waiver.get("check")]), []).append(entry)
    chosen = []
    for name in sorted(by_name):
        newest = max(by_name[name], key=lambda entry: entry[:3])[3]
        nodes = {str(node) for _, _, _, waiver in by_name[name] for node in waiver.get("nodes") or ()}
        chosen.append({**newest, "nodes": sorted(nodes)} if "nodes" in newest else newest)
    return chosen


def _each_once(entries: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    found = {to_json(entry): dict(entry) for entry in entries}
    return [found[key] for key in sorted(found)]


def _own_deviations(document: Document) -> list[str]:
    """Return what a run's document says of itself beyond what follows from its records and its run."""
    derived = _derived(document, parts_of(document))
    return [str(said) for said in document.get("deviations") or () if said not in derived and said != KEPT_WAIVERS]


def _derived(document: Document, parts: Sequence[Mapping[str, Any]]) -> set[str]:
    from pytest_saliency.report.document import deviations

    run = {"git": None, "tester": None, **document["run"]}
    found = set(deviations({**document, "run": run, "locks": document.get("locks") or []}))
    return found | set(differences(parts, document["records"])) if len(parts) > 1 else found
