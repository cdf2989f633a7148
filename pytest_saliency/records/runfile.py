"""The JSON file of one run: who ran what and when, and the records of all checks."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from pytest_saliency.errors import SaliencyError
from pytest_saliency.records.hashing import to_json
from pytest_saliency.records.record import FORMAT, versions
from pytest_saliency.records.whole import write_text_whole

GIT_SECONDS = 10
CHANGED = 20  # paths that a record names


def run_document(
    records: Iterable[Mapping[str, Any]],
    *,
    command: str,
    started: str,
    finished: str,
    exit_status: int,
    root: Path,
    tester: str | None = None,
) -> dict[str, Any]:
    """Return the document of a run; records are sorted by node id and, within a node, stay in their order.

    ``tester``: the name of who answers for the run; without it git's ``user.name``.
    """
    return {
        "format": FORMAT,
        "run": {
            "id": uuid4().hex,
            "tester": tester_of(tester, root),
            "command": command,
            "started": started,
            "finished": finished,
            "exit_status": exit_status,
            "platform": platform.platform(),
            "versions": versions(),
            "git": git_state(root),
        },
        "records": sorted(records, key=lambda record: str(record.get("node"))),
        "waivers": [],
        "locks": [],
        "deviations": [],
    }


def git_state(root: Path) -> dict[str, Any] | None:
    """Return commit and dirtiness of the work tree at ``root``; None where there is no git or no commit.

    Dirty is a tracked file that differs. Untracked files, such as the reports of earlier runs, are only counted.
    """
    commit = _ask_git(root, "rev-parse", "HEAD")
    if commit is None:
        return None
    status = _ask_git(root, "--no-optional-locks", "status", "--porcelain", "--untracked-files=all")
    if status is None:
        return {"commit": commit.strip(), "dirty": None, "changed": [], "untracked": None}
    lines = status.splitlines()
    changed = [line[3:] for line in lines if not line.startswith("??")]
    return {
        "commit": commit.strip(),
        "dirty": bool(changed),
        "changed": changed[:CHANGED],
        "untracked": len(lines) - len(changed),
    }


def _ask_git(root: Path, *words: str) -> str | None:
    git = shutil.which("git")
    if git is None:
        return None
    try:
        done = subprocess.run(  # the program comes from PATH, the words are constants
            [git, "-C", str(root), *words], capture_output=True, text=True, timeout=GIT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def tester_of(name: str | None, root: Path) -> dict[str, str] | None:
    """Return who ran the tests: as declared, else as git knows; None where neither says."""
    if name:
        return {"name": name, "source": "declared"}
    known = _ask_git(root, "config", "user.name")
    return {"name": known.strip(), "source": "git"} if known and known.strip() else None


def write_run(path: Path, document: Mapping[str, Any]) -> None:
    """Write ``document`` so that ``path`` holds either all of it or what was there before.

    Raises
    ------
    SaliencyError
        The file cannot be written; the message names the path and the reason.
    """
    try:
        write_text_whole(path, to_json(document, indent=1) + "\n")
    except SaliencyError as error:
        raise SaliencyError(
            f"JSON report: {error} The outcome of the tests stands; choose another path with --saliency-json."
        ) from error


def read_run(path: Path) -> dict[str, Any]:
    """Return the document of a run as :func:`write_run` wrote it.

    Raises
    ------
    SaliencyError
        There is no such file, it is no JSON, or not a run of a format that this release reads.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SaliencyError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise SaliencyError(
            f"{path} is not the JSON of a run: {error}. Write one with pytest --saliency-json."
        ) from None
    if not isinstance(document, dict) or not isinstance(document.get("run"), dict):
        raise SaliencyError(f"{path} is not a run's records. Write them with pytest --saliency-json.")
    if document.get("format") != FORMAT:
        raise SaliencyError(
            f"{path} has format {document.get('format')!r}, and this release reads {FORMAT}; run the checks again, or"
            " use the release that wrote it."
        )
    records = document.get("records")
    if not isinstance(records, list) or not all(isinstance(row, dict) and "verdict" in row for row in records):
        raise SaliencyError(f"{path} holds no list of records; write it again with pytest --saliency-json.")
    return document
