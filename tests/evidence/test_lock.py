"""Locks: a criterion that was changed after the lock shows, with what changed and which way."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from pytest_saliency.cli import main
from pytest_saliency.contracts.contract import load_contract
from pytest_saliency.errors import SaliencyError
from pytest_saliency.evidence.bundle import write_bundle
from pytest_saliency.evidence.lock import assess_locks, lock_lines, lock_of, read_lock, write_lock
from pytest_saliency.evidence.verify import verify

from .bundles import CONTRACT, FILE, document_of, repository


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return repository(tmp_path / "repository")


def state(root: Path) -> tuple[str, list[str]]:
    (row,) = assess_locks(document_of(root), root)
    return row["state"], row["changes"]


def edit(root: Path, old: str, new: str) -> None:
    text = (root / FILE).read_text(encoding="utf-8")
    assert old in text
    (root / FILE).write_text(text.replace(old, new), encoding="utf-8")


def test_a_lock_holds_both_hashes_and_what_the_contract_resolves_to(root: Path) -> None:
    path = write_lock(root / FILE)
    assert path == root / "contracts/chest.saliency.lock.json"
    lock = json.loads(path.read_bytes())
    assert lock["sha256"] == hashlib.sha256((root / FILE).read_bytes()).hexdigest()
    assert lock["contract"] == "chest"
    assert [item["name"] for item in lock["resolved"]["items"]] == ["sensitive", "faithful", "kept"]
    assert lock["resolved"]["items"][0]["parameters"]["top_k"] == 0.05  # a default, written out
    assert set(lock["made"]) == {"at", "commit", "version"}
    assert read_lock(path.read_bytes(), "it") == lock


def test_without_a_lock_the_run_says_so_and_the_terminal_is_quiet(root: Path) -> None:
    assert state(root) == ("unlocked", [])
    assert lock_lines({"locks": assess_locks(document_of(root), root)}) == []


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("max_iou_drop: 0.4", "max_iou_drop: 0.5", "kept: max_iou_drop 0.40 -> 0.50 (looser)"),
        ("max_iou_drop: 0.4", "max_iou_drop: 0.3", "kept: max_iou_drop 0.40 -> 0.30 (tighter)"),
        ("min_advantage: 0.6", "min_advantage: 0.1", "faithful: min_advantage 0.60 -> 0.10 (looser)"),
        ("kind: faithful,", "kind: faithful, severity: warn,", "faithful: severity fail -> warn (looser)"),
        ("requirement: REQ-1", "requirement: REQ-2", "requirement REQ-1 -> REQ-2 (changed)"),
        ('"zoo:ft", layer: layer4', '"zoo:ft", layer: layer3', "model ft: layer layer4 -> layer3 (changed)"),
        ("id: kept", "id: renamed", "kept: removed (looser)"),
        ('"zoo:cases"', '"zoo:easy"', "kept: cases.python zoo:cases -> zoo:easy (changed)"),
        ("cases: {", "  cand: {python: 'zoo:ft', args: {width: 3}, layer: layer4}\ncases: {", "model cand: added"),
        (
            '"zoo:ft", layer: layer4',
            '"zoo:ft", args: {width: [3, 4], deep: true}, layer: layer4',
            "model ft: args none -> deep true, width [3, 4] (changed)",
        ),
        (
            "method: case}",
            "method: case, known_failure: {reason: a marker, expires: 2099-01-01}}",
            "sensitive: known_failure none -> expires 2099-01-01, reason a marker (looser)",
        ),
    ],
)
def test_what_changed_is_told_line_by_line(root: Path, old: str, new: str, line: str) -> None:
    document = document_of(root)
    write_lock(root / FILE)
    assert state(root) == ("unchanged", [])
    edit(root, old, new)
    digest = hashlib.sha256((root / FILE).read_bytes()).hexdigest()
    for record in document["records"]:
        record["contract_sha256"] = digest
    (row,) = assess_locks(document, root)
    assert row["state"] == "changed"
    assert line in row["changes"], row["changes"]
    assert not any(mark in shown for shown in row["changes"] for mark in ("{", "None", "True"))
    assert line in row["why"]
    assert any(line in shown for shown in lock_lines({"locks": [row]}))


def test_a_comment_changes_the_text_and_not_the_meaning(root: Path) -> None:
    write_lock(root / FILE)
    edit(root, "saliency: 1\n", "# agreed on 1 March\n\nsaliency: 1\n")
    (row,) = assess_locks(document_of(root), root)
    assert row["state"] == "unchanged"
    assert "edited" in row["why"]


def test_a_lock_that_was_edited_by_hand_does_not_count(root: Path) -> None:
    path = write_lock(root / FILE)
    path.write_bytes(path.read_bytes().replace(b"0.4", b"0.9"))
    assert state(root)[0] == "unreadable"
    for content in (
        b"",
        b"[]",
        b'{"format": 1}',
        b'{"format": 2}',
        b'{"format":1,"made":{},"resolved":{},"sha256":""}',
    ):
        path.write_bytes(content)
        assert state(root)[0] == "unreadable"
        with pytest.raises(SaliencyError):
            read_lock(content, "it")


def test_the_bundle_takes_the_lock_in_and_verify_judges_it_again(root: Path, tmp_path: Path) -> None:
    write_lock(root / FILE)
    edit(root, "max_iou_drop: 0.4", "max_iou_drop: 0.45")
    document = document_of(root, {"sensitive": "PASS", "faithful": "PASS"})
    document["locks"] = assess_locks(document, root)
    written = write_bundle(tmp_path / "e", document, root=root)
    assert (written.path / "contract/chest.lock.json").read_bytes() == (
        root / "contracts/chest.saliency.lock.json"
    ).read_bytes()
    report = verify(written.path, 1)
    assert report.findings == ()
    assert report.document is not None
    assert any("0.40 -> 0.45 (looser)" in line for line in report.document["deviations"])
    attestation = json.loads((written.path / "attestation.intoto.json").read_bytes())
    names = [row["name"] for row in attestation["predicate"]["configuration"]]
    assert names == ["contract/chest.yaml", "contract/chest.lock.json"]


def test_the_command_locks_folders_and_compares(root: Path) -> None:
    run = CliRunner().invoke
    assert run(main, ["lock", str(root), "--check"]).exit_code == 1
    locked = run(main, ["lock", str(root)])
    assert locked.exit_code == 0
    assert "locked in chest.saliency.lock.json" in locked.output
    assert run(main, ["lock", "--check", str(root / FILE)]).exit_code == 0
    edit(root, "max_iou_drop: 0.4", "max_iou_drop: 0.5")
    compared = run(main, ["lock", "--check", str(root)])
    assert compared.exit_code == 1
    assert "kept: max_iou_drop 0.40 -> 0.50 (looser)" in compared.output
    (root / FILE).write_text("saliency: 1\n", encoding="utf-8")
    assert run(main, ["lock", str(root)]).exit_code == 1


def test_the_lock_of_a_contract_is_the_same_wherever_it_lies(tmp_path: Path) -> None:
    one, two = (load_contract(repository(tmp_path / name) / FILE) for name in ("a", "b"))
    assert lock_of(one, at="now") == lock_of(two, at="now")
    assert CONTRACT.encode() == one.text.encode()


def test_a_lock_is_replaced_only_on_demand_and_never_silently(root: Path) -> None:
    run = CliRunner().invoke
    path = write_lock(root / FILE)
    before = path.read_bytes()
    for words in ([], ["--replace"]):
        same = run(main, ["lock", str(root), *words])
        assert same.exit_code == 0
        assert "stays as it is" in same.output
        assert path.read_bytes() == before
    edit(root, "max_iou_drop: 0.4", "max_iou_drop: 0.5")
    line = "kept: max_iou_drop 0.40 -> 0.50 (looser)"
    refused = run(main, ["lock", str(root)])
    assert refused.exit_code == 1
    assert line in refused.output
    assert "--replace" in refused.output
    assert path.read_bytes() == before
    assert run(main, ["lock", str(root), "--check", "--replace"]).exit_code == 2
    replaced = run(main, ["lock", str(root), "--replace"])
    assert replaced.exit_code == 0
    assert line in replaced.output
    assert run(main, ["lock", str(root), "--check"]).exit_code == 0
    path.write_bytes(b"{")
    assert run(main, ["lock", str(root)]).exit_code == 1
    assert path.read_bytes() == b"{"
    assert run(main, ["lock", str(root), "--replace"]).exit_code == 0
    assert run(main, ["lock", str(root), "--check"]).exit_code == 0
