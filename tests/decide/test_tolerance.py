"""A verdict that numbers within the tolerance could turn is reported as such, and no other is."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pytest_saliency.decide import class_sensitive, compare, drift, faithful, limits, swap
from pytest_saliency.decide.decision import Decision
from pytest_saliency.decide.drift import LIMITED
from pytest_saliency.decide.tolerance import (
    FEW,
    LARGE_REGION,
    TOLERANCES,
    Sensitivity,
    Tolerance,
    reachable,
    tolerance_of,
)
from pytest_saliency.decide.verdict import Verdict

BEST_FIRST = [Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.FAIL]
share = st.one_of(st.floats(0.0, 1.0), st.just(math.nan), st.sampled_from([0.0, 0.5, 1.0]))
per_image = arrays.arrays(np.float64, st.integers(5, 60), elements=share)
tolerances = st.builds(Tolerance, st.sampled_from([0.0, 1e-3, 0.05]), st.sampled_from([1e-3, 0.02, 0.3]))


def within(decision: Decision) -> Sensitivity:
    assert decision.within_tolerance is not None
    return decision.within_tolerance


def by_hand(values: np.ndarray, way: int, limit: float, tolerance: Tolerance, low: float, high: float) -> np.ndarray:
    """Move numbers one by one: the few that can cross the limit, nearest first, by more than the others."""
    known = [i for i in range(len(values)) if not math.isnan(values[i])]
    distance = {i: way * (limit - values[i]) for i in known}
    near = sorted((i for i in known if 0.0 <= distance[i] <= tolerance.few), key=lambda i: (distance[i], i))
    few = (near + [i for i in known if i not in near])[: math.ceil(FEW * len(known))]
    made = values.copy()
    for i in known:
        made[i] = min(high, max(low, values[i] + way * (tolerance.few if i in few else tolerance.every)))
    return made


def span(*verdicts: Verdict) -> tuple[Verdict, ...]:
    places = [BEST_FIRST.index(verdict) for verdict in verdicts]
    return tuple(BEST_FIRST[min(places) : max(places) + 1])


# -- the table ------------------------------------------------------------------------------------------------------


def test_every_measure_that_is_decided_on_has_a_tolerance() -> None:
    further = {"agreement", "log_odds_drop", "mass_inside"}
    assert set(TOLERANCES) == {entry.name for entry in LIMITED} | further
    assert all(0.0 <= entry.every <= entry.few < 0.1 for entry in TOLERANCES.values())


@pytest.mark.parametrize("name", ["agreement", "iou_drop"])
def test_small_regions_change_by_whole_positions_or_not_at_all(name: str) -> None:
    small, large = tolerance_of(name, 10), tolerance_of(name, LARGE_REGION + 1)
    assert (small.every, small.few) == (0.0, 2.0 / 10)
    assert large == TOLERANCES[name]
    assert large.every >= 1.0 / LARGE_REGION
    assert tolerance_of(name, 1).few == 1.0
    assert tolerance_of("displacement", 51) == TOLERANCES["displacement"]


def test_one_exchanged_position_stays_within_the_tolerance() -> None:
    for k in (2, 3, 13, 51, 205):
        for common in range(k):
            one, two = common / (2 * k - common), (common + 1) / (2 * k - common - 1)
            assert two - one <= tolerance_of("iou_drop", k).few + 1e-12
            assert 1 / k <= tolerance_of("agreement", k).few


# -- moving numbers -------------------------------------------------------------------------------------------------


@given(per_image, st.sampled_from([-1, 1]), st.floats(0.0, 1.0), tolerances)
@settings(max_examples=150, deadline=None)
def test_numbers_move_as_by_hand(values: np.ndarray, way: int, limit: float, tolerance: Tolerance) -> None:
    before = values.copy()
    moved = tolerance.moved(values, way, limit, 0.0, 1.0)  # type: ignore[arg-type]
    np.testing.assert_allclose(moved, by_hand(values, way, limit, tolerance, 0.0, 1.0), atol=1e-15)
    np.testing.assert_array_equal(values, before)
    assert np.nanmin(way * (moved - values), initial=0.0) >= 0.0


def test_the_mean_moves_no_further_than_stated() -> None:
    values = np.full(100, 0.5)
    for tolerance in TOLERANCES.values():
        assert np.mean(tolerance.moved(values, 1, 0.5, -1.0, 1.0) - values) == pytest.approx(tolerance.mean)


def test_reachable_fills_the_gap_between_the_outermost() -> None:
    found = reachable({}, Verdict.FAIL, Verdict.PASS, Verdict.FAIL)
    assert found.verdicts == (Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.FAIL)
    assert reachable({}, Verdict.PASS, Verdict.PASS, Verdict.INCONCLUSIVE).verdicts == tuple(BEST_FIRST[:2])
    assert reachable({}, Verdict.PASS, Verdict.PASS, Verdict.PASS).settled
    reversed_order = reachable({}, Verdict.INCONCLUSIVE, Verdict.FAIL, Verdict.INCONCLUSIVE)
    assert reversed_order.verdicts == tuple(BEST_FIRST[1:])


# -- the answer is that of deciding again with moved numbers --------------------------------------------------------


@given(per_image, st.floats(0.05, 1.0), tolerances, st.sampled_from(["full", "published"]), st.booleans())
@settings(max_examples=80, deadline=None)
def test_class_sensitive_answers_as_deciding_again(
    values: np.ndarray, limit: float, tolerance: Tolerance, rule: Any, clustered: bool
) -> None:
    repeat = np.where(np.isnan(values), np.nan, 1.0 - values)
    clusters = [place % 7 for place in range(values.size)] if clustered and values.size > 6 else None

    def decide(cross: np.ndarray, again: np.ndarray) -> Decision:
        return class_sensitive.decide(
            cross, again, max_agreement=limit, rule=rule, clusters=clusters, tolerance=tolerance, seed=1
        )

    verdicts = []
    for way in (-1, 1):
        cross = by_hand(values, way, limit, tolerance, 0.0, 1.0)
        again = tolerance.moved(repeat, -way, np.where(np.isnan(cross), 1.0, cross), 0.0, 1.0)  # type: ignore[arg-type]
        verdicts.append(decide(cross, again).verdict)
    decision = decide(values, repeat)
    assert within(decision).verdicts == span(decision.verdict, *verdicts)


@given(
    arrays.arrays(np.float64, (2, 60), elements=share),
    st.floats(0.25, 0.95),
    st.floats(0.35, 0.6),
    tolerances,
)
@settings(max_examples=80, deadline=None)
def test_drift_answers_as_deciding_again(values: np.ndarray, limit: float, least: float, tolerance: Tolerance) -> None:
    """The means: numbers that are off by t are limits that are off by t."""

    def decide(way: int) -> Decision:
        room = way * tolerance.mean
        return drift.decide(
            {"iou_drop": values[0], "correlation": values[1]},
            limits={"max_iou_drop": min(1.0, limit - room), "min_correlation": least + room},
            kept=60,
            total=60,
            tolerances={"iou_drop": tolerance, "correlation": tolerance},
            seed=1,
        )

    decision = decide(0)
    assert within(decision).verdicts == span(decision.verdict, decide(-1).verdict, decide(1).verdict)


@given(arrays.arrays(np.float64, 60, elements=share), st.floats(0.2, 0.9), st.floats(0.2, 0.9), tolerances)
@settings(max_examples=60, deadline=None)
def test_the_share_beyond_a_limit_answers_as_deciding_again(
    values: np.ndarray, limit: float, max_share: float, tolerance: Tolerance
) -> None:
    """Signed changes: every image is moved away from zero, or towards it, on its own side."""
    signed = np.where(np.arange(60) % 2 == 0, 1.0, -1.0) * values

    def decide(changes: np.ndarray) -> Decision:
        return drift.decide(
            {"concentration_change": changes, "iou_drop": np.zeros(60)},
            limits={"max_concentration_change": limit, "max_iou_drop": 1.0},
            max_drifted_share=max_share,
            max_undefined=1.0,
            kept=60,
            total=60,
            tolerances={"concentration_change": tolerance, "iou_drop": Tolerance(0.0, 0.0)},
            seed=1,
        )

    decision = decide(signed)
    found = [
        decide(np.where(signed < 0.0, -1.0, 1.0) * by_hand(np.abs(signed), way, limit, tolerance, -1.0, 1.0))
        for way in (-1, 1)
    ]
    legs = [next(leg.holds for leg in one.legs if leg.name == "max_drifted_share") for one in (decision, *found)]
    if within(decision).settled and decision.verdict is Verdict.PASS:
        assert all(legs)
    if not any(legs):
        assert Verdict.PASS not in within(decision).verdicts


def some_blocks(seed: int, n: int = 24, lead: float = 0.5) -> list[faithful.SwapBlock]:
    rng = np.random.default_rng(seed)
    return [
        faithful.SwapBlock(
            rows,
            lead * np.eye(len(rows)) + rng.normal(0.0, 0.5, (len(rows),) * 2),
            np.zeros(len(rows), dtype=bool),
        )
        for rows in faithful.make_blocks(np.zeros(n, dtype=int), 1)
    ]


def moved_blocks(blocks: list[faithful.SwapBlock], by: float) -> list[faithful.SwapBlock]:
    """Return blocks with every own drop larger by ``by`` and every other one smaller."""
    return [
        faithful.SwapBlock(block.rows, block.drops + by * (2.0 * np.eye(len(block.rows)) - 1.0), block.undefined)
        for block in blocks
    ]


@given(st.integers(0, 10_000), st.floats(-1.0, 2.0), st.sampled_from([1e-4, 0.05, 0.3]), st.booleans())
@settings(max_examples=40, deadline=None)
def test_faithful_answers_as_deciding_again(seed: int, margin: float, by: float, peer: bool) -> None:
    blocks, own = some_blocks(seed), np.random.default_rng(seed).normal(0.5, 0.5, 24)
    other = own - np.random.default_rng(seed + 1).normal(0.2, 0.3, 24)

    def decide(shift: float) -> Decision:
        against = {"x": {"blur": (own + shift, other - shift)}} if peer else None
        return faithful.decide(
            {"blur": moved_blocks(blocks, shift)},
            min_advantage=margin,
            against=against,
            tolerance=Tolerance(by, by),
            seed=1,
        )

    decision = decide(0.0)
    assert within(decision).verdicts == span(decision.verdict, decide(by).verdict, decide(-by).verdict)


# -- better numbers never give a worse verdict ----------------------------------------------------------------------


@given(per_image, arrays.arrays(np.float64, 60, elements=st.floats(0.0, 0.2)), st.floats(0.05, 1.0))
@settings(max_examples=60, deadline=None)
def test_more_agreement_never_counts_for_more_images_below(values: np.ndarray, gain: np.ndarray, limit: float) -> None:
    worse = np.clip(values + gain[: values.size], 0.0, 1.0)
    repeat = np.where(np.isnan(values), np.nan, 0.5)
    one, two = (class_sensitive.decide(cross, repeat, max_agreement=limit, seed=1) for cross in (values, worse))
    for leg in ("share", "not_noise"):
        p = [next(entry.p for entry in decision.legs if entry.name == leg) for decision in (one, two)]
        assert p[0] <= p[1]


@given(st.integers(0, 10_000), st.floats(-1.0, 1.0), st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_larger_own_drops_never_give_a_larger_p(seed: int, margin: float, other_seed: int) -> None:
    blocks = some_blocks(seed)
    gains = np.random.default_rng(other_seed).random((len(blocks), 5, 5))
    better = [
        faithful.SwapBlock(
            block.rows,
            block.drops + gain[: len(block.rows), : len(block.rows)] * (2.0 * np.eye(len(block.rows)) - 1.0),
            block.undefined,
        )
        for block, gain in zip(blocks, gains, strict=True)
    ]
    one, two = (faithful.decide({"blur": own}, min_advantage=margin, seed=1) for own in (blocks, better))
    first, second = one.measures["advantage[blur]"], two.measures["advantage[blur]"]
    assert first.p_pass is not None
    assert second.p_pass is not None
    assert first.p_fail is not None
    assert second.p_fail is not None
    assert second.p_pass <= first.p_pass
    assert second.p_fail >= first.p_fail


# -- near the limit, and well away from it --------------------------------------------------------------------------


def drifting(limit: float, values: np.ndarray | None = None, **options: Any) -> Decision:
    values = np.random.default_rng(2).beta(2, 8, 200) if values is None else values
    return drift.decide(
        {"iou_drop": values}, limits={"max_iou_drop": limit}, kept=values.size, total=values.size, seed=1, **options
    )


def test_a_bound_within_the_tolerance_of_its_limit_is_near_it() -> None:
    high = drifting(0.9).measures["iou_drop"].interval.high
    near, far = drifting(high + 5e-4), drifting(high + 0.02)
    assert near.verdict is far.verdict is Verdict.PASS
    assert within(near).verdicts == (Verdict.PASS, Verdict.INCONCLUSIVE)
    assert within(far).settled
    assert not any("tolerance" in note for note in far.notes)
    note = near.notes[-1]
    assert "it could also be INCONCLUSIVE; do not rely on it" in note
    assert "iou_drop 0.001, and 0.05 for 5 % of the images" in note
    assert "note" not in near.headline
    undecided = drifting(high - 5e-4)
    assert undecided.verdict is Verdict.INCONCLUSIVE
    assert within(undecided).verdicts == (Verdict.PASS, Verdict.INCONCLUSIVE)
    low = drifting(0.9).measures["iou_drop"].interval.low
    failed = drifting(low - 5e-4)
    assert failed.verdict is Verdict.FAIL
    assert within(failed).verdicts == (Verdict.INCONCLUSIVE, Verdict.FAIL)


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize(("room", "settled"), [(2e-4, False), (0.05, True)])
def test_a_change_of_concentration_is_near_its_limit_on_either_side(sign: float, room: float, settled: bool) -> None:
    values = sign * np.random.default_rng(5).normal(0.1, 0.05, 200)

    def decide(limit: float) -> Decision:
        return drift.decide(
            {"concentration_change": values},
            limits={"max_concentration_change": limit},
            kept=200,
            total=200,
            seed=1,
        )

    interval = decide(0.9).measures["concentration_change"].interval
    found = decide(max(abs(interval.low), abs(interval.high)) + room)
    assert found.verdict is Verdict.PASS
    assert within(found).settled is settled


def test_images_next_to_a_limit_of_their_own_can_turn_a_share() -> None:
    """P(X <= 5) is 0.02 for 20 images and one half, P(X <= 6) is 0.058: a single image decides."""

    def decide(edge: float) -> Decision:
        values = np.r_[np.full(14, 0.05), edge, np.full(5, 0.6)]
        return drift.decide(
            {"iou_drop": values},
            limits={"max_iou_drop": 0.5},
            max_drifted_share=0.5,
            tolerances={"iou_drop": tolerance_of("iou_drop", 200)},
            kept=20,
            total=20,
            seed=1,
        )

    assert decide(0.3).verdict is Verdict.PASS
    assert within(decide(0.3)).settled
    for edge, verdict in ((0.495, Verdict.PASS), (0.5, Verdict.PASS), (0.505, Verdict.INCONCLUSIVE)):
        found = decide(edge)
        assert found.verdict is verdict
        assert within(found).verdicts == (Verdict.PASS, Verdict.INCONCLUSIVE)
    assert within(decide(0.58)).settled


def test_an_image_on_the_limit_itself_can_turn_a_count() -> None:
    """Agreement that equals the limit reaches it; one position less and it does not."""

    def decide(edge: float) -> Decision:
        cross = np.r_[np.full(14, 0.1), edge, np.full(5, 0.55)]
        return class_sensitive.decide(
            cross, np.full(20, 0.95), max_agreement=0.5, tolerance=tolerance_of("agreement", 50), seed=1
        )

    on, off = decide(0.5), decide(0.3)
    assert on.verdict is Verdict.INCONCLUSIVE
    assert within(on).verdicts == (Verdict.PASS, Verdict.INCONCLUSIVE)
    assert off.verdict is Verdict.PASS
    assert within(off).settled


def test_many_images_exactly_on_the_limit_of_a_small_region_do_not_all_move() -> None:
    """On a 7x7 grid the top 5 % are two positions, and half of the images may agree by exactly one half."""
    cross = np.r_[np.full(50, 0.5), np.zeros(50)]
    decision = class_sensitive.decide(
        cross, np.ones(100), max_agreement=0.5, tolerance=tolerance_of("agreement", 2), seed=1
    )
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert within(decision).settled
    everything = class_sensitive.decide(cross, np.ones(100), max_agreement=0.5, tolerance=Tolerance(1e-3, 0.1), seed=1)
    assert within(everything).verdicts == (Verdict.PASS, Verdict.INCONCLUSIVE)


def test_undefined_images_stay_undefined() -> None:
    values = np.random.default_rng(2).beta(2, 8, 200)
    values[:40] = np.nan
    decision = drifting(0.9, values)
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert within(decision).settled, "what blocks PASS is not a matter of tolerance"


def test_accuracy_is_taken_as_it_is() -> None:
    decision = drift.decide(
        {"accuracy_drop": np.zeros(100)}, limits={"max_accuracy_drop": 0.3}, kept=100, total=100, seed=1
    )
    assert within(decision).tolerance == {"accuracy_drop": Tolerance(0.0, 0.0)}
    assert within(decision).settled


def test_faithful_near_its_margin() -> None:
    blocks = some_blocks(1, 60)
    low = faithful.decide({"blur": blocks}, min_advantage=0.0, seed=1).measures["advantage[blur]"].interval.low
    near, far = (faithful.decide({"blur": blocks}, min_advantage=margin, seed=1) for margin in (low - 1e-5, low - 0.02))
    assert near.verdict is far.verdict is Verdict.PASS
    assert within(near).verdicts == (Verdict.PASS, Verdict.INCONCLUSIVE)
    assert "log_odds_drop 0.0001, and 0.01 for 5 % of the images" in near.notes[-1]
    assert within(far).settled


# -- what it costs and what is written ------------------------------------------------------------------------------


def counted(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> list[int]:
    calls: list[int] = []
    real: Callable[..., Any] = getattr(module, name)

    def wrapper(*given: Any, **named: Any) -> Any:
        calls.append(1)
        return real(*given, **named)

    monkeypatch.setattr(module, name, wrapper)
    return calls


def test_nothing_is_resampled_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    permutations = counted(monkeypatch, faithful, "swap_reference")
    flips = counted(monkeypatch, compare, "sign_flip_reference")
    boots = [counted(monkeypatch, module, "bca_mean") for module in (class_sensitive, limits)]
    faithful.decide({"blur": some_blocks(1)}, min_advantage=0.1, seed=1)
    drifting(0.4)
    class_sensitive.decide(np.full(30, 0.2), np.ones(30), max_agreement=0.5, seed=1)
    assert len(permutations) == 1
    assert len(flips) == 2
    assert [len(calls) for calls in boots] == [1, 1]
    assert swap.DRAWS == 9_999


def test_it_is_written_and_read() -> None:
    high = drifting(0.9).measures["iou_drop"].interval.high
    decision = drifting(high + 5e-4)
    written = decision.to_dict()
    assert written["within_tolerance"] == {
        "tolerance": {"iou_drop": {"every": 1e-3, "few": 0.05}},
        "few_share": FEW,
        "verdicts": ["PASS", "INCONCLUSIVE"],
    }
    assert Decision.from_dict(json.loads(json.dumps(written))).to_dict() == written
    del written["within_tolerance"]
    assert Decision.from_dict(written).within_tolerance is None, "records of earlier releases lack the key"
