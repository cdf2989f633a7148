from __future__ import annotations

import numpy as np
import pytest

from pytest_saliency.decide import compare, faithful, rates
from pytest_saliency.decide.decision import Decision, NotAttainable
from pytest_saliency.decide.faithful import SwapBlock, make_blocks
from pytest_saliency.decide.verdict import Verdict
from pytest_saliency.errors import CriterionError

CLASSES = np.repeat([0, 1, 2], 8)


def blocks_of(drops: np.ndarray, undefined: np.ndarray | None = None, classes: np.ndarray = CLASSES) -> list[SwapBlock]:
    """Cut the (n, n) matrix of all drops into swap blocks."""
    lost = np.zeros(len(classes), dtype=bool) if undefined is None else undefined
    return [SwapBlock(rows, drops[np.ix_(rows, rows)], lost[list(rows)]) for rows in make_blocks(classes, seed=2)]


def world(rng: np.random.Generator, advantage: float, n: int = 24) -> np.ndarray:
    """Drops with image effects, region effects and noise, and an advantage of the own region."""
    rows, columns = rng.normal(1.0, 1.0, (n, 1)), rng.normal(0.0, 0.3, (1, n))
    return rows + columns + rng.normal(0.0, 0.3, (n, n)) + advantage * np.eye(n)


def decide(blocks: dict[str, list[SwapBlock]], margin: float = 0.0, **settings: object) -> Decision:
    return faithful.decide(blocks, min_advantage=margin, **{"seed": 3, **settings})  # type: ignore[arg-type]


def test_own_evidence_passes_with_every_fill() -> None:
    rng = np.random.default_rng(0)
    blocks = {"blur": blocks_of(world(rng, 1.0)), "mean": blocks_of(world(rng, 0.8))}
    decision = decide(blocks, 0.2)
    assert decision.verdict is Verdict.PASS
    assert {leg.name for leg in decision.legs} == {
        f"{leg}[{fill}]" for leg in ("swap", "margin", "images") for fill in ("blur", "mean")
    }
    for fill, truth in (("blur", 1.0), ("mean", 0.8)):
        measure = decision.measures[f"advantage[{fill}]"]
        assert measure.interval.low < truth < measure.interval.high
        assert 0.2 < measure.interval.low < measure.estimate < measure.interval.high
        assert measure.verdict is Verdict.PASS
    assert "advantage with blur" in decision.headline
    assert "margin 0.20" in decision.headline


def test_one_fill_below_the_margin_fails_the_check() -> None:
    rng = np.random.default_rng(0)
    blocks = {"blur": blocks_of(world(rng, 1.0)), "mean": blocks_of(world(rng, 0.0))}
    decision = decide(blocks, 0.5)
    assert decision.verdict is Verdict.FAIL
    assert decision.measures["advantage[blur]"].verdict is Verdict.PASS
    assert decision.measures["advantage[mean]"].verdict is Verdict.FAIL
    assert decision.measures["advantage[mean]"].interval.high < 0.5
    assert "advantage with mean" in decision.headline
    assert "advantage with blur" not in decision.headline


def test_fail_is_adjusted_for_the_number_of_fills() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        block = blocks_of(world(rng, 0.0))
        single = decide({"blur": block}, 0.12)
        p = single.measures["advantage[blur]"].p_fail
        assert p is not None
        if 0.025 < p < 0.05:
            break
    assert single.verdict is Verdict.FAIL
    fine = blocks_of(world(rng, 2.0))
    assert decide({"blur": block, "mean": fine}, 0.12).verdict is Verdict.INCONCLUSIVE


def another_image(rng: np.random.Generator) -> np.ndarray:
    return world(rng, 0.0)


def class_mean(rng: np.random.Generator) -> np.ndarray:
    return np.repeat(rng.normal(1.0, 1.0, (24, 1)), 24, axis=1)


@pytest.mark.parametrize("mutant", [another_image, class_mean])
def test_mutants_pass_at_most_alpha_of_the_time(mutant: object) -> None:
    rng = np.random.default_rng(5)
    trials = 200
    passed = sum(
        decide({"blur": blocks_of(mutant(rng))}).verdict is Verdict.PASS  # type: ignore[operator]
        for _ in range(trials)
    )
    assert rates.lower_bound(passed, trials, 0.001) <= 0.05


def test_wrong_fail_at_the_margin_is_at_most_alpha_over_two_fills() -> None:
    rng = np.random.default_rng(6)
    trials = 150
    failed = sum(
        decide({"blur": blocks_of(world(rng, 0.4)), "mean": blocks_of(world(rng, 0.4))}, 0.4).verdict is Verdict.FAIL
        for _ in range(trials)
    )
    assert rates.lower_bound(failed, trials, 0.001) <= 0.05


def test_class_mean_fails_any_positive_margin() -> None:
    decision = decide({"blur": blocks_of(class_mean(np.random.default_rng(0)))}, 0.05)
    assert decision.verdict is Verdict.FAIL
    assert decide({"blur": blocks_of(class_mean(np.random.default_rng(0)))}).verdict is Verdict.INCONCLUSIVE


def test_undefined_images_are_counted_and_block_pass() -> None:
    drops = world(np.random.default_rng(0), 2.0)
    undefined = np.zeros(24, dtype=bool)
    undefined[3] = True
    allowed = decide({"blur": blocks_of(drops, undefined)})
    assert allowed.verdict is Verdict.PASS
    assert allowed.counts["undefined"] == 1
    undefined[7] = True
    blocked = decide({"blur": blocks_of(drops, undefined)})
    assert blocked.verdict is Verdict.INCONCLUSIVE
    assert "undefined" in blocked.headline
    undefined[:] = True
    blank = decide({"blur": blocks_of(drops, undefined)}, 0.1)
    assert blank.verdict is Verdict.INCONCLUSIVE
    assert np.isnan(blank.measures["advantage[blur]"].estimate)
    negative = world(np.random.default_rng(0), -2.0)
    undefined[:] = False
    undefined[:2] = True
    assert decide({"blur": blocks_of(negative, undefined)}).verdict is Verdict.FAIL, "never stops a FAIL"


def against(shift: float, n: int = 24, seed: int = 1) -> dict[str, dict[str, tuple[np.ndarray, np.ndarray]]]:
    rng = np.random.default_rng(seed)
    base = rng.normal(2.0, 1.0, n)
    return {"gradcam": {"blur": (base + shift + rng.normal(0, 0.2, n), base)}}


def test_against_another_method() -> None:
    blocks = {"blur": blocks_of(world(np.random.default_rng(0), 1.0))}
    assert decide(blocks, against=against(0.5)).verdict is Verdict.PASS
    assert decide(blocks, against=against(0.0)).verdict is Verdict.INCONCLUSIVE
    worse = decide(blocks, against=against(-0.5))
    assert worse.verdict is Verdict.FAIL
    assert worse.headline.startswith("another method's regions matter more")
    assert "gradcam" in worse.headline
    tolerated = decide(blocks, against=against(-0.1), max_disadvantage=0.4)
    assert tolerated.verdict is Verdict.PASS
    assert tolerated.measures["against[gradcam,blur]"].limit == -0.4
    assert decide(blocks, against=against(-0.9), max_disadvantage=0.4).verdict is Verdict.FAIL
    assert tolerated.readouts["paired_t against[gradcam,blur]"]["df"] == 23  # type: ignore[index]


def test_undefined_pairs_count_against_the_method_for_pass() -> None:
    blocks = {"blur": blocks_of(world(np.random.default_rng(0), 1.0))}
    pairs = against(0.3)
    own, other = pairs["gradcam"]["blur"]
    own[0] = np.nan
    decision = decide(blocks, against=pairs)
    clean = np.delete(own - other, 0)
    filled = np.concatenate([[-np.max(np.abs(clean))], clean])
    low = decision.measures["against[gradcam,blur]"].interval.low
    assert decision.measures["against[gradcam,blur]"].undefined == 1
    assert (
        low
        < decide(blocks, against={"gradcam": {"blur": (filled + 1e-3, np.zeros(24))}})
        .measures["against[gradcam,blur]"]
        .interval.low
    )
    own[1] = np.nan
    assert decide(blocks, against=pairs).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("side", [0, 1])
def test_a_lost_map_is_no_tie_with_another_method_that_equals_this_one(side: int) -> None:
    blocks = {"blur": blocks_of(world(np.random.default_rng(0), 1.0))}
    drops = np.linspace(1.0, 3.0, 24)
    pair = (drops.copy(), drops.copy())
    equal = decide(blocks, against={"gradcam": {"blur": pair}}, max_disadvantage=0.1)
    assert equal.verdict is Verdict.PASS
    assert compare.ASSUMES in equal.notes
    pair[side][0] = np.nan
    lost = decide(blocks, against={"gradcam": {"blur": pair}}, max_disadvantage=0.1)
    assert lost.verdict is Verdict.INCONCLUSIVE
    # The first image's drop is 1; a missing one is 3 against this method: -3 of its own, or 3 of the other's.
    measure = lost.measures["against[gradcam,blur]"]
    filled = np.zeros(24)
    filled[0] = -3.0 - 1.0 if side == 0 else 1.0 - 3.0
    low = decide(blocks, against={"gradcam": {"blur": (filled, np.zeros(24))}}).measures["against[gradcam,blur]"]
    assert measure.interval.low == pytest.approx(low.interval.low)
    assert any("up to 1 image without a map of this or of another method" in note for note in lost.notes)


def test_what_cannot_pass_is_refused_with_the_number_needed() -> None:
    with pytest.raises(NotAttainable, match=r"3 images in 1 block .*6 ways .*needs 5 images") as caught:
        decide({"blur": blocks_of(np.eye(3), classes=np.zeros(3, dtype=int))})
    assert (caught.value.n, caught.value.needed) == (3, 5)
    with pytest.raises(NotAttainable, match="24 ways to swap regions and 16 sign patterns"):
        decide({"blur": blocks_of(np.eye(4), classes=np.zeros(4, dtype=int))})
    assert decide({"blur": blocks_of(np.eye(5), classes=np.zeros(5, dtype=int))}).verdict is Verdict.PASS
    with pytest.raises(NotAttainable, match="no two images of one predicted class"):
        decide({"blur": []})
    with pytest.raises(NotAttainable, match="draws 9,999 permutations"):
        decide({"blur": blocks_of(world(np.random.default_rng(0), 1.0))}, alpha=1e-4)
    blocks = {"blur": blocks_of(np.eye(5), classes=np.zeros(5, dtype=int))}
    with pytest.raises(NotAttainable, match=r"difference to gradcam with 4 images.*needs 5"):
        decide(blocks, against=against(1.0, 4))


def test_what_does_not_fit_is_refused_in_a_sentence() -> None:
    blocks = blocks_of(world(np.random.default_rng(0), 1.0))
    with pytest.raises(CriterionError, match="no fill"):
        decide({})
    with pytest.raises(CriterionError, match="fill mean hold other images than those of blur"):
        decide({"blur": blocks, "mean": blocks[:-1]})
    with pytest.raises(CriterionError, match="in two swap blocks"):
        decide({"blur": [*blocks, blocks[0]]})
    with pytest.raises(CriterionError, match="min_advantage is nan"):
        decide({"blur": blocks}, float("nan"))
    with pytest.raises(CriterionError, match="max_disadvantage is -1"):
        decide({"blur": blocks}, max_disadvantage=-1.0)
    with pytest.raises(CriterionError, match="compares 24 images with 23"):
        decide({"blur": blocks}, against={"gradcam": {"blur": (np.zeros(24), np.zeros(23))}})


def test_softmax_drop_and_counts_are_carried() -> None:
    blocks = {"blur": blocks_of(world(np.random.default_rng(0), 1.0))}
    drops = np.array([0.2, -0.1, np.nan])
    decision = decide(blocks, softmax_drop={"blur": drops}, counts={"alone in its class": 2})
    assert decision.readouts["softmax_drop"]["blur"]["mean"] == pytest.approx(0.05)  # type: ignore[index]
    assert decision.counts["alone in its class"] == 2


def test_maps_that_know_nothing_do_not_pass_by_what_undefined_images_lend() -> None:
    """One region for the whole class and a few unusable maps, whose scattered random regions cost far less."""
    classes = np.zeros(100, dtype=int)
    for seed in range(10):
        rng = np.random.default_rng(seed)
        drops = np.repeat(rng.normal(1.0, 1.0, (100, 1)), 100, axis=1)
        undefined = np.zeros(100, dtype=bool)
        undefined[rng.choice(100, 5, replace=False)] = True
        drops[:, undefined] -= 0.8
        decision = decide({"blur": blocks_of(drops, undefined, classes)})
        assert decision.verdict is Verdict.INCONCLUSIVE
        assert decision.measures["advantage[blur]"].p_pass == 1.0
        assert decision.measures["advantage[blur]"].estimate == pytest.approx(0.0, abs=1e-12)


def test_advantages_that_vary_between_images_do_not_widen_the_error() -> None:
    """Mean advantage 0, own effects three times as variable as the others': the swap test alone errs too often."""
    runs, n = 300, 40
    passed = swap_alone = 0
    for run in range(runs):
        rng = np.random.default_rng([run, 18])
        drops = rng.normal(0.0, 1.0, (n, n))
        np.fill_diagonal(drops, rng.normal(0.0, 3.0, n))
        decision = decide({"blur": blocks_of(drops, classes=np.zeros(n, dtype=int))}, seed=run)
        passed += decision.verdict is Verdict.PASS
        swap_alone += next(leg for leg in decision.legs if leg.name == "swap[blur]").holds
    assert swap_alone > passed
    assert rates.lower_bound(passed, runs, 0.01) <= 0.05
    assert rates.lower_bound(swap_alone, runs, 0.01) > 0.05


def test_thousands_of_images_have_more_arrangements_than_a_float_can_hold() -> None:
    rng = np.random.default_rng(5)
    blocks = []
    for b in range(500):
        drops = rng.normal(0.0, 0.3, (4, 4)) + np.eye(4)
        blocks.append(SwapBlock((4 * b, 4 * b + 1, 4 * b + 2, 4 * b + 3), drops, np.zeros(4, dtype=bool)))
    made = faithful.decide({"blur": blocks}, min_advantage=0.0, alpha=0.05, max_undefined=0.05, seed=3)
    assert made.verdict is Verdict.PASS
