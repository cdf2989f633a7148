from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pytest_saliency.decide import compare, swap
from pytest_saliency.decide.reference import Reference
from pytest_saliency.errors import CriterionError


def shifted_p(matrices: list[np.ndarray], delta: float, sign: float) -> float:
    """The test of "own drops are better by delta" from its definition: take delta out of the diagonal, permute."""
    taken = [sign * (matrix - delta * np.eye(len(matrix))) for matrix in matrices]
    observed = sum(np.trace(matrix) for matrix in taken)
    hits = [
        sum(sum(m[i, j] for i, j in enumerate(order)) for m, order in zip(taken, orders, strict=True))
        >= observed - 1e-9
        for orders in product(*(permutations(range(len(matrix))) for matrix in matrices))
    ]
    return float(np.mean(hits))


def some_matrices(seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(m, m)) + 0.8 * np.eye(m) for m in (4, 3, 2)]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_listed_permutations_agree_with_brute_force(seed: int) -> None:
    matrices = some_matrices(seed)
    reference = swap.swap_reference(matrices, seed=1)
    assert reference.exact
    assert reference.totals.size == 24 * 6 * 2
    for delta in (-1.0, 0.0, 0.3, 2.0):
        assert reference.p_greater(delta) == pytest.approx(shifted_p(matrices, delta, 1.0))
        assert reference.p_less(delta) == pytest.approx(shifted_p(matrices, delta, -1.0))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_closed_form_bounds_are_where_the_brute_force_p_value_crosses_alpha(seed: int) -> None:
    matrices = some_matrices(seed)
    reference = swap.swap_reference(matrices, seed=1)
    low, high = reference.lower(0.05), reference.upper(0.05)
    assert shifted_p(matrices, low - 1e-6, 1.0) < 0.05 <= shifted_p(matrices, low + 1e-6, 1.0)
    assert shifted_p(matrices, high + 1e-6, -1.0) < 0.05 <= shifted_p(matrices, high - 1e-6, -1.0)
    assert low < reference.estimate() < high


def test_random_permutations_agree_with_listed_ones() -> None:
    matrices = some_matrices(5)
    listed = swap.swap_reference(matrices, seed=1)
    # Blocks of identical columns add the same to every permutation and only force random draws.
    padded = [*matrices, *[np.ones((4, 1)) @ np.ones((1, 4))] * 3]
    drawn = swap.swap_reference(padded, seed=1)
    assert not drawn.exact
    assert drawn.totals.size == 10_000
    assert drawn.p_greater() == pytest.approx(listed.p_greater(), abs=0.02)


def test_estimate_is_the_mean_advantage_over_the_others() -> None:
    rng = np.random.default_rng(0)
    matrices = [rng.normal(size=(4, 4)) for _ in range(2)]
    own = [np.trace(m) / 4 - (m.sum() - np.trace(m)) / 12 for m in matrices]
    assert swap.swap_reference(matrices, seed=0).estimate() == pytest.approx(np.mean(own))
    block = swap.SwapBlock((0, 1, 2, 3), matrices[0], np.zeros(4, dtype=bool))
    assert block.advantages().mean() == pytest.approx(own[0])


def test_equal_columns_tie_with_every_permutation() -> None:
    rng = np.random.default_rng(0)
    matrices = [np.repeat(rng.normal(size=(4, 1)), 4, axis=1) for _ in range(20)]
    reference = swap.swap_reference(matrices, seed=0)
    assert reference.p_greater() == reference.p_less() == 1.0
    assert reference.lower(0.05) == pytest.approx(0.0, abs=1e-9)


def test_scores_by_row_and_column_cancel() -> None:
    matrices = some_matrices(3)
    moved = [m + np.arange(len(m))[:, None] * 3.0 - np.arange(len(m))[None, :] * 7.0 for m in matrices]
    assert swap.swap_reference(moved, 1).p_greater() == swap.swap_reference(matrices, 1).p_greater()


@given(st.integers(2, 200))
@settings(max_examples=80, deadline=None)
def test_block_sizes_add_up_and_cost_at_most_five_passes(n: int) -> None:
    sizes = swap.block_sizes(n)
    assert sum(sizes) == n
    assert set(sizes) <= {2, 3, 4, 5}
    if n >= 12 or n in (4, 5, 8, 9, 10):
        assert set(sizes) <= {4, 5}
        assert sizes.count(5) < 4


def test_blocks_stay_within_a_class_and_hold_every_image_once() -> None:
    classes = np.array([2] * 9 + [0] * 13 + [5] + [7] * 3)
    blocks = swap.make_blocks(classes, seed=4)
    placed = [place for block in blocks for place in block]
    assert sorted(placed) == [place for place in range(26) if classes[place] != 5]
    assert all(len({int(classes[place]) for place in block}) == 1 for block in blocks)
    assert blocks == swap.make_blocks(classes, seed=4) != swap.make_blocks(classes, seed=5)
    assert swap.make_blocks([], seed=4) == ()


@pytest.mark.parametrize("alpha", [0.05, 0.01, 0.005, 0.001])
def test_from_the_smallest_n_on_every_class_size_suffices(alpha: float) -> None:
    enough = [swap.arrangements(swap.block_sizes(n)) > 1 / alpha for n in range(2, 40)]
    first = swap.smallest_n(alpha)
    assert all(enough[first - 2 :])
    assert first == 2 or not enough[first - 3]


def test_undefined_own_maps_take_the_end_of_their_row() -> None:
    drops = np.array([[np.nan, 0.2, 0.7, 0.4], [1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 1.0, 0.0], [5.0, 5.0, 5.0, 9.0]])
    block = swap.SwapBlock((0, 1, 2, 3), drops, np.array([True, False, False, False]))
    assert np.diag(block.with_own("worst")).tolist() == [0.2, 2.0, 1.0, 9.0]
    assert np.diag(block.with_own("best")).tolist() == [0.7, 2.0, 1.0, 9.0]
    assert np.isnan(drops[0, 0]), "the stored numbers stay as they were measured"
    assert np.isnan(block.advantages()).tolist() == [True, False, False, False]


@given(st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_an_undefined_row_never_helps_either_side(seed: int) -> None:
    rng = np.random.default_rng(seed)
    drops = [rng.normal(size=(4, 4)) + 0.5 * np.eye(4) for _ in range(2)]
    undefined = rng.random((2, 4)) < 0.4
    blocks = [swap.SwapBlock((0, 1, 2, 3), d, u) for d, u in zip(drops, undefined, strict=True)]
    silent = [np.where(u[:, None], 0.0, d) for d, u in zip(drops, undefined, strict=True)]
    alone = swap.swap_reference(silent, 0)
    assert swap.swap_reference([b.with_own("worst") for b in blocks], 0).p_greater() >= alone.p_greater() - 1e-12
    assert swap.swap_reference([b.with_own("best") for b in blocks], 0).p_less() >= alone.p_less() - 1e-12


@given(st.integers(0, 10_000), st.sampled_from([-0.7, 0.0, 0.7]))
@settings(max_examples=80, deadline=None)
def test_an_undefined_image_leaves_no_smaller_p_value_than_the_usable_ones_alone(seed: int, margin: float) -> None:
    """Neither its own row nor the region it lends, whatever that costs, may help PASS or FAIL."""
    rng = np.random.default_rng(seed)
    matrices = [rng.normal(size=(4, 4)) + rng.uniform(-1.0, 1.0) * np.eye(4) for _ in range(2)]
    undefined = rng.random((2, 4)) < 0.3
    for matrix, lost in zip(matrices, undefined, strict=True):
        matrix[:, lost] += rng.normal(0.0, 3.0)
    blocks = [swap.SwapBlock((0, 1, 2, 3), d, u) for d, u in zip(matrices, undefined, strict=True)]
    usable = [d[np.ix_(~u, ~u)] for d, u in zip(matrices, undefined, strict=True)]
    worst = swap.swap_reference([block.with_own("worst", margin) for block in blocks], 0)
    best = swap.swap_reference([block.with_own("best", margin) for block in blocks], 0)
    assert worst.p_greater(margin) >= shifted_p(usable, margin, 1.0) - 1e-12
    assert worst.p_greater(0.0) >= shifted_p(usable, 0.0, 1.0) - 1e-12
    assert best.p_less(margin) >= shifted_p(usable, margin, -1.0) - 1e-12


def test_advantages_compare_with_usable_regions_only() -> None:
    drops = np.full((4, 4), 1.0)
    drops[:, 3] = -9.0
    block = swap.SwapBlock((0, 1, 2, 3), drops, np.array([False, False, False, True]))
    assert block.advantages()[:3].tolist() == [0.0, 0.0, 0.0]
    assert block.weight == pytest.approx(2 / 3)
    lonely = swap.SwapBlock((0, 1), drops[:2, :2], np.array([False, True]))
    assert np.isnan(lonely.advantages()).all()


def test_blocks_that_do_not_fit_are_refused_in_a_sentence() -> None:
    good = np.zeros((2, 2))
    none = np.zeros(2, dtype=bool)
    with pytest.raises(CriterionError, match="holds 1 images; it must hold 2 to 7"):
        swap.SwapBlock((0,), np.zeros((1, 1)), np.zeros(1, dtype=bool))
    with pytest.raises(CriterionError, match="2 x 2 score drops"):
        swap.SwapBlock((0, 1), np.zeros((2, 3)), none)
    bad = good.copy()
    bad[1, 0] = np.nan
    finite = "image number 10 without the region of image number 5 is not a finite number"
    with pytest.raises(CriterionError, match=finite):
        swap.SwapBlock((4, 9), bad, none)


def flips(differences: np.ndarray, delta: float, sign: float) -> float:
    taken = sign * (differences - delta)
    sums = [np.dot(taken, pattern) for pattern in product((1.0, -1.0), repeat=differences.size)]
    return float(np.mean(np.array(sums) >= taken.sum() - 1e-9))


def test_sign_flips_agree_with_brute_force_and_scipy() -> None:
    differences = np.random.default_rng(2).normal(0.3, 0.5, 9)
    reference = compare.sign_flip_reference(differences, 0)
    assert reference.exact
    for delta in (0.0, 0.2, -0.4):
        assert reference.p_greater(delta) == pytest.approx(flips(differences, delta, 1.0))
        assert reference.p_less(delta) == pytest.approx(flips(differences, delta, -1.0))
    peer = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", alternative="greater", n_resamples=np.inf
    )
    assert reference.p_greater() == pytest.approx(peer.pvalue)
    low, high = reference.lower(0.05), reference.upper(0.05)
    assert flips(differences, low - 1e-6, 1.0) < 0.05 <= flips(differences, low + 1e-6, 1.0)
    assert flips(differences, high + 1e-6, -1.0) < 0.05 <= flips(differences, high - 1e-6, -1.0)


def test_many_pairs_are_drawn_and_close_to_the_t_test() -> None:
    differences = np.random.default_rng(3).normal(0.1, 0.5, 80)
    reference = compare.sign_flip_reference(differences, 0)
    assert not reference.exact
    peer = stats.ttest_1samp(differences, 0.0, alternative="greater")
    assert reference.p_greater() == pytest.approx(peer.pvalue, abs=0.02)
    assert reference.lower(0.05) == pytest.approx(peer.confidence_interval(0.95).low, abs=0.02)


def test_paired_t_is_scipy_s() -> None:
    differences = np.random.default_rng(4).normal(0.2, 0.5, 30)
    peer = stats.ttest_1samp(differences, 0.0)
    found = compare.paired_t(differences)
    assert found["t"] == pytest.approx(peer.statistic)
    assert found["p"] == pytest.approx(peer.pvalue)
    assert found["df"] == 29
    assert compare.paired_t(np.zeros(5))["p"] == 1.0
    assert np.isnan(compare.paired_t(np.array([1.0]))["p"])


def test_smallest_number_of_pairs() -> None:
    assert compare.smallest_n(0.05) == 5
    assert compare.smallest_n(0.01) == 7


def test_too_few_permutations_leave_the_bounds_open() -> None:
    reference: Reference = compare.sign_flip_reference(np.array([0.5, 0.4]), 0)
    assert reference.lower(0.05) == -np.inf
    assert reference.upper(0.05) == np.inf
