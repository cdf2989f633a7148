"""Which way a criterion moved since it was approved, and how a run and its records tell it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fixtures.records import sample_record
from pytest_saliency.records.baseline_changes import annotate, changes, compared_changes, loosened_lines

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
