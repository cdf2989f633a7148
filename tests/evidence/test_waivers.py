"""A waiver excuses exactly what it was granted for: one check, one model, within bounds, until an instant."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from fixtures.records import sample_records
from pytest_saliency.evidence.waivers import STATES, assess, check_name, quantities, read_waivers

from .waiving import KEYS, MODEL, NOW, OTHER, decision, file_of, measure, record, waiver


def state_of(text: bytes, *records: dict[str, Any], now: Any = NOW) -> tuple[str, str]:
    (made,) = assess(read_waivers(text, "w.yaml"), records, now)
    assert made["state"] in STATES
    assert made["why"].endswith((".", "?"))
    return made["state"], made["why"]


def test_a_waiver_that_fits_applies_and_says_who_accepted_what_until_when() -> None:
    state, why = state_of(file_of(waiver()), record())
    assert state == "applies"
    for part in ("stays FAIL", "0.45", "0.55", "Bo Chen", "2026-12-31T00:00:00Z", "212 days left"):
        assert part in why


def test_an_assessment_carries_everything_that_the_release_decision_cites() -> None:
    (made,) = assess(read_waivers(file_of(waiver()), "w.yaml"), [record()], NOW)
    cited = {key: made[key] for key in KEYS if key not in ("bound", "model")}
    assert cited == {key: value for key, value in KEYS.items() if key not in ("bound", "model")}
    assert (made["bound"], made["model"]) == ({"iou_drop": 0.55}, MODEL)
    assert made["nodes"] == ["chest.saliency.yaml::evidence-kept[gradcam]"]


def test_it_holds_up_to_its_end_and_not_at_it() -> None:
    text = file_of(waiver(expires="2026-06-01T12:00:00Z"))
    assert state_of(text, record(), now=NOW - timedelta(microseconds=1))[0] == "applies"
    assert state_of(text, record(), now=NOW)[0] == "expired"
    assert "31 days ago" in state_of(text, record(), now=NOW + timedelta(days=31, hours=2))[1]


def test_one_from_the_future_excuses_nothing() -> None:
    text = file_of(waiver(created="2026-06-01T12:00:01Z"))
    assert state_of(text, record()) == (
        "invalid",
        "It was created in the future, at 2026-06-01T12:00:01Z; check the clock.",
    )


@pytest.mark.parametrize(
    ("estimate", "state"), [(0.45, "applies"), (0.55, "applies"), (0.5501, "lapsed"), (None, "lapsed")]
)
def test_it_lapses_beyond_its_bound_and_where_nothing_is_defined(estimate: float | None, state: str) -> None:
    measures = {"iou_drop": measure(estimate, 0.4, "<=", "FAIL")}
    assert state_of(file_of(waiver()), record(decision=decision(measures=measures)))[0] == state


@pytest.mark.parametrize(
    ("side", "estimate", "bound", "state"),
    [
        (">=", 0.6, 0.5, "applies"),
        (">=", 0.4, 0.5, "lapsed"),
        (">", 0.5, 0.5, "applies"),
        ("<", 0.5, 0.5, "applies"),
        ("abs<=", -0.3, 0.4, "applies"),
        ("abs<=", -0.5, 0.4, "lapsed"),
        ("abs<=", 0.5, 0.4, "lapsed"),
    ],
)
def test_a_bound_lies_on_the_side_of_the_limit(side: str, estimate: float, bound: float, state: str) -> None:
    made = record(decision=decision(measures={"m": measure(estimate, 0.0, side, "FAIL")}))
    assert state_of(file_of(waiver(bound=f"{{m: {bound}}}")), made)[0] == state


def test_a_second_shortfall_is_not_hidden_by_a_waiver_for_the_first() -> None:
    measures = {**record()["decision"]["measures"], "accuracy_drop": measure(0.2, 0.1, "<=", "INCONCLUSIVE")}
    made = record(decision=decision(measures=measures))
    state, why = state_of(file_of(waiver()), made)
    assert (state, "accuracy_drop is 0.2, does not hold, and has no bound" in why) == ("lapsed", True)
    assert state_of(file_of(waiver(bound="{iou_drop: 0.55, accuracy_drop: 0.25}")), made)[0] == "applies"
    measures["accuracy_drop"] = measure(0.05, 0.1, "<=", "PASS")
    assert state_of(file_of(waiver()), record(decision=decision(measures=measures)))[0] == "applies"


def test_what_is_bounded_must_stay_within_although_it_holds() -> None:
    measures = {**record()["decision"]["measures"], "accuracy_drop": measure(0.05, 0.1, "<=", "PASS")}
    text = file_of(waiver(bound="{iou_drop: 0.55, accuracy_drop: 0.02}"))
    assert state_of(text, record(decision=decision(measures=measures)))[0] == "lapsed"


@pytest.mark.parametrize(
    ("change", "name"),
    [({"undefined_share": 0.2}, "undefined_share"), ({"counts": {"kept": 20, "total": 60}}, "kept_share")],
)
def test_a_gate_that_blocks_pass_needs_its_own_bound(change: dict[str, Any], name: str) -> None:
    made = record("INCONCLUSIVE", decision=decision(**change))
    state, why = state_of(file_of(waiver()), made)
    assert (state, name in why) == ("lapsed", True)
    bound = {"undefined_share": 0.25, "kept_share": 0.3}[name]
    assert state_of(file_of(waiver(bound=f"{{iou_drop: 0.55, {name}: {bound}}}")), made)[0] == "applies"


def test_a_bound_on_what_has_no_limit_is_a_mistake_and_says_what_there_is() -> None:
    state, why = state_of(file_of(waiver(bound="{iou_drop: 0.55, displacement: 0.9}")), record())
    assert (state, "iou_drop" in why) == ("invalid", True)
    assert "did you mean 'iou_drop'?" in state_of(file_of(waiver(bound="{iou_dorp: 0.55}")), record())[1]


def test_only_the_model_that_was_looked_at_is_excused() -> None:
    assert state_of(file_of(waiver(model=f'"{OTHER}"')), record())[0] == "other model"  # that of `before`
    one = {"model": {"weights_sha256": None, "state_sha256": MODEL}}
    assert state_of(file_of(waiver()), record(subjects=one))[0] == "applies"
    assert state_of(file_of(waiver()), record(subjects={}))[0] == "other model"


def test_an_unneeded_or_misnamed_waiver_is_unused() -> None:
    assert state_of(file_of(waiver()), record("PASS"))[0] == "unused"
    assert state_of(file_of(waiver()))[0] == "unused"
    _, why = state_of(file_of(waiver(check="chest/evidence-kept")), record())
    assert "each entry of its axes needs a waiver of its own, as 'chest/evidence-kept[gradcam]'" in why
    _, why = state_of(file_of(waiver(check="'chest.saliency.yaml::evidence-kept[gradcam]'")), record())
    assert "is named 'chest/evidence-kept[gradcam]'" in why
    assert "did you mean" in state_of(file_of(waiver(check="chest/evidence-kpt[gradcam]")), record())[1]


@pytest.mark.parametrize("verdict", ["ERROR", "NOT_RUN"])
def test_a_check_without_a_result_is_never_excused(verdict: str) -> None:
    state, why = state_of(file_of(waiver()), record(verdict, decision=None))
    assert (state, verdict in why) == ("unused", True)


def test_a_python_test_is_named_by_its_node_and_every_check_in_it_must_be_covered() -> None:
    node = "tests/test_model.py::test_evidence"
    first = record(contract=None, node=node)
    worse = record(contract=None, node=node, decision=decision(measures={"iou_drop": measure(0.6, 0.4, "<=", "FAIL")}))
    text = file_of(waiver(check=node))
    assert state_of(text, first)[0] == "applies"
    assert state_of(text, first, worse)[0] == "lapsed"
    assert state_of(text, first, record("PASS", contract=None, node=node))[0] == "applies"


def test_every_unmet_record_of_each_kind_can_be_waived_by_bounding_what_is_unmet_and_not_by_less() -> None:
    seen = set()
    for made in sample_records():
        if made["verdict"] not in ("FAIL", "INCONCLUSIVE"):
            continue
        unmet = {one.name: one.estimate for one in quantities(made) if one.unmet}
        assert unmet
        model = (made["subjects"].get("after") or made["subjects"]["model"])["weights_sha256"]
        given = {"check": check_name(made), "model": f'"{model}"'}
        rows = [f'"{name}": {estimate!r}' for name, estimate in unmet.items()]
        assert state_of(file_of(waiver(bound="{" + ", ".join(rows) + "}", **given)), made)[0] == "applies"
        for left_out in rows[1:] and rows:
            fewer = ", ".join(row for row in rows if row != left_out)
            assert state_of(file_of(waiver(bound="{" + fewer + "}", **given)), made)[0] == "lapsed"
        seen.add((made["kind"], made["verdict"]))
    assert len(seen) >= 4


def test_what_cannot_be_bounded_is_not_excused() -> None:
    measures = {"iou_drop": measure(0.3, 0.4, "<=", "PASS")}
    state, why = state_of(file_of(waiver()), record("INCONCLUSIVE", decision=decision(measures=measures)))
    assert (state, "not among the measures" in why) == ("lapsed", True)


def test_a_comparison_with_too_many_undefined_pairs_needs_its_bound() -> None:
    measures = {"advantage over random[blur]": measure(0.5, 0.0, ">", "PASS", undefined=12)}
    given = {"kind": "faithful", "criterion": {"max_undefined": 0.05}, "decision": decision(measures=measures)}
    made = record("INCONCLUSIVE", **given)
    assert state_of(file_of(waiver(bound='{"advantage over random[blur]": 0.1}')), made)[0] == "lapsed"
    for bound, state in ((0.2, "applies"), (0.19, "lapsed")):
        assert state_of(file_of(waiver(bound=f"{{undefined_share: {bound}}}")), made)[0] == state


def test_the_published_rule_has_no_gate_for_undefined_images() -> None:
    criterion = {"max_undefined": 0.05, "rule": "published"}
    made = record(criterion=criterion, decision=decision(undefined_share=0.5))
    assert state_of(file_of(waiver()), made)[0] == "applies"
    assert state_of(file_of(waiver()), {**made, "criterion": {**criterion, "rule": "full"}})[0] == "lapsed"


def test_kept_images_of_a_baseline_count_against_the_baseline() -> None:
    counts = {"kept": 20, "baseline": 60}
    made = record("INCONCLUSIVE", decision=decision(counts=counts))
    assert state_of(file_of(waiver(bound="{iou_drop: 0.55, kept_share: 0.33}")), made)[0] == "applies"
    assert state_of(file_of(waiver(bound="{iou_drop: 0.55, kept_share: 0.34}")), made)[0] == "lapsed"
