"""Explanations that know nothing must not be certified; the published rule alone lets some of them through."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import beta

from pytest_saliency import (
    Explained,
    ExplanationAssertionError,
    Result,
    SaliencyError,
    Verdict,
    assert_class_sensitive,
    assert_faithful,
    explain,
)
from pytest_saliency.checks.registry import KINDS

RUNS = 40


def verdict(explained: Explained, kind: str, **options: object) -> Result:
    declared = KINDS[kind]
    return declared.run({"model": explained}, declared.parameters.from_keywords(declared.assertion, options))


def noise(explained: Explained, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(len(explained.cases), 8, 8, generator=generator)


def upper(passes: int, runs: int) -> float:
    """Clopper-Pearson upper 95 % bound of a rate."""
    return float(beta.ppf(0.95, passes + 1, runs - passes)) if passes < runs else 1.0


def test_blank_maps_pass_nothing(sound: Explained) -> None:
    blank = torch.zeros(len(sound.cases), 8, 8)
    sound.add_maps("blank", top1=blank, top2=blank, again=blank)
    for rule in ("full", "published"):
        with pytest.raises((ExplanationAssertionError, SaliencyError)) as caught:
            assert_class_sensitive(sound, "blank", rule=rule)
        if isinstance(caught.value, ExplanationAssertionError):
            assert caught.value.result.verdict is Verdict.INCONCLUSIVE
    with pytest.raises(ExplanationAssertionError) as failed:
        assert_faithful(sound, "blank", top_k=0.05, min_advantage=0.0)
    assert failed.value.result.verdict is Verdict.INCONCLUSIVE
    assert failed.value.result.decision.undefined_share == 1.0


def test_half_blank_maps_are_counted_and_the_published_rule_drops_them(sound: Explained) -> None:
    """Seen on real X-rays: more than half of the maps blank, and the published rule calls it class-sensitive."""
    first, second, again = (sound.maps("case", t).values.clone() for t in ("top1", "top2", "top1"))
    for maps in (first, second, again):
        maps[::2] = 0.0
    sound.add_maps("half", top1=first, top2=second, again=again)
    assert verdict(sound, "class_sensitive", method="half").verdict is Verdict.INCONCLUSIVE
    assert verdict(sound, "class_sensitive", method="half", rule="published").verdict is Verdict.PASS


def test_noise_passes_the_published_rule_every_time_and_ours_hardly_ever(sound: Explained) -> None:
    ours = theirs = 0
    for run in range(RUNS):
        sound.add_maps(
            f"noise{run}", top1=noise(sound, 3 * run), top2=noise(sound, 3 * run + 1), again=noise(sound, 3 * run + 2)
        )
        ours += verdict(sound, "class_sensitive", method=f"noise{run}").verdict is Verdict.PASS
        theirs += verdict(sound, "class_sensitive", method=f"noise{run}", rule="published").verdict is Verdict.PASS
    assert theirs == RUNS
    assert ours / RUNS <= 0.05 or upper(ours, RUNS) <= 0.20
    assert ours <= 6  # 40 draws at a rate of 0.05 exceed 6 with a probability below 1 %


def test_maps_that_ignore_the_class_fail(sound: Explained) -> None:
    same = sound.maps("gradcam").values
    sound.add_maps("agnostic", top1=same, top2=same, again=same)
    assert verdict(sound, "class_sensitive", method="agnostic").verdict is Verdict.FAIL


def test_without_a_repeat_the_verdict_is_at_best_inconclusive(sound: Explained) -> None:
    sound.add_maps("once", top1=sound.maps("case").values, top2=sound.maps("case", "top2").values)
    result = verdict(sound, "class_sensitive", method="once")
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "give the repeat" in " ".join((result.headline, *result.decision.notes))


def test_another_images_maps_are_not_faithful(sound: Explained) -> None:
    """Each run gives every image the map of another image of its class."""
    maps = sound.maps("gradcam").values
    labels = np.asarray(sound.cases.labels)
    passes = 0
    for run in range(RUNS):
        generator = np.random.default_rng(run)
        source = np.arange(len(labels))
        for label in np.unique(labels):
            mine = np.flatnonzero(labels == label)
            source[mine] = mine[np.roll(generator.permutation(len(mine)), 1)]
        sound.add_maps(f"other{run}", top1=maps[source])
        passes += (
            verdict(sound, "faithful", method=f"other{run}", top_k=0.05, min_advantage=0.0, fill="mean").verdict
            is Verdict.PASS
        )
    assert passes <= 6


@pytest.mark.parametrize("control", ["class_mean", "centre", "random"])
def test_controls_are_not_faithful(sound: Explained, control: str) -> None:
    result = verdict(sound, "faithful", method=control, top_k=0.05, min_advantage=0.0)
    assert result.verdict is not Verdict.PASS


def test_the_class_mean_is_faithful_once_classes_are_mixed(sound: Explained) -> None:
    """Why blocks are within class: between classes, what is typical of a class counts as evidence."""
    within = verdict(sound, "faithful", method="class_mean", top_k=0.05, min_advantage=0.0)
    mixed = verdict(sound, "faithful", method="class_mean", top_k=0.05, min_advantage=0.0, blocks="any")
    assert within.verdict is not Verdict.PASS
    assert mixed.measures["advantage[mean]"].estimate > within.measures["advantage[mean]"].estimate
    assert mixed.parameters["blocks"] == "any"


def test_centre_and_random_are_not_class_sensitive(sound: Explained) -> None:
    assert verdict(sound, "class_sensitive", method="centre").verdict is Verdict.FAIL
    assert verdict(sound, "class_sensitive", method="random").verdict is not Verdict.PASS


BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def mutating() -> Iterator[Any]:
    """The mutants of ``benchmarks/mutants.py``, registered while this file runs."""
    from pytest_saliency.engine.methods import own

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        patch.setattr(own, "_REGISTERED", dict(own._REGISTERED))
        from mutating import methods, subjects, trials

        methods.register()
        yield methods, subjects, trials
        for name in [name for name in sys.modules if name.partition(".")[0] == "mutating"]:
            del sys.modules[name]


def test_every_mutant_is_rejected_by_a_named_kind_and_by_the_default_contract(mutating: Any) -> None:
    """One run of the benchmark's sixty: a known answer for each mutant, and for Grad-CAM, which passes all of them."""
    methods, subjects, trials = mutating
    setting = subjects.MATCHED
    one = explain(setting.subject(), setting.cases(40, 3), device="cpu")

    def verdict_of(kind: str, mutant: Any) -> str:
        return str(trials.verdict({"model": one}, kind, mutant.method, setting.criteria[kind]))

    for kind in trials.CONTRACT:
        assert verdict_of(kind, methods.GOOD) == "PASS"
    names = {mutant.name for mutant in methods.MUTANTS}
    assert {"blank", "nan", "constant", "noise", "centre", "edges", "agnostic", "class_mean"} < names
    assert {"transposed", "flipped", "another", "first-target", "one-position", "half-agnostic"} < names
    for mutant in methods.MUTANTS:
        rejecting = [kind for kind in mutant.rejected_by if verdict_of(kind, mutant) != "PASS"]
        assert rejecting, f"{mutant.name} gets through"
        assert set(rejecting) & set(trials.CONTRACT), f"the default contract lets {mutant.name} through"


def test_maps_of_one_position_are_drift_beside_maps_of_many(mutating: Any) -> None:
    methods, subjects, trials = mutating
    position = next(mutant for mutant in methods.MUTANTS if mutant.name == "one-position")
    assert trials.after_only(subjects.MATCHED, methods.GOOD, 40, 3) == "PASS"
    assert trials.after_only(subjects.MATCHED, position, 40, 3) == "FAIL"
