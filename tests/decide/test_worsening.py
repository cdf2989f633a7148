"""Not worse than a baseline: pairing and direction by hand, bounds against the plain formulas, undefined images,
calibration on the limit, and changes of the decision that must be noticed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pytest_saliency.decide import compare, means, worsening
from pytest_saliency.decide.decision import Decision, NotAttainable
from pytest_saliency.decide.randomness import Stream
from pytest_saliency.decide.skewed import skewed_mean
from pytest_saliency.decide.unseen import unseen_tail
from pytest_saliency.decide.verdict import Verdict
from pytest_saliency.decide.worsening_measures import COMPARED, measure_of
from pytest_saliency.errors import CriterionError

Array = np.ndarray[Any, np.dtype[np.float64]]
SENSITIVE, FAITHFUL, DRIFT = "class_sensitive", "faithful", "no_semantic_drift"


def decide(kind: str, now: dict[str, Any], then: dict[str, Any], limits: dict[str, float], **more: Any) -> Decision:
    n = len(next(iter(now.values())))
    return worsening.decide(kind, now, then, **{"limits": limits, "baseline": n, "seed": 3, **more})


def one(name: str, now: Any, then: Any, limit: float = 0.1, **more: Any) -> Decision:
    kind = next(kind for kind, known in COMPARED.items() if any(m.name == name.partition("[")[0] for m in known))
    return decide(kind, {name: now}, {name: then}, {name.partition("[")[0]: limit}, **more)


def draws(mean: float, n: int, seed: int = 0, sd: float = 0.1) -> Array:
    return np.clip(np.random.default_rng(seed).normal(mean, sd, n), 0.0, 1.0)


# Which way is worse, written out by hand: (measure, then, now, worsening).
DIRECTIONS = [
    ("agreement", 0.2, 0.5, 0.3),
    ("agreement", 0.5, 0.2, -0.3),
    ("advantage[blur]", 0.8, 0.3, 0.5),
    ("advantage[blur]", -0.2, 0.3, -0.5),
    ("iou_drop", 0.1, 0.4, 0.3),
    ("displacement", 0.1, 0.05, -0.05),
    ("correlation", 0.9, -0.1, 1.0),
    ("correlation", 0.1, 0.9, -0.8),
    ("concentration_change", -0.1, 0.4, 0.3),
    ("concentration_change", 0.4, -0.4, 0.0),
    ("concentration_change", 0.2, -0.5, 0.3),
]


@pytest.mark.parametrize(("name", "then", "now", "expected"), DIRECTIONS)
def test_more_is_worse_whatever_the_measure_means(name: str, then: float, now: float, expected: float) -> None:
    kind = next(kind for kind, known in COMPARED.items() if any(m.name == name.partition("[")[0] for m in known))
    for values in worsening.worsening(measure_of(kind, name), name, [now], [then]):
        assert values[0] == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("name", ["agreement", "iou_drop", "displacement", "correlation", "concentration_change"])
@pytest.mark.parametrize(("shift", "verdict"), [(0.0, "PASS"), (0.3, "FAIL"), (-0.3, "PASS"), (0.1, "INCONCLUSIVE")])
def test_verdicts_of_bounded_measures(name: str, shift: float, verdict: str) -> None:
    then = draws(0.5, 200)
    step = -shift if name == "correlation" else shift
    assert one(name, np.clip(then + step, 0.0, 1.0), then).verdict.value == verdict


def test_bounds_are_the_betting_bounds_of_the_paired_differences_on_the_range_of_a_difference() -> None:
    then, now = draws(0.4, 90, 1), draws(0.45, 90, 2)
    measure = one("agreement", now, then).measures["worsening[agreement]"]
    shuffled = (now - then)[Stream(3, "betting order").permutation(90)]
    # The capital of somebody who bets, number by number, that the mean lies below the limit.
    scaled, point = 1.0 - (shuffled + 1.0) / 2.0, 1.0 - (0.1 + 1.0) / 2.0
    best = log = 0.0
    seen: list[float] = []
    for x in scaled:
        centres = [(0.5 + sum(seen[: i + 1])) / (i + 2) for i in range(len(seen))]
        variance = (0.25 + sum((v - u) ** 2 for v, u in zip(seen, centres, strict=True))) / (len(seen) + 1)
        bet = min(math.sqrt(-2.0 * math.log(0.05) / (90 * variance)), 0.75 / point)
        log += math.log1p(bet * (x - point))
        best = max(best, log)
        seen.append(float(x))
    assert measure.p_pass == pytest.approx(math.exp(-best), rel=1e-9)
    assert measure.estimate == pytest.approx(float(np.mean(now - then)))
    assert measure.interval.high == means.upper_bound(shuffled, -1.0, 1.0, 0.05)
    assert measure.interval.low == means.lower_bound(shuffled, -1.0, 1.0, 0.05)


def test_advantages_are_compared_by_every_sign_flip() -> None:
    rng = np.random.default_rng(5)
    then, now = rng.normal(1.0, 0.3, 10), rng.normal(0.9, 0.3, 10)
    measure = one("advantage[blur]", now, then, 0.4).measures["worsening[advantage[blur]]"]
    centred = (then - now) - 0.4
    others = skewed_mean(then - now), unseen_tail(then - now)
    sums = [sum(s * d for s, d in zip(signs, centred, strict=True)) for signs in itertools.product((1, -1), repeat=10)]
    low = sum(total <= centred.sum() + 1e-9 for total in sums) / 1024
    high = sum(total >= centred.sum() - 1e-9 for total in sums) / 1024
    assert measure.p_pass == pytest.approx(max(low, *(other.p_less(0.4) for other in others)))
    assert measure.p_fail == pytest.approx(max(high, *(other.p_greater(0.4) for other in others)))
    assert low > max(other.p_less(0.4) for other in others), "else the flips are not seen here"
    assert measure.interval.low < measure.estimate < measure.interval.high


def test_pairs_matter_and_not_the_two_means() -> None:
    then = np.linspace(0.0, 1.0, 120)
    assert one("agreement", then, then, 0.05).verdict is Verdict.PASS
    shuffled = np.random.default_rng(0).permutation(then)
    assert one("agreement", shuffled, then, 0.05).verdict is Verdict.INCONCLUSIVE


def test_every_fill_is_limited() -> None:
    rng = np.random.default_rng(1)
    then = {f"advantage[{fill}]": rng.normal(1.0, 0.2, 60) for fill in ("blur", "mean")}
    now = {**then, "advantage[mean]": then["advantage[mean]"] - 0.5}
    made = decide(FAITHFUL, now, then, {"advantage": 0.1})
    assert made.verdict is Verdict.FAIL
    assert made.measures["worsening[advantage[blur]]"].verdict is Verdict.PASS
    assert "mean worsening of advantage with mean (log-odds) 0.50, limit 0.10" in made.headline
    assert "with blur" not in made.headline


def test_alarms_are_adjusted_together() -> None:
    """Four measures whose p-values alone are below alpha, the smallest not below alpha / 4."""
    names = ("iou_drop", "displacement", "correlation", "concentration_change")
    rng = np.random.default_rng(2)
    then = {name: rng.uniform(0.3, 0.5, 100) for name in names}
    for step in np.linspace(0.1, 0.4, 61):
        now = {name: v + (-step if name == "correlation" else step) for name, v in then.items()}
        made = decide(DRIFT, now, then, dict.fromkeys(names, 0.1))
        p = sorted(float(entry.p_fail or 0.0) for entry in made.measures.values())
        failed = made.verdict is Verdict.FAIL
        assert failed == (p[0] * 4 < 0.05)
        if p[0] < 0.05 <= 4 * p[0]:
            return
    raise AssertionError("no step between a single alarm and an adjusted one")


# Undefined images: (now, then) of one image, and the worst and the best that its worsening of agreement can be.
EXTREMES = [
    (math.nan, 0.3, 0.7, -0.3),
    (0.3, math.nan, 0.3, -0.7),
    (math.nan, math.nan, 1.0, -1.0),
    (0.6, 0.2, 0.4, 0.4),
]


@pytest.mark.parametrize(("now", "then", "worst", "best"), EXTREMES)
def test_an_undefined_image_is_as_bad_for_pass_and_as_good_for_fail_as_can_be(
    now: float, then: float, worst: float, best: float
) -> None:
    most, least, _ = worsening.worsening(measure_of(SENSITIVE, "agreement"), "agreement", [now], [then])
    assert (most[0], least[0]) == (pytest.approx(worst), pytest.approx(best))


def test_an_undefined_correlation_turns_the_same_way() -> None:
    most, least, _ = worsening.worsening(measure_of(DRIFT, "correlation"), "correlation", [math.nan], [0.4])
    assert (most[0], least[0]) == (pytest.approx(1.4), pytest.approx(-0.6))


# Without a range: (now, then) of the second image, and the worst and the best that its worsening counts as where the
# largest advantage seen is 1.0, the largest change 0.8 and the limit 0.3.
SEEN = [
    (math.nan, 0.4, 0.4 + 1.0, -0.8),
    (math.nan, -0.9, 0.8, -0.9 - 1.0),
    (0.6, math.nan, 1.0 - 0.6, -1.0 - 0.6),
    (math.nan, math.nan, 2.0, -2.0),
]


@pytest.mark.parametrize(("now", "then", "worst", "best"), SEEN)
def test_without_a_range_the_largest_size_that_was_seen_stands_in(
    now: float, then: float, worst: float, best: float
) -> None:
    most, least, seen = worsening.worsening(
        measure_of(FAITHFUL, "advantage[blur]"), "advantage[blur]", [0.5, now, 1.0], [0.7, then, 0.2], 0.3
    )
    assert list(most) == pytest.approx([0.2, max(worst, 0.8), -0.8])
    assert list(least) == pytest.approx([0.2, min(best, -0.8), -0.8])
    assert np.isnan(seen[1])


def test_without_a_range_a_lost_number_counts_as_the_limit_at_least() -> None:
    measure = measure_of(FAITHFUL, "advantage[blur]")
    for now, then in ((math.nan, 0.1), (math.nan, 0.0), (0.0, math.nan)):
        most, least, _ = worsening.worsening(measure, "advantage[blur]", [0.1, now], [0.1, then], 5.0)
        assert most[1] >= 5.0
        assert least[1] <= 0.0


@pytest.mark.parametrize("side", ["now", "then"])
def test_maps_lost_by_a_model_that_is_unchanged_elsewhere_are_no_pass(side: str) -> None:
    """Nothing differs but 4 of 120 advantages that are missing; 5 % may be, so only their value can tell."""
    then = np.random.default_rng(0).uniform(0.2, 0.4, 120)
    now = then.copy()
    assert one("advantage[blur]", now, then, 0.01).verdict is Verdict.PASS
    (now if side == "now" else then)[:4] = math.nan
    made = one("advantage[blur]", now, then, 0.0001)
    assert made.verdict is Verdict.INCONCLUSIVE
    assert made.measures["worsening[advantage[blur]]"].interval.high > 0.0001
    if side == "now":
        assert one("advantage[blur]", now, then, 0.01).verdict is Verdict.INCONCLUSIVE
    assert any("4 undefined images: there is no worst value without a range" in note for note in made.notes)
    assert not any("counted as the worst value" in note for note in made.notes)


def test_decisions_without_a_range_say_what_they_assume_and_others_do_not() -> None:
    then = draws(0.4, 60)
    assert compare.ASSUMES in one("advantage[blur]", then, then).notes
    assert compare.ASSUMES not in one("agreement", then, then, 0.5).notes


@pytest.mark.parametrize("side", ["now", "then"])
def test_too_many_undefined_images_block_pass_and_never_fail(side: str) -> None:
    then = draws(0.3, 300)
    now = then.copy()
    (now if side == "now" else then)[:30] = math.nan
    made = one("agreement", now, then, 0.25)
    assert made.verdict is Verdict.INCONCLUSIVE
    assert "10 % of the images are undefined, 5 % are allowed" in made.headline
    assert made.counts["undefined"] == 30
    assert one("agreement", now, then, 0.25, max_undefined=0.2).verdict is Verdict.PASS
    assert one("agreement", np.clip(now + 0.6, 0, 1), then, 0.1).verdict is Verdict.FAIL


def test_blank_maps_now_are_not_taken_for_an_improvement() -> None:
    then, now = draws(0.3, 100), draws(0.3, 100)
    now[:60] = math.nan
    assert one("agreement", now, then, 0.1, max_undefined=1.0).verdict is not Verdict.PASS


def test_images_that_left_block_pass_below_the_share_that_must_stay_and_are_told() -> None:
    then = draws(0.3, 200)
    few = one("agreement", then, then, baseline=401)
    assert few.verdict is Verdict.INCONCLUSIVE
    assert "only 200 of the baseline's 401 images are kept now, 50 % are needed" in few.headline
    enough = one("agreement", then, then, baseline=400)
    assert enough.verdict is Verdict.PASS
    assert enough.headline.endswith("n = 200, 200 of the baseline's 400 images are no longer kept")
    assert enough.counts["left"] == 200
    assert one("agreement", then, then, baseline=201).headline.endswith(
        "n = 200, 1 of the baseline's 201 images is no longer kept"
    )
    assert any("if the model became worse on just these" in note for note in enough.notes)
    worse = one("agreement", np.clip(then + 0.5, 0, 1), then, baseline=2000)
    assert worse.verdict is Verdict.FAIL


def test_clusters_are_the_units() -> None:
    then, now = draws(0.4, 240, 1), draws(0.45, 240, 2)
    clusters = [f"p{i // 4}" for i in range(240)]
    made = one("agreement", now, then, clusters=clusters)
    averaged = one("agreement", now.reshape(60, 4).mean(1), then.reshape(60, 4).mean(1))
    assert made.n == 60
    mine, other = (m.measures["worsening[agreement]"] for m in (made, averaged))
    assert mine.interval.high == pytest.approx(other.interval.high, abs=1e-12)
    assert made.counts["clusters"] == 60


@pytest.mark.parametrize(("name", "limit"), [("agreement", 0.05), ("correlation", 0.1), ("advantage[blur]", 0.1)])
def test_the_n_that_an_error_names_is_the_smallest_that_can_pass(name: str, limit: float) -> None:
    with pytest.raises(NotAttainable, match="even if nothing had changed") as caught:
        one(name, [0.5], [0.5], limit)
    needed = caught.value.needed
    assert needed is not None
    same = np.full(needed, 0.5)
    assert one(name, same, same, limit).verdict is Verdict.PASS
    with pytest.raises(NotAttainable):
        one(name, same[1:], same[1:], limit)


def test_nothing_to_compare_and_limits_without_room_are_errors() -> None:
    with pytest.raises(NotAttainable, match="none of the 40 images of the baseline is kept now"):
        one("agreement", [], [], baseline=40)
    with pytest.raises(NotAttainable, match="leave room between them"):
        one("agreement", draws(0.3, 99), draws(0.3, 99), 0.0)
    with pytest.raises(CriterionError, match="must be a number from 0 to 1"):
        one("agreement", draws(0.3, 99), draws(0.3, 99), 1.5)
    with pytest.raises(CriterionError, match="outside its range 0 to 1"):
        one("agreement", np.full(99, 1.5), np.full(99, 0.5))
    with pytest.raises(CriterionError, match="measured agreement"):
        decide(SENSITIVE, {"agreement": [0.1]}, {"agreement": [0.1]}, {"advantage": 0.1})
    with pytest.raises(CriterionError, match="declares no limit"):
        decide(SENSITIVE, {"agreement": [0.1]}, {"agreement": [0.1]}, {})
    with pytest.raises(CriterionError, match="both need one per image"):
        one("agreement", draws(0.3, 99), draws(0.3, 98))


def test_a_verdict_near_its_limit_says_so() -> None:
    """The limit is put where moving all numbers by less than the tolerance turns the verdict."""
    then, now = draws(0.4, 300, 1), draws(0.42, 300, 2)
    bound = one("agreement", now, then, 0.3, region=5000).measures["worsening[agreement]"].interval.high
    near = one("agreement", now, then, bound + 1e-4, region=5000)
    assert near.verdict is Verdict.PASS
    assert near.within_tolerance is not None
    assert not near.within_tolerance.settled
    far = one("agreement", now, then, bound + 0.2, region=5000)
    assert far.within_tolerance is not None
    assert far.within_tolerance.settled


def test_a_decision_goes_to_json_and_back() -> None:
    made = one("agreement", draws(0.4, 80, 1), draws(0.4, 80, 2))
    assert Decision.from_dict(made.to_dict()).to_dict() == made.to_dict()


def bounded_pool(limit: float, size: int, seed: int) -> tuple[Array, Array]:
    """Return then and now whose mean difference is the limit to the last digits, without symmetry."""
    rng = np.random.default_rng(seed)
    then = rng.beta(2.0, 5.0, size)
    raised = np.where(rng.random(size) < 0.3, rng.beta(5.0, 2.0, size), then)
    share = limit / float(np.mean(raised - then))
    return then, then + share * (raised - then)


def symmetric_pool(limit: float, size: int, seed: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    then = rng.normal(1.0, 0.5, size)
    change = rng.normal(0.0, 0.4, size // 2)
    change = np.concatenate([change, -change]) + limit
    return then, then - change


@pytest.mark.parametrize(
    ("name", "pool", "n", "runs"), [("agreement", bounded_pool, 100, 300), ("advantage[blur]", symmetric_pool, 30, 150)]
)
def test_on_the_limit_neither_verdict_is_wrong_more_often_than_alpha(
    name: str, pool: Callable[..., tuple[Array, Array]], n: int, runs: int
) -> None:
    then, now = pool(0.1, 4000, 11)
    measure = measure_of(SENSITIVE if name == "agreement" else FAITHFUL, name)
    assert float(np.mean(worsening.worsening(measure, name, now, then)[2])) == pytest.approx(0.1, abs=1e-12)
    rng = np.random.default_rng(12)
    found = dict.fromkeys(Verdict, 0)
    for run in range(runs):
        chosen = rng.integers(0, len(then), n)
        found[one(name, now[chosen], then[chosen], 0.1, seed=run).verdict] += 1
    # Exact binomial: 5 % of `runs`, and what chance adds to it once in 10,000 simulations.
    allowed = 0.05 * runs + 3.8 * math.sqrt(0.05 * 0.95 * runs)
    assert found[Verdict.PASS] <= allowed
    assert found[Verdict.FAIL] <= allowed
    assert found[Verdict.INCONCLUSIVE] > 0.8 * runs


def test_there_is_power_beside_the_limit() -> None:
    """The simulation above says nothing of a decision that never decides."""
    rng = np.random.default_rng(3)
    passed = failed = 0
    for run in range(30):
        then = rng.uniform(0.2, 0.6, 150)
        noise = rng.normal(0.0, 0.08, 150)
        passed += one("agreement", np.clip(then + noise, 0, 1), then, 0.1, seed=run).verdict is Verdict.PASS
        failed += one("agreement", np.clip(then + 0.25 + noise, 0, 1), then, 0.1, seed=run).verdict is Verdict.FAIL
    assert passed >= 27
    assert failed >= 27


def test_one_limit_that_is_shown_does_not_carry_another_that_is_not() -> None:
    then = {"iou_drop": draws(0.4, 120, 1), "displacement": draws(0.4, 120, 2)}
    now = {"iou_drop": then["iou_drop"], "displacement": np.clip(then["displacement"] + 0.1, 0.0, 1.0)}
    made = decide(DRIFT, now, then, {"iou_drop": 0.1, "displacement": 0.1})
    assert {name: entry.verdict for name, entry in made.measures.items()} == {
        "worsening[iou_drop]": Verdict.PASS,
        "worsening[displacement]": Verdict.INCONCLUSIVE,
    }
    assert made.verdict is Verdict.INCONCLUSIVE
    assert "mean worsening of displacement" in made.headline
    assert "IoU" not in made.headline


def test_bounds_and_p_values_hold_undefined_images_against_the_claim() -> None:
    then, now = draws(0.4, 100, 1), draws(0.4, 100, 2)
    now[:4] = math.nan
    measure = one("agreement", now, then, 0.3).measures["worsening[agreement]"]
    most, least, _ = worsening.worsening(measure_of(SENSITIVE, "agreement"), "agreement", now, then)
    order = Stream(3, "betting order").permutation(100)
    assert measure.interval.high == means.upper_bound(most[order], -1.0, 1.0, 0.05)
    assert measure.interval.low == means.lower_bound(least[order], -1.0, 1.0, 0.05)
    assert measure.p_pass == means.p_below(most[order], -1.0, 1.0, 0.3, 0.05)
    assert measure.p_fail == means.p_above(least[order], -1.0, 1.0, 0.3, 0.05)
    assert measure.undefined == 4


def test_an_undefined_advantage_counts_against_the_claim_on_either_side() -> None:
    rng = np.random.default_rng(5)
    then, now = rng.normal(1.0, 0.3, 10), rng.normal(0.9, 0.3, 10)
    now[0] = math.nan
    made = one("advantage[blur]", now, then, 0.2, max_undefined=1.0).measures["worsening[advantage[blur]]"]
    changes = (then - now)[1:]
    # What was at ``then`` fell to, or rose to, the largest size that was seen on any image.
    reach = max(max(abs(then)), max(abs(now[1:])))
    lost, kept = max(then[0] + reach, *abs(changes)), min(then[0] - reach, *-abs(changes))
    signs = list(itertools.product((1, -1), repeat=10))
    for stand_in, below, p in ((lost, True, made.p_pass), (kept, False, made.p_fail)):
        centred = np.concatenate([[stand_in], changes]) - 0.2
        sums = np.array([np.dot(row, centred) for row in signs])
        hits = sums <= centred.sum() + 1e-9 if below else sums >= centred.sum() - 1e-9
        others = [test(part) for part in (centred, centred[1:]) for test in (skewed_mean, unseen_tail)]
        assert p == pytest.approx(max(np.mean(hits), *(o.p_less() if below else o.p_greater() for o in others)))


def test_an_advantage_needs_room_too() -> None:
    with pytest.raises(NotAttainable, match="leave room between them"):
        one("advantage[blur]", draws(0.5, 50), draws(0.5, 50), 0.0)
