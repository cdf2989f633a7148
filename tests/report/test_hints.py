"""What a run tells newcomers, from records made by hand."""

from __future__ import annotations

from typing import Any

from pytest_saliency.report.document import deviations
from pytest_saliency.report.hints import hint_lines

SUBJECT = {
    "name": "m",
    "source": "timm:resnet18",
    "preprocess": {"channels": 3},
    "layer": "l",
    "layer_shape": [8, 4, 4],
}
CASES = {"source": "val", "class_names": {"1": "b", "0": "a"}}


def record(right: int, wrong: int, cases: dict[str, Any] = CASES, **subject: Any) -> dict[str, Any]:
    everyone = {"correct": [True] * right + [False] * wrong}
    return {"contract": "c", "subjects": {"model": {**SUBJECT, **subject}}, "cases": cases, "everyone": everyone}


def test_nothing_is_told_of_a_model_that_is_right_half_of_the_time() -> None:
    assert hint_lines([record(5, 5)]) == []


def test_a_model_that_is_seldom_right_is_told_once_with_its_classes_in_order() -> None:
    (line,) = hint_lines([record(4, 5), record(4, 5)])
    assert line.startswith("model 'm' (contract c) gives the label of only 4 of 9 cases of val: look at its preprocess")
    assert "(0 a, 1 b; 'classes' sets it)" in line


def test_units_of_images_with_several_labels_may_be_seldom_right() -> None:
    assert hint_lines([record(1, 9, cases={**CASES, "units": {"images": 3}})]) == []


def test_one_mask_for_several_labels_is_told() -> None:
    def masked(kind: str = "localized", region: object = None, **units: Any) -> dict[str, Any]:
        made = record(9, 0, cases={**CASES, "n": 9, "units": {"images": 6, **units}})
        return {**made, "kind": kind, "criterion": {"region": region}}

    told = hint_lines([masked(), masked("avoids", "masks")])
    assert len(told) == 1
    assert told[0].startswith("cases of val have one mask an image, and some images are looked at for several labels")
    assert hint_lines([masked(masks="label"), masked(images=9), masked("avoids", {"border": 0.1})]) == []
    assert hint_lines([{**masked(), "cases": {**CASES, "n": 9}}]) == []


def test_both_models_of_a_pair_have_their_own_column() -> None:
    made = record(0, 0)
    made["subjects"] = {"before": {**SUBJECT, "name": "b"}, "after": {**SUBJECT, "name": "a"}}
    made["everyone"] = {"correct_before": [True] * 9, "correct_after": [False] * 9}
    (line,) = hint_lines([made])
    assert line.startswith("model 'a' (contract c) gives the label of only 0 of 9")


def test_a_model_without_preprocess_is_told_unless_it_may_normalise_itself() -> None:
    (line,) = hint_lines([record(9, 0, preprocess={}), record(9, 0, preprocess={}, name="n")])
    assert line.startswith("models 'm', 'n' are given pixels in [0, 1] as they are")
    assert hint_lines([record(9, 0, preprocess={}, source="python:nets:build")]) == []
    assert hint_lines([record(9, 0, preprocess="callable f")]) == []


def test_a_layer_of_few_positions_is_told() -> None:
    (line,) = hint_lines([record(9, 0, layer_shape=[8, 2, 3])])
    assert line.startswith("maps of model 'm' have 2x3 positions at layer l")
    assert hint_lines([record(9, 0, layer_shape=[8])]) == []
    (line,) = hint_lines([record(9, 0, layer_shape=[2, 3, 768], layer_layout="channels_last")])
    assert line.startswith("maps of model 'm' have 2x3 positions at layer l")
    assert hint_lines([record(9, 0, layer_shape=[7, 7, 3], layer_layout="channels_last")]) == []


def test_records_without_subjects_or_cases_tell_nothing() -> None:
    assert hint_lines([{}, {"subjects": None, "cases": None, "everyone": None}]) == []


def test_a_seldom_right_model_without_preprocess_is_asked_for_one() -> None:
    found = hint_lines([record(4, 5, preprocess={}, source="python:nets:build")])
    assert len(found) == 1
    assert "cases of val: declare its preprocess, and see that" in found[0]


def test_the_reader_of_the_decision_is_told_of_a_seldom_right_model_too() -> None:
    passing = {"node": "a", "verdict": "PASS"}
    run = {"git": {"dirty": False}, "tester": "Jane Roe"}

    def told(made: dict[str, Any]) -> list[str]:
        return deviations({"run": run, "records": [{**made, **passing}], "locks": []})

    (said,) = told(record(4, 5))
    assert said.startswith("Model 'm' (contract c) gives the label of only 4 of 9 cases of val: ")
    assert said.endswith("'classes' sets it).")
    assert told(record(5, 4)) == []
