"""Differences between groups: bounds that hold at the boundary, p-values that agree with bounds, degenerate groups."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pytest_saliency.decide import between, means, subgroups
from pytest_saliency.decide.decision import Decision
from pytest_saliency.decide.verdict import Verdict
from pytest_saliency.errors import CriterionError


def group(values: np.ndarray, alpha: float) -> between.Betting:
    return between.Betting(values, values, (0.0, 1.0), alpha)


def decide(values: dict[str, np.ndarray], limit: float = 0.2, **more: object) -> Decision:
    names = [name for name, part in values.items() for _ in part]
    declared = {name: max(1, len(part)) for name, part in values.items()}
    given = {"min_group": 1, "declared": declared, "seed": 5, **more}
    return subgroups.decide(
        "class_sensitive",
        {"agreement": np.concatenate(list(values.values()))},
        names,
        limits={"agreement": limit},
        **given,
    )  # type: ignore[arg-type]


def spread(rng: np.random.Generator, mean: float, n: int) -> np.ndarray:
    """Return n numbers in [0, 1] with this mean and a spread as agreements have."""
    return rng.beta(6.0 * mean, 6.0 * (1.0 - mean), n)


def test_the_p_value_of_a_difference_is_twice_the_best_split_of_a_grid() -> None:
    rng = np.random.default_rng(3)
    a, b = spread(rng, 0.4, 60), spread(rng, 0.3, 80)
    one, other = group(a, 0.025), group(b, 0.025)
    for limit in (0.15, 0.25, 0.4):
        grid = np.linspace(0.0, 1.0, 4001)
        split = min(
            max(means.p_below(a, 0, 1, m, 0.025), means.p_above(b, 0, 1, m - limit, 0.025)) for m in grid if m >= limit
        )
        found = between.p_difference_below(one, other, limit)
        assert found <= min(1.0, 2.0 * split) + 1e-12
        assert found == pytest.approx(min(1.0, 2.0 * split), rel=0.05)


def test_p_values_and_bounds_decide_alike() -> None:
    rng = np.random.default_rng(4)
    alpha = 0.05
    for _ in range(25):
        a, b = spread(rng, rng.uniform(0.2, 0.6), 70), spread(rng, rng.uniform(0.2, 0.6), 50)
        for_pass = [group(a, alpha / 2), group(b, alpha / 2)]
        for_fail = [group(a, alpha / 4), group(b, alpha / 4)]
        limit = 0.2
        p_pass = max(between.p_difference_below(for_pass[i], for_pass[1 - i], limit) for i in (0, 1))
        p_fail = min(between.p_difference_above(for_fail[i], for_fail[1 - i], limit, 4) for i in (0, 1))
        assert (p_pass < alpha) == (between.largest_upper([*for_pass], alpha) < limit)
        assert (p_fail < alpha) == (between.largest_lower([*for_fail], alpha) > limit)


def test_wrong_verdicts_at_the_boundary_stay_below_alpha() -> None:
    """Four groups whose largest difference is exactly the limit: neither PASS nor FAIL may be frequent."""
    rng = np.random.default_rng(11)
    runs, alpha = 150, 0.2
    passed = failed = 0
    for _ in range(runs):
        parts = [(rng.random(40) < p).astype(float) for p in (0.3, 0.5, 0.4, 0.35)]
        for_pass = [group(part, alpha / 2) for part in parts]
        for_fail = [group(part, alpha / 8) for part in parts]
        passed += between.largest_upper([*for_pass], alpha) < 0.2
        failed += between.largest_lower([*for_fail], alpha) > 0.2
    assert passed / runs <= alpha
    assert failed / runs <= alpha


def test_a_difference_that_is_there_is_found_and_one_that_is_not_is_excluded() -> None:
    rng = np.random.default_rng(12)
    same = {name: spread(rng, 0.3, 300) for name in "abc"}
    assert decide(same).verdict is Verdict.PASS
    apart = decide({**same, "d": spread(rng, 0.65, 300)})
    assert apart.verdict is Verdict.FAIL
    assert apart.measures["gap[agreement]"].estimate == pytest.approx(0.35, abs=0.05)
    assert "for 'd' (n = 300)" in apart.headline


def test_a_small_group_is_never_green_and_never_left_out() -> None:
    rng = np.random.default_rng(13)
    same = {name: spread(rng, 0.3, 400) for name in "ab"}
    assert decide(same).verdict is Verdict.PASS
    for size in (1, 3, 9):
        made = decide({**same, "tiny": np.full(size, 0.3)}, min_group=10)
        assert made.verdict is Verdict.INCONCLUSIVE
        assert f"'tiny' ({size} of {size} kept)" in made.headline
        assert {row["group"] for row in made.readouts["groups"]} == {"a", "b", "tiny"}  # type: ignore[attr-defined]
    nothing_kept = decide(same, declared={"a": 400, "b": 400, "gone": 12})
    assert nothing_kept.verdict is Verdict.INCONCLUSIVE
    assert "'gone' (0 of 12 kept)" in nothing_kept.headline


def test_a_small_group_hides_no_failure_of_the_others() -> None:
    rng = np.random.default_rng(14)
    made = decide({"a": spread(rng, 0.2, 200), "b": spread(rng, 0.7, 200), "tiny": np.full(2, 0.4)}, min_group=10)
    assert made.verdict is Verdict.FAIL


def test_undefined_images_widen_the_bounds_of_their_group_on_both_sides() -> None:
    rng = np.random.default_rng(15)
    a, b = spread(rng, 0.3, 200), spread(rng, 0.3, 200)
    whole = decide({"a": a, "b": b}).measures["gap[agreement]"].interval
    lost = b.copy()
    lost[:8] = np.nan
    made = decide({"a": a, "b": lost})
    assert made.measures["gap[agreement]"].interval.high > whole.high
    assert made.measures["gap[agreement]"].undefined == 8
    many = b.copy()
    many[:60] = np.nan
    assert decide({"a": a, "b": many}).verdict is Verdict.INCONCLUSIVE


def test_clusters_are_averaged_within_their_group() -> None:
    rng = np.random.default_rng(16)
    a, b = spread(rng, 0.3, 60), spread(rng, 0.3, 60)
    names = [f"p{i // 3}" for i in range(120)]
    made = decide({"a": a, "b": b}, clusters=names)
    assert made.n == 40
    alone = decide({"a": a.reshape(20, 3).mean(1), "b": b.reshape(20, 3).mean(1)})
    assert made.measures["gap[agreement]"].interval == alone.measures["gap[agreement]"].interval
    # A patient in both groups is a unit of each, and one unit in all.
    across = decide({"a": a, "b": b}, clusters=[f"p{i % 60}" for i in range(120)])
    assert [row["n"] for row in across.readouts["groups"]] == [60, 60]  # type: ignore[union-attr]
    assert across.n == 60


def test_a_cluster_in_two_groups_is_counted_once() -> None:
    """Labels of one image are groups that share images: 60 numbers of 30 images are no 60 units."""
    rng = np.random.default_rng(9)
    parts = {"a": spread(rng, 0.4, 30), "b": spread(rng, 0.4, 30)}
    made = decide(parts, clusters=[f"image-{i}" for i in range(30)] * 2)
    assert made.n == 30
    assert made.counts["clusters"] == 30
    assert made.measures["gap[agreement]"].n == 30
    assert [row["n"] for row in made.readouts["groups"]] == [30, 30]  # type: ignore[union-attr]
    assert decide(parts).n == 60


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_all_equal_numbers_give_a_verdict_without_nan(value: float) -> None:
    made = decide({"a": np.full(300, value), "b": np.full(300, value)})
    assert made.verdict is Verdict.PASS
    gap = made.measures["gap[agreement]"]
    assert gap.estimate == 0.0
    assert math.isfinite(gap.interval.high)
    assert gap.interval.low == 0.0


def test_all_undefined_is_inconclusive() -> None:
    made = decide({"a": np.full(30, np.nan), "b": np.full(30, np.nan)})
    assert made.verdict is Verdict.INCONCLUSIVE
    assert "nan" not in made.headline


def test_numbers_without_a_range_say_what_their_bounds_assume() -> None:
    rng = np.random.default_rng(17)
    values = np.concatenate([rng.normal(1.0, 0.5, 80), rng.normal(1.0, 0.5, 80)])
    given = {"min_group": 5, "declared": {"a": 80, "b": 80}, "seed": 3}
    names = ["a"] * 80 + ["b"] * 80
    made = subgroups.decide("faithful", {"advantage[blur]": values}, names, limits={"advantage": 0.6}, **given)  # type: ignore[arg-type]
    assert made.verdict is Verdict.PASS
    assert any("log-odds have no range" in note for note in made.notes)
    # Two Student bounds at half the level each are a second derivation for normal numbers.
    from scipy import stats

    half = sum(stats.t.ppf(0.975, 79) * stats.sem(part) for part in (values[:80], values[80:]))
    gap = made.measures["gap[advantage[blur]]"]
    assert gap.interval.high == pytest.approx(gap.estimate + half, rel=0.1)
    moved = values.copy()
    moved[80:] += 2.0
    assert (
        subgroups.decide("faithful", {"advantage[blur]": moved}, names, limits={"advantage": 0.6}, **given).verdict
        == "FAIL"
    )  # type: ignore[arg-type]
    lost = values.copy()
    lost[0] = np.nan
    wider = subgroups.decide("faithful", {"advantage[blur]": lost}, names, limits={"advantage": 0.6}, **given)  # type: ignore[arg-type]
    assert wider.measures["gap[advantage[blur]]"].interval.high > gap.interval.high


def test_what_cannot_be_compared_is_a_sentence() -> None:
    with pytest.raises(CriterionError, match="one group only, 'a'"):
        decide({"a": np.full(9, 0.1)})
    with pytest.raises(CriterionError, match="images of only one were kept: 'a'"):
        decide({"a": np.full(9, 0.1)}, declared={"a": 9, "b": 4})
    with pytest.raises(CriterionError, match="more than 50"):
        decide({f"g{i:02d}": np.full(2, 0.1) for i in range(51)})


def test_two_groups_are_named_also_where_all_are_equal() -> None:
    made = decide({"a": np.full(60, 0.5), "b": np.full(60, 0.5)})
    assert "0.50 for 'a' (n = 60), 0.50 for 'b' (n = 60)" in made.headline
