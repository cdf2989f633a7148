"""A record keeps what its decision was made from: the same decision comes out of it again, to the last bit."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from pytest_saliency.checks.numbers import Numbers, decide_again, seed_again
from pytest_saliency.checks.registry import KINDS
from pytest_saliency.engine.explained import Explained
from pytest_saliency.errors import CriterionError
from pytest_saliency.records.hashing import to_json

CHECKS = {
    "sensitive": ("class_sensitive", {"method": "gradcam"}),
    "published": ("class_sensitive", {"method": "random", "rule": "published", "grid": "layer", "keep": "all"}),
    "faithful": ("faithful", {"method": "gradcam", "top_k": 0.1, "min_advantage": 0.2, "fill": ("blur", "zero")}),
    "against": (
        "faithful",
        {"method": "layercam", "top_k": 0.1, "min_advantage": 0.0, "against": ("centre",), "curves": 3, "fill": "mean"},
    ),
    "any": ("faithful", {"method": "random", "top_k": 0.1, "min_advantage": 0.0, "blocks": "any", "fill": "mean"}),
    "drift": (
        "no_semantic_drift",
        {"method": "gradcam", "max_iou_drop": 0.3, "max_accuracy_drop": 0.1, "max_drifted_share": 0.5, "keep": "all"},
    ),
}


def record_of(name: str, sound: Explained, other: Explained) -> dict[str, Any]:
    kind, given = CHECKS[name]
    roles = {"before": sound, "after": other} if kind == "no_semantic_drift" else {"model": sound}
    result = KINDS[kind].run(roles, KINDS[kind].parameters(**given), name)
    record = json.loads(to_json(result.to_record()))
    assert isinstance(record, dict)
    return record


@pytest.mark.parametrize("name", CHECKS)
def test_the_decision_comes_out_of_the_record_again(name: str, sound: Explained, cheating: Explained) -> None:
    record = record_of(name, sound, cheating)
    again = json.loads(to_json(decide_again(record).to_dict()))
    assert again == record["decision"]
    assert f"{seed_again(record):016x}" == record["seed"]


def test_another_number_gives_another_decision(sound: Explained, cheating: Explained) -> None:
    record = record_of("sensitive", sound, cheating)
    record["per_image"]["agreement"] = [1.0 for _ in record["per_image"]["agreement"]]
    assert decide_again(record).verdict.value != record["verdict"]


def test_everyone_accounts_for_every_case(sound: Explained, cheating: Explained) -> None:
    record = record_of("drift", sound, cheating)
    everyone = record["everyone"]
    assert everyone["id"] == sorted(sound.cases.ids)
    assert sum(fate == "kept" for fate in everyone["fate"]) == record["cases"]["kept"]
    assert len({len(column) for column in everyone.values()}) == 1


@pytest.mark.parametrize(
    "damage", [{"kind": "unknown"}, {"inputs": {}}, {"per_image": {}}, {"criterion": {"method": 1}}, {"seed": "zz"}]
)
def test_a_record_that_lacks_something_is_a_sentence(
    damage: dict[str, Any], sound: Explained, cheating: Explained
) -> None:
    record = record_of("sensitive", sound, cheating) | damage
    with pytest.raises(CriterionError) as caught:
        decide_again(record)
    assert str(caught.value).endswith(".")


def test_nothing_here_needs_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from pytest_saliency.checks import numbers, registry\n"
        "from importlib import import_module\n"
        "for name in registry.KINDS: import_module(f'pytest_saliency.checks.{name}').decision\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_numbers_of_an_error_say_so() -> None:
    with pytest.raises(CriterionError, match="reached no verdict"):
        Numbers.of({"node": "x::y", "verdict": "ERROR"})
