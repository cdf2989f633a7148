"""Verdicts of several trainings joined, and FAIL alarms of several checks: by hand, and against statsmodels."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from pytest_saliency.decide import limits
from pytest_saliency.decide.decision import Decision
from pytest_saliency.decide.family import adjusted, alarm_of, alarm_p
from pytest_saliency.decide.trainings import Training, decide
from pytest_saliency.decide.vacuous import QUESTION
from pytest_saliency.decide.verdict import Verdict
from pytest_saliency.errors import CriterionError
from pytest_saliency.report.families import families_of, family_lines


def check(vacuous: int, n: int = 60) -> Decision:
    """Return a decision of one check: at most 10 % of the maps may show nothing."""
    values = np.zeros(n)
    values[:vacuous] = 1.0
    return limits.decide(QUESTION, {"vacuous": values}, limits={"max_share": 0.1}, kept=n, total=n, seed=1)


def joined(*counts: int, n: int = 60, **more: float) -> Decision:
    return decide("x", [Training(f"t{k}", check(count, n)) for k, count in enumerate(counts)], seed=3, **more)


def test_all_must_pass_and_one_clear_failure_fails() -> None:
    assert [check(count).verdict for count in (0, 4, 14)] == ["PASS", "INCONCLUSIVE", "FAIL"]
    assert joined(0, 0, 0).verdict is Verdict.PASS
    assert joined(0, 4, 0).verdict is Verdict.INCONCLUSIVE
    assert joined(0, 30, 0).verdict is Verdict.FAIL


def test_an_alarm_that_many_trainings_give_by_chance_does_not_fail() -> None:
    """With 11 of 60 the exact p-value of "at most 10 %" is 0.03: enough for one training, not for five."""
    from scipy import stats

    p = float(stats.binom.sf(10, 60, 0.1))
    assert 0.05 / 5 < p < 0.05
    made = joined(0, 0, 11, 0, 0)
    assert check(11).verdict is Verdict.FAIL
    assert made.verdict is Verdict.INCONCLUSIVE
    assert made.readouts["p_fail_holm"] == {"trainings": pytest.approx(5 * p)}
    assert "not beyond chance" in made.headline


def test_a_share_of_trainings_takes_clearer_passes() -> None:
    """Of four trainings three must hold: each PASS at alpha / 2, two clear failures for FAIL."""
    assert joined(0, 0, 0, 30, min_share=0.75).verdict is Verdict.PASS
    assert joined(0, 0, 30, 30, min_share=0.75).verdict is Verdict.FAIL
    assert joined(0, 0, 4, 30, min_share=0.75).verdict is Verdict.INCONCLUSIVE
    # 1 of 60 passes at 0.05 with p = 0.0138, 2 of 60 with p = 0.053: at 0.025 only the first does.
    assert joined(1, 1, 1, 30, min_share=0.75).verdict is Verdict.PASS
    assert joined(1, 1, 1, 30, min_share=0.75, alpha=0.02).verdict is Verdict.INCONCLUSIVE


def test_wrong_pass_of_trainings_that_lie_on_the_limit_stays_below_alpha() -> None:
    rng = np.random.default_rng(2)
    runs, passed, failed = 400, 0, 0
    for _ in range(runs):
        counts = rng.binomial(40, 0.1, 3)
        made = [Training(str(k), small(int(count))) for k, count in enumerate(counts)]
        verdict = decide("x", made, min_share=0.6, alpha=0.1, seed=1).verdict
        passed += verdict is Verdict.PASS
        failed += verdict is Verdict.FAIL
    assert passed / runs <= 0.1
    assert failed / runs <= 0.1


@cache
def small(count: int) -> Decision:
    values = np.zeros(40)
    values[:count] = 1.0
    return limits.decide(
        QUESTION,
        {"vacuous": values},
        limits={"max_share": 0.1},
        alpha=0.1,
        kept=40,
        total=40,
        seed=1,
        described=False,
    )


def test_the_share_of_trainings_to_come_is_bounded_as_statsmodels_does() -> None:
    made = joined(0, 0, 30, 0, 0, 0, 0)
    low, high = proportion_confint(6, 7, alpha=0.10, method="beta")
    interval = made.measures["passing"].interval
    assert (interval.low, interval.high) == (pytest.approx(low), pytest.approx(high))
    assert made.measures["passing"].limit is None  # a read-out: it decides nothing


def test_the_smallest_share_of_failing_trainings_that_shows() -> None:
    (share,) = joined(0, 0, 0, 0).smallest_detectable.values()
    assert 1.0 - (1.0 - share) ** 4 == pytest.approx(0.8)


def test_fewer_than_two_or_an_impossible_share_is_a_sentence() -> None:
    with pytest.raises(CriterionError, match="was given 1 training"):
        joined(0)
    with pytest.raises(CriterionError, match=r"min_share is 1\.5"):
        joined(0, 0, min_share=1.5)
    assert joined(0, 0, min_share=math.nextafter(0.5, 1)).counts["needed"] == 1


def test_alarms_are_adjusted_as_statsmodels_does() -> None:
    rng = np.random.default_rng(5)
    for size in (1, 2, 7, 30):
        p_values = {f"c{i}": float(p) for i, p in enumerate(rng.beta(0.5, 3.0, size))}
        expected = multipletests(list(p_values.values()), method="holm")[1]
        assert list(adjusted(p_values).values()) == pytest.approx(list(expected))


def test_a_check_without_a_result_takes_part() -> None:
    failing = check(20)
    record = {"contract": "c", "node": "f::a", "verdict": "FAIL", "decision": failing.to_dict()}
    alone = families_of([record])
    among = families_of(
        [
            record,
            {"contract": "c", "node": "f::b", "verdict": "NOT_RUN", "decision": None},
            {"contract": "c", "node": "f::c", "verdict": "PASS", "decision": check(0).to_dict()},
            {"contract": None, "node": "test_x", "verdict": "FAIL", "decision": failing.to_dict()},
        ]
    )
    p = alarm_p(failing)
    assert alone == [{"contract": "c", "checks": 1, "alarms": [{"node": "f::a", "p": p, "adjusted": p}]}]
    assert among[0]["checks"] == 3
    assert among[0]["alarms"] == [{"node": "f::a", "p": p, "adjusted": pytest.approx(3 * p)}]
    assert len(among) == 1
    assert family_lines({"records": [], "families": among})[0].startswith(
        "contract c: FAIL adjusted over its 3 checks (Holm)"
    )


def test_the_p_value_of_a_check_is_the_one_that_its_fail_rests_on() -> None:
    """FAIL exactly where it lies below alpha, for one limit and for several."""
    for count in range(0, 20, 2):
        made = check(count)
        assert (made.verdict is Verdict.FAIL) == (alarm_p(made) < 0.05)
    bare = replace(check(20), readouts={})
    assert alarm_of(bare.to_dict()) == pytest.approx(alarm_p(check(20)))
    assert alarm_of({}) == 1.0
