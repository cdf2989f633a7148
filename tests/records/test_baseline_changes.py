"""Which way a criterion moved since it was approved, and how a run and its records tell it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fixtures.records import sample_record
from pytest_saliency.records.baseline_changes import annotate, changes, compared_changes, loosened_lines
from pytest_saliency.records.baseline_status import declared_in
from pytest_saliency.records.record import Setting, without_result

from .baseline_files import approved, candidate, later

WAYS = [
    ("max_agreement", 0.5, 0.6, "looser"),
    ("max_agreement", 0.5, 0.4, "tighter"),
    ("min_advantage", 0.5, 0.4, "looser"),
    ("min_advantage", 0.5, 0.6, "tighter"),
    ("min_kept", 0.5, 0.4, "looser"),
    ("max_undefined", 0.05, 0.1, "looser"),
    ("alpha", 0.05, 0.1, "looser"),
    ("alpha", 0.05, 0.01, "tighter"),
    ("max_iou_drop", 0.4, None, "looser"),
    ("max_iou_drop", None, 0.4, "tighter"),
    ("min_correlation", 0.4, None, "looser"),
    ("max_disadvantage", None, 0.1, "looser"),
    ("max_disadvantage", 0.1, None, "tighter"),
    ("fill", ["blur", "mean"], ["blur"], "looser"),
    ("fill", ["blur"], ["blur", "mean"], "tighter"),
    ("fill", ["blur"], ["mean"], "changed"),
    ("against", ["gradcam"], None, "looser"),
    ("against", None, ["gradcam"], "tighter"),
    ("rule", "full", "published", "looser"),
    ("rule", "published", "full", "tighter"),
    ("top_k", 0.05, 0.1, "changed"),
    ("keep", "correct", "all", "changed"),
    ("method", "case", "gradcam", "changed"),
]


@pytest.mark.parametrize(("name", "then", "now", "way"), WAYS)
def test_ways(name: str, then: Any, now: Any, way: str) -> None:
    (change,) = changes({name: then, "other": 1}, {name: now, "other": 1})
    assert (change.parameter, change.then, change.now, change.way) == (name, then, now, way)


def test_what_is_only_read_and_what_is_equal_is_no_change() -> None:
    assert changes({"curves": False, "fill": ("blur",)}, {"curves": 10, "fill": ["blur"]}) == []


def test_limits_by_measure_are_told_one_by_one_and_the_looser_first() -> None:
    found = changes(
        {"alpha": 0.05, "max_worsening": {"iou_drop": 0.1, "displacement": 0.1}},
        {"alpha": 0.01, "max_worsening": {"iou_drop": 0.2}},
    )
    assert [change.text for change in found] == [
        "max_worsening.displacement 0.10 -> none (looser)",
        "max_worsening.iou_drop 0.10 -> 0.20 (looser)",
        "alpha 0.05 -> 0.01 (tighter)",
    ]


def loosened(record: dict[str, Any]) -> dict[str, Any]:
    return {**record, "criterion": {**record["criterion"], "max_agreement": 0.7, "alpha": 0.01}}


def test_records_say_what_their_baseline_is_and_what_was_loosened(tmp_path: Path) -> None:
    record = sample_record()
    entry = approved(tmp_path, record)
    other, untouched = sample_record("faithful"), sample_record("no_semantic_drift")
    candidate(tmp_path, other)
    now = [loosened(record), dict(other), dict(untouched)]
    assert annotate(now, tmp_path) == []
    assert now[0]["baseline"] == {
        "selector": "chest/class-sensitive[case]",
        "state": "approved",
        "sha256": entry.sha256,
        "approved": dict(entry.approval or {}),
        "changes": [
            {"parameter": "max_agreement", "then": 0.5, "now": 0.7, "way": "looser"},
            {"parameter": "alpha", "then": 0.05, "now": 0.01, "way": "tighter"},
        ],
    }
    assert now[1]["baseline"]["state"] == "not approved"
    assert now[1]["baseline"]["approved"] is None
    assert now[1]["baseline"]["changes"] == []
    assert "baseline" not in now[2]
    assert loosened_lines(now) == [
        "loosened since Ann approved the baseline on 2026-11-21: chest/class-sensitive[case]:"
        " max_agreement 0.50 -> 0.70 (looser)"
    ]


def test_a_waiting_candidate_is_told_and_a_damaged_entry_is_a_problem(tmp_path: Path) -> None:
    record = sample_record()
    entry = approved(tmp_path, record)
    candidate(tmp_path, later(record))
    now = [dict(record)]
    assert annotate(now, tmp_path) == []
    assert now[0]["baseline"]["state"] == "approved, a candidate waits"
    entry.path.write_text("{")
    (problem,) = annotate([dict(record), dict(record)], tmp_path)
    assert "is damaged" in problem


def test_a_comparing_check_whose_limit_moved_or_that_is_gone_is_told(tmp_path: Path) -> None:
    limits = {"max_worsening": {"agreement": 0.05}, "min_kept": 0.5, "alpha": 0.05, "max_undefined": 0.05}
    entry = approved(tmp_path, sample_record(), {"no-worse": limits})
    moved = {"no-worse": {**limits, "max_worsening": {"agreement": 0.2}}}
    assert [change.text for change in compared_changes(entry, moved, complete=True)] == [
        "no-worse: max_worsening.agreement 0.05 -> 0.20 (looser)"
    ]
    assert compared_changes(entry, {}, complete=False) == []
    assert [change.text for change in compared_changes(entry, {}, complete=True)] == [
        "no-worse compares with it -> none (looser)"
    ]


REFERRING = """\
saliency: 1
contract: toy
models:
  one: {torchvision: resnet18}
  two: {torchvision: resnet18}
cases: {imagefolder: images}
defaults: {model: one}
checks:
  - {id: faithful, kind: faithful, method: gradcam, top_k: 0.1, min_advantage: 0.0}
  - {id: alike, kind: no_subgroup_gap, of: faithful, max_gap: {advantage: 0.5}}
  - {id: any-seed, kind: seed_robust, of: faithful, models: [one, two]}
  - {id: not-worse, kind: not_worse_than_baseline, of: faithful, max_worsening: {advantage: 0.2}}
"""


def test_other_kinds_that_name_a_check_do_not_compare_with_its_baseline(tmp_path: Path) -> None:
    (tmp_path / "toy.saliency.yaml").write_text(REFERRING, encoding="utf-8")
    declared = declared_in([tmp_path])
    assert declared.problems == ()
    assert {key.selector: set(checks) for key, checks in declared.comparing.items()} == {"toy/faithful": {"not-worse"}}


def test_records_of_other_kinds_that_name_a_check_are_passed_over(tmp_path: Path) -> None:
    """A run that holds a comparison of groups, beside an approved baseline of the check that it is about."""
    record = sample_record()
    approved(tmp_path, record)
    gap = {**record, "kind": "no_subgroup_gap", "check": "alike", "criterion": {"of": record["check"], "max_gap": {}}}
    assert annotate([record, gap], tmp_path) == []
    assert record["baseline"]["state"] == "approved"


@pytest.mark.parametrize("verdict", ["NOT_RUN", "ERROR"])
def test_a_comparing_check_without_a_result_is_passed_over(tmp_path: Path, verdict: str) -> None:
    """Left out with -k, or ended in an error: its record has a kind and no criterion."""
    record = sample_record()
    approved(tmp_path, record)
    setting = Setting("a::b", None, str(record["contract"]), "0" * 64, "not-worse", "not_worse_than_baseline")
    assert annotate([record, without_result(setting, verdict, "did not run")], tmp_path) == []
    assert record["baseline"]["state"] == "approved"
