from __future__ import annotations

import numpy as np
import pytest

from pytest_saliency.decide import drift, means, rates
from pytest_saliency.decide.decision import Decision, NotAttainable
from pytest_saliency.decide.verdict import Verdict
from pytest_saliency.errors import CriterionError


def decide(values: dict[str, object], limits: dict[str, float], **settings: object) -> Decision:
    n = max((len(v) for k, v in values.items() if k != "accuracy_drop"), default=0)  # type: ignore[arg-type]
    return drift.decide(values, **{"limits": limits, "kept": n, "total": n, "seed": 1, **settings})  # type: ignore[arg-type]


def drops(mean: float, n: int = 120, seed: int = 0, sd: float = 0.12) -> np.ndarray:
    size = mean * (1 - mean) / sd**2 - 1
    return np.random.default_rng(seed).beta(mean * size, (1 - mean) * size, n)


def all_measures(n: int = 150) -> dict[str, object]:
    rng = np.random.default_rng(4)
    return {
        "iou_drop": drops(0.2, n),
        "displacement": 0.1 * rng.random(n),
        "correlation": 0.8 + 0.2 * rng.random(n),
        "concentration_change": 0.05 * rng.normal(size=n),
        "accuracy_drop": rng.choice([-1, 0, 1], p=[0.02, 0.96, 0.02], size=400),
    }


EVERY = {
    "max_iou_drop": 0.4,
    "max_displacement": 0.2,
    "min_correlation": 0.6,
    "max_concentration_change": 0.2,
    "max_accuracy_drop": 0.15,
}


def test_kept_evidence_passes_every_limit() -> None:
    decision = decide(all_measures(), EVERY, max_drifted_share=0.2)
    assert decision.verdict is Verdict.PASS
    assert [leg.name for leg in decision.legs] == [*EVERY, "max_drifted_share"]
    assert all(leg.holds for leg in decision.legs)
    assert {m.verdict for m in decision.measures.values()} == {Verdict.PASS}
    assert decision.measures["accuracy_drop"].n == 400
    assert decision.n == 150
    for measure in decision.measures.values():
        assert measure.interval.low <= measure.estimate <= measure.interval.high
    assert decision.headline.startswith("the evidence stayed where it was: mean IoU drop 0.2")
    assert "limit 0.40" in decision.headline


def test_the_deciding_bounds_are_the_betting_bounds_in_canonical_order() -> None:
    values = drops(0.3)
    measure = decide({"iou_drop": values}, {"max_iou_drop": 0.4}).measures["iou_drop"]
    ordered = means.canonical(values, 1)
    assert measure.interval.low == means.lower_bound(ordered, 0.0, 1.0, 0.05)
    assert measure.interval.high == means.upper_bound(ordered, 0.0, 1.0, 0.05)
    assert measure.p_pass == means.p_below(ordered, 0.0, 1.0, 0.4, 0.05)


def test_moved_evidence_fails_with_measured_and_limit_together() -> None:
    values = drops(0.68, 202)
    decision = decide(
        {"iou_drop": values, "displacement": np.full(202, 0.01)}, {"max_iou_drop": 0.4, "max_displacement": 0.1}
    )
    assert decision.verdict is Verdict.FAIL
    measure = decision.measures["iou_drop"]
    assert decision.headline == (
        f"the model looks elsewhere: mean IoU drop {measure.estimate:.2f}, limit 0.40"
        f" (95 % bound {measure.interval.low:.2f} .. {measure.interval.high:.2f}), n = 202"
    )
    assert decision.measures["displacement"].verdict is Verdict.PASS


def test_near_the_limit_nothing_is_demonstrated_and_the_size_needed_is_named() -> None:
    decision = decide({"iou_drop": drops(0.38, 40, 1)}, {"max_iou_drop": 0.4})
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert "images would show it if mean and spread stay as measured" in decision.headline
    beyond = decide({"iou_drop": drops(0.42, 40, 1)}, {"max_iou_drop": 0.4})
    assert beyond.verdict is Verdict.INCONCLUSIVE
    assert "what was measured lies beyond the limit" in beyond.headline


@pytest.mark.parametrize("change", [0.3, -0.3])
def test_concentration_is_bound_on_both_sides(change: float) -> None:
    rng = np.random.default_rng(0)
    moved = change + 0.05 * rng.normal(size=150)
    limits = {"max_concentration_change": 0.1}
    assert decide({"concentration_change": moved}, limits).verdict is Verdict.FAIL
    assert decide({"concentration_change": moved - change}, limits).verdict is Verdict.PASS
    wide = {"max_concentration_change": 0.5}
    assert decide({"concentration_change": moved}, wide).verdict is Verdict.PASS


def test_a_mean_that_hides_drifted_images_is_caught_by_the_share() -> None:
    values = np.full(100, 0.02)
    values[::4] = 0.9
    assert decide({"iou_drop": values}, {"max_iou_drop": 0.4}).verdict is Verdict.PASS
    strict = decide({"iou_drop": values}, {"max_iou_drop": 0.4}, max_drifted_share=0.1)
    assert strict.verdict is Verdict.FAIL
    assert strict.headline.startswith("too many images look elsewhere")
    share = strict.measures["drifted_share"]
    assert share.estimate == 0.25
    assert share.interval.high == rates.upper_bound(25, 100, 0.05)


def test_an_image_beyond_any_limit_counts_once() -> None:
    values = {"iou_drop": np.zeros(60), "correlation": np.ones(60), "concentration_change": np.zeros(60)}
    values["iou_drop"][:3] = 0.9
    values["correlation"][2:6] = 0.1
    values["concentration_change"][6] = -0.9
    limits = {"max_iou_drop": 0.4, "min_correlation": 0.5, "max_concentration_change": 0.4}
    assert decide(values, limits, max_drifted_share=0.5).measures["drifted_share"].estimate == pytest.approx(7 / 60)


def test_undefined_images_are_the_worst_for_pass_and_the_best_for_fail() -> None:
    values = drops(0.3, 100)
    values[:5] = np.nan
    limits = {"max_iou_drop": 0.45}
    decision = decide({"iou_drop": values}, limits)
    measure = decision.measures["iou_drop"]
    worst = means.canonical(np.where(np.isnan(values), 1.0, values), 1)
    best = means.canonical(np.where(np.isnan(values), 0.0, values), 1)
    assert measure.interval.high == means.upper_bound(worst, 0.0, 1.0, 0.05)
    assert measure.interval.low == means.lower_bound(best, 0.0, 1.0, 0.05)
    assert measure.estimate == pytest.approx(np.nanmean(values))
    assert (measure.undefined, decision.counts["undefined"]) == (5, 5)
    assert decision.verdict is Verdict.PASS
    values[5] = np.nan
    blocked = decide({"iou_drop": values}, limits)
    assert blocked.verdict is Verdict.INCONCLUSIVE
    assert "6 % of the images are undefined" in blocked.headline
    moved = drops(0.8, 100)
    moved[:30] = np.nan
    assert decide({"iou_drop": moved}, {"max_iou_drop": 0.2}).verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("name", "limits", "perfect"),
    [
        ("iou_drop", {"max_iou_drop": 0.5}, 0.0),
        ("displacement", {"max_displacement": 0.5}, 0.0),
        ("correlation", {"min_correlation": 0.2}, 1.0),
        ("concentration_change", {"max_concentration_change": 0.5}, 0.0),
    ],
)
def test_blank_maps_neither_pass_nor_fail(name: str, limits: dict[str, float], perfect: float) -> None:
    blank = decide({name: np.full(60, np.nan)}, limits, max_drifted_share=0.5, max_undefined=1.0)
    assert blank.verdict is Verdict.INCONCLUSIVE
    assert np.isnan(blank.measures[name].estimate)
    assert decide({name: np.full(60, perfect)}, limits, max_drifted_share=0.5).verdict is Verdict.PASS


def test_too_few_kept_images_block_pass_and_never_fail() -> None:
    settings = {"kept": 60, "total": 121}
    blocked = decide({"iou_drop": np.zeros(60)}, {"max_iou_drop": 0.4}, **settings)
    assert blocked.verdict is Verdict.INCONCLUSIVE
    assert "only 60 of 121 images were kept" in blocked.headline
    assert decide({"iou_drop": np.zeros(60)}, {"max_iou_drop": 0.4}, kept=60, total=120).verdict is Verdict.PASS
    assert decide({"iou_drop": np.ones(60)}, {"max_iou_drop": 0.4}, **settings).verdict is Verdict.FAIL


def test_measures_without_a_limit_are_read_outs() -> None:
    values = all_measures()
    decision = decide(values, {"max_iou_drop": 0.4})
    assert decision.verdict is Verdict.PASS
    assert decision.measures["correlation"].verdict is None
    assert decision.measures["correlation"].limit is None
    assert decision.measures["correlation"].estimate == pytest.approx(np.mean(values["correlation"]))
    assert [leg.name for leg in decision.legs] == ["max_iou_drop"]
    assert "correlation" not in decision.headline


def test_accuracy_alone_can_fail() -> None:
    outcome = np.zeros(400)
    outcome[:120] = 1.0
    values = {"iou_drop": np.zeros(100), "accuracy_drop": outcome}
    decision = decide(values, {"max_iou_drop": 0.4, "max_accuracy_drop": 0.1})
    assert decision.verdict is Verdict.FAIL
    assert decision.headline.startswith("accuracy fell: accuracy drop 0.30, limit 0.10")
    assert decision.headline.endswith("n = 400")


def test_fail_is_adjusted_for_the_number_of_limits() -> None:
    for seed in range(300):
        values = drops(0.45, 60, seed)
        p = decide({"iou_drop": values}, {"max_iou_drop": 0.4}).measures["iou_drop"].p_fail
        assert p is not None
        if 0.03 < p < 0.05:
            break
    assert decide({"iou_drop": values}, {"max_iou_drop": 0.4}).verdict is Verdict.FAIL
    both = decide({"iou_drop": values, "displacement": np.zeros(60)}, {"max_iou_drop": 0.4, "max_displacement": 0.3})
    assert both.verdict is Verdict.INCONCLUSIVE
    assert both.readouts["p_fail_holm"]["iou_drop"] == pytest.approx(2 * p)  # type: ignore[index]


@pytest.mark.parametrize("side", ["PASS", "FAIL"])
def test_at_the_limit_a_wrong_verdict_is_given_at_most_alpha_of_the_time(side: str) -> None:
    trials = 200
    wrong = sum(
        decide(
            {"iou_drop": drops(0.4, 50, seed), "displacement": drops(0.2, 50, seed + 9_000)},
            {"max_iou_drop": 0.4, "max_displacement": 0.2},
        ).verdict
        == side
        for seed in range(trials)
    )
    assert rates.lower_bound(wrong, trials, 0.001) <= 0.05


def test_the_same_checkpoint_twice() -> None:
    """A/A: unchanged maps pass, and random halves of one population do not fail a limit at their own mean."""
    n = 40
    same = {"iou_drop": np.zeros(n), "displacement": np.zeros(n), "correlation": np.ones(n)}
    limits = {"max_iou_drop": 0.2, "max_displacement": 0.1, "min_correlation": 0.7}
    assert decide(same, limits, max_drifted_share=0.1).verdict is Verdict.PASS
    pool = np.random.default_rng(0).beta(2, 5, 200)
    trials = 200
    failed = 0
    for trial in range(trials):
        half = pool[np.random.default_rng(trial).permutation(200)[:100]]
        failed += decide({"iou_drop": half}, {"max_iou_drop": float(pool.mean())}).verdict is Verdict.FAIL
    assert rates.lower_bound(failed, trials, 0.001) <= 0.05


def test_clusters_are_averaged_first() -> None:
    values = drops(0.2, 120)
    clusters = [f"patient {place // 4}" for place in range(120)]
    decision = decide({"iou_drop": values}, {"max_iou_drop": 0.4}, clusters=clusters)
    averaged = means.canonical(values.reshape(30, 4).mean(axis=1), 1)
    assert decision.n == 30
    assert decision.measures["iou_drop"].interval.high == pytest.approx(means.upper_bound(averaged, 0.0, 1.0, 0.05))


def test_what_cannot_pass_is_refused_with_the_number_needed() -> None:
    limits = {"max_iou_drop": 0.4, "min_correlation": 0.9}
    values = {"iou_drop": np.zeros(20), "correlation": np.ones(20)}
    with pytest.raises(NotAttainable, match=r"20 images.*min_correlation 0.9 needs (\d+), there are 20") as caught:
        decide(values, limits)
    needed = caught.value.needed
    assert needed is not None
    enough = {"iou_drop": np.zeros(needed), "correlation": np.ones(needed)}
    assert decide(enough, limits).verdict is Verdict.PASS
    fewer = {name: array[:-1] for name, array in enough.items()}
    with pytest.raises(NotAttainable):
        decide(fewer, limits)
    with pytest.raises(NotAttainable, match=r"max_drifted_share 0.05 needs 59, there are 40"):
        decide({"iou_drop": np.zeros(40)}, {"max_iou_drop": 0.4}, max_drifted_share=0.05)
    with pytest.raises(NotAttainable, match="however many images"):
        decide({"iou_drop": np.zeros(40)}, {"max_iou_drop": 0.0})
    with pytest.raises(NotAttainable, match="none of 90 images was kept"):
        decide({"iou_drop": []}, {"max_iou_drop": 0.4}, total=90)
    with pytest.raises(NotAttainable, match="there are no cases"):
        decide({"iou_drop": []}, {"max_iou_drop": 0.4})


def test_what_does_not_fit_is_refused_in_a_sentence() -> None:
    good = {"iou_drop": np.zeros(40)}
    for values, limits, settings, message in (
        (good, {}, {}, "declares no limit, so nothing could fail"),
        (good, {"max_iou": 0.4}, {}, "knows no limit 'max_iou'"),
        ({"iou": np.zeros(40)}, {"max_iou_drop": 0.4}, {}, "knows no measure 'iou'"),
        (good, {"min_correlation": 0.4}, {}, "min_correlation is declared, but correlation was not measured"),
        (good, {"max_iou_drop": 1.4}, {}, "max_iou_drop is 1.4; it must be a number from 0 to 1"),
        (good, {"max_iou_drop": 0.4}, {"kept": 39}, "iou_drop holds 40 numbers, but 39 images were kept"),
        (good, {"max_iou_drop": 0.4}, {"total": 30}, "40 of 30 images were kept"),
        (good, {"max_iou_drop": 0.4}, {"clusters": ["a"]}, "1 cluster names for 40 images"),
        ({"correlation": np.full(40, -1.2)}, {"min_correlation": 0.1}, {}, "correlation is -1.2 for image number 1"),
        (
            {"accuracy_drop": np.zeros(200)},
            {"max_accuracy_drop": 0.1},
            {"max_drifted_share": 0.2},
            "accuracy drop has none per image",
        ),
    ):
        with pytest.raises(CriterionError, match=message):
            decide(values, limits, **settings)  # type: ignore[arg-type]


def test_read_outs_and_blank_after_are_carried() -> None:
    decision = decide(
        {"iou_drop": drops(0.2)}, {"max_iou_drop": 0.4}, blank_after=3, readouts={"accuracy": {"before": 0.9}}
    )
    assert decision.readouts["accuracy"] == {"before": 0.9}
    assert decision.counts["blank after"] == 3
    assert any("counted as full drift" in note for note in decision.notes)


def test_accuracy_of_clustered_cases_is_judged_by_cluster() -> None:
    """Ten images of a patient rise and fall together: 200 of them are 20 numbers, whichever of them were kept."""
    clusters = [f"patient {place // 10}" for place in range(200)]
    wrong = 0
    for seed in range(60):
        outcome = np.repeat((np.random.default_rng(seed).random(20) < 0.3).astype(float), 10)
        kept = np.flatnonzero(outcome == 0.0)
        decision = decide(
            {"iou_drop": np.zeros(kept.size), "accuracy_drop": outcome},
            {"max_iou_drop": 0.9, "max_accuracy_drop": 0.3},
            total=200,
            clusters=[clusters[place] for place in kept],
            all_clusters=clusters,
        )
        assert decision.measures["accuracy_drop"].n == 20
        wrong += decision.verdict is Verdict.FAIL
    assert rates.lower_bound(wrong, 60, 0.01) <= 0.05


def test_accuracy_never_falls_back_to_images_where_there_are_clusters() -> None:
    values = {"iou_drop": np.zeros(60), "accuracy_drop": np.zeros(80)}
    limits = {"max_iou_drop": 0.4, "max_accuracy_drop": 0.3}
    with pytest.raises(CriterionError, match="give all_clusters"):
        decide(values, limits, total=80, clusters=[str(place // 2) for place in range(60)])


@pytest.mark.parametrize(("kept", "blocked"), [(11, False), (10, True)])
def test_a_share_of_kept_images_right_at_its_limit_is_enough(kept: int, blocked: bool) -> None:
    decision = decide({"iou_drop": np.zeros(kept)}, {"max_iou_drop": 0.9}, total=20, min_kept=0.55)
    assert (decision.verdict is Verdict.INCONCLUSIVE) is blocked
