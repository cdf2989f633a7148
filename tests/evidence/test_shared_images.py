"""Who shares mosaics and floors, and which images count, cannot be changed in a record; plans follow sets."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from fixtures.records import sample_record
from fixtures.referring import result_of
from pytest_saliency.checks.compared import comparable, compared_columns
from pytest_saliency.checks.no_subgroup_gap import NoSubgroupGapParameters, compare
from pytest_saliency.checks.numbers import Numbers, decide_again
from pytest_saliency.decide.decision import Decision
from pytest_saliency.decide.verdict import Verdict
from pytest_saliency.errors import CriterionError
from pytest_saliency.evidence.columns import about_images
from pytest_saliency.planning.resample import Pilot

Record = dict[str, Any]


def changed(record: Record, column: str, row: int, value: object) -> Record:
    made = copy.deepcopy(record)
    made["per_image"][column][row] = value
    return made


@pytest.mark.parametrize("kind", ["planted_evidence", "model_dependent"])
def test_sets_follow_from_the_seed(kind: str) -> None:
    record = sample_record(kind, "PASS", undefined=1)
    assert about_images(record) == []
    other = (record["per_image"]["set"][0] + 1) % 3
    (line,) = about_images(changed(record, "set", 0, other))
    assert "set[0]" in line
    every = {**record, "per_image": {**record["per_image"], "set": list(range(len(record["per_image"]["id"])))}}
    assert decide_again(every).n > record["decision"]["n"], "more units than there are"
    assert about_images(every)


def test_which_images_were_compared_follows_from_the_seed() -> None:
    record = sample_record("model_dependent", "PASS")
    (line,) = about_images(changed(record, "unusable_draws", 3, None))
    assert "the rows of the compared images" in line


def test_an_image_leaves_the_decision_only_by_its_drop() -> None:
    record = sample_record("planted_evidence", "PASS")
    with_seen = {**record["per_image"], "seen": [False] * len(record["per_image"]["id"])}
    assert decide_again({**record, "per_image": with_seen}).to_dict() == record["decision"]


@pytest.mark.parametrize(
    ("kind", "column"),
    [
        ("beats_null_explainers", "drop[blur]"),
        ("beats_null_explainers", "softmax_drop[mean]"),
        ("planted_evidence", "own_share"),
    ],
)
def test_a_map_that_shows_nothing_has_no_number(kind: str, column: str) -> None:
    record = sample_record(kind, "PASS", undefined=1)
    assert about_images(record) == []
    lost = record["per_image"]["status"].index("blank")
    kept = record["per_image"]["status"].index("ok")
    assert [
        line for line in about_images(changed(record, column, lost, 0.9)) if f"{column}[{lost}] is a number" in line
    ]
    assert [line for line in about_images(changed(record, "status", kept, "blank")) if f"{column}[{kept}]" in line]
    assert [line for line in about_images(changed(record, column, kept, None)) if "no number" in line]


def test_images_that_are_not_seen_are_not_asked_by_what_compares() -> None:
    record = sample_record("planted_evidence", "PASS")
    asked = comparable("planted_evidence", record["per_image"])
    assert asked.tolist() == [drop > 0.01 for drop in record["per_image"]["cell_drop"]]
    assert not asked.all()


def test_an_image_that_cannot_speak_is_undefined_in_what_compares() -> None:
    record = changed(sample_record("model_dependent", "PASS"), "likeness", 2, 0.9)
    (excess,) = compared_columns("model_dependent", record["per_image"], record["criterion"]).values()
    assert [i for i, value in enumerate(excess) if value != value] == [2]


def planted_in_groups(seen_in_b: bool) -> Record:
    """Return a record of mosaics of which those of scanner B show nothing: there is chance, and no drop of the odds."""
    record = sample_record("planted_evidence", "PASS", n=240, groups=True)
    table = record["per_image"]
    for i, name in enumerate(table["group"]):
        if name == "scanner B":
            table["own_share"][i], table["cell_drop"][i] = 0.25, 1.0 if seen_in_b else 0.0
    return record


def test_a_group_that_is_not_seen_in_its_mosaics_is_no_gap() -> None:
    def gap(record: Record) -> Decision:
        parameters = NoSubgroupGapParameters(
            method="gradcam",
            of=record["check"],
            of_kind="planted_evidence",
            of_criterion=record["criterion"],
            max_gap={"own_share": 0.3},
            min_group=5,
        )
        return compare(result_of(record), parameters, "gap").decision

    assert gap(planted_in_groups(True)).verdict is Verdict.FAIL
    unseen = planted_in_groups(False)
    assert {"scanner A", "scanner B"} == set(unseen["per_image"]["group"])
    with pytest.raises(CriterionError, match="only one"):
        gap(unseen)
    rows = [i for i, name in enumerate(unseen["per_image"]["group"]) if name == "scanner B"]
    for i in rows[:3]:
        unseen["per_image"]["own_share"][i], unseen["per_image"]["cell_drop"][i] = 0.75, 1.0
    assert gap(unseen).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("clusters", [False, True])
def test_a_plan_draws_whole_sets(clusters: bool) -> None:
    record = sample_record("planted_evidence", "PASS", n=120, clusters=clusters)
    numbers = Numbers.of(record)
    pilot = Pilot.of(numbers)
    sizes = {name: numbers.per_image["set"].count(name) for name in numbers.per_image["set"]}
    assert pilot.kept_units == len(sizes)
    drawn = pilot.drawn(30, 1, 1)
    again: dict[int, list[float]] = {}
    for name, share in zip(drawn.per_image["set"], drawn.per_image["own_share"], strict=True):
        again.setdefault(name, []).append(share)
    whole: dict[int, list[float]] = {}
    for name, share in zip(numbers.per_image["set"], numbers.per_image["own_share"], strict=True):
        whole.setdefault(name, []).append(share)
    assert 20 < len(again) < 40
    assert {tuple(sorted(one)) for one in again.values()} <= {tuple(sorted(one)) for one in whole.values()}
