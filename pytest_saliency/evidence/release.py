"""The release decision of a run: which checks are not met, and which of them a waiver excuses.

It looks at verdicts alone. A contract may let a check only warn, skip what is inconclusive, or name a known failure;
that says what pytest does with the test, decided by whoever edits the contract. Releasing over an unmet check takes a
waiver: a reason, a bound, an end, and two people. A run without any check releases nothing, nor does one that is not
whole: shards of a session, a run that stopped early or could not read a contract, runs of several commits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_saliency.evidence.waiver_file import printable
from pytest_saliency.evidence.waivers import UNMET, check_name

Document = Mapping[str, Any]

RELEASE, WITH_WAIVERS, NO_RELEASE = "release", "release with waivers", "no release"


def release(document: Document) -> dict[str, Any]:
    """Return ``decision`` ("release", "release with waivers" or "no release"), ``waived``, ``unwaived`` and ``why``.

    The lists hold a mapping for every check that is not PASS: ``check``, ``node``, ``verdict`` and, where one
    applies, the id of the ``waiver``.
    """
    applies: dict[str, str] = {}
    for one in _waivers(document):
        if one.get("state") == "applies":
            # A document that was not made by `assess` may name the node alone.
            applies |= dict.fromkeys((str(one.get("check")), *map(str, one.get("nodes") or ())), str(one["id"]))
    waived, unwaived = [], []
    records = document.get("records") or ()
    for record in records:
        verdict, name = str(record.get("verdict")), check_name(record)
        if verdict == "PASS":
            continue
        entry = {"check": name, "node": record.get("node"), "verdict": verdict}
        by = applies.get(name) or applies.get(str(record.get("node")))
        if verdict in UNMET and by is not None:
            waived.append({**entry, "waiver": by})
        else:
            unwaived.append(entry)
    if not records:
        return {"decision": NO_RELEASE, "waived": [], "unwaived": [], "why": "No check ran, so that nothing was shown."}
    lacking = not_whole(document)
    if lacking:
        decision, why = NO_RELEASE, lacking
    elif unwaived:
        decision, why = NO_RELEASE, f"{_checks(len(unwaived))} not PASS and not excused by a waiver."
    elif waived:
        decision, why = WITH_WAIVERS, f"{_checks(len(waived))} not PASS and excused by a waiver each; all others PASS."
    else:
        decision, why = RELEASE, "All checks PASS."
    return {"decision": decision, "waived": waived, "unwaived": unwaived, "why": why}


def summary_lines(document: Document) -> list[str]:
    """Return what the end of a run says of its waivers: their count, the release decision, every one that is no use.

    Nothing where the project has no waivers.
    """
    waivers = _waivers(document)
    if not waivers:
        return []
    states = [str(one["state"]) for one in waivers]
    counted = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(sorted(states, key=_rank)))
    made = release(document)
    lines = [f"{len(waivers)} waiver{'s' if len(waivers) != 1 else ''}: {counted}"]
    lines += [
        f"waived by '{one['waiver']}', still {one['verdict']}: {printable(one['check'])}" for one in made["waived"]
    ]
    lines += [
        f"waiver '{one['id']}' ({one['state']}): {one['why']}" for one in waivers if str(one["state"]) != "applies"
    ]
    return [*lines, f"release decision: {made['decision']}. {made['why']}"]


def not_whole(document: Document) -> str | None:
    """Return why the document is not that of one whole run, which its records alone need not show; None if it is."""
    from pytest_saliency.report.merge_runs import commit_of
    from pytest_saliency.report.merge_shards import missing_shards
    from pytest_saliency.report.reached import unreached

    run = document.get("run") or {}
    parts = run.get("merged") or [run]
    shard = run.get("shard") or {}
    if shard.get("count", 1) > 1:
        return f"This is shard {shard['index']} of {shard['count']} alone, not the whole run; merge all of them."
    said = [*missing_shards(run.get("merged") or ()), *unreached(parts)]
    if len(set(map(commit_of, parts))) > 1:
        said.append("The merged runs tested different commits, and one release is of one commit.")
    return " ".join(said) or None


def _rank(state: str) -> tuple[bool, str]:
    return state != "applies", state


def _waivers(document: Document) -> list[Mapping[str, Any]]:
    return list(document.get("waivers") or ())


def _checks(count: int) -> str:
    return f"{count} check{'s are' if count != 1 else ' is'}"
