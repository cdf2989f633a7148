"""Locks: what a contract was before the run, so that a criterion that was changed after looking at results shows.

``chest.saliency.yaml`` has its lock beside it, ``chest.saliency.lock.json``: the SHA-256 of the text, what it resolves
to without the numbers of its lines (with the SHA-256 of that), and when, at which commit and by which release it was
made. A comment that moves a line changes the text and not what it means.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_saliency.errors import ContractError, SaliencyError
from pytest_saliency.evidence.canonical import ParseError, canonical, parse, settled
from pytest_saliency.evidence.contracts import declared, lock_beside, methods_of, parsed
from pytest_saliency.evidence.lock_changes import changed_lines

if TYPE_CHECKING:
    from pytest_saliency.contracts.contract import Contract

FORMAT = 1
STATES = ("unchanged", "changed", "unlocked", "unreadable")
MAX_BYTES = 1 << 24

Document = Mapping[str, Any]


def lock_of(contract: Contract, *, at: str | None = None, commit: str | None = None) -> dict[str, Any]:
    """Return the lock of ``contract``; ``at``: when (default now, UTC), ``commit``: of the work tree it lies in."""
    from pytest_saliency import __version__

    meaning = meaning_of(contract)
    return {
        "format": FORMAT,
        "contract": contract.slug,
        "sha256": contract.digest,
        "resolved_sha256": hashlib.sha256(canonical(meaning)).hexdigest(),
        "resolved": meaning,
        "made": {
            "at": at or datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": commit,
            "version": __version__,
        },
    }


def meaning_of(contract: Contract) -> dict[str, Any]:
    """Return what a contract resolves to, without the numbers of its lines."""
    made = contract.resolved()
    made["items"] = [
        {key: value for key, value in item.items() if key not in ("line", "lines")} for item in made["items"]
    ]
    settled_form: dict[str, Any] = settled(made)
    return settled_form


def write_lock(path: Path) -> Path:
    """Lock the contract at ``path`` and return where the lock is.

    Raises
    ------
    ContractError
        It is no contract.
    SaliencyError
        The lock cannot be written.
    """
    from pytest_saliency.contracts.contract import load_contract
    from pytest_saliency.records.runfile import git_state
    from pytest_saliency.records.whole import write_text_whole

    contract = load_contract(path)
    state = git_state(path.parent)
    lock = lock_of(contract, commit=state["commit"] if state else None)
    beside = lock_beside(path)
    write_text_whole(beside, json.dumps(lock, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    return beside


def read_lock(content: bytes, name: str) -> dict[str, Any]:
    """Return the lock that ``content`` holds; ``name`` is how messages call it.

    Raises
    ------
    SaliencyError
        It is none, or not what was written.
    """
    try:
        lock = parse(content)
    except ParseError as error:
        raise SaliencyError(f"{name} {error}; make it again with pytest-saliency lock.") from None
    if not isinstance(lock, dict) or lock.get("format") != FORMAT:
        raise SaliencyError(f"{name} is no lock of format {FORMAT}; make it again with pytest-saliency lock.")
    made = lock.get("made")
    resolved = lock.get("resolved")
    if not isinstance(made, dict) or not isinstance(resolved, dict) or not isinstance(lock.get("sha256"), str):
        raise SaliencyError(f"{name} is no whole lock; make it again with pytest-saliency lock.")
    if hashlib.sha256(canonical(resolved)).hexdigest() != lock.get("resolved_sha256"):
        raise SaliencyError(f"{name} was changed by hand: what it resolves to does not have the SHA-256 that it names.")
    return lock


def assess_locks(document: Document, root: Path) -> list[dict[str, Any]]:
    """Return for each contract of the records whether it is locked, and what changed since.

    Each entry: ``contract``, ``file`` (relative to the root), ``state`` (one of :data:`STATES`), a sentence ``why``,
    ``changes`` (lines such as "kept: max_iou_drop 0.4 -> 0.5 (looser)"), and ``at`` and ``commit`` of the lock.
    """
    rows = []
    for slug, digest, file in declared(document):
        try:
            content = (root / file).read_bytes()
        except (OSError, ValueError):  # told by whoever needs the file
            content = b""
        beside = lock_beside(root / file)
        held = beside.read_bytes() if beside.is_file() and beside.stat().st_size <= MAX_BYTES else None
        rows.append(assess_lock(slug, digest, file, content, held, methods_of(document)))
    return rows


def assess_lock(
    slug: str, digest: str, file: str, content: bytes, held: bytes | None, methods: list[str]
) -> dict[str, Any]:
    """Return the entry of one contract; see :func:`assess_locks`. ``held``: the bytes of its lock, if there is one."""
    row: dict[str, Any] = {"contract": slug, "file": file, "changes": [], "at": None, "commit": None}
    if held is None:
        return {**row, "state": "unlocked", "why": f"Contract {slug} is not locked (pytest-saliency lock {file})."}
    try:
        lock = read_lock(held, f"the lock of contract {slug}")
    except SaliencyError as error:
        return {**row, "state": "unreadable", "why": f"{error}"}
    row |= {"at": lock["made"].get("at"), "commit": lock["made"].get("commit")}
    since = f"since it was locked at {row['at']}"
    if lock["sha256"] == digest:
        return {
            **row,
            "state": "unchanged",
            "why": f"Contract {slug} is what it was when it was locked at {row['at']}.",
        }
    try:
        meaning = meaning_of(parsed(content, methods))
    except ContractError:
        return {**row, "state": "changed", "why": f"Contract {slug} changed {since}, and cannot be read any more."}
    if hashlib.sha256(canonical(meaning)).hexdigest() == lock["resolved_sha256"]:
        why = f"The text of contract {slug} was edited {since}; what it declares is the same."
        return {**row, "state": "unchanged", "why": why}
    lines = changed_lines(lock["resolved"], meaning)
    return {**row, "state": "changed", "changes": lines, "why": f"Contract {slug} changed {since}: {'; '.join(lines)}."}


def lock_lines(document: Document) -> list[str]:
    """Return lines for the terminal: nothing while no contract is locked, else the state of each."""
    rows = document.get("locks") or ()
    if all(row["state"] == "unlocked" for row in rows):
        return []
    lines = []
    for row in rows:
        if row["state"] == "changed" and row["changes"]:
            lines.append(f"contract {row['contract']} changed since it was locked at {row['at']}:")
            lines += [f"  {line}" for line in row["changes"]]
        else:
            lines.append(str(row["why"]).rstrip("."))
    return lines
