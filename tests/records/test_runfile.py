from __future__ import annotations

import json
import math
import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pytest_saliency.errors import SaliencyError
from pytest_saliency.records.runfile import git_state, run_document, write_run


def document(records: list[dict[str, Any]], root: Path) -> dict[str, Any]:
    return run_document(
        records,
        command="pytest -q",
        started="2027-01-01T00:00:00+00:00",
        finished="2027-01-01T00:00:09+00:00",
        exit_status=1,
        root=root,
    )


def test_records_are_sorted_by_node_and_keep_their_order_within(tmp_path: Path) -> None:
    rows = [{"node": "b", "n": 1}, {"node": "a", "n": 2}, {"node": "b", "n": 3}]
    assert [row["n"] for row in document(rows, tmp_path)["records"]] == [2, 1, 3]
    assert document(list(reversed(rows)), tmp_path)["records"][0]["n"] == 2


def test_what_is_written_is_whole_strict_json(tmp_path: Path) -> None:
    path = tmp_path / "new" / "run.json"
    write_run(path, document([{"node": "a", "value": math.nan}], tmp_path))
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["records"] == [{"node": "a", "value": None}]
    assert found["run"]["exit_status"] == 1
    assert stat.S_IMODE(path.stat().st_mode) & 0o400
    assert [entry.name for entry in path.parent.iterdir()] == ["run.json"], "nothing half-written stays"


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.json"
    path.write_text("old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SaliencyError, match=r"run\.json cannot be written: .*No space left.*outcome of the tests"):
        write_run(path, {"format": 1})
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.json"]


def test_a_folder_in_the_way(tmp_path: Path) -> None:
    with pytest.raises(SaliencyError, match="Is a directory"):
        write_run(tmp_path, {"format": 1})


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_git_commit_and_dirtiness(tmp_path: Path) -> None:
    assert git_state(tmp_path) is None, "no repository"

    def git(*words: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        return subprocess.run(
            ["git", "-C", str(tmp_path), *who, *words], check=True, capture_output=True, text=True
        ).stdout

    git("init", "-q")
    assert git_state(tmp_path) is None, "no commit"
    git("commit", "-q", "--allow-empty", "-m", "first")
    commit = git("rev-parse", "HEAD").strip()
    clean = {"commit": commit, "dirty": False, "changed": [], "untracked": 0}
    assert git_state(tmp_path) == clean
    (tmp_path / "new").write_text("x")
    assert git_state(tmp_path) == {**clean, "untracked": 1}, "a report of an earlier run is not a change"
    git("add", "new")
    assert git_state(tmp_path) == {**clean, "dirty": True, "changed": ["new"]}


def test_without_git_there_is_no_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(tmp_path) is None
