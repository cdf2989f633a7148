"""Deletion and insertion curves against a linear model, against a loop by hand, and against what chance gives."""

from __future__ import annotations

import dataclasses
import json
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import Tensor, nn

from fixtures.planted import MatchedFilters
from pytest_saliency import Cases, Explained, Result, SaliencyError, Subject, explain
from pytest_saliency.checks.curves import Curves, curves, planned
from pytest_saliency.checks.registry import KINDS
from pytest_saliency.decide.randomness import Stream
from pytest_saliency.measure.registry import MEASURES
from pytest_saliency.measure.removal import filled, remove

SIDE = 5
IMAGES = 6


class Linear(nn.Module):
    """One logit: a weighted sum of the pixels, and a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 1, 1, bias=False)
        self.head = nn.Linear(SIDE * SIDE, 1)
        with torch.no_grad():
            self.layer.weight.fill_(1.0)
            self.head.weight.copy_(torch.rand(1, SIDE * SIDE, generator=torch.Generator().manual_seed(1)) + 0.1)
            self.head.bias.fill_(-1.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x).flatten(1))


@pytest.fixture(scope="module")
def linear() -> Explained:
    """Brought-in maps ``known``: what each pixel contributes; ``tied``: the same on three levels."""
    images = torch.rand(IMAGES, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
    one = explain(Subject(Linear(), layer="layer"), Cases.from_arrays(images, [0, 1] * 3), device="cpu", batch_size=4)
    model = one.subject.model
    assert isinstance(model, Linear)
    known = images[:, 0] * model.head.weight.detach().reshape(SIDE, SIDE)
    one.add_maps("known", top1=known)
    one.add_maps("tied", top1=(known * 6).floor().clamp(max=2.0))
    return one


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


def test_a_linear_model_has_its_closed_form(linear: Explained) -> None:
    """Black pixels contribute nothing, so the log-odds are straight lines between sorted sums of contributions."""
    found = curves(linear, "known", fill="zero", steps=8)
    contributions = np.stack([linear.maps("known").values[i].double().numpy().ravel() for i in range(IMAGES)])
    for i, one in enumerate(contributions):
        sign = 1.0 if linear.predicted[i] == 1 else -1.0
        sums = np.concatenate([[0.0], np.cumsum(np.sort(one)[::-1])])
        there = np.interp(found.shares * one.size, np.arange(one.size + 1), sums)
        np.testing.assert_allclose(found.deletion["log_odds"][i], sign * (one.sum() - there - 1.5), atol=1e-5)
        np.testing.assert_allclose(found.insertion["log_odds"][i], sign * (there - 1.5), atol=1e-5)
    for kind in (found.deletion, found.insertion):
        np.testing.assert_allclose(kind["probability"], sigmoid(kind["log_odds"]), atol=1e-6)


def test_equal_levels_share_so_that_the_order_of_equal_pixels_is_nobody_s_choice(linear: Explained) -> None:
    """With zeros for no evidence among the levels; by hand: level by level, the last one in part."""
    found = curves(linear, "tied", fill="zero", steps=4)
    known, tied = (linear.maps(name).values.double().numpy().reshape(IMAGES, -1) for name in ("known", "tied"))
    checked = 0
    for i in np.flatnonzero(linear.maps("tied").ok):
        sign = 1.0 if linear.predicted[i] == 1 else -1.0
        for t, share in enumerate(found.shares):
            left, gone = share * tied.shape[1], 0.0
            for level in sorted(set(tied[i]), reverse=True):
                members = tied[i] == level
                part = min(1.0, left / members.sum())
                gone += part * known[i][members].sum()
                left -= part * members.sum()
            np.testing.assert_allclose(
                found.deletion["log_odds"][i, t], sign * (known[i].sum() - gone - 1.5), atol=1e-5
            )
            checked += 1
    assert checked >= 4 * len(found.shares)


def test_a_straight_curve_has_half_its_height_as_area_and_no_gain(linear: Explained) -> None:
    """A map of equal contributions of an even image: every share costs the same, whatever the order."""
    images = torch.full((2, 1, SIDE, SIDE), 0.5)
    model = Linear()
    with torch.no_grad():
        model.head.weight.fill_(0.2)
    one = explain(Subject(model, layer="layer"), Cases.from_arrays(images, [0, 1]), device="cpu")
    one.add_maps("any", top1=torch.rand(2, SIDE, SIDE, generator=torch.Generator().manual_seed(3)))
    found = curves(one, "any", fill="zero", steps=10)
    start, end = 0.2 * 0.5 * 25 - 1.5, -1.5
    np.testing.assert_allclose(found.deletion_area("log_odds"), (start + end) / 2, atol=1e-5)
    np.testing.assert_allclose(found.insertion_area("log_odds"), (start + end) / 2, atol=1e-5)
    np.testing.assert_allclose(found.srg("log_odds"), 0.0, atol=1e-5)


@pytest.mark.parametrize("fill", ["mean", "zero", "noisy_linear"])
def test_the_gain_is_least_relevant_first_minus_most_relevant_first(sound: Explained, fill: str) -> None:
    """Removing from either end, by hand: sort, remove whole pixels, call the model."""
    chosen, pixels = [2, 5], 32 * 32
    maps = torch.rand(len(sound.cases), 32, 32, generator=torch.Generator().manual_seed(6)) + 0.01
    sound.add_maps("no ties", top1=maps)
    found = curves(sound, "no ties", fill=fill, steps=4, indices=chosen, seed=8)
    assert found.ids == tuple(sound.cases.ids[i] for i in chosen)
    for row, i in enumerate(chosen):
        image = sound.pixels(i)[None]
        noise = norm.ppf(Stream(8, "noise", sound.cases.ids[i]).uniform(pixels)).reshape(1, 1, 32, 32)
        areas = []
        for order in (maps[i].flatten().argsort(), maps[i].flatten().argsort(descending=True)):
            heights = []
            for share in found.shares:
                mask = torch.zeros(pixels)
                mask[order[: round(share * pixels)]] = 1.0
                mask = mask.reshape(1, 32, 32)
                with torch.no_grad():
                    there = filled(image, fill, mask, torch.from_numpy(noise))
                    logits = sound.subject.model.eval()(remove(image, mask, there))
                heights.append(float(logits.softmax(1)[0, int(sound.predicted[i])]))
            areas.append(sum(a + b for a, b in pairwise(heights)) / 8)
        weak, strong = areas
        assert abs(weak - strong) > 1e-3
        assert found.srg()[row] == pytest.approx(weak - strong, abs=1e-5)
        assert found.deletion_area()[row] == pytest.approx(strong, abs=1e-5)
        assert found.insertion_area()[row] == pytest.approx(weak, abs=1e-5)


def test_evidence_gains_and_chance_does_not(sound: Explained) -> None:
    sound.add_maps("noise", top1=torch.rand(len(sound.cases), 8, 8, generator=torch.Generator().manual_seed(4)))
    known = curves(sound, "gradcam", steps=5)
    chance = curves(sound, "noise", steps=5)
    for score in ("probability", "log_odds"):
        gain, nothing = known.srg(score), chance.srg(score)  # type: ignore[arg-type]
        assert abs(nothing.mean()) < 3 * nothing.std() / math.sqrt(len(nothing))
        assert gain.mean() > 10 * abs(nothing.mean())
    assert known.deletion_area().mean() < chance.deletion_area().mean()
    assert known.insertion_area().mean() > chance.insertion_area().mean()


def test_curves_begin_and_end_where_they_must(sound: Explained) -> None:
    found = curves(sound, "gradcam", fill="mean", steps=3, indices=range(7))
    for score in ("probability", "log_odds"):
        np.testing.assert_array_equal(found.deletion[score][:, 0], found.insertion[score][:, -1])  # type: ignore[index]
        np.testing.assert_array_equal(found.deletion[score][:, -1], found.insertion[score][:, 0])  # type: ignore[index]
    with torch.no_grad():
        whole = torch.stack([sound.pixels(i) for i in range(7)])
        grey = whole.mean((2, 3), keepdim=True).expand_as(whole)
        model = sound.subject.model.eval()
        before, after = model(whole).softmax(1), model(grey).softmax(1)
    classes = torch.from_numpy(sound.predicted[:7])[:, None]
    np.testing.assert_allclose(found.deletion["probability"][:, 0], before.gather(1, classes)[:, 0], atol=1e-6)
    np.testing.assert_allclose(found.deletion["probability"][:, -1], after.gather(1, classes)[:, 0], atol=1e-6)
    relative = found.deletion_area(relative=True)
    np.testing.assert_allclose(relative, found.deletion_area() / found.deletion["probability"][:, 0])
    with pytest.raises(SaliencyError, match="negative"):
        found.srg("log_odds", relative=True)


def test_each_target_is_scored_for_its_own_class(sound: Explained) -> None:
    found = curves(sound, "gradcam", "top2", fill="mean", steps=2, indices=[0, 1, 2])
    probability = sound.logits[:3].double().softmax(1)
    classes = torch.from_numpy(sound.maps("gradcam", "top2").classes[:3])[:, None]
    np.testing.assert_allclose(found.deletion["probability"][:, 0], probability.gather(1, classes)[:, 0], atol=1e-6)
    assert found.target == "top2"


def test_an_unusable_map_has_no_curve_and_costs_nothing(sound: Explained) -> None:
    maps = sound.maps("gradcam").values.clone()
    maps[[1, 4]] = 0.0
    sound.add_maps("two blank", top1=maps)
    found = curves(sound, "two blank", fill="mean", steps=3, indices=range(6))
    whole = curves(sound, "gradcam", fill="mean", steps=3, indices=range(6))
    lost = np.isin(np.arange(6), [1, 4])
    assert found.images == planned(4, 3) == 4 * 5
    assert whole.images == planned(6, 3)
    for name, values in found.columns().items():
        assert np.isnan(values).tolist() == lost.tolist()
        np.testing.assert_allclose(values[~lost], whole.columns()[name][~lost], atol=1e-5)
    assert found.means()["n"] == 4
    assert found.means()["srg"] == pytest.approx(np.nanmean(found.srg()))
    sound.add_maps("all blank", top1=torch.zeros_like(maps))
    nothing = curves(sound, "all blank", fill="mean", steps=3, indices=range(6))
    assert nothing.images == nothing.means()["n"] == 0
    assert math.isnan(nothing.means()["srg"])


class Cramped(MatchedFilters):
    """Runs out of memory beyond ``room`` images."""

    room = math.inf

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > self.room:
            raise torch.OutOfMemoryError("no room")
        return super().forward(x)


@pytest.mark.parametrize("fill", ["blur", "noisy_linear"])
def test_batch_order_and_memory_change_no_number(cases: Cases, fill: str) -> None:
    order = [7, 3, 0, 12, 5]

    def arrays(found: Curves) -> list[np.ndarray]:
        return [kind[score] for kind in (found.deletion, found.insertion) for score in ("probability", "log_odds")]

    straight = explain(Subject(Cramped(), layer="features"), cases, device="cpu", batch_size=3)
    shuffled = explain(Subject(Cramped(), layer="features"), cases.subset(order), device="cpu", batch_size=64)
    one = curves(straight, "gradcam", fill=fill, steps=3, indices=order, seed=9)
    two = curves(shuffled, "gradcam", fill=fill, steps=3, seed=9)
    cramped = Cramped()
    cramped.room = 2
    narrow = explain(Subject(cramped, layer="features"), cases.subset(order), device="cpu", batch_size=64)
    three = curves(narrow, "gradcam", fill=fill, steps=3, seed=9)
    for a, b, c in zip(arrays(one), arrays(two), arrays(three), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
        np.testing.assert_allclose(a, c, atol=1e-4)
    assert one.ids == two.ids
    if fill == "noisy_linear":
        other = curves(straight, "gradcam", fill=fill, steps=3, indices=order, seed=10)
        assert not np.allclose(other.deletion["log_odds"], one.deletion["log_odds"], atol=1e-4)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fill": "black"}, "no fill 'black'"),
        ({"steps": 1}, "at least 2 steps"),
        ({"indices": []}, "indices of some of the 80 cases"),
        ({"indices": [80]}, "indices of some of the 80 cases"),
        ({"indices": [-1]}, "indices of some of the 80 cases"),
        ({"target": "top3"}, "top3"),
    ],
)
def test_bad_arguments_are_sentences(sound: Explained, options: dict[str, object], words: str) -> None:
    with pytest.raises(SaliencyError, match=words):
        curves(sound, "gradcam", **options)  # type: ignore[arg-type]


def faithful(explained: Explained, **options: object) -> Result:
    kind = KINDS["faithful"]
    given = {"method": "gradcam", "top_k": 0.04, "min_advantage": 0.0, "fill": ["mean", "zero"], **options}
    return kind.run({"model": explained}, kind.parameters.from_keywords(kind.assertion, given))


def test_faithful_reports_curves_and_decides_the_same(sound: Explained) -> None:
    plain, more = faithful(sound), faithful(sound, curves=4)
    one, two = plain.decision.to_dict(), more.decision.to_dict()
    readouts = two["readouts"].pop("curves")
    assert one == two, "reading more must draw no other blocks"
    assert more.execution["planned_images"] == more.execution["scored_images"]
    assert more.execution["scored_images"] - plain.execution["scored_images"] == 2 * planned(len(sound.cases), 4)
    assert plain.parameters["curves"] is False
    assert more.parameters["curves"] == 4
    for fill in ("mean", "zero"):
        read = readouts[fill]
        assert len(read["deletion"]["log_odds"]) == len(read["shares"]) == 5
        for name in ("deletion_area", "insertion_area", "srg", "srg_log_odds"):
            info, column = MEASURES[name], more.per_image[f"{name}[{fill}]"]
            assert all(info.low <= value <= info.high for value in column)
            assert read[name] == pytest.approx(np.mean(column))
        direct = curves(sound, "gradcam", fill=fill, steps=4, indices=np.argsort(sound.cases.ids))
        np.testing.assert_allclose(more.per_image[f"srg[{fill}]"], direct.srg(), atol=1e-5)
    json.dumps(more.to_record(), allow_nan=False)


def test_true_means_ten_steps_and_nonsense_is_refused(sound: Explained) -> None:
    parameters = KINDS["faithful"].parameters
    given = {"method": "gradcam", "top_k": 0.04, "min_advantage": 0.0}
    assert [parameters(**given, curves=c).steps for c in (False, True, 2)] == [0, 10, 2]  # type: ignore[attr-defined]
    for wrong in (1, 0, 101, "yes", 2.5):
        with pytest.raises(SaliencyError, match="curves"):
            parameters.from_keywords("x", {**given, "curves": wrong})


def test_curves_are_data(linear: Explained) -> None:
    found = curves(linear, "known", steps=2)
    assert {field.name for field in dataclasses.fields(found)} >= {"shares", "deletion", "insertion", "fill", "ids"}
    assert set(found.columns()) <= set(MEASURES)
