"""RISE against its formula in float64, against what is known of random masks, and what it does with passes."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pytest_saliency import Cases, Subject, explain
from pytest_saliency.engine.maps import Maps
from pytest_saliency.engine.methods.rise import Masks
from pytest_saliency.errors import MethodError
from pytest_saliency.measure.pairs import compare

from .helpers import BY_NAME, cases_of, raw, run, subject_of
from .nets import Counting, Tiny, make, pictures
from .oracles import Array, distance
from .test_scorecam import resized

NAME = "rise[masks:24,cells:3]"


def masks_by_hand(drawn: Masks) -> Array:
    """Enlarge each grid of 0 and 1 to one cell more than the image, and cut the image's size out at its corner."""
    made = []
    for grid, corner in zip(drawn.grids[:, 0].double().numpy(), drawn.corners.tolist(), strict=True):
        cells = grid.shape[0]
        large = resized(grid, tuple((cells + 1) * -(-side // cells) for side in drawn.size))
        made.append(large[tuple(np.s_[first : first + side] for first, side in zip(corner, drawn.size, strict=True))])
    return np.stack(made)


@pytest.mark.parametrize("variant", ["", ",score:logit", ",centred", ",keep:0.25,score:logit,centred"])
@pytest.mark.parametrize("name", ["relu", "one_logit", "volume"])
def test_it_is_the_formula(name: str, variant: str) -> None:
    net = BY_NAME[name]
    model = net.model()
    images = pictures(3, model.image, seed=1)
    found = explain(subject_of(net, model), cases_of(images, model.classes), device="cpu", batch_size=4)
    keep = 0.25 if "keep" in variant else 0.5
    masks = masks_by_hand(Masks.drawn(24, 3, keep, model.image[1:], ""))
    twin = copy.deepcopy(model).double()
    said = np.zeros((24, 3, model.classes))
    for m, mask in enumerate(masks):
        with torch.no_grad():
            scores = twin.after(twin.until(torch.from_numpy(images * mask)))
        if "logit" not in variant:
            second = scores[:, 1:].sigmoid()
            scores = torch.cat([1 - second, second], 1) if name == "one_logit" else scores.softmax(1)
        said[m] = scores.numpy()
    if "centred" in variant:
        said -= said.mean(0)
    maps = np.einsum("mnc,m...->nc...", said, masks) / (keep * 24)
    for target in ("top1", "top2", 1):
        made = found.maps(f"rise[masks:24,cells:3{variant}]", target)
        assert distance(made.values.double().numpy(), maps[np.arange(3), made.classes]) < 1e-5


def test_probabilities_share_out_how_often_a_pixel_was_shown() -> None:
    """Over all classes they sum to 1, so that the maps sum to the masks' mean over keep; centred ones to nothing."""
    model = BY_NAME["relu"].model()
    found = run(model, pictures(2, model.image, seed=1))
    shown = masks_by_hand(Masks.drawn(24, 3, 0.5, model.image[1:], "")).mean(0) / 0.5
    total = sum(raw(found, NAME, index) for index in range(model.classes))
    assert np.abs(total - shown).max() < 1e-5
    centred = sum(raw(found, "rise[masks:24,cells:3,centred]", index) for index in range(model.classes))
    assert np.abs(centred).max() < 1e-5


class OnePixel(Tiny):
    """The score is the light at one pixel."""

    layer = "same"
    image = (1, 24, 24)
    classes = 2

    def __init__(self) -> None:
        super().__init__()
        self.same = nn.Conv2d(1, 1, 1)
        with torch.no_grad():
            self.same.weight.fill_(1.0)
            self.same.bias.zero_()  # type: ignore[union-attr]

    def forward(self, x: Tensor) -> Tensor:
        light = self.same(x)[:, 0, 5, 5]
        return torch.stack([3.0 * light, -light], 1)


def test_what_one_pixel_decides_is_found_there_within_chance() -> None:
    """S = E[f M] / keep: keep * f where masks do not hang together, and E[M^2] / keep * f at the pixel itself.

    Two positions more than two cells apart share no grid cell. Values of f M / keep lie between 0 and f / keep, so
    their standard deviation is at most half of that; five standard errors are never met by chance.
    """
    model, count, keep = OnePixel().eval(), 2000, 0.5
    cases = Cases.from_arrays(np.ones((2, 1, 24, 24), np.float32), [0, 1])
    found = explain(Subject(model, layer="same"), cases, device="cpu")
    made = raw(found, f"rise[masks:{count},cells:6,score:logit]", 0)[0]
    error = 5 * 0.5 * 3.0 / keep / count**0.5
    assert np.abs(made[15:, 15:] - 3.0 * keep).max() < error
    assert np.abs(made[15:, :] - 3.0 * keep).max() < error
    squares = masks_by_hand(Masks.drawn(count, 6, keep, (24, 24), ""))[:, 5, 5] ** 2
    assert made[5, 5] == pytest.approx(3.0 * squares.mean() / keep, rel=1e-5)
    assert made[5, 5] > 3.0 * keep + 2 * error, "the pixel that decides stands out"
    top = np.unravel_index(made.argmax(), made.shape)
    assert np.hypot(top[0] - 5, top[1] - 5) <= 2


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.75])
def test_masks_show_a_pixel_as_often_as_they_should(keep: float) -> None:
    """A mask's mean is keep at every position; its standard deviation is at most that of its cells."""
    count = 4000
    masks = Masks.drawn(count, 4, keep, (14, 22), "")
    shown = torch.cat([masks.rows(slice(i, i + 500)) for i in range(0, count, 500)])
    assert shown.shape == (count, 1, 14, 22)
    assert float(shown.min()) == 0.0
    assert float(shown.max()) == pytest.approx(1.0, abs=1e-6)
    assert (shown.mean(0) - keep).abs().max() < 5 * (keep * (1 - keep) / count) ** 0.5
    assert sorted(set(masks.corners[:, 0].tolist())) == [0, 1, 2, 3]
    assert sorted(set(masks.corners[:, 1].tolist())) == [0, 1, 2, 3, 4, 5]
    grid = masks.averaged((7, 2))
    assert torch.allclose(grid, shown[:, 0].reshape(count, 7, 2, 2, 11).mean((2, 4)), atol=1e-6)


def test_masks_are_the_same_for_everyone_and_others_in_the_repeat() -> None:
    one, two = Masks.drawn(50, 7, 0.5, (32, 32), ""), Masks.drawn(50, 7, 0.5, (32, 32), "")
    assert torch.equal(one.grids, two.grids)
    assert torch.equal(one.corners, two.corners)
    again, larger = Masks.drawn(50, 7, 0.5, (32, 32), "jitter"), Masks.drawn(50, 7, 0.5, (224, 224), "")
    assert not torch.equal(again.grids, one.grids)
    assert torch.equal(larger.grids, one.grids), "models of another input size see the same parts"
    assert ((larger.corners / 32 - one.corners / 5).abs() < 0.2).all()
    model = OnePixel().eval()
    cases = Cases.from_arrays(np.full((2, 1, 24, 24), 0.5, np.float32), [0, 1])
    found = explain(Subject(model, layer="same"), cases, device="cpu")
    repeat = found.maps_jittered(NAME)  # of an image of one colour, which keeps its contrast
    assert repeat is not None
    assert distance(repeat.values.numpy(), raw(found, NAME)) > 0.01


class Sure(OnePixel):
    """Sure of the first class whatever is hidden; what it is a little surer of lies in one corner."""

    def __init__(self, first: int, offset: float) -> None:
        super().__init__()
        self.first, self.offset = first, offset

    def forward(self, pixels: Tensor) -> Tensor:
        corner = self.same(pixels)[:, 0, self.first : self.first + 6, self.first : self.first + 6].mean((1, 2))
        return torch.stack([self.offset + 4 * corner, 0 * corner], 1)


def test_a_map_of_the_masks_alone_is_no_map() -> None:
    """Two models look at opposite corners; as published, their maps have in common how often masks show a place.

    A model that is not sure without its corner has a map of its own, and what is centred always has.
    """
    images = (0.5 + 0.5 * np.random.Generator(np.random.PCG64(2)).random((4, 1, 24, 24))).astype(np.float32)
    cases = Cases.from_arrays(images, [0, 1, 0, 1])

    noted: list[str] = []

    def maps_of(first: int, offset: float, name: str) -> Maps:
        model = Sure(first, offset).eval()
        with torch.no_grad():
            model.same.weight.fill_(1.0)
        found = explain(Subject(model, layer="same"), cases, device="cpu")
        maps = found.maps(name, "0")
        noted[:] = found.costs()["notes"]
        return maps

    def alike(offset: float, name: str) -> tuple[float, set[str]]:
        one, two = maps_of(0, offset, name), maps_of(18, offset, name)
        found = compare(one.values, two.values, ["iou"], fraction=0.2, size=(24, 24))["iou"]
        return float(found.mean()), {*one.status.tolist(), *two.status.tolist()}

    agreement, status = alike(6.0, "rise[masks:200]")
    assert agreement > 0.9
    assert status == {"degenerate"}
    assert any("rise[masks:200,centred] leaves the masks out" in note for note in noted)
    for offset, name in ((-2.0, "rise[masks:200]"), (6.0, "rise[masks:200,centred]")):
        agreement, status = alike(offset, name)
        assert agreement < 0.3
        assert status == {"ok"}
        assert not noted


def test_one_masked_pass_serves_all_classes_in_full_batches() -> None:
    model = make(Counting, 1108)
    images = pictures(5, model.image, seed=1)
    found = run(model, images, batch_size=4)
    _ = found.logits
    model.seen.clear()
    found.maps(NAME, "label")
    assert sum(model.seen) == 5 * 25
    assert max(model.seen) == 4
    assert [size for size in model.seen if size < 4] == [1], "the last image before it is masked"
    stage = found.costs()["stages"][NAME]
    assert stage["images"] == {"capture": 5, "masks": 120}
    assert stage["passes"] == len(model.seen)
    for target in ("top1", "top2"):
        found.maps(NAME, target)
    assert found.costs()["stages"][NAME] == stage


def test_neither_batch_nor_order_changes_a_map() -> None:
    model = BY_NAME["relu"].model()
    images = pictures(5, model.image, seed=1)
    one = raw(run(model, images, batch_size=1), NAME)
    assert distance(raw(run(model, images, batch_size=3), NAME), one) < 1e-5
    assert distance(raw(run(model, images[::-1].copy(), batch_size=4), NAME)[::-1], one) < 1e-5


def test_more_cells_than_pixels_are_a_sentence() -> None:
    model = BY_NAME["relu"].model()
    with pytest.raises(MethodError, match=r"needs cells of at least one pixel, but the input of model .* is 12x16"):
        run(model, pictures(2, model.image)).maps("rise[masks:4,cells:13]")
