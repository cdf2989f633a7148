"""Shards of one session among the runs of a merge: whether they belong together, and whether all are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_saliency.errors import SaliencyError
from pytest_saliency.report.merge_runs import commit_of, name_of

Part = Mapping[str, Any]


class ShardsError(SaliencyError):
    """Shards that are not those of one session, or not all of them."""


def check_shards(parts: Sequence[Part], partial: bool = False) -> None:
    """Refuse shards that do not belong together and, unless ``partial``, sessions of which some are missing.

    Raises
    ------
    ShardsError
        Another number of shards, other contracts, another commit, other packages, a shard that cannot be, or a missing
        one.
    """
    missing = []
    for session in sessions_of(parts):
        first = session[0]
        for other in session:
            _refuse_another_session(first, other)
        missing += _missing(session)
    if missing and not partial:
        raise ShardsError(
            f"{' '.join(missing)} Give the missing files too; --partial merges without them and says so. Nothing was"
            " written."
        )


def sessions_of(parts: Sequence[Part]) -> list[list[Part]]:
    """Return the runs that are shards, those that share a contract together.

    Raises
    ------
    ShardsError
        What a run says of its shard is not what a run writes.
    """
    sessions: list[list[Part]] = []
    for part in parts:
        if part.get("shard") is None:
            continue
        _refuse_damaged(part)
        files = set(part["shard"]["contracts"])
        known = [one for one in sessions if any(_files(other) & files or _files(other) == files for other in one)]
        sessions = [one for one in sessions if one not in known] + [[p for one in known for p in one] + [part]]
    return sessions


def missing_shards(parts: Sequence[Part]) -> list[str]:
    """Return a sentence for each session of which shards are missing: the deviations of a partial merge."""
    return [said for session in sessions_of(parts) for said in _missing(session)]


def _files(part: Part) -> set[str]:
    return set(part["shard"]["contracts"])


def _missing(session: Sequence[Part]) -> list[str]:
    count = int(session[0]["shard"]["count"])
    gone = [str(index) for index in range(1, count + 1) if all(part["shard"]["index"] != index for part in session)]
    if not gone:
        return []
    named = gone[0] if len(gone) == 1 else f"{', '.join(gone[:-1])} and {gone[-1]}"
    files = sorted(_files(session[0]))
    of = f" over {', '.join(files)}" if files else ""
    one = len(gone) == 1
    return [f"Shard{'' if one else 's'} {named} of {count}{of} {'is' if one else 'are'} not among the merged runs."]


def _refuse_damaged(part: Part) -> None:
    shard = part["shard"]
    whole = (
        isinstance(shard, Mapping)
        and isinstance(shard.get("contracts"), Mapping)
        and all(isinstance(shard.get(key), int) for key in ("index", "count"))
        and 1 <= shard["index"] <= shard["count"]
    )
    if not whole:
        raise ShardsError(
            f"{name_of(part)}: what it says of its shard is not what a run writes; the file was changed after it was"
            " written. Run that shard again."
        )


def _refuse_another_session(first: Part, other: Part) -> None:
    a, b = first["shard"], other["shard"]
    if a["count"] != b["count"]:
        raise ShardsError(
            f"{name_of(first)} is shard {a['index']} of {a['count']} and {name_of(other)} shard {b['index']} of"
            f" {b['count']}: they are not shards of one session. Run all shards with the same number."
        )
    for file in sorted(_files(first) | _files(other)):
        one, two = (str(shard["contracts"].get(file, "not there")) for shard in (a, b))
        if one != two:
            raise ShardsError(
                f"the shards saw different contracts: {file} is {_digest(one)} in {name_of(first)} and {_digest(two)}"
                f" in {name_of(other)}. Run all shards over the same files at one commit."
            )
    one, two = commit_of(first), commit_of(other)
    if one != two:
        raise ShardsError(
            f"the shards tested different commits: {one} in {name_of(first)}, {two} in {name_of(other)}."
            " Run all shards at one commit."
        )
    versions = [part.get("versions") or {} for part in (first, other)]
    for package in sorted({name for one in versions for name in one}):
        one, two = (str(found.get(package, "not installed")) for found in versions)
        if one != two:
            raise ShardsError(
                f"the shards used different versions of {package}: {one} in {name_of(first)}, {two} in"
                f" {name_of(other)}. Install the same packages on every machine."
            )


def _digest(text: str) -> str:
    return text if text == "not there" else f"sha256 {text}"
