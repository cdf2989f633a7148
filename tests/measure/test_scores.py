from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_saliency.errors import CasesError
from pytest_saliency.measure.scores import log_odds, softmax_probability


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-30, 30), min_size=2, max_size=6), st.data())
def test_log_odds_and_probability_by_their_definitions(row: list[float], data: st.DataObject) -> None:
    c = data.draw(st.integers(0, len(row) - 1))
    logits = torch.tensor([row], dtype=torch.float64)
    others = sum(math.exp(z) for i, z in enumerate(row) if i != c)
    assert log_odds(logits, torch.tensor([c]), False).item() == pytest.approx(row[c] - math.log(others), abs=1e-9)
    p = math.exp(row[c]) / (math.exp(row[c]) + others)
    assert softmax_probability(logits, torch.tensor([c]), False).item() == pytest.approx(p, abs=1e-12)


def test_log_odds_never_saturate() -> None:
    logits = torch.tensor([[200.0, 0.0, 0.0], [0.0, 900.0, 0.0], [1e4, 0.0, -1e4]])
    found = log_odds(logits, torch.tensor([0, 0, 2]), False)
    np.testing.assert_allclose(found.numpy(), [200.0 - math.log(2), -900.0, -2e4], rtol=1e-12)


def test_a_constant_on_all_logits_changes_nothing() -> None:
    logits = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    classes = torch.tensor([0, 1, 2, 3, 0, 1])
    torch.testing.assert_close(log_odds(logits + 77.0, classes, False), log_odds(logits, classes, False))


def test_a_one_logit_head_is_scored_by_plus_and_minus_z() -> None:
    z = torch.tensor([2.0, -0.5, 300.0])
    logits = torch.stack([-z, z], dim=1)
    assert log_odds(logits, torch.tensor([1, 0, 0]), True).tolist() == [2.0, 0.5, -300.0]
    expected = [1 / (1 + math.exp(-2.0)), 1 / (1 + math.exp(-0.5)), 0.0]
    np.testing.assert_allclose(softmax_probability(logits, torch.tensor([1, 0, 0]), True).numpy(), expected, atol=1e-12)


def test_two_class_softmax_is_the_difference_of_its_logits() -> None:
    logits = torch.tensor([[1.5, -2.0], [0.0, 4.0]])
    assert log_odds(logits, torch.tensor([0, 1]), False).tolist() == [3.5, 4.0]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_logit_that_is_not_finite_makes_its_image_undefined(bad: float) -> None:
    logits = torch.tensor([[0.0, bad, 1.0], [0.0, 1.0, 2.0]])
    for score in (log_odds, softmax_probability):
        assert score(logits, torch.tensor([0, 0]), False).isnan().tolist() == [True, False]


@pytest.mark.parametrize(
    ("shape", "classes", "binary"),
    [
        ((2, 3), [0, 3], False),
        ((2, 3), [-1, 0], False),
        ((2, 3), [0], False),
        ((2, 1), [0, 0], False),
        ((2, 3), [0, 1], True),
    ],
)
def test_classes_that_do_not_fit_the_logits_are_refused(
    shape: tuple[int, int], classes: list[int], binary: bool
) -> None:
    with pytest.raises(CasesError, match=r"logits"):
        log_odds(torch.zeros(*shape), torch.tensor(classes), binary)
