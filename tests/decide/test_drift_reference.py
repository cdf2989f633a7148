"""Drift beyond a reference: ranks among nulls, prediction bounds, and which alarms they leave."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from pytest_saliency.decide import drift, drift_reference
from pytest_saliency.decide.decision import NotAttainable
from pytest_saliency.decide.verdict import Verdict
from pytest_saliency.errors import CriterionError


def test_the_rank_has_its_level_whatever_the_means_are_by_enumeration() -> None:
    """Under exchangeability every one of the m + 1 means is the candidate equally often."""
    means = [0.31, 0.1, 0.5, 0.22, 0.9]
    found = []
    for i in range(len(means)):
        rest = means[:i] + means[i + 1 :]
        found.append(drift_reference.rank(means[i], rest, "<=", 0.05).p_rank)
    assert sorted(found) == pytest.approx([k / 5 for k in range(1, 6)])


def test_ties_count_against_an_alarm() -> None:
    for one in itertools.product((0.2, 0.4), repeat=4):
        p = drift_reference.rank(0.4, one, "<=", 0.05).p_rank
        assert p == pytest.approx((1 + sum(value >= 0.4 for value in one)) / 5)


@pytest.mark.parametrize(("side", "candidate", "as_bad"), [("<=", 0.3, 1), (">=", 0.3, 3), ("abs<=", -0.35, 1)])
def test_which_end_is_bad_follows_the_limit(side: str, candidate: float, as_bad: int) -> None:
    assert drift_reference.rank(candidate, [0.1, 0.2, 0.3, 0.4], side, 0.05).as_bad == (
        as_bad if side != "<=" else sum(one >= 0.3 for one in (0.1, 0.2, 0.3, 0.4))
    )


def test_the_prediction_bound_is_students_as_scipy_knows_it() -> None:
    nulls = np.random.default_rng(3).normal(0.3, 0.05, 12)
    found = drift_reference.rank(0.5, nulls.tolist(), "<=", 0.05)
    low, high = stats.t.interval(0.9, 11, nulls.mean(), nulls.std(ddof=1) * math.sqrt(1 + 1 / 12))
    assert found.bound == pytest.approx(high)
    # A t test of one value against a sample: Welch's with pooled variance, one of the groups being the candidate.
    assert found.p_normal == pytest.approx(stats.ttest_ind([0.5], nulls, alternative="greater").pvalue)
    below = drift_reference.rank(0.1, nulls.tolist(), ">=", 0.05)
    assert below.bound == pytest.approx(low)
    assert below.p_normal == pytest.approx(stats.ttest_ind([0.1], nulls, alternative="less").pvalue)


@pytest.mark.parametrize(("limits", "least"), [(1, 19), (2, 39), (3, 59), (4, 79)])
def test_fewer_nulls_than_a_rank_needs_are_refused_with_the_number(limits: int, least: int) -> None:
    assert drift_reference.needed(limits, 0.05) == least
    drift_reference.check_nulls(least, limits, 0.05, normal=False)
    with pytest.raises(NotAttainable, match=f"'nulls' needs {least} at least") as caught:
        drift_reference.check_nulls(least - 1, limits, 0.05, normal=False)
    assert caught.value.needed == least
    drift_reference.check_nulls(3, limits, 0.05, normal=True)


def test_the_least_number_of_nulls_can_alarm() -> None:
    """p = 1/20 at alpha 0.05 rejects: a rank test has its level where p is at most alpha."""
    far = np.full(60, 0.5)
    further = drift_reference.further_p({"iou_drop": drift_reference.rank(0.7, [0.2] * 19, "<=", 0.05)}, normal=False)
    made = drift.decide(
        {"iou_drop": far},
        limits={"max_iou_drop": 0.1},
        kept=60,
        total=60,
        reference="null",
        further=further,
        seed=1,
    )
    assert made.verdict is Verdict.FAIL
    worse = {"iou_drop": drift_reference.rank(0.7, [0.2] * 18 + [0.8], "<=", 0.05)}
    again = drift.decide(
        {"iou_drop": far},
        limits={"max_iou_drop": 0.1},
        kept=60,
        total=60,
        reference="null",
        further=drift_reference.further_p(worse, normal=False),
        seed=1,
    )
    assert again.verdict is Verdict.INCONCLUSIVE, "a null that drifts as far forbids the alarm"


def test_an_excess_has_twice_the_range_and_undefined_images_count_both_ways() -> None:
    """One undefined image of 60 moves the pass bound by up to 1/60 of the range on each side, no further."""
    values = np.full(60, 0.1)
    values[0] = np.nan
    made = drift.decide(
        {"iou_drop": values}, limits={"max_iou_drop": 0.4}, kept=60, total=60, reference="noise", seed=1
    )
    whole = drift.decide(
        {"iou_drop": np.full(60, 0.1)}, limits={"max_iou_drop": 0.4}, kept=60, total=60, reference="noise", seed=1
    )
    one, two = made.measures["iou_drop"].interval, whole.measures["iou_drop"].interval
    assert one.high > two.high
    assert one.low < two.low
    assert made.measures["iou_drop"].title == "mean IoU drop less the jitter's"
    with pytest.raises(CriterionError, match="outside its range -1 to 1"):
        drift.decide({"iou_drop": [-1.2] * 9}, limits={"max_iou_drop": 0.4}, kept=9, total=9, reference="noise", seed=1)


def test_degenerate_nulls_give_a_sentence_or_no_alarm_and_never_nan() -> None:
    equal = drift_reference.rank(0.5, [0.2] * 25, "<=", 0.05)
    assert math.isnan(equal.p_normal)
    assert equal.p_rank == pytest.approx(1 / 26)
    assert drift_reference.further_p({"x": equal}, normal=True) == {"x": 1.0}
    assert drift_reference.rank(math.nan, [0.2, 0.3], "<=", 0.05).p_rank == 1.0
    with pytest.raises(CriterionError, match="1 of 2 nulls have no image with a usable map"):
        drift_reference.rank(0.5, [0.2, math.nan], "<=", 0.05)
