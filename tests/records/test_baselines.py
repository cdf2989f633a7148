"""The folder of baselines: written as candidates, approved, found again, and refused where something is wrong."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fixtures.records import sample_record
from pytest_saliency.checks.compared import compared_columns
from pytest_saliency.errors import SaliencyError
from pytest_saliency.records.baseline_entry import BaselineError, Stored
from pytest_saliency.records.baseline_key import Key
from pytest_saliency.records.baselines import (
    approve,
    approved_entry,
    approved_path,
    candidate_path,
    find,
    shelves,
    stray,
    write_candidate,
)

from .baseline_files import APPROVAL, RUN, approved, candidate, later, maps_for

RECORDS = {
    "class_sensitive": sample_record("class_sensitive", clusters=True, groups=True, n=90),
    "faithful": sample_record("faithful", undefined=1),
    "no_semantic_drift": sample_record("no_semantic_drift", "FAIL", undefined=2),
}


@pytest.fixture(params=RECORDS)
def record(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = RECORDS[request.param]
    return found


def rewritten(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def assert_same_numbers(found: Stored, record: dict[str, Any]) -> None:
    assert list(found.per_image["id"]) == record["per_image"]["id"]
    for name, column in record["per_image"].items():
        for mine, other in zip(found.per_image[name], column, strict=True):
            if isinstance(other, list):
                assert mine[: len(other)] == other
                assert set(mine[len(other) :]) <= {None}
            else:
                assert mine == other or (other is None and set(mine or ()) <= {None})
    for name, values in compared_columns(record["kind"], record["per_image"]).items():
        np.testing.assert_array_equal(compared_columns(record["kind"], found.per_image)[name], values)
    for name, maps in maps_for(record).items():
        np.testing.assert_array_equal(found.maps[name], maps)


def test_what_comes_back_is_what_was_written(tmp_path: Path, record: dict[str, Any]) -> None:
    entry = approved(tmp_path, record)
    assert_same_numbers(entry.load(), record)
    found = approved_entry(tmp_path, Key.of(record))
    assert found == entry
    for part in ("kind", "criterion", "subjects", "cases", "method", "verdict", "headline"):
        assert found.data[part] == record[part]
    assert found.approval == APPROVAL
    assert found.data["made"] == {"at": RUN["finished"], "git": RUN["git"]}
    for name, measure in found.data["measured"].items():
        assert measure["estimate"] == record["decision"]["measures"][name]["estimate"]


def test_advantages_are_those_of_the_decision(tmp_path: Path) -> None:
    """From the rows of D by hand: own drop minus the mean of the block's others, weighted as the decision does."""
    record = RECORDS["faithful"]
    table = record["per_image"]
    for fill in record["criterion"]["fill"]:
        found = compared_columns("faithful", table)[f"advantage[{fill}]"]
        total = weight = 0.0
        for block in sorted(set(table["block"]) - {-1}):
            members = [i for i, b in enumerate(table["block"]) if b == block]
            usable = [place for place, i in enumerate(members) if table["status"][i] == "ok"]
            for place, i in enumerate(members):
                if place not in usable:
                    assert math.isnan(found[i])
                    continue
                row = table[f"drops[{fill}]"][i]
                others = [row[j] for j in usable if j != place]
                assert found[i] == pytest.approx(row[place] - sum(others) / len(others), abs=1e-12)
                total += (1.0 - 1.0 / len(usable)) * found[i]
                weight += 1.0 - 1.0 / len(usable)
        measure = record["decision"]["measures"][f"advantage[{fill}]"]
        assert total / weight == pytest.approx(measure["estimate"])


def test_the_same_numbers_give_the_same_bytes(tmp_path: Path, record: dict[str, Any]) -> None:
    for name in ("one", "two"):
        candidate(tmp_path / name, record)
    one, two = (
        {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.*")}
        for name in ("one", "two")
    )
    assert one == two
    assert len(one) == 2


def test_an_approved_baseline_stays_in_force_until_the_next_one_is_approved(tmp_path: Path) -> None:
    record = RECORDS["class_sensitive"]
    first = approved(tmp_path, record)
    key = candidate(tmp_path, later(record, n=90))
    assert approved_entry(tmp_path, key) == first
    assert_same_numbers(first.load(), record)
    shelf = find(tmp_path, key)
    assert shelf.waiting is not None
    assert shelf.waiting.approval is None
    second = approve(tmp_path, shelf.waiting, **{**APPROVAL, "by": "Ben"})
    assert approved_entry(tmp_path, key) == second
    assert second.approval is not None
    assert second.approval["by"] == "Ben"
    assert find(tmp_path, key).waiting is None
    assert not candidate_path(tmp_path, key).exists()
    assert stray(tmp_path) == [first.arrays_path]


def test_a_candidate_left_by_a_process_that_died_after_approving_waits_for_nothing(tmp_path: Path) -> None:
    key = candidate(tmp_path, RECORDS["faithful"])
    text = candidate_path(tmp_path, key).read_text()
    waiting = find(tmp_path, key).waiting
    assert waiting is not None
    approve(tmp_path, waiting, **APPROVAL)
    candidate_path(tmp_path, key).write_text(text)
    assert find(tmp_path, key).waiting is None


def test_none_and_unapproved_are_told_with_what_to_do(tmp_path: Path) -> None:
    record = RECORDS["faithful"]
    key = Key.of(record)
    with pytest.raises(BaselineError, match=r"no baseline of chest/faithful\[gradcam\] yet; .*--saliency-baseline new"):
        approved_entry(tmp_path, key)
    candidate(tmp_path, record)
    with pytest.raises(
        BaselineError, match=r"is not approved, .*baseline approve 'chest/faithful\[gradcam\]' --reason"
    ):
        approved_entry(tmp_path, key)
    approved(tmp_path, record)
    rewritten(approved_path(tmp_path, key), approval=None)
    with pytest.raises(BaselineError, match="is not approved"):
        approved_entry(tmp_path, key)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"format": 2}, r"format 2, and this release reads up to 1; it was written by a newer release"),
        ({"format": 0}, "its format is 0"),
        ({"format": True}, "its format is True"),
        ({"kind": None}, "'kind' is missing"),
        ({"criterion": []}, "'criterion' is missing or not what"),
        ({"key": {"contract": "other", "check": "faithful", "axes": []}}, "is the baseline of other/faithful, not of"),
        ({"key": {"contract": 1, "check": "faithful", "axes": []}}, "'key' is not one"),
        ({"key": {"check": "faithful", "axes": [["a"]]}}, "'key' is not one"),
        ({"arrays": {"path": "../../x.npz", "sha256": "0"}}, "'arrays' does not name a file by its SHA-256"),
        ({"arrays": {"path": "a" * 64 + ".npz", "sha256": "b" * 64}}, "'arrays' does not name a file"),
        ({"images": {"n": "3"}}, "'images' has no number or digest"),
        ({"approval": {"by": "Ann", "at": "2026"}}, "'approval' is neither empty nor complete"),
        ({"approval": {"by": " ", "at": "2026", "reason": "x"}}, "'approval' is neither empty nor complete"),
        ({"approval": True}, "'approval' is neither empty nor complete"),
    ],
)
def test_a_changed_entry_is_refused_in_one_sentence(tmp_path: Path, changes: dict[str, Any], why: str) -> None:
    entry = approved(tmp_path, RECORDS["faithful"])
    rewritten(entry.path, **changes)
    with pytest.raises(BaselineError, match=why) as caught:
        approved_entry(tmp_path, entry.key)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b"null", b'{"format": 1}'])
def test_an_entry_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    entry = approved(tmp_path, RECORDS["faithful"])
    entry.path.write_bytes(content)
    with pytest.raises(BaselineError, match="is damaged"):
        find(tmp_path, entry.key)
    assert [len(part) for part in shelves(tmp_path)] == [0, 1]


def test_any_changed_byte_of_the_arrays_is_noticed(tmp_path: Path) -> None:
    entry = approved(tmp_path, RECORDS["no_semantic_drift"])
    content = entry.arrays_path.read_bytes()
    for place in (0, 30, len(content) // 2, len(content) - 1):
        entry.arrays_path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(BaselineError, match=r"cannot be used: .*SHA-256 differs"):
            entry.load()
    entry.arrays_path.unlink()
    with pytest.raises(BaselineError, match="cannot be read: No such file"):
        entry.load()


def test_a_renamed_baseline_is_taken_for_no_other_checks(tmp_path: Path) -> None:
    entry = approved(tmp_path, RECORDS["faithful"])
    other = Key("chest", "other")
    entry.path.rename(approved_path(tmp_path, other))
    with pytest.raises(BaselineError, match=r"is the baseline of chest/faithful\[gradcam\], not of chest/other"):
        approved_entry(tmp_path, other)
    found, problems = shelves(tmp_path)
    assert found == []
    assert "moved or renamed" in problems[0]


def test_arrays_of_other_images_are_refused_though_their_digest_is_right(tmp_path: Path) -> None:
    entry = approved(tmp_path, RECORDS["faithful"])
    other = approved(tmp_path / "other", RECORDS["no_semantic_drift"])
    entry.arrays_path.with_name(other.arrays_path.name).write_bytes(other.arrays_path.read_bytes())
    rewritten(entry.path, arrays=other.data["arrays"])
    with pytest.raises(BaselineError, match="holds other images than its entry says"):
        approved_entry(tmp_path, entry.key).load()


def test_what_cannot_be_written_is_told_and_the_old_one_is_whole(tmp_path: Path) -> None:
    record = RECORDS["faithful"]
    entry = approved(tmp_path, record)
    candidate_path(tmp_path, entry.key).mkdir()
    with pytest.raises(SaliencyError, match="cannot be written"):
        write_candidate(tmp_path, entry.key, later(record), RUN, {})
    assert_same_numbers(approved_entry(tmp_path, entry.key).load(), record)


def test_damaged_arrays_are_not_approved(tmp_path: Path) -> None:
    key = candidate(tmp_path, RECORDS["faithful"])
    waiting = find(tmp_path, key).waiting
    assert waiting is not None
    waiting.arrays_path.write_bytes(b"not arrays")
    with pytest.raises(BaselineError):
        approve(tmp_path, waiting, **APPROVAL)
    assert not approved_path(tmp_path, key).exists()


def test_stray_files_are_found_and_nothing_else(tmp_path: Path) -> None:
    entry = approved(tmp_path, RECORDS["faithful"])
    (entry.path.parent / ("0" * 64 + ".npz")).write_bytes(b"x")
    (entry.path.parent / ".faithful.json.abc.part").write_bytes(b"x")
    (entry.path.parent / "README.md").write_text("mine")
    (tmp_path / "notes.npz").write_bytes(b"mine")
    assert {path.name for path in stray(tmp_path)} == {"0" * 64 + ".npz", ".faithful.json.abc.part"}
    assert {path.name for path in stray(tmp_path, without=[entry.path])} > {entry.arrays_path.name}
