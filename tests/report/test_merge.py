"""Merging runs: one truth whatever the order, and an error where there are two."""

from __future__ import annotations

import copy
import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.records import sample_document, sample_record, sample_records, sample_waiver
from pytest_saliency.errors import SaliencyError
from pytest_saliency.evidence.canonical import settled
from pytest_saliency.records.hashing import to_json
from pytest_saliency.report.merge import KEPT_WAIVERS, MergeError, merge
from pytest_saliency.report.merge_runs import WORST_FIRST

Document = dict[str, Any]
RECORDS = sample_records()
# Eight are enough: what a check measured makes no difference to a merge.
DECIDED = [record for record in RECORDS if record["verdict"] != "NOT_RUN"][-8:]
IDS = ("a" * 32, "b" * 32, "c" * 32, "0" * 32)


NOT_RUN = sample_record("faithful", "NOT_RUN")


def not_run(record: dict[str, Any]) -> dict[str, Any]:
    named = {key: record[key] for key in ("node", "check", "kind", "axes", "source")}
    return {**NOT_RUN, **named, "headline": "declared, but not selected or not reached in this run"}


def shard(place: int, records: list[dict[str, Any]], **changes: Any) -> Document:
    return sample_document(records, **{"id": IDS[place], "started": f"2026-03-02T08:0{place}:00+00:00", **changes})


def shards(*groups: list[int], **changes: Any) -> list[Document]:
    """Return runs that decided the records at these places each, and know of all others as not run."""
    return [
        shard(place, [r if i in group else not_run(r) for i, r in enumerate(DECIDED)], **changes)
        for place, group in enumerate(groups)
    ]


def test_shards_make_the_whole_run() -> None:
    whole = shard(0, DECIDED)
    merged = merge(shards([0, 1, 2], [3, 4], [5, 6, 7]))
    assert merged["records"] == whole["records"]
    assert [part["id"] for part in merged["run"]["merged"]] == list(IDS[:3])
    assert sorted(n for part in merged["run"]["merged"] for n in part["nodes"]) == [
        record["node"] for record in whole["records"]
    ]
    # What was said of checks that did not run in one shard no longer holds, and nothing else is said of them.
    assert not [said for said in merged["deviations"] if "did not run" in said]
    assert [said for said in merged["deviations"] if "could not be decided" in said]


def test_what_no_shard_ran_is_still_missing() -> None:
    merged = merge(shards([0], [1]))
    missing = [record["node"] for record in merged["records"] if record["verdict"] == "NOT_RUN"]
    assert len(missing) == len(DECIDED) - 2
    assert [said for said in merged["deviations"] if said.startswith(f"{len(missing)} checks did not run: ")]


@settings(max_examples=25, deadline=None)
@given(
    groups=st.lists(st.sets(st.integers(0, len(DECIDED) - 1)), min_size=1, max_size=4),
    order=st.randoms(use_true_random=False),
)
def test_the_order_of_inputs_changes_no_byte(groups: list[set[int]], order: Any) -> None:
    documents = shards(*map(list, groups), versions={"torch": "2.6.0"})
    documents[0]["run"]["versions"] = {"torch": "2.7.0"}
    shuffled = [*documents, *documents[:1]]  # one of them twice
    order.shuffle(shuffled)
    assert to_json(merge(shuffled)) == to_json(merge(documents))


def test_merging_in_steps_gives_the_same() -> None:
    documents = shards([0, 1], [2, 3, 4], [5, 6, 7])
    documents[1]["run"]["versions"] = {"torch": "2.7.0"}
    documents[2]["run"]["tester"] = None
    at_once = merge(documents)
    for first, second, third in itertools.permutations(documents):
        assert merge([merge([first, second]), third]) == at_once


def test_one_run_stays_as_it_is() -> None:
    document = sample_document()
    assert merge([document]) == document
    assert merge([document, copy.deepcopy(document)]) == document


def test_the_inputs_are_left_alone() -> None:
    documents = shards([0, 1], [1, 2])
    documents[0]["records"][1]["notes"] = ["a note"]
    before = to_json(documents)
    merge(documents)
    assert to_json(documents) == before


def test_where_and_how_fast_it_was_made_may_differ() -> None:
    first, second = shards([0], [0])
    node = DECIDED[0]["node"]
    mine, yours = (next(r for r in d["records"] if r["node"] == node) for d in (first, second))
    mine["execution"] = {**mine["execution"], "device": "cuda"}
    yours["pictures"], yours["gallery"] = ["p.png"], [{"id": "1", "tiles": []}]
    mine["notes"], yours["notes"] = ["slow"], ["fast"]
    merged = merge([first, second])
    (kept,) = [record for record in merged["records"] if record["node"] == node]
    assert kept["pictures"] == ["p.png"]  # the one with pictures
    assert sorted(kept["notes"]) == ["fast", "slow"]
    assert merge([second, first]) == merged


def test_a_document_read_from_a_bundle_says_the_same() -> None:
    first, second = shards([0, 1, 2, 3], [0, 1, 2, 3])
    spelled = settled(second)  # 1.0 becomes 1
    assert to_json(spelled["records"]) != to_json(second["records"])
    assert len(merge([first, spelled])["records"]) == len(DECIDED)


@pytest.mark.parametrize("verdict", ["FAIL", "INCONCLUSIVE", "ERROR"])
def test_two_verdicts_for_one_check_are_an_error(verdict: str) -> None:
    passed = sample_record("no_semantic_drift", "PASS")
    other = sample_record("no_semantic_drift", verdict)
    other["node"] = passed["node"]
    for order in ((0, 1), (1, 0)):
        documents = [shard(0, [passed]), shard(1, [other])]
        with pytest.raises(MergeError) as caught:
            merge([documents[place] for place in order])
        text = str(caught.value)
        assert text.startswith(f"{passed['node']}: two runs decided it, and not alike")
        assert "PASS in run aaaaaaaa of 2026-03-02T08:00:00+00:00" in text
        assert f"{verdict} in run bbbbbbbb of 2026-03-02T08:01:00+00:00" in text
        assert "verdict" in text.partition("they differ in ")[2]


def test_one_verdict_from_other_numbers_is_an_error_too() -> None:
    one, other = (sample_record("class_sensitive", "PASS", draw=draw) for draw in (0, 1))
    with pytest.raises(MergeError, match=r"they differ in .*per_image"):
        merge([shard(0, [one]), shard(1, [other])])


def test_a_last_digit_is_enough() -> None:
    one = sample_record("class_sensitive", "PASS")
    other = copy.deepcopy(one)
    other["per_image"]["agreement"][3] += 2**-52
    assert one["per_image"] != other["per_image"]
    with pytest.raises(MergeError, match=r"they differ in per_image\."):
        merge([shard(0, [one]), shard(1, [other])])


def test_a_test_with_several_assertions_is_taken_whole() -> None:
    one, two = (sample_record(kind, "PASS") for kind in ("class_sensitive", "faithful"))
    for record in (one, two):
        record |= {"node": "test_a.py::test", "contract": None, "contract_sha256": None}
    merged = merge([shard(0, [two, one]), shard(1, [sample_record("no_semantic_drift", "PASS")])])
    assert [r["kind"] for r in merged["records"] if r["node"] == "test_a.py::test"] == ["faithful", "class_sensitive"]
    with pytest.raises(MergeError, match="they have different numbers of records"):
        merge([shard(0, [two, one]), shard(1, [two])])


def test_two_texts_of_one_contract_are_an_error() -> None:
    one, other = (sample_record(kind, "PASS") for kind in ("class_sensitive", "faithful"))
    other["contract_sha256"] = "f" * 64
    with pytest.raises(MergeError, match="contract chest: the runs used different texts of it") as caught:
        merge([shard(0, [one]), shard(1, [other])])
    for part in ("f" * 64, one["contract_sha256"], "aaaaaaaa", "bbbbbbbb"):
        assert part in str(caught.value)


def deviations(first: Document, second: Document) -> list[str]:
    return list(merge([first, second])["deviations"])


def test_other_packages_commits_and_testers_are_deviations() -> None:
    first, second = shards([0], [1])
    second["run"]["versions"] = {**second["run"]["versions"], "torch": "2.7.0"}
    second["run"]["git"] = {"commit": "e" * 40, "dirty": True, "changed": ["toy.py"], "untracked": 3}
    second["run"]["tester"] = None
    merged = merge([first, second])
    said = "\n".join(merged["deviations"])
    assert "The version of torch differs between the runs: 2.6.0 in run aaaaaaaa; 2.7.0 in run bbbbbbbb." in said
    assert f"{'e' * 40} in run bbbbbbbb" in said
    assert "The work tree had uncommitted changes in run bbbbbbbb" in said
    assert "Nobody is named as tester of run bbbbbbbb" in said
    assert merged["run"]["git"] == {
        "commit": f"{first['run']['git']['commit']} | {'e' * 40}",
        "dirty": True,
        "changed": ["toy.py"],
        "untracked": 3,
    }
    assert merged["run"]["tester"]["name"] == "A. Tester"
    assert merged["run"]["versions"]["torch"] == "2.6.0 | 2.7.0"
    assert "numpy" not in said


def test_equal_runs_deviate_in_nothing() -> None:
    groups = [[i for i, r in enumerate(DECIDED) if r["verdict"] != "ERROR"], [0]]
    records = [r for r in DECIDED if r["verdict"] != "ERROR"]
    documents = [
        shard(place, [r if i in group else not_run(r) for i, r in enumerate(records)])
        for place, group in enumerate(groups)
    ]
    merged = merge(documents)
    assert merged["deviations"] == []
    assert merged["run"]["git"] == documents[0]["run"]["git"]


def test_another_model_of_the_same_name_is_a_deviation() -> None:
    one, other = sample_record("class_sensitive", "PASS"), sample_record("faithful", "PASS")
    (subject,) = other["subjects"].values()
    known = subject["weights_sha256"]
    subject["weights_sha256"] = "d" * 64
    (said,) = [s for s in deviations(shard(0, [one]), shard(1, [other])) if "model" in s]
    assert said.startswith("The model 'ft' of contract chest differs between the runs: ")
    assert f"{'d' * 64} in run bbbbbbbb" in said
    assert f"{known} in run aaaaaaaa" in said
    assert not [s for s in merge([shard(0, [one, other]), shard(1, [one, other])])["deviations"] if "model" in s]


def test_other_cases_of_the_same_check_are_a_deviation() -> None:
    one, other = (
        sample_record("no_semantic_drift", "PASS", criterion={"method": name}, draw=draw)
        for draw, name in enumerate(("layercam", "gradcam"))
    )
    assert one["node"] != other["node"]
    assert one["cases"]["unordered_digest"] != other["cases"]["unordered_digest"]
    (said,) = [s for s in deviations(shard(0, [one]), shard(1, [other])) if "cases" in s]
    assert said.startswith("The set of cases of chest/evidence-kept differs between the runs: ")


def test_what_a_run_says_of_itself_is_kept() -> None:
    first, second = shards([0], [1])
    first["deviations"] = ["The lamp was off.", "Nobody is named as tester."]
    assert "The lamp was off." in deviations(first, second)


@pytest.mark.parametrize(
    ("codes", "worst"), [((0, 0), 0), ((0, 5), 5), ((1, 5), 1), ((1, 2), 2), ((3, 4), 3), ((-9, 3), -9), ((0, 1), 1)]
)
def test_the_worst_exit_code_counts(codes: tuple[int, int], worst: int) -> None:
    first, second = (shard(i, [DECIDED[i]], exit_status=code) for i, code in enumerate(codes))
    assert merge([first, second])["run"]["exit_status"] == worst


def test_every_exit_code_of_pytest_has_its_place() -> None:
    assert {int(code) for code in pytest.ExitCode} <= set(WORST_FIRST)


def test_times_are_compared_and_not_their_spelling() -> None:
    first = shard(0, [DECIDED[0]], started="2026-03-02T09:30:00+02:00", finished="2026-03-02T08:00:00+00:00")
    second = shard(1, [DECIDED[1]], started="2026-03-02T08:00:00+00:00", finished="2026-03-02T09:59:00+02:00")
    run = merge([first, second])["run"]
    assert (run["started"], run["finished"]) == ("2026-03-02T09:30:00+02:00", "2026-03-02T08:00:00+00:00")


def test_the_id_follows_from_the_runs() -> None:
    import hashlib

    merged = merge([shard(1, [DECIDED[1]]), shard(0, [DECIDED[0]])])
    assert merged["run"]["id"] == hashlib.sha256(f"{IDS[0]}\n{IDS[1]}".encode()).hexdigest()[:32]


def test_one_id_for_two_runs_is_an_error() -> None:
    with pytest.raises(SaliencyError, match="two different inputs call themselves run aaaaaaaa"):
        merge([shard(0, [DECIDED[0]]), shard(0, [DECIDED[1]])])


def test_a_waiver_counts_where_its_check_ran() -> None:
    failed = sample_record("no_semantic_drift", "FAIL")
    applies = sample_waiver(failed, nodes=[failed["node"]])
    unused = sample_waiver(failed, state="unused", why="the check did not run", nodes=[])
    first = shard(0, [failed, not_run(DECIDED[0])], waivers=[applies])
    second = shard(1, [not_run(failed), DECIDED[0]], waivers=[unused], finished="2026-04-01T00:00:00+00:00")
    merged = merge([second, first])
    assert merged["waivers"] == [applies]
    assert KEPT_WAIVERS in merged["deviations"]
    anew = merge([first, second], [unused])
    assert anew["waivers"] == [unused]
    assert KEPT_WAIVERS not in anew["deviations"]


def test_the_newest_assessment_counts() -> None:
    failed = sample_record("no_semantic_drift", "FAIL")
    applies, expired = sample_waiver(failed), sample_waiver(failed, state="expired", why="it expired")
    first = shard(0, [failed], waivers=[applies])
    second = shard(1, [failed], waivers=[expired], finished="2027-04-01T00:00:00+00:00")
    assert merge([first, second])["waivers"] == [expired]


def test_locks_are_kept_each_once() -> None:
    same, other = {"contract": "a", "state": "locked"}, {"contract": "b", "state": "changed", "why": "b was changed."}
    first, second = shard(0, [DECIDED[0]], locks=[same]), shard(1, [DECIDED[1]], locks=[other, same])
    merged = merge([first, second])
    assert merged["locks"] == [same, other]
    assert "b was changed." in merged["deviations"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"id": None}, "has no id"),
        ({"started": "yesterday"}, "has no readable time 'started' ('yesterday')"),
        ({"finished": None}, "has no readable time 'finished' (None)"),
        ({"exit_status": "1"}, "has no exit status"),
        ({"git": "abc"}, "'git' is no mapping"),
    ],
)
def test_a_run_that_does_not_say_which_it_is(change: dict[str, Any], sentence: str) -> None:
    broken = shard(0, [DECIDED[0]])
    broken["run"] |= change
    with pytest.raises(SaliencyError) as caught:
        merge([broken, shard(1, [DECIDED[1]])])
    assert sentence in str(caught.value)


def test_nothing_and_nameless_records_are_refused() -> None:
    with pytest.raises(MergeError, match="there is nothing to merge"):
        merge([])
    broken = shard(0, [DECIDED[0]])
    del broken["records"][0]["node"]
    with pytest.raises(MergeError, match="a record names no node"):
        merge([broken, shard(1, [DECIDED[1]])])


def test_the_result_is_json() -> None:
    merged = merge(shards([0], [1]))
    assert json.loads(to_json(merged)) == merged
