from __future__ import annotations

import json
import re

import numpy as np
import pytest
from scipy import stats

from pytest_saliency.decide import class_sensitive, rates
from pytest_saliency.decide.class_sensitive_words import LABELS
from pytest_saliency.decide.decision import Decision, NotAttainable
from pytest_saliency.decide.verdict import Verdict
from pytest_saliency.errors import CriterionError


def decide(agreement: object, repeat: object, limit: float = 0.5, **settings: object) -> Decision:
    return class_sensitive.decide(agreement, repeat, max_agreement=limit, **{"seed": 1, **settings})  # type: ignore[arg-type]


def sound(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.beta(2, 8, n), rng.beta(18, 2, n)


def test_sound_maps_pass_on_every_leg() -> None:
    cross, repeat = sound(60)
    decision = decide(cross, repeat)
    assert decision.verdict is Verdict.PASS
    assert [leg.name for leg in decision.legs] == ["wilcoxon", "share", "not_noise"]
    assert all(leg.holds and leg.p < 0.05 for leg in decision.legs)
    assert decision.legs[0].p == pytest.approx(
        stats.wilcoxon(cross - 0.5, zero_method="zsplit", alternative="less").pvalue
    )
    assert decision.legs[1].p == pytest.approx(
        stats.binomtest(int(np.sum(cross >= 0.5)), 60, alternative="less").pvalue
    )
    assert decision.legs[2].p == pytest.approx(
        stats.binomtest(int(np.sum(repeat > cross)), 60, alternative="greater").pvalue
    )
    median = decision.measures["agreement"]
    assert median.estimate == pytest.approx(np.median(cross))
    assert median.interval.low <= median.estimate <= median.interval.high < 0.5
    assert "limit 0.50" in decision.headline
    assert f"{np.median(cross):.2f}" in decision.headline
    assert sum(decision.readouts["histogram"]["counts"]) == 60  # type: ignore[index]


def test_class_agnostic_maps_fail() -> None:
    decision = decide(np.ones(40), np.ones(40))
    assert decision.verdict is Verdict.FAIL
    assert decision.headline.startswith("the maps hardly depend on the class")
    rng = np.random.default_rng(3)
    assert decide(rng.beta(7, 3, 80), rng.beta(9, 1, 80)).verdict is Verdict.FAIL


def test_undefined_images_count_as_the_worst_for_pass_and_the_best_for_fail() -> None:
    cross, repeat = sound(60)
    cross[:3] = np.nan
    assert decide(cross, repeat).verdict is Verdict.PASS
    assert decide(cross, repeat).legs[1].estimate == pytest.approx((3 + np.sum(cross >= 0.5)) / 60)
    cross[:4] = np.nan
    blocked = decide(cross, repeat)
    assert blocked.verdict is Verdict.INCONCLUSIVE
    assert "6.7 % of the images are undefined" in blocked.headline
    failing = np.ones(60)
    failing[:10] = np.nan
    assert decide(failing, failing).verdict is Verdict.FAIL, "undefined images never stop a FAIL"
    failing[:30] = np.nan
    assert decide(failing, failing).verdict is Verdict.INCONCLUSIVE, "half of them at their best are not above"


def test_undefined_repeat_counts_against_the_sign_test() -> None:
    cross, repeat = np.full(10, 0.2), np.full(10, 0.9)
    repeat[:3] = np.nan
    leg = decide(cross, repeat, max_undefined=1.0).legs[2]
    assert leg.estimate == pytest.approx(0.7)
    assert not leg.holds


def test_ties_with_the_repeat_count_against() -> None:
    assert decide(np.full(20, 0.3), np.full(20, 0.3)).legs[2].p == 1.0
    assert decide(np.full(20, 0.3), np.full(20, 0.3)).verdict is Verdict.INCONCLUSIVE


def test_without_a_repeat_pass_is_out_of_reach_and_said_so() -> None:
    cross, _ = sound(60)
    decision = decide(cross, None)
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert any("noise cannot be ruled out" in note for note in decision.notes)
    assert "give the repeat" in decision.headline
    assert decide(np.ones(30), None).verdict is Verdict.FAIL
    assert decide(cross, None, rule="published").verdict is Verdict.PASS


@pytest.mark.parametrize("rule", ["full", "published"])
def test_blank_maps_never_pass(rule: str) -> None:
    blank = np.full(50, np.nan)
    decision = decide(blank, blank, rule=rule)
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert decision.undefined_share == 1.0


def test_the_published_rule_passes_half_blank_maps_and_says_what_it_left_out() -> None:
    cross, repeat = sound(60)
    cross[:35] = np.nan
    assert decide(cross, repeat).verdict is Verdict.INCONCLUSIVE
    published = decide(cross, repeat, rule="published")
    assert published.verdict is Verdict.PASS
    assert any("35 undefined images left out" in note for note in published.notes)
    assert published.counts["undefined agreement"] == 35
    assert [leg.name for leg in published.legs] == ["wilcoxon"]
    assert decide(np.ones(20), None, rule="published").verdict is Verdict.FAIL


def pass_rate(make: object, trials: int, **settings: object) -> tuple[int, int]:
    rng = np.random.default_rng(11)
    passed = sum(decide(*make(rng), **settings).verdict is Verdict.PASS for _ in range(trials))  # type: ignore[operator]
    return passed, trials


def noise(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Maps drawn afresh for every call: the repeat agrees as little as the other class's map."""
    return rng.beta(2, 30, 24), rng.beta(2, 30, 24)


def half_identical(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Each image is as likely to have one map for both classes as to have two unlike ones."""
    same = rng.random(24) < 0.5
    return np.where(same, 1.0, 0.05 * rng.random(24)), np.where(same, 1.0, 0.95)


@pytest.mark.parametrize("mutant", [noise, half_identical])
def test_mutants_pass_at_most_alpha_of_the_time(mutant: object) -> None:
    passed, trials = pass_rate(mutant, 300)
    assert rates.lower_bound(passed, trials, 0.001) <= 0.05


def test_the_published_rule_lets_noise_through() -> None:
    passed, trials = pass_rate(noise, 40, rule="published")
    assert passed == trials


def test_clusters_are_averaged_first() -> None:
    cross, repeat = sound(60)
    clusters = [place // 3 for place in range(60)]
    decision = decide(cross, repeat, clusters=clusters)
    means = cross.reshape(20, 3).mean(axis=1)
    assert decision.n == 20
    assert decision.measures["agreement"].estimate == pytest.approx(np.median(means))
    assert decision.legs[0].p == pytest.approx(
        stats.wilcoxon(means - 0.5, zero_method="zsplit", alternative="less").pvalue
    )
    with pytest.raises(NotAttainable, match="4 clusters"):
        decide(cross, repeat, clusters=[place // 15 for place in range(60)])


def test_chance_level_is_a_read_out() -> None:
    cross, repeat = sound(30)
    decision = decide(cross, repeat, other_image_agreement=np.array([0.1, np.nan, 0.3]))
    assert decision.readouts["other_image_agreement"] == {
        "mean": pytest.approx(0.2),
        "median": pytest.approx(0.2),
        "n": 2,
    }


def test_what_cannot_pass_is_refused_with_the_number_needed() -> None:
    with pytest.raises(NotAttainable, match=r"4 images even if all of them were perfect.*needs 5") as caught:
        decide(np.zeros(4), np.ones(4))
    assert (caught.value.n, caught.value.needed) == (4, 5)
    assert decide(np.zeros(5), np.ones(5)).verdict is Verdict.PASS
    with pytest.raises(NotAttainable, match="needs 7"):
        decide(np.zeros(6), np.ones(6), alpha=0.01)
    assert decide(np.zeros(7), np.ones(7), alpha=0.01).verdict is Verdict.PASS
    with pytest.raises(NotAttainable, match="no image to decide on"):
        decide([], [])
    with pytest.raises(NotAttainable, match="never below 0"):
        decide(np.zeros(20), np.ones(20), limit=0.0)


def test_numbers_out_of_range_are_refused_in_a_sentence() -> None:
    with pytest.raises(CriterionError, match=r"agreement is 1.2 for image number 2 of 5 \(1 such image\)"):
        decide([0.1, 1.2, 0.1, 0.1, 0.1], None)
    with pytest.raises(CriterionError, match="agreement is inf"):
        decide([np.inf] * 5, None)
    with pytest.raises(CriterionError, match=r"self_agreement holds 4 numbers and agreement 5"):
        decide([0.1] * 5, [0.1] * 4)
    with pytest.raises(CriterionError, match=r"max_agreement is 1.5"):
        decide([0.1] * 5, None, limit=1.5)
    with pytest.raises(CriterionError, match=r"alpha is 0.7"):
        decide([0.1] * 5, None, alpha=0.7)
    with pytest.raises(CriterionError, match="shape"):
        decide(np.zeros((5, 2)), None)


def test_inconclusive_names_the_missing_leg_and_what_would_help() -> None:
    rng = np.random.default_rng(1)
    decision = decide(rng.beta(5, 5, 30), rng.beta(9, 1, 30))
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert decision.headline.startswith("not demonstrated")
    assert "not shown: fewer than half of the images have maps too much alike" in decision.headline
    assert "more images" in decision.headline


def test_units_are_told_by_label_and_counterpart() -> None:
    """The same numbers with other words: every text that names the maps does, and no number changes."""
    pairs = [sound(60), (np.full(30, 0.4), np.full(30, 0.3)), (np.ones(40), np.ones(40))]
    texts = []
    flips = np.arange(60) < 20
    lost = np.where(np.arange(60) > 50, np.nan, pairs[0][0])
    given: list[tuple[object, object, object]] = [(cross, again, None) for cross, again in pairs]
    given += [(pairs[0][0], None, None), (pairs[0][0], np.where(flips, np.nan, pairs[0][1]), flips)]
    given.append((lost, np.where(flips, np.nan, pairs[0][1]), flips))
    given.append((pairs[0][0], np.where(np.arange(60) < 1, np.nan, pairs[0][1]), np.arange(60) < 1))
    for cross, again, changed in given:
        one = decide(cross, again, prediction_changed=changed)
        other = decide(cross, again, prediction_changed=changed, compared=LABELS)
        said = json.dumps(one.to_dict()).replace("top-1 and top-2", LABELS.both).replace("the top-1 map", LABELS.first)
        said = said.replace("the top-2 map", LABELS.second).replace("the top-1 class from the top-2 class", LABELS.told)
        said = said.replace("the maps hardly depend on the class:", "the maps hardly depend on the label:")
        for single, several in (
            ("changes their predicted class", "decides whether their label is found"),
            ("the predicted class changes", "the label is found or lost"),
            ("image changed its predicted class", "image found or lost its label"),
            ("images changed their predicted class", "images found or lost their label"),
        ):
            said = said.replace(single, several)
        assert json.loads(said) == other.to_dict()
        assert not re.search("top-|predicted class", json.dumps(other.to_dict()))
        texts.append(other.headline)
    assert texts[0].startswith("the maps tell the label from its counterpart: ")
    assert "the map for the label agrees more with its own repeat under jitter than with the map for its co" in texts[1]
    assert texts[2].startswith("the maps hardly depend on the label: ")


def test_titles_read_as_a_sentence_before_their_limit() -> None:
    assert {measure.title for measure in decide(*sound(60)).measures.values()} == {
        "median agreement of the maps for top-1 and top-2",
        "share of images whose map is more like its own repeat than like the top-2 map",
        "share of images with maps too much alike (agreement 0.50 or more)",
    }
