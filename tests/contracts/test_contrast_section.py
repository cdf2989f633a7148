"""The ``contrast`` section of a model: which keys go with which selection, and what the engine is handed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from pytest_saliency.contracts.models import Contrast as Section
from pytest_saliency.contracts.models import ModelSpec
from pytest_saliency.contracts.place import Place
from pytest_saliency.contracts.sources import make_subject
from pytest_saliency.engine.contrast import COUNTED, SELECTIONS, Contrast
from pytest_saliency.errors import MethodError

CASES = {"fixture": "held_out"}


@pytest.mark.parametrize(
    "declared",
    [
        {},
        {"select": "logits", "k": 2},
        {"select": "confusion", "cases": CASES},
        {"select": "explicit", "classes": {"cat": ["dog"]}},
        {"select": "similar_weights"},
        {"select": "similar_weights", "k": 5},
        {"select": "soft"},
        {"select": "soft", "k": 1},
        {"select": "soft", "cases": CASES},
        {"select": "cooccurrence", "k": 2, "cases": CASES},
    ],
)
def test_what_may_be_declared(declared: dict[str, Any]) -> None:
    made = Section.model_validate(_tuples(declared))
    assert made.select == declared.get("select", "logits")
    assert made.k == declared.get("k", 3)
    assert (made.cases is not None) == ("cases" in declared)


@pytest.mark.parametrize(
    ("declared", "sentence"),
    [
        ({"select": "confusion"}, "needs held-out 'cases'"),
        ({"select": "cooccurrence"}, "needs held-out 'cases' whose images have several labels"),
        ({"select": "explicit"}, "needs 'classes'"),
        ({"select": "logits", "cases": CASES}, "'select: cooccurrence' and 'select: soft', not to 'select: logits'"),
        ({"select": "similar_weights", "cases": CASES}, "'select: soft', not to 'select: similar_weights'"),
        ({"select": "similar_weights", "classes": {0: [1]}}, "'select: explicit', not to 'select: similar_weights'"),
        ({"select": "soft", "classes": {0: [1]}}, "'select: explicit', not to 'select: soft'"),
        ({"select": "soft", "k": 0}, "greater than or equal to 1"),
        ({"select": "explicit", "k": 2, "classes": {0: [1]}}, "'k' has no meaning with 'select: explicit'"),
        ({"select": "similar"}, "'similar_weights' or 'soft'"),
        ({"select": "soft", "weights": "softmax"}, "weights"),
    ],
)
def test_what_may_not(declared: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Section.model_validate(_tuples(declared))
    assert sentence in str(caught.value)


def test_contracts_and_engine_know_the_same_selections() -> None:
    words = Section.model_fields["select"].annotation.__args__  # type: ignore[union-attr]
    assert set(words) == set(SELECTIONS)
    for select in SELECTIONS:
        for extra in ({}, {"cases": CASES}, {"classes": {0: (1,)}}):
            declared = {"select": select, **extra}
            assert _taken(Section.model_validate, declared) == _taken(Contrast.of, declared), declared
    assert COUNTED == ("confusion", "cooccurrence", "soft")


def _taken(make: Any, declared: dict[str, Any]) -> bool:
    try:
        make(declared)
    except (ValidationError, MethodError):
        return False
    return True


def test_the_engine_is_handed_what_is_declared(tmp_path: Path) -> None:
    np.savez(tmp_path / "held.npz", images=np.zeros((3, 3, 2, 2), np.float32), labels=np.arange(3))
    place = Place(tmp_path, tmp_path, True, {"net": torch.nn.Linear(2, 3)})

    def contrast(**declared: Any) -> Contrast:
        spec = ModelSpec.model_validate({"fixture": "net", "contrast": declared})
        return make_subject("net", spec, place, None, frozenset()).contrast

    similar = contrast(select="similar_weights", k=2)
    assert (similar.select, similar.k, similar.cases) == ("similar_weights", 2, None)
    soft = contrast(select="soft")
    assert (soft.select, soft.k, soft.cases) == ("soft", 3, None)
    counted = contrast(select="soft", k=1, cases={"npz": "held.npz"})
    assert (counted.select, counted.k) == ("soft", 1)
    assert counted.cases is not None
    assert counted.cases.labels == (0, 1, 2)
    assert counted.describe()["weights"] == "confusion"


def _tuples(declared: dict[str, Any]) -> dict[str, Any]:
    """Lists of a file arrive as tuples."""
    if "classes" not in declared:
        return declared
    return {**declared, "classes": {key: tuple(value) for key, value in declared["classes"].items()}}
