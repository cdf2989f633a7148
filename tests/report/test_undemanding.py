"""What a passing check asked for, said where the decision is read: controls, one and the same model, chance, alpha."""

from __future__ import annotations

from typing import Any

import pytest

from fixtures.records import sample_record
from pytest_saliency.report.undemanding import undemanding


def made(**changes: Any) -> dict[str, Any]:
    """Return a passing check of a region that covers 0.36 of an image, as a record tells it."""
    base = {
        "node": "a.saliency.yaml::b",
        "verdict": "PASS",
        "criterion": {"alpha": 0.05, "max_mass": 0.2},
        "method": {"name": "gradcam", "version": 1},
        "subjects": {"after": {"name": "ft", "state_sha256": "a" * 64}},
        "decision": {"readouts": {"chance": 0.36}},
    }
    return {**base, **changes}


@pytest.mark.parametrize("kind", ["class_sensitive", "faithful", "no_semantic_drift"])
def test_a_usual_check_asks_for_enough(kind: str) -> None:
    assert undemanding([sample_record(kind, "PASS"), made()]) == []


@pytest.mark.parametrize(
    ("method", "told"),
    [("centre", True), ("random_model[gradcam]", True), ("layercam", False), ("case[logits:3]", False)],
)
def test_a_control_is_told(method: str, told: bool) -> None:
    said = undemanding([made(method={"name": method})])
    assert said == [
        f"a.saliency.yaml::b passed with the maps of {method}, which know nothing of what the model found."
    ] * int(told)


def test_a_model_under_two_names_is_told() -> None:
    models: dict[str, dict[str, Any]]
    models = {role: {"name": name, "state_sha256": "a" * 64} for role, name in (("before", "tl"), ("after", "ft"))}
    assert undemanding([made(subjects=models)]) == [
        "a.saliency.yaml::b compares a model with itself: tl and ft hold the same numbers."
    ]
    models["before"] |= {"preprocess": {"resize": 224}, "layer": "layer4"}
    models["after"] |= {"preprocess": {"resize": 256}, "layer": "layer4"}
    assert undemanding([made(subjects=models)]) == [
        "a.saliency.yaml::b compares two readings of one state: tl and ft hold the same numbers, and differ in"
        " preprocess."
    ]
    models["before"]["state_sha256"] = "b" * 64
    assert undemanding([made(subjects=models)]) == []
    assert undemanding([made(subjects={role: {"name": role} for role in models})]) == []


@pytest.mark.parametrize(
    ("limit", "value", "easy"),
    [
        ("max_mass", 0.5, True),
        ("max_mass", 0.36, True),
        ("max_mass", 0.35, False),
        ("min_mass", 0.3, True),
        ("min_mass", 0.4, False),
        ("min_hits", 0.36, True),
        ("min_hits", 0.37, False),
        ("min_share", 0.25, True),
        ("min_share", 0.4, False),
        ("max_share", 0.9, False),
    ],
)
def test_a_limit_that_chance_keeps_is_told(limit: str, value: float, easy: bool) -> None:
    said = undemanding([made(criterion={"alpha": 0.05, limit: value})])
    assert said == [f"a.saliency.yaml::b asks for no more than chance (0.36): {limit} {value:g}."] * int(easy)


@pytest.mark.parametrize(
    ("name", "looser", "usual", "stricter"),
    [
        ("alpha", 0.2, 0.05, 0.01),
        ("max_undefined", 0.9, 0.05, 0.0),
        ("min_kept", 0.1, 0.5, 0.8),
        ("min_compared", 0.4, 0.5, 1.0),
        ("min_seen", 0, 0.5, 1),
    ],
)
def test_what_was_made_easier_than_usual_is_told(name: str, looser: float, usual: float, stricter: float) -> None:
    said = [f"a.saliency.yaml::b passed with {name} {looser:g}, where {usual:g} is usual."]
    assert undemanding([made(criterion={name: looser})]) == said
    assert undemanding([made(criterion={name: usual}), made(criterion={name: stricter})]) == []


@pytest.mark.parametrize("verdict", ["FAIL", "INCONCLUSIVE", "ERROR", "NOT_RUN"])
def test_only_what_passed_is_told(verdict: str) -> None:
    assert undemanding([made(verdict=verdict, method={"name": "centre"}, criterion={"alpha": 0.4})]) == []


def test_a_record_without_what_is_looked_for_says_nothing() -> None:
    assert undemanding([{"node": "a.py::b", "verdict": "PASS"}]) == []
    assert undemanding([made(decision=None, method=None, subjects=None, criterion=None)]) == []
