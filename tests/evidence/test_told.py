"""What verifying says first, which of three things it says, and what it leaves unsaid."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from pytest_saliency.cli import main
from pytest_saliency.evidence.signing import sign_bundle
from pytest_saliency.evidence.told import lines_of
from pytest_saliency.evidence.verify import Report, verify

from .bundles import bundle_of, copy_of, rehash

VERDICTS = {"sensitive": "PASS", "kept": "PASS", "faithful": "PASS"}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle_of(tmp_path_factory.mktemp("bundle"), VERDICTS).path


@pytest.fixture
def folder(bundle: Path, tmp_path: Path) -> Path:
    return copy_of(bundle, tmp_path / bundle.name)


def say(*words: object) -> Result:
    return CliRunner().invoke(main, ["verify", *map(str, words)])


def pair(to: Path) -> tuple[bytes, Path]:
    private = ed25519.Ed25519PrivateKey.generate()
    to.write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), to


def test_three_findings_have_three_headlines(folder: Path, tmp_path: Path) -> None:
    private, public = pair(tmp_path / "pub.pem")
    _, other = pair(tmp_path / "pub2.pem")
    sign_bundle(folder, private, name="Q", meaning="fine", at=datetime(2026, 3, 2, tzinfo=UTC))
    assert say(folder, "--key", public).output.startswith("WHOLE up to level 1")
    unsigned = say(folder, "--key", other)
    assert unsigned.exit_code == 4
    assert unsigned.output.startswith(f"NOT SIGNED BY {other}: 1 finding")
    asked = say(folder, "--id", "0" * 64, "--key", other)
    assert asked.exit_code == 4
    assert asked.output.startswith("NOT THE BUNDLE ASKED FOR: 2 findings")
    (folder / "junit.xml").write_bytes(b"")
    changed = say(folder, "--id", "0" * 64, "--key", other, "--level", 0)
    assert changed.exit_code == 4
    assert changed.output.startswith("TAMPERED WITH: 3 findings")


def test_files_and_signatures_are_counted_apart(folder: Path, tmp_path: Path) -> None:
    files = sum(path.is_file() for path in folder.rglob("*"))
    assert f"checked: {files} files are byte for byte what was written" in say(folder).output
    private, _ = pair(tmp_path / "pub.pem")
    for number, words in ((1, "1 signature, are"), (2, "2 signatures, are")):
        sign_bundle(folder, private, name=f"Q{number}", meaning="fine", at=datetime(2026, 3, 2, tzinfo=UTC))
        assert f"checked: {files} files, and {words} byte for byte what was written" in say(folder).output


@pytest.mark.parametrize("name", [".DS_Store", "contract/Thumbs.db", "desktop.ini", "contract/._chest.yaml"])
def test_what_a_file_manager_left_is_named_as_that(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"\0")
    report = verify(folder, 0)
    assert [(one.file, "Finder and Explorer" in one.what) for one in report.findings] == [(name, True)]
    (folder / name).unlink()
    (folder / "more.txt").write_bytes(b"\0")
    (finding,) = verify(folder, 0).findings
    assert "Finder" not in finding.what


def test_what_a_file_manager_left_among_signatures_hides_none_of_them(folder: Path, tmp_path: Path) -> None:
    private, _ = pair(tmp_path / "pub.pem")
    sign_bundle(folder, private, name="Q. Manager", meaning="fine", at=datetime(2026, 3, 2, tzinfo=UTC))
    (folder / "signatures/.DS_Store").write_bytes(b"\0")
    report = verify(folder, 1)
    assert [one.file for one in report.findings] == ["signatures/.DS_Store"]
    assert "Finder and Explorer" in report.findings[0].what
    assert len(report.signatures) == 1


def test_a_level_that_was_not_reached_is_named(folder: Path) -> None:
    (folder / "results.json").write_bytes(b"{")
    rehash(folder)
    for level in (1, 2, 3):
        said = say(folder, "--level", level).output
        assert (
            "not checked: level 1 (every decision, criterion and report again from the numbers), 2 and 3; the" in said
        )
    assert "2 and 3; see --level" in say(folder, "--level", 0).output


def test_what_is_no_bundle_is_not_spoken_of_as_one(bundle: Path, tmp_path: Path) -> None:
    said = say(tmp_path)
    assert said.exit_code == 4
    assert [line.partition(":")[0] for line in said.output.splitlines()] == [
        "NO BUNDLE",
        "bundle id",
        "  FOUND level 0",
    ]
    assert "did you mean" not in said.output
    copy_of(bundle, tmp_path / "evidence" / bundle.name)
    hinted = say(tmp_path / "evidence").output
    assert f"did you mean {tmp_path / 'evidence' / bundle.name}?" in hinted


def test_the_model_to_be_released_is_told_from_the_one_it_is_compared_with(bundle: Path) -> None:
    report = verify(bundle, 0)
    assert report.document is not None
    lines = [line for line in lines_of(report) if line.startswith(("model", "compared"))]
    by_role = {
        role: subject for one in report.document["records"] for role, subject in (one.get("subjects") or {}).items()
    }
    assert [line.partition(",")[0] for line in lines] == [
        f"model under test ft: weights sha256 {by_role['after']['weights_sha256']}",
        f"compared with tl: weights sha256 {by_role['before']['weights_sha256']}",
    ]


def test_models_of_one_name_are_told_apart_and_weights_of_no_file_are_said_so() -> None:
    subject = {"name": "SmallNet", "architecture": "x.SmallNet", "weights_sha256": None}
    record = {
        "node": "test_a.py::test_a",
        "verdict": "PASS",
        "subjects": {"before": {**subject, "state_sha256": "1" * 64}, "after": {**subject, "state_sha256": "2" * 64}},
    }
    document = {"run": {}, "records": [record]}
    lines = lines_of(Report("0" * 64, 0, (), document=document))
    assert f"model under test SmallNet: weights: not from a file, state sha256 {'2' * 64}, x.SmallNet" in lines
    assert f"compared with SmallNet: weights: not from a file, state sha256 {'1' * 64}, x.SmallNet" in lines
