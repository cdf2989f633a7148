"""Mosaics: how they are put together, what is measured of them, and which explanations must not pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pytest_saliency import (
    Cases,
    Explained,
    Result,
    SaliencyError,
    Subject,
    Verdict,
    assert_planted_evidence,
    explain,
    register_method,
)
from pytest_saliency.checks.common import Kept
from pytest_saliency.checks.mosaics import planned
from pytest_saliency.checks.numbers import Numbers
from pytest_saliency.checks.registry import KINDS
from pytest_saliency.decide.planted import SEEN
from pytest_saliency.decide.sets import mosaic_sets
from pytest_saliency.engine.mosaics import Mosaic, joined, without_own
from pytest_saliency.evidence.level2 import SCORED
from pytest_saliency.measure.planted import cell_shares

from .textured import Bank, textured_images

KIND = KINDS["planted_evidence"]


@pytest.fixture(scope="module")
def sound() -> Explained:
    images, labels = textured_images(60)
    return explain(Subject(Bank(), layer="features", name="sound"), Cases.from_arrays(images, labels), device="cpu")


def plan_of(indices: np.ndarray, labels: Sequence[int], cells: int, seed: int) -> list[Mosaic]:
    sets = mosaic_sets([labels[i] for i in indices], None, cells, seed)
    return planned(Kept(indices, len(labels), {}), labels, sets, cells)


def run(explained: Explained, **options: Any) -> Result:
    return KIND.run({"model": explained}, KIND.parameters.from_keywords(KIND.assertion, {"min_share": 0.5, **options}))


def gradient_map(subject: Subject, images: Tensor, targets: Tensor) -> Tensor:
    """Grad-CAM of ``Bank`` in closed form: the head's row of the class, times the features."""
    model: Any = subject.model
    with torch.no_grad():
        seen = model.features(model.filters(images))
        return torch.einsum("nc,nchw->nhw", model.head.weight[targets], seen)


MUTANTS = {
    "turned-over": lambda *given: gradient_map(*given).transpose(1, 2),
    "sign-flipped": lambda *given: -gradient_map(*given),
    "nothing": lambda *given: 0.0 * gradient_map(*given),
    "one-target": lambda subject, images, targets: gradient_map(subject, images, (targets + 1) % 4),
    "all-over": lambda *given: torch.ones_like(gradient_map(*given)),
    "by-hand": gradient_map,
}


@pytest.fixture(scope="module", autouse=True)
def _registered() -> Iterator[None]:
    from pytest_saliency.engine.methods import own

    for name, function in MUTANTS.items():
        register_method(name, function)
    yield
    for name in MUTANTS:
        own._REGISTERED.pop(name, None)


@pytest.mark.parametrize("method", ["gradcam", "case", "layercam", "by-hand"])
def test_a_sound_method_finds_the_cell(sound: Explained, method: str) -> None:
    made = assert_planted_evidence(sound, method, min_share=0.5)
    assert made.verdict is Verdict.PASS
    assert made.numbers.inputs["scale"] == "double"
    assert made.numbers.inputs["size"] == [64, 64]
    assert made.decision.readouts["most_in_own_cell"] > 0.8


@pytest.mark.parametrize("method", ["centre", "edges", "mean_map", "random_model", "sign-flipped", "one-target"])
def test_what_does_not_know_the_class_fails(sound: Explained, method: str) -> None:
    assert run(sound, method=method).verdict is Verdict.FAIL


@pytest.mark.parametrize("method", ["turned-over", "all-over", "nothing"])
def test_maps_that_are_out_of_place_or_empty_do_not_pass(sound: Explained, method: str) -> None:
    made = run(sound, method=method, min_share=0.6)
    assert made.verdict is (Verdict.FAIL if method == "turned-over" else Verdict.INCONCLUSIVE)
    assert "nan" not in made.headline


def test_shares_by_hand(sound: Explained) -> None:
    """The whole way again in float64: put four images together, explain the class, resize, sum the cell."""
    made = run(sound, method="gradcam")
    plan = plan_of(np.flatnonzero(sound.correct), sound.cases.labels, 4, made.numbers.seed)
    model = Bank().double()
    rows = {case: at for at, case in enumerate(made.per_image["id"])}
    for mosaic in plan[::9]:
        a, b, c, d = (sound.cases.image(i).double() for i in mosaic.tiles)
        image = torch.cat([torch.cat([a, b], 2), torch.cat([c, d], 2)], 1)[None]
        label = sound.cases.labels[mosaic.target]
        raw = gradient_map(Subject(model), image, torch.tensor([label])).clamp(min=0.0)
        large = torch.nn.functional.interpolate(raw[None], size=(64, 64), mode="bilinear")[0, 0]
        row, column = 32 * (mosaic.own // 2), 32 * (mosaic.own % 2)
        share = large[row : row + 32, column : column + 32].sum() / large.sum()
        at = rows[sound.cases.ids[mosaic.target]]
        assert made.per_image["cell"][at] == mosaic.own
        assert made.per_image["own_share"][at] == pytest.approx(float(share), abs=1e-5)
        others = [a, b, c, d]
        others[mosaic.own] = others[(mosaic.own + 1) % 4]
        without = torch.cat([torch.cat(others[:2], 2), torch.cat(others[2:], 2)], 1)[None]
        with torch.no_grad():
            before, after = (_odds(model(one)[0], label) for one in (image, without))
        assert made.per_image["cell_drop"][at] == pytest.approx(before - after, abs=2e-4)


def _odds(logits: Tensor, label: int) -> float:
    others = torch.cat([logits[:label], logits[label + 1 :]])
    return float(logits[label] - torch.logsumexp(others, 0))


def test_each_image_is_the_target_once_among_other_classes(sound: Explained) -> None:
    labels = sound.cases.labels
    plan = plan_of(np.arange(60), labels, 4, seed=5)
    assert sorted(one.target for one in plan) == list(range(60))
    for one in plan:
        assert len({labels[i] for i in one.tiles}) == 4
    assert set(Counter(one.own for one in plan)) == {0, 1, 2, 3}
    assert plan_of(np.arange(60), labels, 4, seed=5) == plan
    assert plan_of(np.arange(60), labels, 4, seed=6) != plan
    nine = plan_of(np.arange(60), labels, 9, seed=5)
    assert {len(one.tiles) for one in nine} == {9}
    assert all(labels[i] != labels[one.target] for one in nine for at, i in enumerate(one.tiles) if at != one.own)


def test_two_classes_and_one_image_of_the_other() -> None:
    plan = plan_of(np.arange(5), [0, 0, 0, 0, 1], 4, seed=0)
    for one in plan:
        others = [i for at, i in enumerate(one.tiles) if at != one.own]
        assert others == [4, 4, 4] if one.target != 4 else len(set(others)) == 3


def test_mosaics_of_half_the_size_keep_the_size_of_one() -> None:
    tiles = [torch.full((1, 7, 9), float(i)) for i in range(4)]
    whole, half = joined(tiles, "double"), joined([tile / 4 for tile in tiles], "input")
    assert whole.shape == (1, 14, 18)
    assert half.shape == (1, 7, 9)
    expected = torch.zeros(7, 9)
    expected[:3, 4:], expected[3:, :4], expected[3:, 4:] = 0.25, 0.5, 0.75
    torch.testing.assert_close(half[0], expected)
    volume = joined([torch.rand(1, 3, 4, 4) for _ in range(4)], "double")
    assert volume.shape == (1, 3, 8, 8)


def test_the_next_cells_image_takes_the_place_of_the_own() -> None:
    images = torch.rand(2, 3, 6, 6)
    made = without_own(images, [1, 3], 4)
    assert torch.equal(made[0, :, :3, 3:], images[0, :, 3:, :3])
    assert torch.equal(made[1, :, 3:, 3:], images[1, :, :3, :3])
    untouched = torch.ones(2, 6, 6, dtype=torch.bool)
    untouched[0, :3, 3:] = untouched[1, 3:, 3:] = False
    assert torch.equal(made.movedim(1, -1)[untouched], images.movedim(1, -1)[untouched])
    odd = without_own(torch.ones(1, 1, 7, 9), [0], 4)
    torch.testing.assert_close(odd, torch.ones(1, 1, 7, 9))


def test_shares_of_a_map_by_hand() -> None:
    maps = torch.tensor([[[1.0, 0.0], [-5.0, 3.0]], [[0.0, 0.0], [-1.0, 0.0]]])
    shares = cell_shares(maps, (2, 2), 4)
    assert shares[0].tolist() == pytest.approx([0.25, 0.0, 0.0, 0.75])
    assert shares[1].isnan().all()
    assert float(cell_shares(torch.rand(1, 7, 7), (10, 14), 9).sum()) == pytest.approx(1.0)


class OneSize(Bank):
    """As ``Bank``, but it takes images of 32 pixels only."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] != 32:
            raise ValueError("32 pixels")
        return super().forward(x)


class Corner(nn.Module):
    """Reads the class from the first four pixels of the first row, wherever the image ends."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(1, 1, 1, bias=False)
        self.head = nn.Linear(4, 4, bias=False)
        with torch.no_grad():
            self.features.weight.fill_(1.0)
            self.head.weight.copy_(8.0 * torch.eye(4))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(x)[:, 0, 0, :4])
        return logits


def test_a_model_of_one_size_gets_smaller_images() -> None:
    images, labels = textured_images(40)
    found = explain(Subject(OneSize(), layer="features"), Cases.from_arrays(images, labels), device="cpu")
    # Its filters know no half-sized pattern: that is told, and no verdict made of it.
    with pytest.raises(SaliencyError, match=r"nothing to find|could not PASS"):
        assert_planted_evidence(found, "gradcam", min_share=0.5)
    with pytest.raises(SaliencyError, match="32 pixels"):
        run(found, method="gradcam", scale="double")


def test_a_model_that_looks_at_a_fixed_place_cannot_pass() -> None:
    """Only where the own image happens to be in the first cell does the answer rest on it; there the map is right."""
    images, labels = textured_images(60)
    for image, label in zip(images, labels.tolist(), strict=True):
        image[0, 0, :4] = 0.0
        image[0, 0, label] = 1.0
    found = explain(Subject(Corner(), layer="features"), Cases.from_arrays(images, labels), device="cpu")
    assert found.correct.all()
    made = run(found, method="hirescam")
    assert made.verdict is Verdict.INCONCLUSIVE
    assert [cell == 0 for cell in made.per_image["cell"]] == [drop > SEEN for drop in made.per_image["cell_drop"]]
    assert made.measures["own_share"].estimate > 0.9
    assert "does not rest on the planted cell" in made.headline


class Pooled(Bank):
    """A second layer whose grid is 1x1 on an image and 2x2 on a mosaic."""

    def __init__(self) -> None:
        super().__init__()
        self.late = nn.AvgPool2d(33, stride=31, ceil_mode=False)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.late(self.features(self.filters(x))).mean((2, 3)))
        return logits


def test_the_layer_is_the_one_under_test_also_where_a_mosaic_has_a_later_one() -> None:
    images, labels = textured_images(40)
    found = explain(Subject(Pooled()), Cases.from_arrays(images, labels), device="cpu")
    made = run(found, method="gradcam", min_share=0.3)
    assert found.layer.name == "features"
    assert made.numbers.inputs["grid"] == [65, 65]


def test_bad_input_is_told_in_a_sentence(sound: Explained) -> None:
    images, labels = textured_images(8)
    with pytest.raises(SaliencyError, match="by chance with 4 cells"):
        run(sound, method="gradcam", min_share=0.25)
    sound.add_maps("brought", top1=sound.maps("gradcam").values)
    with pytest.raises(SaliencyError, match="register a function"):
        run(sound, method="brought")
    with pytest.raises(SaliencyError, match="is not known"):
        run(sound, method="gradcamm")
    one_class = Cases.from_arrays(images[::4], labels[::4])
    with pytest.raises(SaliencyError, match="one class"):
        run(explain(Subject(Bank(), layer="features"), one_class, device="cpu"), method="gradcam")
    single = Cases.from_arrays(images[:2], labels[:2])
    with pytest.raises(SaliencyError, match=r"could not PASS|one class|no image"):
        run(explain(Subject(Bank(), layer="features"), single, device="cpu"), method="gradcam")
    mislabelled = Cases.from_arrays(images, [0, 2, 0, 2, 0, 2, 0, 2])
    with pytest.raises(SaliencyError):
        run(explain(Subject(Bank(), layer="features"), mislabelled, device="cpu"), method="gradcam")


def test_the_same_whatever_batch_and_order(sound: Explained) -> None:
    order = np.random.default_rng(3).permutation(60)
    images, labels = textured_images(60)
    shuffled = Cases.from_arrays(images[order], labels[order], ids=[f"case-{i:04d}" for i in order])
    one = run(sound, method="gradcam")
    two = run(explain(Subject(Bank(), layer="features"), shuffled, batch_size=7), method="gradcam")
    assert one.per_image["cell"] == two.per_image["cell"]
    np.testing.assert_allclose(one.per_image["own_share"], two.per_image["own_share"], atol=1e-5)
    assert one.decision.seed == two.decision.seed


def test_preprocess_is_applied_once_to_the_images_and_the_mosaic_is_only_normalised(sound: Explained) -> None:
    images, labels = textured_images(60)
    wide = torch.nn.functional.pad(images, (4, 4, 4, 4), value=1.0)
    subject = Subject(Bank(), layer="features", preprocess={"center_crop": 32, "mean": [0.0], "std": [1.0]})
    made = run(explain(subject, Cases.from_arrays(wide, labels), device="cpu"), method="gradcam", min_share=0.4)
    assert made.numbers.inputs["size"] == [64, 64]
    again = plan_of(np.flatnonzero(sound.correct), sound.cases.labels, 4, made.numbers.seed)
    cells = {sound.cases.ids[one.target]: one.own for one in again}
    assert [cells[case] for case in made.per_image["id"]] == made.per_image["cell"]
    assert made.verdict is Verdict.PASS


def test_decided_again_from_its_numbers_measured_again_from_its_maps_and_counted(sound: Explained) -> None:
    made = run(sound, method="gradcam")
    assert made.maps is not None
    again = SCORED["planted_evidence"](made.to_record(), made.maps())
    for column, values in again.items():
        np.testing.assert_allclose(values, made.per_image[column], atol=1e-7)
    numbers = Numbers.of(made.to_record())
    assert KIND.decide(KIND.parameters(**made.parameters), numbers).to_dict() == made.decision.to_dict()
    assert made.execution["planned_images"] == 2 * len(made.per_image["id"])
    assert made.execution["planned_images"] <= made.execution["scored_images"] <= made.execution["planned_images"] + 2
    assert sound.costs()["stages"]["mosaics"]["images"]["mosaic"] >= made.execution["scored_images"]


def test_the_model_sees_what_the_drop_says(sound: Explained) -> None:
    """Which images count is told by the drop alone: no other column can take an image out."""
    made = run(sound, method="gradcam")
    columns = {**made.numbers.per_image, "seen": [False] * len(made.per_image["id"])}
    forged = replace(made.numbers, per_image=columns)
    parameters = KIND.parameters(**made.parameters)
    assert KIND.decide(parameters, forged).to_dict() == made.decision.to_dict()
    drops = [0.0, *made.per_image["cell_drop"][1:]]
    fewer = KIND.decide(parameters, replace(made.numbers, per_image={**made.numbers.per_image, "cell_drop": drops}))
    assert fewer.counts["kept"] == made.decision.counts["kept"] - 1


def test_n_counts_sets_and_says_how_many_images_they_hold(sound: Explained) -> None:
    made = run(sound, method="gradcam")
    kept, seen = len(made.per_image["id"]), made.decision.counts["kept"]
    assert made.decision.n == len(set(made.per_image["set"])) == kept // 4
    assert made.decision.counts["sets"] == made.decision.n
    assert f"n = {made.decision.n} sets with {seen} of {kept} images" in made.headline
    by_set: dict[int, list[float]] = {}
    for name, share in zip(made.per_image["set"], made.per_image["own_share"], strict=True):
        by_set.setdefault(name, []).append(share)
    expected = np.mean([np.mean(shares) for shares in by_set.values()])
    assert made.measures["own_share"].estimate == pytest.approx(expected)


def test_the_cell_of_the_class_is_outlined(sound: Explained) -> None:
    made = run(sound, method="gradcam")
    assert made.gallery is not None
    assert made.gallery.outline is not None
    for i in (0, 7, 20):
        row, column = divmod(made.per_image["cell"][i], 2)
        expected = np.zeros((64, 64), dtype=bool)
        expected[32 * row : 32 * row + 32, 32 * column : 32 * column + 32] = True
        np.testing.assert_array_equal(made.gallery.outline(i), expected)


def test_a_function_that_may_resize_is_told_of(sound: Explained) -> None:
    images, labels = textured_images(60)
    subject = Subject(Bank(), layer="features", preprocess=lambda image: image)
    made = run(explain(subject, Cases.from_arrays(images, labels), device="cpu"), method="gradcam")
    assert any("preprocess is a function" in note for note in made.decision.notes)
    assert not any("preprocess is a function" in note for note in run(sound, method="gradcam").decision.notes)
