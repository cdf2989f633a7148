"""The hand-made records that other tests stand on are what a run would leave."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fixtures.records import CRITERIA, hostile_document, sample_document, sample_record, with_gallery
from pytest_saliency.checks.numbers import decide_again, seed_again
from pytest_saliency.records.hashing import sha256_of_file, to_json


@pytest.mark.parametrize("kind", CRITERIA)
@pytest.mark.parametrize("verdict", ["PASS", "FAIL", "INCONCLUSIVE"])
def test_a_sample_can_be_decided_again(kind: str, verdict: str) -> None:
    record = sample_record(kind, verdict, undefined=1)
    assert record["verdict"] == record["decision"]["verdict"] == verdict
    assert json.loads(to_json(decide_again(record).to_dict())) == record["decision"]
    assert f"{seed_again(record):016x}" == record["seed"]
    columns = record["per_image"]
    assert {len(column) for column in columns.values()} == {record["cases"]["kept"]}
    assert columns["id"] == sorted(columns["id"])
    fates = dict(zip(record["everyone"]["id"], record["everyone"]["fate"], strict=True))
    assert [case for case, fate in fates.items() if fate == "kept"] == columns["id"]


def test_variants() -> None:
    record = sample_record("faithful", curves=True, against=("random",), clusters=True, n=120)
    assert json.loads(to_json(decide_again(record).to_dict())) == record["decision"]
    assert len(set(record["per_image"]["cluster"])) == record["cases"]["kept"]
    curves = record["inputs"]["curves"]["blur"]
    assert curves["srg"] == pytest.approx(curves["insertion_area"] - curves["deletion_area"])
    assert curves["deletion"]["log_odds"][0] == pytest.approx(curves["insertion"]["log_odds"][-1])
    assert set(sample_record(groups=True)["everyone"]["group"]) == {"scanner A", "scanner B"}


def test_the_document_is_the_same_every_time_and_holds_every_verdict() -> None:
    document = sample_document()
    assert to_json(document) == to_json(sample_document())
    assert {record["verdict"] for record in document["records"]} == {"PASS", "FAIL", "INCONCLUSIVE", "ERROR", "NOT_RUN"}
    assert {record["kind"] for record in document["records"]} <= set(CRITERIA)
    assert [record["node"] for record in document["records"]] == sorted(
        record["node"] for record in document["records"]
    )
    assert len({record["node"] for record in document["records"]}) == len(document["records"])


def test_the_hostile_document_is_json() -> None:
    assert "<script>" in to_json(hostile_document())


def test_a_gallery_lies_below_the_root(tmp_path: Path) -> None:
    record = with_gallery(sample_record(), tmp_path, rows=1)
    (row,) = record["gallery"]
    assert [tile["title"] for tile in row["tiles"]] == ["image", "top-1 map", "top-2 map", "difference"]
    for tile in row["tiles"]:
        assert sha256_of_file(tmp_path / tile["path"]) == tile["sha256"]
