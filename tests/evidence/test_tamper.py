"""Level 0: whatever is done to the files of a bundle is found."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

import pytest

from pytest_saliency.evidence.level0 import check_bytes
from pytest_saliency.evidence.manifest import Entry, manifest_of
from pytest_saliency.evidence.verify import verify

from .bundles import bundle_of, copy_of

DENSE = 800  # files up to this many bytes are changed at every byte, longer ones at as many places


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    (folder / "waivers.yaml").write_text("waivers: []\n", encoding="utf-8")
    return bundle_of(folder, {"kept": "PASS"}, waivers=folder / "waivers.yaml").path


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def found_in(folder: Path) -> list[str]:
    found, _, _ = check_bytes(folder, None, ())
    return [finding.file for finding in found.findings]


def test_an_untouched_bundle_is_whole(bundle: Path) -> None:
    report = verify(bundle, 0)
    assert report.whole
    assert report.exit_code == 0
    assert report.id == Entry.of((bundle / "manifest.json").read_bytes()).sha256


def test_each_changed_byte_of_each_file_is_found(bundle: Path, tmp_path: Path) -> None:
    folder = copy_of(bundle, tmp_path / "copy")
    tried = 0
    for path in files_of(folder):
        content = path.read_bytes()
        name = path.relative_to(folder).as_posix()
        step = max(1, len(content) // DENSE)
        places = sorted({*range(0, len(content), step), *range(max(0, len(content) - 5), len(content))})
        with path.open("r+b") as file:
            for place in places:
                file.seek(place)
                file.write(bytes([content[place] ^ (1 << (place % 8))]))
                file.flush()
                found = found_in(folder)
                assert found if name == "manifest.json" else name in found, (name, place)
                file.seek(place)
                file.write(content[place : place + 1])
                file.flush()
                tried += 1
        assert path.read_bytes() == content
    assert tried > 5_000
    assert not found_in(folder)


def test_each_file_that_is_shortened_or_lengthened_is_found(bundle: Path, tmp_path: Path) -> None:
    folder = copy_of(bundle, tmp_path / "copy")
    for path in files_of(folder):
        content, name = path.read_bytes(), path.relative_to(folder).as_posix()
        for changed in (content[:-1], content + b"\n", b""):
            path.write_bytes(changed)
            assert name in found_in(folder), name
        path.write_bytes(content)
    assert not found_in(folder)


def test_a_removed_added_renamed_or_swapped_file_is_found(bundle: Path, tmp_path: Path) -> None:
    folder = copy_of(bundle, tmp_path / "copy")
    for path in files_of(folder):
        content, name = path.read_bytes(), path.relative_to(folder).as_posix()
        path.unlink()
        assert name in found_in(folder)
        path.write_bytes(content)
        other = path.with_name("z" + path.name)
        path.rename(other)
        found = found_in(folder)
        assert name in found
        other.rename(path)
    (folder / "extra.txt").write_text("more", encoding="utf-8")
    assert found_in(folder) == ["extra.txt"]
    (folder / "extra.txt").unlink()
    (folder / "signatures").mkdir()
    assert found_in(folder) == ["signatures"]
    (folder / "signatures" / "note.txt").write_text("approved", encoding="utf-8")
    assert found_in(folder) == ["signatures/note.txt"]
    (folder / "signatures" / "note.txt").unlink()
    (folder / "signatures").rmdir()
    one, two = folder / "junit.xml", folder / "run.json"
    contents = one.read_bytes(), two.read_bytes()
    one.write_bytes(contents[1])
    two.write_bytes(contents[0])
    assert {"junit.xml", "run.json"} <= set(found_in(folder))


def test_files_that_no_bundle_has_are_found_although_the_manifest_lists_them(bundle: Path, tmp_path: Path) -> None:
    folder = copy_of(bundle, tmp_path / "copy")
    (folder / "more.bin").write_bytes(b"more")
    (folder / "junit.xml").unlink()
    (folder / "manifest.json").unlink()
    entries = {path.relative_to(folder).as_posix(): Entry.of(path.read_bytes()) for path in files_of(folder)}
    (folder / "manifest.json").write_bytes(manifest_of(entries))
    assert set(found_in(folder)) == {"more.bin", "junit.xml"}


def test_a_bundle_with_new_hashes_has_another_id(bundle: Path, tmp_path: Path) -> None:
    folder = copy_of(bundle, tmp_path / "copy")
    original = verify(bundle, 0).id
    (folder / "junit.xml").write_bytes(b"<testsuites/>")
    (folder / "manifest.json").unlink()
    entries = {path.relative_to(folder).as_posix(): Entry.of(path.read_bytes()) for path in files_of(folder)}
    (folder / "manifest.json").write_bytes(manifest_of(entries))
    assert verify(folder, 0).whole
    report = verify(folder, 0, expected_id=original)
    assert report.exit_code == 4
    assert original is not None
    assert original in str(report.findings[0])
    assert verify(bundle, 0, expected_id=original.upper()).whole


@pytest.mark.parametrize("path", ["../outside.txt", "/etc/hostname", "contract/../../outside.txt", "a\x00b", "", "."])
def test_paths_of_a_hostile_manifest_are_never_opened(bundle: Path, tmp_path: Path, path: str) -> None:
    folder = copy_of(bundle, tmp_path / "copy")
    (tmp_path / "outside.txt").write_bytes(b"outside")
    entries = {
        file.relative_to(folder).as_posix(): Entry.of(file.read_bytes())
        for file in files_of(folder)
        if file.name != "manifest.json"
    }
    entries[path] = Entry.of(b"outside")
    (folder / "manifest.json").write_bytes(manifest_of(entries))
    findings = verify(folder, 0).findings
    assert [finding.what for finding in findings] == ["is missing"]


@pytest.mark.skipif(os.name != "posix", reason="links, pipes and sockets as on POSIX")
def test_links_pipes_and_sockets_are_found_and_never_opened(bundle: Path, tmp_path: Path) -> None:
    folder = copy_of(bundle, tmp_path / "copy")
    secret = tmp_path / "secret"
    secret.write_bytes((folder / "run.json").read_bytes())
    (folder / "run.json").unlink()
    (folder / "run.json").symlink_to(secret)
    (folder / "contract" / "loop").symlink_to(folder)
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as one:
        before = Path.cwd()
        os.chdir(folder)
        try:
            one.bind("socket")
        finally:
            os.chdir(before)
        found = {finding.file: finding.what for finding in verify(folder, 3).findings}
    assert "symbolic link" in found["run.json"] or "missing" in found["run.json"]
    assert "symbolic link" in found["contract/loop"]
    assert "device, pipe or socket" in found["pipe"]
    assert "device, pipe or socket" in found["socket"]


def test_names_that_are_no_text_and_folders_within_folders_are_found(bundle: Path, tmp_path: Path) -> None:
    folder = copy_of(bundle, tmp_path / "copy")
    (folder / "a\x1b[31m\n.txt").write_bytes(b"")
    deep = folder.joinpath(*["d"] * 12)
    deep.mkdir(parents=True)
    (deep / "x").write_bytes(b"")
    with contextlib.suppress(OSError):  # a file system that only takes text
        Path(os.fsdecode(os.fsencode(folder) + b"/\xff\xfe")).write_bytes(b"")
    findings = verify(folder, 0).findings
    assert len(findings) >= 2
    assert all(str(finding).isprintable() for finding in findings)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"null",
        b'{"format":1}',
        b'{"format":2,"files":[]}',
        b'{"format":1,"files":[1,{"path":"x"},{"path":3,"sha256":"","bytes":true}]}',
        b'{"format":1,"files":[],"files":[]}',
        b"[" * 100_000,
        b"\xff\xfe\x00",
        b'{"format":1,"files":[{"path":"run.json","sha256":"x","bytes":1e999}]}',
    ],
)
def test_a_manifest_that_is_none_gives_findings(bundle: Path, tmp_path: Path, content: bytes) -> None:
    folder = copy_of(bundle, tmp_path / "copy")
    (folder / "manifest.json").write_bytes(content)
    report = verify(folder, 1)
    assert report.exit_code == 4
    assert "manifest.json" in {finding.file for finding in report.findings}


def test_no_folder_is_no_bundle(tmp_path: Path) -> None:
    assert verify(tmp_path / "nothing", 0).exit_code == 4
    assert verify(tmp_path, 0).exit_code == 4
    (tmp_path / "file").write_bytes(b"")
    assert verify(tmp_path / "file", 0).exit_code == 4
