"""What a bundle holds, that it holds it exactly, and what it never holds."""

from __future__ import annotations

import copy
import getpass
import hashlib
import json
import re
import socket
from pathlib import Path
from typing import Any

import pytest

from fixtures.records import hostile_document, sample_document, sample_records, with_gallery
from pytest_saliency.checks.numbers import decide_again
from pytest_saliency.errors import SaliencyError
from pytest_saliency.evidence.bundle import write_bundle
from pytest_saliency.evidence.canonical import ParseError, canonical, parse, settled
from pytest_saliency.evidence.layout import DIFFERS
from pytest_saliency.evidence.read import read_bundle
from pytest_saliency.evidence.verify import verify

from .bundles import FILE, bundle_of, document_of, repository

MAGIC = (b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"PK\x03\x04", b"data:image/png", b"data:image/jpeg")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def with_maps(document: dict[str, Any], root: Path) -> dict[str, Any]:
    """Give every decided record a gallery of real tiles, a sheet and maps below ``root``."""
    import numpy as np

    from pytest_saliency.records.arrays import write_arrays

    records = []
    for number, record in enumerate(document["records"]):
        if record["decision"] is None:
            records.append(record)
            continue
        given = with_gallery(record, root)
        sheet = root / f"sheet-{number}.png"
        sheet.write_bytes((root / given["gallery"][0]["tiles"][0]["path"]).read_bytes())
        n = len(record["per_image"]["id"])
        maps = write_arrays(root / f"maps-{number}.npz", {"top1": np.zeros((n, 7, 7), dtype=np.float32)})
        given |= {"pictures": [sheet.name], "maps": {**maps, "path": f"maps-{number}.npz"}}
        records.append(given)
    return {**document, "records": records}


def test_a_document_comes_back_exactly(tmp_path: Path) -> None:
    document = sample_document()
    back = read_bundle(write_bundle(tmp_path, document, root=tmp_path).path).document
    for key in ("run", "waivers", "locks"):
        assert back[key] == document[key], key
    for record, original in zip(back["records"], document["records"], strict=True):
        assert set(record) == set(original)
        for key in set(original) - {"decision", "per_image", "everyone", "inputs"}:
            assert record[key] == original[key], (original["node"], key)
        for key in ("decision", "per_image", "everyone", "inputs"):  # the sign of zero aside, equal to the last bit
            assert record.get(key) == original.get(key), (original["node"], key)


def test_decisions_can_be_made_again_from_what_came_back(tmp_path: Path) -> None:
    back = read_bundle(write_bundle(tmp_path, sample_document(), root=tmp_path).path).document
    decided = [record for record in back["records"] if record["decision"] is not None]
    assert len(decided) >= 7
    for record in decided:
        assert canonical(decide_again(record).to_dict()) == canonical(record["decision"])


def test_tables_keep_none_and_columns_that_one_record_lacks(tmp_path: Path) -> None:
    document = sample_document(sample_records()[:3])
    first = document["records"][0]
    first["per_image"]["odd"] = [None] * len(first["per_image"]["id"])
    document["records"][1]["per_image"] = {}
    document["records"][2]["everyone"] = None
    back = read_bundle(write_bundle(tmp_path, document, root=tmp_path).path).document
    assert back["records"][0]["per_image"] == first["per_image"]
    assert back["records"][1]["per_image"] == {}
    assert back["records"][2]["everyone"] is None
    assert "odd" not in back["records"][1]["per_image"]


def test_two_runs_of_one_commit_give_the_same_bytes_but_for_the_stated_files(tmp_path: Path) -> None:
    root = repository(tmp_path / "repository")
    one = document_of(root)
    two = copy.deepcopy(one)
    two["run"] |= {"id": "f" * 32, "started": "2027-01-01T00:00:00+00:00", "finished": "2027-01-01T00:00:09+00:00"}
    for record in two["records"]:
        record["execution"]["check_seconds"] = {"measure": 9.5, "decide": 1.25}
        record["execution"]["work"] = {}
    first, second = (contents(write_bundle(tmp_path / "e", each, root=root).path) for each in (one, two))
    assert set(first) == set(second)
    differing = {path for path in first if first[path] != second[path]}
    assert differing <= set(DIFFERS)
    assert {"run.json", "manifest.json", "junit.xml"} <= differing
    assert {"results.json", "cases.jsonl", "attestation.intoto.json"} <= set(first) - differing


def test_the_same_run_again_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    written = bundle_of(tmp_path)
    before = contents(written.path)
    with pytest.raises(SaliencyError, match="is there already"):
        bundle_of(tmp_path)
    assert contents(written.path) == before
    assert [path.name for path in written.path.parent.iterdir()] == [written.path.name]


def test_the_manifest_lists_every_file_and_names_the_bundle(tmp_path: Path) -> None:
    written = bundle_of(tmp_path)
    files = contents(written.path)
    manifest = files.pop("manifest.json")
    assert hashlib.sha256(manifest).hexdigest() == written.id
    assert json.loads(manifest) == {
        "format": 1,
        "files": [
            {"path": path, "sha256": hashlib.sha256(files[path]).hexdigest(), "bytes": len(files[path]), "role": role}
            for path, role in sorted(
                {
                    "attestation.intoto.json": "attestation",
                    "cases.jsonl": "cases",
                    "contract/chest.resolved.json": "resolved contract",
                    "contract/chest.yaml": "contract",
                    "junit.xml": "junit",
                    "report.html": "report",
                    "results.json": "results",
                    "run.json": "run",
                    **({"model.cdx.json": "bill of materials"} if "model.cdx.json" in files else {}),
                }.items()
            )
        ],
    }
    assert re.fullmatch(r"20260302T080000Z-01234567", written.path.name)


def test_without_maps_there_is_no_pixel_and_no_map(tmp_path: Path) -> None:
    document = with_maps(sample_document(sample_records()[:2]), tmp_path)
    written = write_bundle(tmp_path / "e", document, root=tmp_path)
    files = contents(written.path)
    assert not any(path.startswith(("maps/", "pictures/")) for path in files)
    for path, content in files.items():
        assert not [magic for magic in MAGIC if magic in content], path
    back = read_bundle(written.path).document
    assert all(not record["gallery"] and not record["pictures"] and not record["maps"] for record in back["records"])


def test_with_maps_pictures_and_maps_are_those_of_the_run_under_names_of_the_bundle(tmp_path: Path) -> None:
    document = with_maps(sample_document(sample_records()[:2]), tmp_path)
    written = write_bundle(tmp_path / "e", document, root=tmp_path, maps=True)
    back = read_bundle(written.path).document
    for record, original in zip(back["records"], document["records"], strict=True):
        tiles = [tile for row in record["gallery"] for tile in row["tiles"]]
        wanted = [tile for row in original["gallery"] for tile in row["tiles"]]
        assert len(tiles) == len(wanted) > 0
        for tile, was in zip(tiles, wanted, strict=True):
            assert hashlib.sha256((written.path / tile["path"]).read_bytes()).hexdigest() == was["sha256"]
            assert {**tile, "path": ""} == {**was, "path": ""}
        assert (written.path / record["maps"]["path"]).read_bytes() == (
            tmp_path / original["maps"]["path"]
        ).read_bytes()
        assert (written.path / record["pictures"][0]).is_file()
    assert b"data:image/" in (written.path / "report.html").read_bytes()
    assert verify(written.path, 0).whole


def test_a_picture_that_is_not_what_the_run_wrote_stops_the_bundle(tmp_path: Path) -> None:
    document = with_maps(sample_document(sample_records()[:1]), tmp_path)
    (tmp_path / document["records"][0]["gallery"][0]["tiles"][0]["path"]).write_bytes(b"other")
    with pytest.raises(SaliencyError, match="is not what this run wrote"):
        write_bundle(tmp_path / "e", document, root=tmp_path, maps=True)
    assert not (tmp_path / "e").exists() or not list((tmp_path / "e").iterdir())


def test_keyed_ids_name_no_case_and_decide_the_same(tmp_path: Path) -> None:
    document = sample_document()
    names = {
        name
        for record in document["records"]
        for table in ("per_image", "everyone")
        for column in ("id", "cluster")
        for name in (record.get(table) or {}).get(column, ())
    }
    assert len(names) > 60
    document["records"][0]["notes"].append(f"image {sorted(names)[0]} has another size")
    key = b"a secret that no file may hold"
    plain = contents(write_bundle(tmp_path / "plain", document, root=tmp_path).path)
    assert any(name.encode() in plain["report.html"] for name in names)
    written = write_bundle(tmp_path / "keyed", document, root=tmp_path, case_key=key)
    for path, content in contents(written.path).items():
        assert not [name for name in names if name.encode() in content], path
        assert key not in content
    back = read_bundle(written.path).document
    for record, original in zip(back["records"], document["records"], strict=True):
        assert record["decision"] == original["decision"]
        if record["decision"] is not None:
            assert canonical(decide_again(record).to_dict()) == canonical(record["decision"])
            assert len(set(record["everyone"]["id"])) == len(set(original["everyone"]["id"]))
    other = read_bundle(
        write_bundle(tmp_path / "other", document, root=tmp_path, case_key=b"another key, 16 b").path
    ).document
    assert other["records"][0]["everyone"]["id"] != back["records"][0]["everyone"]["id"]


def test_a_bundle_names_no_place_and_no_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hunter2-hunter2")
    root = repository(tmp_path / "repository")
    document = document_of(root)
    document["run"]["command"] = (
        f"pytest {root}/contracts --saliency-bundle /mnt/share/evidence 'C:\\Users\\jane\\x.py'"
    )
    document["records"][0]["cases"]["source"] = f"image folder {root}/data/val"
    document["records"][0]["subjects"]["model"]["source"] = "file /srv/secret/models/ft.pt"
    document["records"][1]["notes"] = [f"see {Path.home()}/notes/one.txt, and https://example.org/a/b"]
    files = contents(write_bundle(tmp_path / "e", document, root=root).path)
    words = [str(tmp_path), str(Path.home()) + "/", "/mnt/share", "/srv/secret", "\\Users", "hunter2"]
    words += [socket.gethostname()] if len(socket.gethostname()) > 4 else []
    words += [getpass.getuser()] if len(getpass.getuser()) > 4 else []
    for path, content in files.items():
        assert not [word for word in words if word.encode() in content], path
    run = json.loads(files["run.json"])
    assert run["run"]["command"] == "pytest contracts --saliency-bundle .../evidence '.../x.py'"
    assert b"https://example.org/a/b" in files["results.json"]
    assert b"image folder data/val" in files["results.json"]


def test_a_contract_that_changed_during_the_run_is_not_taken_in(tmp_path: Path) -> None:
    root = repository(tmp_path / "repository")
    document = document_of(root)
    (root / FILE).write_text("saliency: 1\n", encoding="utf-8")
    written = write_bundle(tmp_path / "e", document, root=root)
    assert "changed during the run" in written.problems[0]
    assert not (written.path / "contract").exists()
    assert any("changed during the run" in line for line in read_bundle(written.path).document["deviations"])


def test_hostile_texts_stay_texts_and_stay_inside(tmp_path: Path) -> None:
    document = hostile_document()
    parent = tmp_path / "deep" / "e"
    written = write_bundle(parent, document, root=tmp_path)
    assert [path.name for path in parent.iterdir()] == [written.path.name]
    assert {path.name for path in tmp_path.iterdir()} == {"deep"}
    assert verify(written.path, 0).whole
    assert settled(read_bundle(written.path).document) == read_bundle(written.path).document


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"a": 1, "a": 2}', "names the key 'a' twice"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": 1e999}', "not finite"),
        (b'{"a": ' + b"1" * 500 + b"}", "400 digits"),
        (b"[" * 5000, "deeper than"),
        (b'{"a": "\xff"}', "not UTF-8"),
        (b'{"a": 1', "not JSON"),
        (b"", "not JSON"),
        (b'"' + b'\\"' * 200_000 + b"[" * 200, "not JSON"),
    ],
)
def test_json_of_others_is_refused_with_a_sentence(content: bytes, said: str) -> None:
    with pytest.raises(ParseError, match=re.escape(said)):
        parse(content)


def test_canonical_json_is_that_of_rfc_8785() -> None:
    # The example of section 3.2.2 of the RFC, numbers and order of keys.
    value = {"numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 1e-27], "literals": [None, True, False], "\u20ac": -0.0}
    made = '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"\u20ac":0}'
    assert canonical(value) == made.encode()
    assert (
        canonical({"a": float("nan"), "b": 2**60, "c": "\ud800"})
        == b'{"a":null,"b":"1152921504606846976","c":"\\\\ud800"}'
    )
    assert settled(1e17) == 1e17
