"""Known good must PASS, a known shortcut must FAIL, whatever the method."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fixtures.planted import PATCH, MatchedFilters, Planted
from pytest_saliency import (
    Cases,
    Explained,
    ExplanationAssertionError,
    Subject,
    Verdict,
    assert_class_sensitive,
    assert_faithful,
    assert_no_semantic_drift,
    explain,
)
from pytest_saliency.measure.displacement import centre_of_mass

METHODS = ["gradcam", "gradcam++", "hirescam", "xgradcam", "layercam", "case"]


@pytest.mark.parametrize("method", METHODS)
def test_the_map_is_where_the_pattern_is(sound: Explained, planted: Planted, method: str) -> None:
    maps = sound.maps(method)
    centres = centre_of_mass(maps.values, sound.input_size)
    middle = planted.corners.double() + PATCH / 2
    distance = (centres - middle).norm(dim=1)
    assert float(distance.median()) < 3.0


@pytest.mark.parametrize("method", METHODS)
def test_a_sound_network_passes_every_check(sound: Explained, tuned: Explained, method: str) -> None:
    assert sound.correct.all()
    assert assert_class_sensitive(sound, method).verdict is Verdict.PASS
    faithful = assert_faithful(sound, method, top_k=0.04, min_advantage=0.05)
    assert faithful.measures["advantage[blur]"].estimate > 0.1
    drift = assert_no_semantic_drift(sound, tuned, method=method, max_iou_drop=0.4, top_fraction=0.04)
    assert drift.measures["iou_drop"].interval.high < 0.4


@pytest.mark.parametrize("method", METHODS)
def test_a_shortcut_fails_although_accuracy_holds(sound: Explained, cheating: Explained, method: str) -> None:
    with pytest.raises(ExplanationAssertionError, match="looks elsewhere") as caught:
        assert_no_semantic_drift(sound, cheating, method=method, max_displacement=0.15)
    result = caught.value.result
    assert result.verdict is Verdict.FAIL
    performance = result.decision.readouts["performance"]
    assert isinstance(performance, dict)
    assert performance["before"]["accuracy"] == performance["after"]["accuracy"] == 1.0
    assert performance["after"]["macro_auc"] == 1.0


def test_order_and_batch_size_change_no_decision(planted: Planted, sound: Explained) -> None:
    order = np.random.default_rng(3).permutation(len(planted.labels))
    shuffled = Cases.from_arrays(planted.images[order], planted.labels[order], ids=[f"case-{i:04d}" for i in order])
    again = explain(Subject(sound.subject.model, layer="features"), shuffled, batch_size=7)
    one = assert_class_sensitive(sound)
    two = assert_class_sensitive(again)
    assert one.per_image["id"] == two.per_image["id"]
    np.testing.assert_allclose(one.per_image["agreement"], two.per_image["agreement"], atol=1e-5)
    assert one.verdict is two.verdict
    assert one.decision.seed == two.decision.seed, "another order must draw the same blocks and permutations"
    swapped = assert_faithful(again, method="gradcam", top_k=0.04, min_advantage=0.0)
    straight = assert_faithful(sound, method="gradcam", top_k=0.04, min_advantage=0.0)
    assert straight.per_image["block"] == swapped.per_image["block"]
    assert swapped.measures["advantage[blur]"].interval.low == pytest.approx(
        straight.measures["advantage[blur]"].interval.low, abs=1e-4
    )


def test_order_changes_no_bound_of_accuracy(planted: Planted) -> None:
    """Betting depends on the order of its numbers, so accuracy has to be ordered by id like everything else."""
    order = np.random.default_rng(3).permutation(len(planted.labels))
    straight = np.arange(len(order))
    bounds = []
    for chosen in (straight, order):
        ids = [f"case-{i:04d}" for i in chosen]
        cases = Cases.from_arrays(planted.images[chosen], planted.labels[chosen], ids=ids)
        before, after = (
            explain(Subject(MatchedFilters(jitter=jitter, seed=1), layer="features"), cases, device="cpu")
            for jitter in (0.0, 0.2)
        )
        assert 0 < after.correct.sum() < len(cases)
        with pytest.raises(ExplanationAssertionError) as caught:
            assert_no_semantic_drift(before, after, method="gradcam", max_accuracy_drop=0.2)
        interval = caught.value.result.measures["accuracy_drop"].interval
        bounds.append((interval.low, interval.high))
    assert bounds[0] == bounds[1]


def test_the_same_run_gives_the_same_bytes(sound: Explained, tuned: Explained) -> None:
    runs = [
        assert_no_semantic_drift(sound, tuned, method="layercam", max_iou_drop=0.4).decision.to_dict() for _ in range(2)
    ]
    assert runs[0] == runs[1]


def test_a_model_that_reads_other_sizes_is_compared_on_the_same_image(sound: Explained, cases: Cases) -> None:
    larger = Subject(sound.subject.model, layer="features", preprocess={"resize": [32, 32]}, name="same view")
    assert (
        assert_no_semantic_drift(sound, explain(larger, cases), method="gradcam", max_iou_drop=0.2).verdict
        is Verdict.PASS
    )


def test_every_drift_record_carries_what_a_mean_can_hide(sound: Explained, tuned: Explained) -> None:
    readouts = assert_no_semantic_drift(sound, tuned, method="gradcam", max_iou_drop=0.4).decision.readouts
    assert {"performance", "all_images", "low_margin", "iou_drop_by_method", "iou_drop_range", "cause"} <= set(readouts)
    by_method = readouts["iou_drop_by_method"]
    assert isinstance(by_method, dict)
    assert set(by_method) == set(METHODS)


def test_blank_after_is_drift_and_blank_before_is_undefined(sound: Explained, tuned: Explained) -> None:
    good = sound.maps("gradcam", "label").values
    half = torch.arange(len(good)) % 2 == 0
    blank = torch.where(half[:, None, None], torch.zeros_like(good), good)
    for one, maps in ((sound, good), (tuned, blank)):
        one.add_maps("brought", top1=maps, label=maps)
    with pytest.raises(ExplanationAssertionError) as caught:
        assert_no_semantic_drift(sound, tuned, method="brought", max_iou_drop=0.3)
    assert caught.value.result.verdict is Verdict.FAIL
    assert caught.value.result.measures["iou_drop"].estimate == pytest.approx(0.5, abs=1e-6)
    for one, maps in ((sound, blank), (tuned, good)):
        one.add_maps("reversed", top1=maps, label=maps)
    with pytest.raises(ExplanationAssertionError) as caught:
        assert_no_semantic_drift(sound, tuned, method="reversed", max_iou_drop=0.3)
    assert caught.value.result.verdict is Verdict.INCONCLUSIVE
    assert caught.value.result.measures["iou_drop"].undefined == len(good) // 2
