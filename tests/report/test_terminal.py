"""The block of a failing check, from records written by hand."""

from __future__ import annotations

from typing import Any

from pytest_saliency.report.junit import properties
from pytest_saliency.report.measured import key_of, measured_text, short_text
from pytest_saliency.report.terminal import render_failure, short_hash, violated_line


def measure(name: str, title: str, estimate: float | None, low: float, high: float, **more: Any) -> dict[str, Any]:
    made = {
        "name": name,
        "title": title,
        "estimate": estimate,
        "interval": {"low": low, "high": high, "level": 0.95, "method": "betting"},
        "limit": None,
        "side": "",
        "verdict": None,
    }
    return {**made, **more}


def record(**more: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "contract": "chest",
        "check": "evidence-kept",
        "kind": "no_semantic_drift",
        "verdict": "FAIL",
        "headline": "the model looks elsewhere: mean IoU drop 0.68, limit 0.40 (95 % bound 0.65 .. 0.71), n = 202",
        "criterion": {"max_iou_drop": 0.4, "max_displacement": 0.1, "keep": "both_correct"},
        "decision": {
            "measures": {
                "displacement": measure(
                    "displacement", "mean displacement", 0.08, 0.07, 0.09, limit=0.1, side="<=", verdict="PASS"
                ),
                "iou_drop": measure(
                    "iou_drop", "mean IoU drop", 0.68, 0.65, 0.71, limit=0.4, side="<=", verdict="FAIL"
                ),
                "correlation": measure("correlation", "mean pattern correlation", 0.3, 0.2, 0.4),
            },
            "legs": [
                {"name": "max_iou_drop", "statement": "mean IoU drop is at most 0.4", "p": 1.0, "holds": False},
                {"name": "kept", "statement": "enough images are kept", "p": 0.2, "holds": False},
                {"name": "other", "statement": "something that holds", "p": 0.0, "holds": True},
            ],
            "notes": ["a note"],
        },
        "worst": [
            {"id": f"cx-{i:04d}", "label": "Pneumonia", "values": {"IoU": 0.02 * i, "displacement": None}}
            for i in range(8)
        ],
        "pictures": ["cache/evidence.png"],
        "cases": {"n": 324, "kept": 202, "dropped": {"not both correct": 122}},
        "subjects": {
            "before": {"name": "tl", "weights_sha256": "3f9a" + "0" * 58 + "c1", "layer": "layer4"},
            "after": {
                "name": "ft",
                "weights_sha256": None,
                "state_sha256": "b07e" + "0" * 58 + "4d",
                "layer": "layer4",
            },
        },
        "method": {"name": "layercam", "version": 1},
        "execution": {"device": "cpu", "precision": "float32"},
        "seed": "5d1f0123456789ab",
        "source": {
            "file": "chest.saliency.yaml",
            "line": 23,
            "lines": {"max_iou_drop": 27, "max_displacement": 28},
            "snippet": [
                [23, "  - id: evidence-kept"],
                [27, "    max_iou_drop: 0.40"],
                [28, "    max_displacement: 0.10"],
            ],
        },
    }
    return {**made, **more}


def test_the_whole_block() -> None:
    assert render_failure(record(), "chest.saliency.yaml:27").splitlines() == [
        "evidence-kept: the model looks elsewhere: mean IoU drop 0.68, limit 0.40 (95 % bound 0.65 .. 0.71), n = 202",
        "  measure        mean   bound     limit",
        "  IoU drop       0.68    0.65   <= 0.40   FAIL",
        "  displacement   0.08    0.09   <= 0.10   PASS",
        "  not shown: enough images are kept (p = 0.2)",
        "  case      label        IoU   displacement",
        "  cx-0000   Pneumonia   0.00      undefined",
        "  cx-0001   Pneumonia   0.02      undefined",
        "  cx-0002   Pneumonia   0.04      undefined",
        "  cx-0003   Pneumonia   0.06      undefined",
        "  cx-0004   Pneumonia   0.08      undefined",
        "  ... 3 more in the report",
        "  pictures: cache/evidence.png",
        "  202 of 324 cases kept (both correct); dropped: 122 not both correct",
        "  before tl  weights sha256 3f9a..c1  layer layer4   after ft  state sha256 b07e..4d  layer layer4",
        "  method layercam 1   device cpu float32   seed 5d1f..",
        "  note: a note",
        "    23 |   - id: evidence-kept",
        "    27 |     max_iou_drop: 0.40              <-- exceeded",
        "  If this change is intended, look at the pictures, then change the contract in a reviewed commit,"
        " or declare known_failure with a reason and a date.",
        "chest.saliency.yaml:27: evidence-kept: mean IoU drop 0.68 > 0.40",
    ]


def test_a_python_assertion_has_neither_snippet_nor_last_line() -> None:
    text = render_failure(record(contract=None, source=None))
    assert "<--" not in text
    assert "chest.saliency.yaml" not in text
    assert "in a reviewed commit" not in text
    assert text.startswith("evidence-kept: the model looks elsewhere")


def test_what_a_record_lacks_is_left_out() -> None:
    assert render_failure({"check": "c", "verdict": "ERROR", "headline": "no such layer"}) == "c: no such layer"


def test_the_line_is_that_of_the_first_limit_that_does_not_hold() -> None:
    assert violated_line(record()) == 27
    made = record()
    made["decision"]["measures"]["iou_drop"]["verdict"] = "PASS"
    assert violated_line(made) == 23, "a leg without a key points to the check"
    assert violated_line(record(source=None)) is None


def test_an_undecided_limit_is_not_called_exceeded() -> None:
    made = record(verdict="INCONCLUSIVE")
    made["decision"]["measures"]["iou_drop"] |= {
        "verdict": "INCONCLUSIVE",
        "estimate": 0.38,
        "interval": {"low": 0.3, "high": 0.44},
    }
    assert short_text(made) == "mean IoU drop 0.38 (bound 0.44) not shown <= 0.40"
    assert "<-- not demonstrated" in render_failure(made)
    assert "exceeded" not in render_failure(made)


def test_measured_values_show_the_bound_that_decides() -> None:
    sides = {
        "<=": measure("a", "IoU drop", 0.12, 0.05, 0.15, limit=0.4, side="<=", verdict="PASS"),
        ">=": measure("b", "mean correlation", 0.9, 0.85, 0.95, limit=0.8, side=">=", verdict="PASS"),
        "abs<=": measure("c", "change", -0.1, -0.2, 0.05, limit=0.3, side="abs<=", verdict="PASS"),
        ">": measure("d", "median advantage", None, -1.0, 2.0, limit=0.0, side=">", verdict="FAIL"),
    }
    expected = {
        "<=": "mean IoU drop 0.12 (bound 0.15) <= 0.40",
        ">=": "mean correlation 0.90 (bound 0.85) >= 0.80",
        "abs<=": "|mean change| -0.10 (bound 0.20) <= 0.30",
        ">": "median advantage undefined (bound 2.00) <= 0.00",
    }
    for side, one in sides.items():
        record = {"criterion": {f"max_{one['name']}": one["limit"]}, "decision": {"measures": {"x": one}}}
        assert measured_text(record) == expected[side]


def test_a_mean_of_either_sign_is_called_a_mean_once() -> None:
    one = measure("c", "mean change of concentration", -0.1, -0.2, 0.05, limit=0.3, side="abs<=", verdict="PASS")
    record = {"criterion": {"max_c": 0.3}, "decision": {"measures": {"c": one}}}
    assert measured_text(record).startswith("|mean change of concentration| -0.10 ")


def test_measured_values_leave_out_what_has_no_declared_limit() -> None:
    declared = measure("a", "IoU drop", 0.12, 0.05, 0.15, limit=0.4, side="<=", verdict="PASS")
    beside = measure("b", "share that is no noise", 0.9, 0.85, 0.95, limit=0.5, side=">", verdict="PASS")
    record = {"criterion": {"max_a": 0.4}, "decision": {"measures": {"a": declared, "b": beside}}}
    assert measured_text(record) == "mean IoU drop 0.12 (bound 0.15) <= 0.40"
    assert measured_text({"headline": "nothing measured"}) == "nothing measured"


def test_limits_find_their_keys() -> None:
    made = record(criterion={"min_advantage": 0.0, "max_agreement": 0.5})
    assert key_of(measure("advantage[blur]", "advantage", 1.0, 0.0, 2.0, limit=0.0, side=">"), made) == "min_advantage"
    assert key_of(measure("agreement", "agreement", 0.1, 0.0, 0.2, limit=0.5, side="<"), made) == "max_agreement"
    assert key_of(measure("self_agreement", "share", 0.1, 0.0, 0.2, limit=0.5, side=">"), made) is None


def test_hashes_are_shortened_but_told_apart() -> None:
    assert short_hash("3f9a" + "0" * 58 + "c1") == "3f9a..c1"
    assert short_hash(None) == "none"
    assert short_hash("abc") == "abc"


def test_junit_properties() -> None:
    found = dict(properties(record()))
    assert found["saliency.verdict"] == "FAIL"
    assert found["saliency.measured.iou_drop"] == "0.68"
    assert found["saliency.limit.iou_drop"] == "<= 0.4"
    assert "saliency.limit.correlation" not in found
    assert found["saliency.model_sha256.before"].startswith("3f9a")
    assert found["saliency.model_sha256.after"].startswith("b07e")
    assert found["saliency.source"] == "chest.saliency.yaml:23"
    assert "saliency.requirement" not in found
    assert dict(properties({"subjects": {"model": {"weights_sha256": "ab"}}})) == {"saliency.model_sha256": "ab"}
