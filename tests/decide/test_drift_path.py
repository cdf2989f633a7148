"""Where the evidence moved, and whether the prediction follows what is pasted."""

from __future__ import annotations

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from scipy import stats

from pytest_saliency.decide import drift, pasting
from pytest_saliency.decide.drift_path import Path, follow, told
from pytest_saliency.errors import CriterionError


def path(means: list[float], n: int = 80, limits: dict[str, float] | None = None, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    columns = [np.clip(rng.normal(mean, 0.08, n), 0.0, 1.0) for mean in means]
    return follow(
        drift.QUESTION,
        [f"e{k}" for k in range(len(means))],
        {"iou_drop": columns, "displacement": [0.1 * column for column in columns]},
        limits=limits or {"max_iou_drop": 0.4},
        alpha=0.05,
        clusters=None,
        start={"iou_drop": 0.0, "displacement": 0.0},
        seed=3,
    )


@pytest.mark.parametrize("planted", [0, 1, 3, 5])
def test_the_checkpoint_of_the_move_is_named(planted: int) -> None:
    found = path([0.1] * planted + [0.7] * (6 - planted))
    assert found.moved == planted
    assert found.step is not None
    assert found.step[0] == planted
    assert f"the evidence moved at e{planted}" in told(found, [None] * 6, drift.QUESTION, {"max_iou_drop": 0.4})


def test_a_checkpoint_that_came_back_does_not_count() -> None:
    assert path([0.1, 0.7, 0.1, 0.7]).moved == 3
    assert path([0.1, 0.7, 0.7, 0.1]).moved is None


def test_naming_one_too_early_is_as_rare_as_alpha_at_the_boundary() -> None:
    """Every mean on the limit: any checkpoint named is an error, however many there are."""
    wrong = 0
    for draw in range(60):
        rng = np.random.default_rng([9, draw])
        columns = [rng.choice([0.2, 0.6], 40) for _ in range(5)]
        found = follow(
            drift.QUESTION,
            [str(k) for k in range(5)],
            {"iou_drop": columns},
            limits={"max_iou_drop": 0.4},
            alpha=0.05,
            clusters=None,
            start={"iou_drop": 0.0},
            seed=draw,
        )
        wrong += found.moved is not None
    assert stats.binomtest(wrong, 60, 0.05, alternative="greater").pvalue > 1e-3


def test_undefined_images_everywhere_move_nothing() -> None:
    nothing = [np.full(30, np.nan)] * 3
    found = follow(
        drift.QUESTION,
        ["a", "b", "c"],
        {"iou_drop": nothing},
        limits={"max_iou_drop": 0.4},
        alpha=0.05,
        clusters=None,
        start={"iou_drop": 0.0},
        seed=1,
    )
    assert found.moved is None
    assert found.step is None
    assert "nan" not in told(found, [None] * 3, drift.QUESTION, {"max_iou_drop": 0.4})


def mcnemar(b: int, c: int) -> float:
    """P(X >= b) of a fair coin thrown b + c times, in whole numbers."""
    return float(Fraction(sum(comb(b + c, k) for k in range(b, b + c + 1)), 2 ** (b + c)))


@pytest.mark.parametrize(("b", "c", "both", "neither"), [(9, 0, 0, 4), (5, 5, 3, 1), (1, 6, 0, 0), (30, 2, 4, 20)])
def test_the_paired_test_is_mcnemars_exact_one(b: int, c: int, both: int, neither: int) -> None:
    region = [1] * b + [0] * c + [1] * both + [0] * neither
    control = [0] * b + [1] * c + [1] * both + [0] * neither
    found = pasting.judge(region, control, None, 0.05)
    assert found.p == pytest.approx(mcnemar(b, c))
    assert found.p == pytest.approx(stats.binomtest(b, b + c, 0.5, alternative="greater").pvalue)
    assert (found.n, found.region, found.control) == (len(region), b + both, c + both)
    bounds = found.readout()["region"]["bounds"]  # type: ignore[index]
    exact = stats.binomtest(b + both, len(region)).proportion_ci(0.9, "exact")
    assert (bounds["low"], bounds["high"]) == (pytest.approx(exact.low), pytest.approx(exact.high))


def test_nothing_pasted_confirms_nothing_and_says_so() -> None:
    found = pasting.judge([np.nan] * 5, [np.nan] * 5, None, 0.05)
    assert not found.confirmed
    assert found.p == 1.0
    assert found.sentence().startswith("shortcut not confirmed: no image has a newly used region")
    assert pasting.judge([1, 1], [1, 1], [1, np.nan], 0.05).n == 1
    with pytest.raises(CriterionError, match="must be 0, 1 or undefined"):
        pasting.judge([0.5], [1], None, 0.05)


def test_the_sentence_says_both_shares() -> None:
    region, control = [1] * 83 + [0] * 17, [1] * 2 + [0] * 98
    assert (
        pasting.judge(region, control, None, 0.05)
        .sentence()
        .startswith("shortcut confirmed: 83 % follow the pasted region, control 2 %")
    )


def test_what_the_model_before_followed_already_confirms_nothing() -> None:
    region, control = [1] * 30 + [0] * 10, [0] * 40
    alone = pasting.judge(region, control, None, 0.05)
    assert alone.confirmed
    for before, confirmed in (([0] * 40, True), (region, False), ([1] * 26 + [0] * 14, False)):
        found = pasting.judge(region, control, before, 0.05)
        more = sum(a > b for a, b in zip(region, before, strict=True))
        assert found.p == pytest.approx(max(0.5**30, 0.5**more)), "no pair goes the other way"
        assert found.confirmed is confirmed
