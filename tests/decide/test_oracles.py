"""Every statistic that SciPy, statsmodels or scikit-learn has too, against theirs, on numbers drawn at random.

Others have their oracle beside their own tests: Wilcoxon, the sign test, paired t, sign flips, BCa and Hall's moments
(SciPy) in the files of these names, AUC (scikit-learn) in ``tests/measure``. What no library has is derived a second
time there: betting bounds, swap tests, random weights, Hodges and Lehmann's estimate.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy import stats

from pytest_saliency.decide import compare, drift_reference, pasting, power, ranks, rates, skewed
from pytest_saliency.decide.holm import holm
from pytest_saliency.decide.values import mean_of, median_of, sd_of


@pytest.fixture(scope="module")
def statsmodels() -> object:
    """The package, or a skip where it is not installed; importing it warns about what it deprecates."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("statsmodels.stats.multitest")
        pytest.importorskip("statsmodels.stats.proportion")
        pytest.importorskip("statsmodels.stats.contingency_tables")
        pytest.importorskip("statsmodels.stats.descriptivestats")
        import statsmodels.api
    return statsmodels


def test_holm_is_that_of_statsmodels(statsmodels: object) -> None:
    from statsmodels.stats.multitest import multipletests

    rng = np.random.default_rng(0)
    for size in range(1, 9):
        p = rng.random(size) ** 3
        p[0] = p[-1]
        ours = holm({f"m{i}": float(value) for i, value in enumerate(p)})
        assert list(ours.values()) == pytest.approx(multipletests(p, method="holm")[1], abs=1e-12)


def test_clopper_pearson_is_that_of_statsmodels(statsmodels: object) -> None:
    from statsmodels.stats.proportion import proportion_confint

    for count, n in ((0, 7), (7, 7), (3, 19), (40, 300)):
        low, high = proportion_confint(count, n, alpha=0.1, method="beta")
        assert rates.lower_bound(count, n, 0.05) == pytest.approx(low, abs=1e-10)
        assert rates.upper_bound(count, n, 0.05) == pytest.approx(high, abs=1e-10)


def test_which_region_is_followed_is_mcnemars_exact_test(statsmodels: object) -> None:
    from statsmodels.stats.contingency_tables import mcnemar

    rng = np.random.default_rng(1)
    for share in (0.7, 0.9):
        region, control = (rng.random((2, 60)) < np.array([[share], [0.4]])).astype(float)
        table = [[np.sum((region == a) & (control == b)) for b in (1, 0)] for a in (1, 0)]
        two_sided = float(mcnemar(table, exact=True).pvalue)
        found = pasting.judge(region, control, None, 0.05)
        assert table[0][1] > table[1][0], "else the one-sided test looks the other way"
        assert min(1.0, 2.0 * found.p) == pytest.approx(two_sided, rel=1e-9)


def test_sign_test_is_that_of_statsmodels(statsmodels: object) -> None:
    from statsmodels.stats.descriptivestats import sign_test

    differences = np.random.default_rng(2).normal(0.2, 1.0, 41)
    wins = int((differences > 0.0).sum())
    two_sided = float(sign_test(differences)[1])
    assert min(1.0, 2.0 * ranks.sign_test(wins, 41)) == pytest.approx(two_sided, rel=1e-9)


def test_rank_biserial_is_read_off_scipys_rank_sum() -> None:
    differences = np.random.default_rng(3).normal(-0.2, 1.0, 37)
    positives = float(stats.wilcoxon(differences, alternative="greater").statistic)
    total = 37 * 38 / 2
    assert ranks.rank_biserial(differences) == pytest.approx((total - 2.0 * positives) / total)


def test_moments_are_scipys() -> None:
    values = np.random.default_rng(4).gamma(1.5, size=23)
    found = skewed.skewed_mean(values)
    assert (found.mean, found.sd) == (pytest.approx(np.mean(values)), pytest.approx(stats.tstd(values)))
    assert found.skewness == pytest.approx(stats.skew(values, bias=False))
    assert (mean_of(values), median_of(values), sd_of(values)) == (
        pytest.approx(stats.tmean(values)),
        pytest.approx(np.quantile(values, 0.5)),
        pytest.approx(stats.tstd(values)),
    )


def test_a_prediction_bound_is_student_s_of_one_number_more() -> None:
    """The two-sample t test of one number against m of them, both with the spread of the m."""
    nulls, candidate = np.random.default_rng(5).normal(0.3, 0.05, 12), 0.41
    found = drift_reference.rank(candidate, list(nulls), "<=", 0.05)
    assert found.p_normal == pytest.approx(
        stats.ttest_ind([candidate], nulls, equal_var=True, alternative="greater").pvalue, rel=1e-9
    )
    at_bound = drift_reference.rank(found.bound, list(nulls), "<=", 0.05)
    assert at_bound.p_normal == pytest.approx(0.05)


def test_a_rank_among_nulls_is_scipys_exact_rank_sum_test_of_one_against_the_others() -> None:
    nulls = np.random.default_rng(6).normal(0.3, 0.05, 19)
    for candidate in (0.2, 0.31, 0.37, 0.5):
        found = drift_reference.rank(candidate, list(nulls), "<=", 0.05)
        peer = stats.mannwhitneyu([candidate], nulls, alternative="greater", method="exact")
        assert found.p_rank == pytest.approx(peer.pvalue)


def test_power_of_a_share_is_the_binomial_test_s() -> None:
    share = power.share_below(60, 0.3, 0.05)
    shown = [stats.binomtest(k, 60, 0.3, alternative="less").pvalue < 0.05 for k in range(61)]
    assert float(stats.binom.pmf(np.arange(61), 60, share)[shown].sum()) == pytest.approx(0.8)


def test_normal_gap_has_80_percent_power_by_scipys_z() -> None:
    gap = power.normal_gap(0.2, 0.05)
    assert stats.norm.sf(stats.norm.isf(0.05) - gap / 0.2) == pytest.approx(0.8)


def test_median_bounds_are_scipys_quantile_test() -> None:
    values = np.random.default_rng(7).normal(size=31)
    for alternative, side in (("less", 0), ("greater", 1)):
        interval = stats.quantile_test(values, q=0, p=0.5, alternative=alternative).confidence_interval(0.95)
        ours = rates.median_bounds(values, 0.05, -9.0, 9.0)
        theirs = (interval.high, interval.low)[side]
        assert ours[1 - side] == pytest.approx(theirs)


def test_sign_flips_on_a_few_hundred_numbers_follow_the_t_test() -> None:
    values = np.random.default_rng(8).normal(0.08, 1.0, 250)
    found = compare.mean_reference(values, 1)
    peer = stats.ttest_1samp(values, 0.0, alternative="greater").pvalue
    assert found.flips.p_greater() == pytest.approx(peer, abs=0.02)
    assert found.others[0].p_greater() == pytest.approx(peer, abs=0.02)
