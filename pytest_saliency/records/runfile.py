"""The JSON file of one run: who ran what and when, and the records of all checks."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pytest_saliency.errors import SaliencyError
from pytest_saliency.records.hashing import to_json
from pytest_saliency.records.record import FORMAT, versions

GIT_SECONDS = 10


def run_document(
    records: Iterable[Mapping[str, Any]],
    *,
    command: str,
    started: str,
    finished: str,
    exit_status: int,
    root: Path,
) -> dict[str, Any]:
    """Return the document of a run; records are sorted by node id and, within a node, stay in their order."""
    return {
        "format": FORMAT,
        "run": {
            "command": command,
            "started": started,
            "finished": finished,
            "exit_status": exit_status,
            "platform": platform.platform(),
            "versions": versions(),
            "git": git_state(root),
        },
        "records": sorted(records, key=lambda record: str(record.get("node"))),
    }


def git_state(root: Path) -> dict[str, Any] | None:
    """Return commit and dirtiness of the work tree at ``root``; None where there is no git or no commit."""
    git = shutil.which("git")
    if git is None:
        return None

    def ask(*words: str) -> str | None:
        try:
            done = subprocess.run(  # the program comes from PATH, the words are constants
                [git, "-C", str(root), *words], capture_output=True, text=True, timeout=GIT_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout if done.returncode == 0 else None

    commit = ask("rev-parse", "HEAD")
    if commit is None:
        return None
    changes = ask("--no-optional-locks", "status", "--porcelain")
    return {"commit": commit.strip(), "dirty": None if changes is None else bool(changes.strip())}


def write_run(path: Path, document: Mapping[str, Any]) -> None:
    """Write ``document`` so that ``path`` holds either all of it or what was there before.

    Raises
    ------
    SaliencyError
        The file cannot be written; the message names the path and the reason.
    """
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(f"[Errno 21] Is a directory: '{path}'")
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(to_json(document, indent=1) + "\n")
            file.flush()
            os.fsync(file.fileno())
        readable = 0o666 & ~_umask()
        Path(temporary).chmod(readable)  # mkstemp makes files that only their owner can read
        Path(temporary).replace(path)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise SaliencyError(
            f"the JSON report cannot be written to {path}: {error}. The outcome of the tests stands; choose another"
            " path with --saliency-json."
        ) from error


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
