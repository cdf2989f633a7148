"""The runs behind a merged document: who they were, what they have in common, and where they differ."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pytest_saliency.errors import SaliencyError
from pytest_saliency.records.hashing import to_json

Document = Mapping[str, Any]
Part = Mapping[str, Any]

NOT_RUN = "NOT_RUN"
WORST_FIRST = (3, 4, 2, 1, 6, 5, 0)
"""pytest's exit codes: internal error, wrong usage, interrupted, failed, warnings, nothing collected, all passed."""


def parts_of(document: Document) -> list[dict[str, Any]]:
    """Return the runs of a document, one entry each: those it was merged from, or its only one.

    ``nodes`` are the checks that the run decided or failed to decide.

    Raises
    ------
    SaliencyError
        The document does not say which run it is, or when that was.
    """
    run = document["run"]
    merged = run.get("merged")
    if merged:
        return [dict(_checked(part)) for part in merged]
    nodes = {str(record.get("node")) for record in document["records"] if record["verdict"] != NOT_RUN}
    keys = ("id", "command", "started", "finished", "exit_status", "platform", "tester", "git", "versions")
    part = {**{key: run.get(key) for key in keys}, "nodes": sorted(nodes)}
    part |= {key: run[key] for key in ("shard", "stopped", "uncollected") if run.get(key) is not None}
    return [dict(_checked(part))]


def _checked(part: object) -> Part:
    if not isinstance(part, Mapping) or not isinstance(part.get("id"), str) or not part["id"]:
        raise SaliencyError("a run to be merged has no id; write its records again with pytest --saliency-json.")
    for key in ("started", "finished"):
        instant_of(part, key)
    if not isinstance(part.get("exit_status"), int):
        raise SaliencyError(f"{name_of(part)} has no exit status; write its records again with pytest --saliency-json.")
    for key in ("git", "tester", "versions"):
        if not isinstance(part.get(key), Mapping | None):
            raise SaliencyError(f"{name_of(part)}: '{key}' is no mapping; the file was changed after it was written.")
    return part


def instant_of(part: Part, key: str) -> datetime:
    """Return a time of a run; one without a zone is in UTC."""
    try:
        found = datetime.fromisoformat(str(part.get(key)))
    except ValueError:
        raise SaliencyError(
            f"{name_of(part)} has no readable time '{key}' ({part.get(key)!r}); write its records again with pytest"
            " --saliency-json."
        ) from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def name_of(part: Part) -> str:
    """Return how sentences call a run: "run 1a2b3c4d of 2026-03-02T08:00:00+00:00"."""
    return f"run {str(part['id'])[:8]} of {part.get('started')}"


def distinct(parts: Iterable[Part]) -> list[dict[str, Any]]:
    """Return the runs, each once, the earliest first.

    Raises
    ------
    SaliencyError
        Two runs have one id and are not the same.
    """
    found: dict[str, dict[str, Any]] = {}
    for part in parts:
        known = found.setdefault(str(part["id"]), dict(part))
        if to_json(known) != to_json(part):
            raise SaliencyError(
                f"two different inputs call themselves {name_of(part)}; one of them was changed after it was written."
                " Merge the files as the runs wrote them."
            )
    return sorted(found.values(), key=lambda part: (instant_of(part, "started"), str(part["id"])))


def merged_run(parts: Sequence[Part]) -> dict[str, Any]:
    """Return the ``run`` of a merged document; what its runs do not agree on lists what each of them says.

    The id follows from the ids of the runs, so that the same runs always make the same document.
    """
    ids = sorted(str(part["id"]) for part in parts)
    testers = sorted({str(part["tester"].get("name")) for part in parts if part.get("tester")})
    sources = sorted({str(part["tester"].get("source")) for part in parts if part.get("tester")})
    packages = sorted({name for part in parts for name in part.get("versions") or {}})
    return {
        "id": hashlib.sha256("\n".join(ids).encode()).hexdigest()[:32],
        "command": _joined(part.get("command") for part in parts),
        "started": min(parts, key=lambda part: instant_of(part, "started"))["started"],
        "finished": max(parts, key=lambda part: instant_of(part, "finished"))["finished"],
        "exit_status": min((part["exit_status"] for part in parts), key=_goodness),
        "tester": {"name": ", ".join(testers), "source": ", ".join(sources)} if testers else None,
        "platform": _joined(part.get("platform") for part in parts),
        "versions": {
            name: _joined((part.get("versions") or {}).get(name, "not installed") for part in parts)
            for name in packages
        },
        "git": _git(parts),
        "root": None,
        "merged": [dict(part) for part in parts],
    }


def _goodness(code: int) -> tuple[int, int]:
    return (WORST_FIRST.index(code) if code in WORST_FIRST else -1, code)


def _joined(values: Iterable[Any]) -> str:
    return " | ".join(sorted({str(value) for value in values}))


def _git(parts: Sequence[Part]) -> dict[str, Any] | None:
    """Return what is known of the work trees: dirty if one of them was, or if one may have been."""
    states = [part["git"] for part in parts if part.get("git")]
    if not states:
        return None
    dirty = [state.get("dirty") for state in states]
    counts = [state.get("untracked") for state in states]
    return {
        "commit": _joined(map(commit_of, parts)),
        "dirty": True if True in dirty else None if None in dirty else False,
        "changed": sorted({path for state in states for path in state.get("changed") or ()}),
        "untracked": None if None in counts else max(counts),
    }


def commit_of(part: Part) -> str:
    """Return the commit that a run tested; "none recorded" where it names none."""
    return str((part.get("git") or {}).get("commit") or "none recorded")


def differences(parts: Sequence[Part], records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a sentence for everything in which the runs are not one run on several machines."""
    from pytest_saliency.report.merge_shards import missing_shards

    found = [f"Nobody is named as tester of {name_of(part)}." for part in parts if not part.get("tester")]
    found += missing_shards(parts)
    packages = sorted({name for part in parts for name in part.get("versions") or {}})
    for package in packages:
        found += _told(
            parts, f"The version of {package}", [(part.get("versions") or {}).get(package, "none") for part in parts]
        )
    found += _told(parts, "The commit", list(map(commit_of, parts)))
    for part in parts:
        git = part.get("git")
        if git and git.get("dirty") is not False:
            found.append(f"The work tree had uncommitted changes in {name_of(part)}.")
    return [*found, *_of_models_and_cases(parts, records)]


def _told(parts: Sequence[Part], what: str, said_by: Sequence[object]) -> list[str]:
    values: dict[str, list[str]] = {}
    for part, value in zip(parts, said_by, strict=True):
        values.setdefault(str(value), []).append(str(part["id"])[:8])
    if len(values) < 2:
        return []
    said = "; ".join(f"{value} in {_runs(ids)}" for value, ids in sorted(values.items()))
    return [f"{what} differs between the runs: {said}."]


def _of_models_and_cases(parts: Sequence[Part], records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Tell of one name that stands for two models, and of one check that saw two sets of cases."""
    runs: dict[str, set[str]] = {}
    for part in parts:
        for node in part.get("nodes") or ():
            runs.setdefault(str(node), set()).add(str(part["id"])[:8])
    seen: dict[str, dict[str, set[str]]] = {}
    for record in records:
        node = str(record.get("node"))
        by = runs.get(node, set())
        scope = f"contract {record['contract']}" if record.get("contract") else node.partition("::")[0]
        for subject in (record.get("subjects") or {}).values():
            digest = subject.get("weights_sha256") or subject.get("state_sha256")
            if digest:
                what = f"The model '{subject.get('name')}' of {scope}"
                seen.setdefault(what, {}).setdefault(str(digest), set()).update(by)
        cases = record.get("cases") or {}
        digest = cases.get("unordered_digest") or cases.get("digest")
        if digest and record.get("contract"):
            what = f"The set of cases of {record['contract']}/{record.get('check')}"
            seen.setdefault(what, {}).setdefault(str(digest), set()).update(by)
    found = []
    for what, digests in sorted(seen.items()):
        if len({frozenset(by) for by in digests.values()}) > 1:  # one run that holds both declared them so
            said = "; ".join(f"sha256 {digest} in {_runs(sorted(by))}" for digest, by in sorted(digests.items()))
            found.append(f"{what} differs between the runs: {said}.")
    return found


def _runs(ids: Sequence[str]) -> str:
    return f"run{'s' if len(ids) != 1 else ''} {', '.join(ids)}"
