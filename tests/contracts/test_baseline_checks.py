"""Checks that refer to another one: what they take from it, what is their own, in which order they may stand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_saliency.checks.registry import KINDS
from pytest_saliency.contracts.contract import Contract, expand, parse_contract
from pytest_saliency.errors import ContractError

TEXT = """\
saliency: 1
contract: release
requirement: REQ-1
models: {a: {fixture: m}, b: {fixture: n}}
cases: {fixture: c}
defaults: {model: a, alpha: 0.01, severity: warn}
checks:
  - id: no-worse
    kind: not_worse_than_baseline
    of: sensitive
    max_worsening: {agreement: 0.05}
    severity: fail
  - id: sensitive
    kind: class_sensitive
    method: [case, gradcam]
    model: [a, b]
    keep: all
    max_agreement: 0.4
    cases: {fixture: others}
    requirement: REQ-2
  - id: faithful
    kind: faithful
    method: case
    top_k: 0.1
    min_advantage: 0.1
  - id: evidence
    kind: not_worse_than_baseline
    of: faithful
    max_worsening: {advantage: 0.02}
    alpha: 0.05
    max_undefined: 0.1
    min_kept: 0.9
    requirement: REQ-3
    on_inconclusive: skip
"""


def contract(text: str = TEXT) -> Contract:
    return parse_contract(text.encode(), Path("release.saliency.yaml"))


def test_one_item_for_each_of_the_other_check_in_the_order_of_the_file() -> None:
    assert [item.name for item in expand(contract())] == [
        "no-worse[case-a]", "no-worse[case-b]", "no-worse[gradcam-a]", "no-worse[gradcam-b]",
        "sensitive[case-a]", "sensitive[case-b]", "sensitive[gradcam-a]", "sensitive[gradcam-b]",
        "faithful", "evidence",
    ]  # fmt: skip


def test_models_cases_axes_and_criterion_are_the_other_checks() -> None:
    items = {item.name: item for item in expand(contract())}
    mine, other = items["no-worse[gradcam-b]"], items["sensitive[gradcam-b]"]
    assert (mine.roles, mine.cases, mine.axes) == (other.roles, other.cases, other.axes)
    assert mine.roles == {"model": "b"}
    assert mine.cases.fixture == "others"
    assert mine.parameters["method"] == "gradcam"
    assert mine.parameters["of_kind"] == "class_sensitive"
    assert mine.parameters["of_criterion"] == {
        "method": "gradcam", "alpha": 0.01, "max_undefined": 0.05, "top_k": 0.05, "max_agreement": 0.4,
        "keep": "all", "rule": "full", "grid": "input",
    }  # fmt: skip


def test_level_policy_and_requirement_are_its_own() -> None:
    items = {item.name: item for item in expand(contract())}
    mine, evidence = items["no-worse[case-a]"], items["evidence"]
    assert (mine.parameters["alpha"], mine.severity, mine.requirement) == (0.01, "fail", "REQ-2")
    assert (evidence.parameters["alpha"], evidence.severity, evidence.requirement) == (0.05, "warn", "REQ-3")
    assert (evidence.parameters["max_undefined"], evidence.parameters["min_kept"]) == (0.1, 0.9)
    assert evidence.on_inconclusive == "skip"
    assert mine.lines["of"] == 10
    assert mine.lines["max_worsening"] == 11
    assert mine.line == 8


def test_parameters_go_back_into_the_kind_and_into_json() -> None:
    made = contract()
    for item in expand(made):
        assert KINDS[item.kind].parameters(**item.parameters).model_dump() == item.parameters
    resolved = made.resolved()
    assert json.loads(json.dumps(resolved, allow_nan=False)) == resolved


def test_a_check_that_refers_to_a_broken_one_adds_no_noise() -> None:
    with pytest.raises(ContractError) as caught:
        contract(TEXT.replace("max_agreement: 0.4", "max_agreement: 4"))
    assert [problem.message for problem in caught.value.problems] == ["'max_agreement' must be at most 1; got 4"]
