"""Strategies in a user's own test: what they draw, and what failing examples shrink to."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from pytest_saliency import strategies
from pytest_saliency.engine.perturb import FAMILIES, Perturbation
from pytest_saliency.errors import CriterionError
from pytest_saliency.strategies import perturbations

QUIET = settings(max_examples=400, deadline=None, database=None)


def shrunk(strategy: st.SearchStrategy[Perturbation], broken: Any) -> Perturbation:
    return find(strategy, broken, settings=QUIET)


@given(perturbations((*FAMILIES,), strength=2.0, size=(64, 64)))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_what_is_drawn_lies_within_the_declared_strength(change: Perturbation) -> None:
    family = FAMILIES[change.family]
    most = family.most(2.0, (64, 64))
    assert all(abs(value) <= most + 1e-6 for value in change.values)
    made = change.apply(np.full((1, 8, 8), 0.5, dtype=np.float32))
    assert made.shape == (1, 8, 8)


@given(perturbations(strength=0.0))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_nothing_is_drawn_at_strength_0(change: Perturbation) -> None:
    assert change.identity


def test_flips_are_drawn_only_where_they_are_declared() -> None:
    def drawn(strategy: st.SearchStrategy[Perturbation], family: str) -> bool:
        try:
            shrunk(strategy, lambda change: change.family == family)
        except NoSuchExample:
            return False
        return True

    assert drawn(perturbations(("brightness", "flip")), "flip")
    assert not drawn(perturbations(), "flip")


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "flip"])
def test_any_change_at_all_shrinks_to_the_smallest(family: str) -> None:
    change = shrunk(getattr(strategies, family)(), lambda change: not change.identity)
    assert change.family == family
    most = FAMILIES[family].most(1.0, (224, 224))
    size = max(abs(value) for value in change.values)
    assert size == (1.0 if FAMILIES[family].whole else pytest.approx(most / 100, abs=1e-6))
    assert all(value >= 0.0 for value in change.values), "no sign where none is needed"
    assert change.seed == 0


def test_a_model_that_loses_a_shifted_dot_shrinks_to_three_pixels() -> None:
    """It finds the dot where it is up to two columns off, so that three to the right is the smallest that breaks it."""
    image = np.zeros((1, 32, 32), dtype=np.float32)
    image[0, 16, 16] = 1.0

    def lost(change: Perturbation) -> bool:
        changed = change.apply(image)
        return float(changed[0, :, 14:19].max()) < 0.5

    change = shrunk(strategies.shift(strength=5.0, size=(32, 32)), lost)
    assert change == Perturbation.of("shift", x=3.0, y=0.0)
    either = shrunk(perturbations(("blur", "brightness", "shift"), strength=5.0, size=(32, 32)), lost)
    assert either.family in ("shift", "blur")


def test_the_family_that_breaks_is_the_one_that_is_left() -> None:
    image = np.full((1, 8, 8), 0.5, dtype=np.float32)
    change = shrunk(perturbations(), lambda change: float(change.apply(image).mean()) > 0.5505)
    assert change == Perturbation.of("brightness", by=0.051)
    darker = shrunk(perturbations(), lambda change: float(change.apply(image).mean()) < 0.4695)
    assert darker == Perturbation.of("brightness", by=-0.031)


def test_the_example_of_the_documentation_runs() -> None:
    assert strategies.__doc__ is not None
    (block,) = re.findall(r"::\n\n((?:    .*\n|\n)+)", strategies.__doc__)
    image = np.random.default_rng(0).random((1, 32, 32), dtype=np.float32)
    names: dict[str, Any] = {"IMAGE": image, "predict": lambda pixels: pixels.shape}
    exec("\n".join(line[4:] for line in block.splitlines()), names)
    names["test_small_changes_keep_the_prediction"]()
    names["predict"] = lambda pixels: bool((pixels == image).all())
    with pytest.raises(AssertionError) as caught:
        names["test_small_changes_keep_the_prediction"]()
    said = "\n".join([str(caught.value), *getattr(caught.value, "__notes__", [])])
    assert "brightness" in said, "the falsifying example names the smallest change"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: perturbations(("sharpen",)), "no perturbation 'sharpen'"),
        (lambda: perturbations(()), "no family"),
        (lambda: perturbations(("blur", "blur")), "named twice"),
        (lambda: perturbations(strength=-1.0), "strength=-1.0"),
        (lambda: perturbations(strength=float("nan")), "strength=nan"),
    ],
)
def test_wrong_arguments_are_told(make: Any, said: str) -> None:
    with pytest.raises(CriterionError, match=said):
        make()


def test_neither_hypothesis_nor_torch_is_imported_before_it_is_needed() -> None:
    code = (
        "import sys, pytest_saliency.strategies as s; p = s.Perturbation.of('shift', x=1, y=0); str(p);"
        " import pytest_saliency.checks.stable;"
        " assert not {'hypothesis', 'torch', 'numpy'} & set(sys.modules), sys.modules.keys();"
        " s.perturbations(); assert 'hypothesis' in sys.modules and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
