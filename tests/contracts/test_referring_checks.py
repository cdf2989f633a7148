"""Checks that refer to another one, in a contract: items, models, and a sentence for everything that is wrong."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
import yaml

from pytest_saliency.contracts.contract import Contract, expand, parse_contract
from pytest_saliency.contracts.schema import build_schema
from pytest_saliency.errors import ContractError

HEAD = """\
saliency: 1
contract: release
models: {a: {fixture: a}, b: {fixture: b}, c: {fixture: c}, p: {fixture: p}}
cases: {fixture: images}
defaults: {model: a, alpha: 0.01}
checks:
  - {id: s, kind: class_sensitive, method: [case, gradcam], model: [a, b]}
  - {id: d, kind: no_semantic_drift, before: p, after: a, method: case, max_iou_drop: 0.4}
"""


def contract(*checks: str) -> Contract:
    return parse_contract((HEAD + "".join(f"  - {check}\n" for check in checks)).encode(), Path("x.saliency.yaml"))


def problems(*checks: str) -> list[str]:
    with pytest.raises(ContractError) as caught:
        contract(*checks)
    return [problem.message for problem in caught.value.problems]


def test_each_training_takes_the_place_of_the_model_under_test() -> None:
    made = {item.name: item for item in expand(contract("{id: r, kind: seed_robust, of: d, models: [a, b, c]}"))}
    assert made["r"].roles == {"before": "p", "models.1": "a", "models.2": "b", "models.3": "c"}
    assert made["r"].parameters["min_share"] == 1.0
    assert made["r"].parameters["alpha"] == 0.01


def test_an_axis_of_models_is_replaced_by_the_trainings() -> None:
    made = [
        item
        for item in expand(contract("{id: r, kind: seed_robust, of: s, models: [b, c], min_share: 0.5}"))
        if item.check == "r"
    ]
    assert [(item.name, item.axes) for item in made] == [
        ("r[case]", {"method": "case"}),
        ("r[gradcam]", {"method": "gradcam"}),
    ]
    assert {role: name for item in made for role, name in item.roles.items()} == {"models.1": "b", "models.2": "c"}


def test_groups_take_everything_from_the_other_check() -> None:
    made = [
        item
        for item in expand(contract("{id: g, kind: no_subgroup_gap, of: s, max_gap: {agreement: 0.1}}"))
        if item.check == "g"
    ]
    assert [item.name for item in made] == ["g[case-a]", "g[case-b]", "g[gradcam-a]", "g[gradcam-b]"]
    assert [item.roles for item in made[:2]] == [{"model": "a"}, {"model": "b"}]
    assert made[0].parameters["min_group"] == 10


@pytest.mark.parametrize(
    ("check", "said"),
    [
        ("{id: g, kind: no_subgroup_gap, of: s}", "'max_gap' is missing in check 'g'; it has no default"),
        (
            "{id: g, kind: no_subgroup_gap, of: s, max_gap: {iou_drop: 0.1}}",
            "limits 'iou_drop', which a check of kind class_sensitive has not; it has agreement",
        ),
        ("{id: g, kind: no_subgroup_gap, of: s, max_gap: {agreement: 0}}", "must be greater than 0"),
        (
            "{id: g, kind: no_subgroup_gap, of: s, max_gap: {agreement: 0.1}, min_group: 0}",
            "'min_group' must be at least 1",
        ),
        ("{id: g, kind: no_subgroup_gap, of: t, max_gap: {agreement: 0.1}}", "no check 't' in this contract"),
        ("{id: g, kind: no_subgroup_gap, max_gap: {agreement: 0.1}}", "'of' is missing in check 'g'"),
        (
            "{id: g, kind: no_subgroup_gap, of: g, max_gap: {agreement: 0.1}}",
            "'g' in check 'g' measures nothing itself",
        ),
        ("{id: g, kind: no_subgroup_gap, of: s, model: a, max_gap: {agreement: 0.1}}", "unknown key 'model'"),
        ("{id: r, kind: seed_robust, of: s}", "'models' is missing in check 'r': a list of at least 2 models"),
        ("{id: r, kind: seed_robust, of: s, models: [a]}", "must name at least 2 models; got 1"),
        ("{id: r, kind: seed_robust, of: s, models: a}", "must be a list of models"),
        ("{id: r, kind: seed_robust, of: s, models: [a, x]}", "unknown model 'x'"),
        ("{id: r, kind: seed_robust, of: s, models: [a, a]}", "names 'a' twice"),
        ("{id: r, kind: seed_robust, of: s, models: [a, b], min_share: 0}", "'min_share' must be greater than 0"),
        ("{id: r, kind: seed_robust, of: d, models: [a, p]}", "'p' in check 'r' is 'before' of check 'd' already"),
        (
            "{id: r, kind: seed_robust, of: s, models: [a, b], cases: {fixture: y}}",
            "'cases' in check 'r' come from the check",
        ),
    ],
)
def test_what_is_wrong_is_one_sentence(check: str, said: str) -> None:
    found = problems(check)
    assert len(found) == 1
    assert said in found[0]


@pytest.mark.parametrize(
    ("check", "good"),
    [
        ("{id: r, kind: seed_robust, of: s, models: [a, b]}", True),
        ("{id: r, kind: seed_robust, of: s, models: [a]}", False),
        ("{id: r, kind: seed_robust, of: s}", False),
        ("{id: g, kind: no_subgroup_gap, of: s, max_gap: {agreement: 0.1}}", True),
        ("{id: g, kind: no_subgroup_gap, of: s, max_gap: {nothing: 0.1}}", False),
    ],
)
def test_editors_are_told_the_same(check: str, good: bool) -> None:
    errors = list(jsonschema.Draft202012Validator(build_schema()).iter_errors(yaml.safe_load(f"{HEAD}  - {check}\n")))
    assert (not errors) == good
