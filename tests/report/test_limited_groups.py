"""A failing check shows declared groups in the measures that have a limit, and marks a line by what is exceeded."""

from __future__ import annotations

from fixtures.records import sample_record
from pytest_saliency.report.grouped import group_rows_of, limited_group_rows_of
from pytest_saliency.report.plots.groups import group_plots
from pytest_saliency.report.terminal import render_failure

LIMITS = {"max_iou_drop": 0.3, "max_displacement": None, "min_correlation": None, "max_concentration_change": None}


def test_groups_are_shown_in_the_limited_measures_alone() -> None:
    record = sample_record("no_semantic_drift", "FAIL", groups=True, criterion=LIMITS)
    assert record["criterion"]["max_displacement"] is None
    every = {str(row["measure"]) for row in group_rows_of(record)}
    assert {"iou_drop", "displacement", "correlation"} <= every
    assert {row["measure"] for row in limited_group_rows_of(record)} == {"iou_drop"}
    assert len(group_plots(record)) == 1
    groups = {str(row["group"]) for row in group_rows_of(record)}
    lines = render_failure(record).splitlines()
    assert sum(line.strip().startswith(tuple(groups)) for line in lines) == len(groups)


def test_a_record_whose_limits_bind_nothing_by_group_shows_all_rows() -> None:
    record = sample_record("no_semantic_drift", "FAIL", groups=True, criterion=LIMITS)
    measures = {name: {**one, "limit": None} for name, one in record["decision"]["measures"].items()}
    without = {**record, "decision": {**record["decision"], "measures": measures}}
    assert limited_group_rows_of(without) == group_rows_of(record)


def test_a_line_with_several_limits_is_marked_by_the_worst() -> None:
    record = sample_record("no_semantic_drift", "FAIL", criterion={"max_iou_drop": 0.3, "max_displacement": 0.5})
    measures = dict(record["decision"]["measures"])
    measures["displacement"] = {**measures["displacement"], "verdict": "INCONCLUSIVE"}
    assert measures["iou_drop"]["verdict"] == "FAIL"
    line = "  - {id: evidence-kept, max_iou_drop: 0.3, max_displacement: 0.5}"
    source = {"file": "a.yaml", "line": 7, "lines": {"max_iou_drop": 7, "max_displacement": 7}, "snippet": [[7, line]]}
    for turned in (measures, dict(reversed(measures.items()))):
        shown = render_failure({**record, "source": source, "decision": {**record["decision"], "measures": turned}})
        assert f"{line} <-- exceeded" in shown
