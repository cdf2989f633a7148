"""Methods through captum against formulas in float64, against captum called directly, and against what must be so."""

from __future__ import annotations

import copy
import itertools
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pytest_saliency import Cases, Explained, Subject, explain
from pytest_saliency.decide.randomness import seed_from
from pytest_saliency.engine.methods.inputs import Slots
from pytest_saliency.engine.methods.pixels import baseline_pixels, cells_of, overlaps, summed
from pytest_saliency.errors import DeviceError, MethodError, SaliencyError

from .helpers import BY_NAME, cases_of, raw, subject_of
from .nets import NoGradForward, Tiny, level_classes, make, pictures, seed_weights
from .oracles import Array, distance

IG, SHAP, OCCLUSION = "captum:IntegratedGradients", "captum:GradientShap", "captum:Occlusion"
ALL = (
    f"{IG}[steps:8]",
    f"{SHAP}[samples:6,baseline:random]",
    f"{OCCLUSION}[window:5,stride:3]",
    "captum:DeepLift",
    "captum:Saliency",
    "captum:InputXGradient",
)
MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.3, 0.4]
NORMAL = {"mean": MEAN, "std": STD}


class Modular(Tiny):
    """Every activation is a module of its own, one of them in place; ``pool`` is captum's rule that mixes images."""

    layer = "act2"

    def __init__(self, pool: bool = True, smooth: bool = False) -> None:
        super().__init__()
        act: Callable[[], nn.Module] = nn.Softplus if smooth else lambda: nn.ReLU(inplace=True)
        self.conv1, self.act1 = nn.Conv2d(3, 6, 3, stride=2, padding=1), act()
        self.pool = nn.MaxPool2d(2) if pool else nn.AvgPool2d(2)
        self.conv2, self.act2 = nn.Conv2d(6, 8, 3, padding=1), act()
        self.fc = nn.Linear(8, 5)

    def until(self, x: Tensor) -> Tensor:
        return self.act2(self.conv2(self.pool(self.act1(self.conv1(x)))))

    def after(self, a: Tensor) -> Tensor:
        return self.fc(a.mean((2, 3)))


class Flat(Tiny):
    """Two layers without a bias in space: its DeepLIFT multipliers can be written down."""

    layer = "conv"
    image = (3, 4, 5)

    def __init__(self, linear: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)
        self.hidden, self.act, self.fc = nn.Linear(40, 7), nn.Identity() if linear else nn.ReLU(), nn.Linear(7, 5)

    def until(self, x: Tensor) -> Tensor:
        return self.conv(x)

    def after(self, a: Tensor) -> Tensor:
        return self.fc(self.act(self.hidden(a.flatten(1))))

    def first(self) -> tuple[Array, Array]:
        """What the two first layers are together: weights (7, 60) and offsets (7,)."""
        w, conv = self.hidden.weight.double().reshape(7, 2, 20), self.conv.weight.double().flatten(1)
        offset = self.hidden.bias.double() + (w.sum(2) @ self.conv.bias.double())
        weight = torch.einsum("hkp,kc->hcp", w, conv).flatten(1)
        return weight.detach().numpy(), offset.detach().numpy()


def flat(linear: bool = False) -> Flat:
    with torch.random.fork_rng(devices=[]):
        made = seed_weights(Flat(linear), 4).eval()
    assert isinstance(made, Flat)
    return made


def run(model: Any, images: NDArray[np.float32], batch: int = 4, **settings: Any) -> Explained:
    keys = {key: settings.pop(key) for key in ("precision",) if key in settings}
    subject = Subject(model, layer=model.layer, **settings)
    return explain(subject, cases_of(images, model.classes), device="cpu", batch_size=batch, **keys)


def normalised(images: NDArray[Any]) -> Array:
    mean, std = (np.array(v).reshape(3, 1, 1) for v in (MEAN, STD))
    return (np.asarray(images, np.float64) - mean) / std


def gradient(twin: nn.Module, inputs: Array, classes: NDArray[np.int64]) -> Array:
    x = torch.from_numpy(inputs).requires_grad_()
    scores = twin(x)
    scores[torch.arange(len(x)), torch.from_numpy(classes)].sum().backward()
    assert x.grad is not None
    return x.grad.numpy()


# -- formulas -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("baseline", ["zero", "mean"])
@pytest.mark.parametrize("name", ["gelu", "inplace_functional", "tokens"])
def test_integrated_gradients_are_the_quadrature(name: str, baseline: str) -> None:
    net = BY_NAME[name]
    model, steps = net.model(), 12
    images = pictures(3, model.image, seed=1)
    subject = subject_of(net, model, preprocess=NORMAL)
    found = explain(subject, cases_of(images, model.classes), device="cpu", batch_size=5)
    twin = copy.deepcopy(model).double()
    start = np.zeros_like(images) if baseline == "zero" else images.mean((2, 3), keepdims=True) + 0 * images
    x, b = normalised(images), normalised(start)
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    for target in ("top1", "top2", 3):
        maps = found.maps(f"{IG}[steps:{steps},baseline:{baseline}]", target)
        expected = np.zeros_like(x)
        for node, weight in zip(nodes, weights, strict=True):
            expected += 0.5 * weight * gradient(twin, b + 0.5 * (node + 1) * (x - b), maps.classes)
        assert distance(maps.values.double().numpy(), (expected * (x - b)).sum(1)) < 1e-5


def test_they_sum_to_the_change_of_the_score_and_delta_says_by_how_much_not() -> None:
    model = make(lambda: Modular(smooth=True, pool=False), 11)
    images = pictures(5, model.image, seed=2)
    found = run(model, images, preprocess=NORMAL)
    maps = found.maps(f"{IG}[steps:32]", "top2")
    with torch.no_grad():
        twin = copy.deepcopy(model).double()
        x, b = (torch.from_numpy(normalised(one)) for one in (images, np.zeros_like(images)))
        change = (twin(x) - twin(b)).numpy()[np.arange(5), maps.classes]
    assert maps.values.double().sum((1, 2)).numpy() == pytest.approx(change, abs=1e-5)
    assert np.abs(maps.details["delta"]).max() < 1e-5
    rough = found.maps(f"{IG}[steps:1]", "top2")
    told = rough.values.double().sum((1, 2)).numpy() - change
    assert rough.details["delta"] == pytest.approx(told, abs=1e-5)
    assert np.abs(told).max() > 1e-3


def test_few_steps_are_told_of() -> None:
    model = make(Modular, 3)
    found = run(model, pictures(3, model.image, seed=2), preprocess=NORMAL)
    found.maps(f"{IG}[steps:1]")
    (note,) = found.costs()["notes"]
    assert note.startswith(
        f"the attributions of {IG}[steps:1] do not sum to the change of the score of model 'Modular'"
    )
    assert "take more steps" in note


@pytest.mark.parametrize("size", [(12, 16), (13, 15)])
def test_occlusion_is_a_loop_over_windows(size: tuple[int, int]) -> None:
    model = make(lambda: Modular(pool=False), 5)
    images = pictures(3, (3, *size), seed=3)
    found = run(model, images, preprocess=NORMAL)
    window, stride = 5, 3
    twin = copy.deepcopy(model).double()
    x, b = normalised(images), normalised(images.mean((2, 3), keepdims=True) + 0 * images)
    corners = [
        [stride * i for i in range(1 + -(-(side - window) // stride))] for side in size
    ]  # cut off at the border where a stride is left over
    with torch.no_grad():
        scores = twin(torch.from_numpy(x)).numpy()
        falls, covered = np.zeros((3, 5, *size)), np.zeros(size)
        for top, left in itertools.product(*corners):
            at = np.s_[..., top : top + window, left : left + window]
            masked = x.copy()
            masked[at] = b[at]
            falls[at] += (scores - twin(torch.from_numpy(masked)).numpy())[:, :, None, None]
            covered[at] += 1
    for target in ("top1", "label"):
        maps = found.maps(f"{OCCLUSION}[window:5,stride:3,baseline:mean]", target)
        expected = falls[np.arange(3), maps.classes] / covered
        assert distance(maps.values.double().numpy(), expected) < 1e-5
    windows = len(corners[0]) * len(corners[1])
    stage = found.costs()["stages"][f"{OCCLUSION}[window:5,stride:3,baseline:mean]"]
    assert stage["images"] == {"capture": 3, "windows": 3 * (windows + 1)}, "captum scores the image itself once more"


def test_deep_lift_is_the_rescale_rule() -> None:
    model = flat()
    images = pictures(4, model.image, seed=6)
    found = run(model, images)
    w1, b1 = model.first()
    w2 = model.fc.weight.detach().double().numpy()
    x, b = (one.reshape(4, -1).astype(np.float64) for one in (images, images.mean((2, 3), keepdims=True) + 0 * images))
    z, z0 = x @ w1.T + b1, b @ w1.T + b1
    slope = (np.maximum(z, 0) - np.maximum(z0, 0)) / (z - z0)
    for target in ("top1", "top2"):
        maps = found.maps("captum:DeepLift[baseline:mean]", target)
        expected = ((w2[maps.classes] * slope) @ w1 * (x - b)).reshape(4, 3, 4, 5).sum(1)
        assert distance(maps.values.double().numpy(), expected) < 1e-5
        assert np.abs(maps.details["delta"]).max() < 1e-5


def test_deep_lift_explains_the_whole_score_of_modules_also_in_place() -> None:
    model = make(lambda: Modular(pool=False), 7)
    found = run(model, pictures(5, model.image, seed=1), preprocess=NORMAL)
    maps = found.maps("captum:DeepLift[baseline:blur]")
    assert np.abs(maps.details["delta"]).max() < 1e-5
    assert found.costs()["notes"] == []


def test_what_deep_lift_does_not_cover_is_told() -> None:
    model = BY_NAME["gelu"].model()
    found = run(model, pictures(3, model.image, seed=1), preprocess=NORMAL)
    maps = found.maps("captum:DeepLift")
    assert np.abs(maps.details["delta"]).max() > 0.01
    (note,) = found.costs()["notes"]
    assert "passes its plain gradient" in note


def test_saliency_and_input_times_gradient() -> None:
    model = BY_NAME["relu"].model()
    images = pictures(4, model.image, seed=1)
    found = run(model, images, preprocess=NORMAL)
    twin, x = copy.deepcopy(model).double(), normalised(images)
    for target in ("top1", "label"):
        maps = found.maps("captum:Saliency", target)
        slope = gradient(twin, x, maps.classes)
        assert distance(maps.values.double().numpy(), np.abs(slope).sum(1)) < 1e-5
        assert distance(raw(found, "captum:InputXGradient", target), (slope * x).sum(1)) < 1e-5


def test_gradient_shap_of_a_linear_model_without_noise_is_exact() -> None:
    model = flat(linear=True)
    images = pictures(3, model.image, seed=2)
    maps = run(model, images).maps(f"{SHAP}[samples:3,noise:0,baseline:zero]")
    weight = (model.fc.weight.detach().double().numpy() @ model.first()[0])[maps.classes]
    assert distance(maps.values.double().numpy(), (weight.reshape(3, 3, 4, 5) * images).sum(1)) < 1e-5
    assert maps.details["noise"].tolist() == [0.0] * 3


# -- captum itself --------------------------------------------------------------------------------------------------


def test_captum_called_by_hand_says_the_same() -> None:
    from captum.attr import DeepLift, GradientShap, IntegratedGradients

    model = make(Modular, 9)
    images = pictures(3, model.image, seed=4)
    found = run(model, images, preprocess=NORMAL)
    x = torch.from_numpy(normalised(images)).float()
    black = torch.from_numpy(normalised(np.zeros_like(images))).float()
    maps = found.maps(f"{IG}[steps:7]", "top2")
    plain = IntegratedGradients(model).attribute(x, black, target=torch.from_numpy(maps.classes), n_steps=7)
    assert distance(maps.values.double().numpy(), plain.detach().double().sum(1).numpy()) < 1e-5
    maps = found.maps("captum:DeepLift", "top2")
    for i, target in enumerate(maps.classes.tolist()):  # one by one: in a batch captum's rule for MaxPool mixes images
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            plain = DeepLift(model).attribute(x[i : i + 1].clone().requires_grad_(), black[i : i + 1], target=target)
        assert distance(maps.values[i].double().numpy(), plain.detach().double().sum(1)[0].numpy()) < 1e-5
    maps = found.maps(f"{SHAP}[samples:6,baseline:random]", "top2")
    ids = found.cases.ids
    noisy = baseline_pixels("random", torch.from_numpy(images), ids, "", 6)
    for i, case in enumerate(ids):
        seed = seed_from("captum:GradientShap", case, "")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed % 2**63)
            np.random.seed(seed % 2**32)
            plain = GradientShap(model).attribute(
                x[i : i + 1],
                torch.from_numpy(normalised(noisy[i].numpy())).float(),
                target=int(maps.classes[i]),
                n_samples=6,
                stdevs=0.1 * float(x[i].max() - x[i].min()),
            )
        assert distance(maps.values[i].double().numpy(), plain.detach().double().sum(1)[0].numpy()) < 1e-5
        assert maps.details["noise"][i] == pytest.approx(0.1 * float(x[i].max() - x[i].min()))


# -- what must not matter -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ways() -> list[tuple[Explained, int]]:
    """The same images one at a time, four, in another order, and where memory has room for two; and how to turn them.

    With pooling by maximum, where captum's DeepLIFT mixes the images of a batch; and dark corners, where it does.
    """
    model = make(Modular, 7)
    images = pictures(6, model.image, seed=1)
    images[:, :, :4] = 0.0
    several = run(model, images, batch=4)
    backwards = Cases.from_arrays(images[::-1].copy(), several.cases.labels[::-1], ids=several.cases.ids[::-1])
    turned = explain(Subject(model, layer="act2"), backwards, device="cpu", batch_size=6)
    small = explain(Subject(Scarce(model, 2), layer="inner.act2"), several.cases, device="cpu", batch_size=4)
    return [(run(model, images, batch=1), 1), (several, 1), (turned, -1), (small, 1), (run(model, images, batch=4), 1)]


@pytest.mark.parametrize("method", ALL)
def test_neither_batch_size_nor_order_nor_memory_changes_a_map(method: str, ways: list[tuple[Explained, int]]) -> None:
    for target in ("top1", "label"):
        alone, *others = (raw(found, method, target)[::turn] for found, turn in ways)
        assert max(distance(other, alone) for other in others) < 1e-5
        assert np.array_equal(others[0], others[-1]), "the same in every run"
    assert ways[3][0].size.halved > 0


def test_deep_lift_of_a_softmax_inside_is_of_one_image() -> None:
    """captum's rule for nn.Softmax takes a mean over the whole batch."""

    class Soft(Modular):
        def __init__(self) -> None:
            super().__init__(pool=False)
            self.act1 = nn.Softmax(1)

    model = make(Soft, 7)
    images = pictures(6, model.image, seed=1)
    alone, several = (raw(run(model, images, batch=batch), "captum:DeepLift") for batch in (1, 4))
    assert distance(several, alone) < 1e-5


class Scarce(nn.Module):
    """Runs out of memory with more than ``most`` images at once."""

    def __init__(self, inner: nn.Module, most: int) -> None:
        super().__init__()
        self.inner, self.most = inner, most

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > self.most:
            raise torch.OutOfMemoryError("made up")
        found: Tensor = self.inner(x)
        return found


def test_not_even_one_image_fits() -> None:
    model = make(Modular, 7)
    found = explain(Subject(Scarce(model, 1), layer="inner.act2"), cases_of(pictures(3, model.image), 5), device="cpu")
    for method in ALL[:3]:
        assert distance(raw(found, method), raw(run(model, pictures(3, model.image)), method)) < 1e-5
    with pytest.raises(DeviceError, match="one image at a time does not fit"):
        found.maps("captum:DeepLift")  # which needs two: the image and its baseline


def test_repeats_draw_anew_and_classes_do_not() -> None:
    """An image of one colour is the same at any contrast, so that the repeat differs by its draws alone."""
    model = flat()
    images = np.stack([np.full(model.image, value, np.float32) for value in (0.2, 0.5, 0.8)])
    found = run(model, images)
    method = f"{SHAP}[samples:5,noise:0.2,baseline:random]"
    again = found.maps_jittered(method)
    assert again is not None
    assert distance(again.values.numpy(), raw(found, method)) > 0.01
    same = found.maps_jittered(f"{IG}[steps:3]")
    assert same is not None
    assert distance(same.values.numpy(), raw(found, f"{IG}[steps:3]")) < 1e-5
    for index in range(5):  # a class asked for alone gets the draws that it gets beside others
        maps = found.maps(method, index)
        for word in ("top1", "top2"):
            beside = found.maps(method, word)
            for i in np.flatnonzero(beside.classes == index):
                assert torch.allclose(maps.values[i], beside.values[i], atol=1e-6)


def test_one_forward_pass_serves_all_classes() -> None:
    model = make(lambda: Modular(pool=False), 7)
    found = run(model, pictures(6, model.image, seed=1), batch=6)
    words = sum(
        len({*row}) for row in zip(*(found.maps("gradcam", w).classes for w in ("top1", "top2", "label")), strict=True)
    )
    assert words > 12, "some label is neither top-1 nor top-2"
    for method in ALL:
        found.maps(method)
    stages = {name: stage["images"] for name, stage in found.costs()["stages"].items()}
    assert stages[ALL[0]] == {"capture": 6, "gradients": 6 * 8, "baseline": 6}
    assert stages[ALL[1]] == {"capture": 6, "gradients": 6 * 6}
    assert stages[ALL[2]] == {"capture": 6, "windows": 6 * (1 + 4 * 5)}
    assert stages[ALL[3]] == {"capture": 7, "gradients": 6 * 2 * 3, "baseline": 6}, "each class anew"
    assert stages[ALL[4]] == stages[ALL[5]] == {"capture": 6, "gradients": 6}


def test_slots_hold_every_class_of_an_image_once() -> None:
    given = {"top1": [0, 3, 2], "top2": [1, 1, 4], "label": [1, 3, 0], "7": [7, 7, 7]}
    slots = Slots.of({word: torch.tensor(classes) for word, classes in given.items()})
    assert slots.count == 4
    assert slots.classes.T.tolist() == [[0, 1, 7, 0], [3, 1, 7, 3], [2, 4, 0, 7]]
    for word, classes in given.items():
        assert slots.pick(slots.classes, word).tolist() == classes


def test_one_logit_is_explained_for_both_sides() -> None:
    net = BY_NAME["one_logit"]
    model = net.model()
    found = explain(subject_of(net, model), cases_of(pictures(4, model.image, seed=1), 2), device="cpu", batch_size=3)
    for method in ALL:
        first, second = raw(found, method, 0), raw(found, method, 1)
        sign = 1 if method == "captum:Saliency" else -1
        assert distance(first, sign * second) < 1e-5


@pytest.mark.parametrize("method", ALL)
def test_the_model_is_left_as_it_was(method: str) -> None:
    model = make(Modular, 7)
    model.train()
    model.act1.output = "mine"  # what captum's hooks write to
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    found = run(model, pictures(3, model.image, seed=1))
    _ = found.logits
    attributes = [sorted(vars(module)) for module in model.modules()]
    torch.manual_seed(3)
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    found.maps(method)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(p.requires_grad and torch.equal(p.grad, torch.ones_like(p)) for p in model.parameters())
    assert all(module.training for module in model.modules())
    assert [sorted(vars(module)) for module in model.modules()] == attributes
    assert model.act1.output == "mine"
    assert not any(place for m in model.modules() for key, place in vars(m).items() if key.endswith("_hooks"))


def test_a_model_that_breaks_midway_is_left_as_it_was() -> None:
    class Breaking(Modular):
        fuse = -1

        def forward(self, x: Tensor) -> Tensor:
            found = super().forward(x)
            self.__class__.fuse -= 1
            if self.fuse == 0:
                raise ValueError("no more")
            return found

    model = make(lambda: Breaking(pool=False), 7)
    found = run(model, pictures(3, model.image, seed=1))
    _ = found.logits
    for method in ALL:
        Breaking.fuse = 2 if method in ALL[4:] else 3  # in the last of all passes, or one with captum's hooks
        with pytest.raises(SaliencyError, match=r"raised ValueError at .*: no more"):
            found.maps(method)
        for module in model.modules():
            assert not {"input", "output", "input_ref"} & set(vars(module))
            assert not any(place for key, place in vars(module).items() if key.endswith("_hooks"))


def test_half_precision_is_close() -> None:
    model = level_classes(make(lambda: Modular(pool=False), 7))
    images = pictures(3, model.image, seed=1)
    full, half = run(model, images), run(model, images, precision="bf16")
    for method in ALL:
        one, two = (np.asarray(raw(found, method, 1)).ravel() for found in (full, half))
        assert np.corrcoef(one, two)[0, 1] > 0.97
    bfloat = run(copy.deepcopy(model).bfloat16(), images)
    for method in ALL:
        assert np.corrcoef(raw(full, method, 1).ravel(), raw(bfloat, method, 1).ravel())[0, 1] > 0.9


# -- cells ----------------------------------------------------------------------------------------------------------


def test_cells_share_the_pixels_on_their_borders() -> None:
    """Ten pixels in four cells: the third pixel belongs half to the first cell and half to the second."""
    shares = overlaps(10, 4)
    assert shares[2].tolist() == [0.5, 0.5, 0.0, 0.0]
    assert shares.sum(1).tolist() == [1.0] * 10
    assert shares.sum(0).tolist() == [2.5] * 4
    values = torch.arange(70, dtype=torch.float64).reshape(1, 10, 7).square()
    fine = values.repeat_interleave(4, 1).repeat_interleave(3, 2) / 12  # 40 and 21 parts, that 4 and 3 cells divide
    expected = fine.reshape(1, 4, 10, 3, 7).sum((2, 4))
    assert torch.allclose(summed(values, (4, 3)), expected)
    assert float(summed(values, (4, 3)).sum()) == pytest.approx(float(values.sum()))


@pytest.mark.parametrize(
    ("size", "most", "grid"),
    [
        ((224, 224), 56, (56, 56)),
        ((299, 299), 56, (56, 56)),
        ((112, 448), 56, (14, 56)),
        ((32, 20), 56, (32, 20)),
        ((9, 300), 56, (2, 56)),
    ],
)
def test_a_grid_is_the_input_in_small(size: tuple[int, ...], most: int, grid: tuple[int, ...]) -> None:
    assert cells_of(size, most) == grid


def test_a_smaller_grid_sums_the_same_map() -> None:
    model = make(Modular, 7)
    found = run(model, pictures(3, model.image, seed=1))
    fine, coarse = raw(found, "captum:InputXGradient"), raw(found, "captum:InputXGradient[grid:4]")
    assert coarse.shape == (3, 3, 4)
    assert distance(coarse, fine.reshape(3, 3, 4, 4, 4).sum((2, 4))) < 1e-5


def test_baselines_are_pixels_before_normalisation() -> None:
    images = torch.from_numpy(pictures(2, (3, 6, 8), seed=1))
    assert not baseline_pixels("zero", images, ("a", "b"), "").any()
    mean = baseline_pixels("mean", images, ("a", "b"), "")[:, 0]
    assert torch.allclose(mean[..., 0, 0], images.mean((2, 3)), atol=1e-6)
    blurred = baseline_pixels("blur", images, ("a", "b"), "")[:, 0]
    assert float(blurred.std()) < 0.8 * float(images.std())
    first = baseline_pixels("random", images, ("a", "b"), "", 40)
    assert first.shape == (2, 40, 3, 6, 8)
    assert 0 <= float(first.min()) < 0.01 < 0.99 < float(first.max()) < 1
    assert float(first.mean()) == pytest.approx(0.5, abs=5 * (1 / 12 / first.numel()) ** 0.5)
    other = baseline_pixels("random", images[:1], ("b",), "", 40)
    assert torch.equal(other[0], first[1]), "by the id alone"
    assert not torch.equal(baseline_pixels("random", images[:1], ("b",), "jitter", 40), other)


# -- what cannot be done --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "sentence"),
    [
        (OCCLUSION, "cannot move a window of 16 pixels over the input of model 'Modular', which is 12x16; declare"),
        (f"{OCCLUSION}[window:4,stride:5]", "would leave pixels between the windows uncovered; a stride of at most 4"),
    ],
)
def test_windows_that_do_not_fit_are_a_sentence(method: str, sentence: str) -> None:
    model = make(Modular, 7)
    with pytest.raises(MethodError, match=sentence):
        run(model, pictures(2, model.image)).maps(method)


@pytest.mark.parametrize("name", ["shared_around", "shared_target"])
def test_deep_lift_names_the_module_that_is_used_twice(name: str) -> None:
    net = BY_NAME[name]
    model = net.model()
    found = explain(subject_of(net, model), cases_of(pictures(2, model.image), model.classes), device="cpu")
    with pytest.raises(MethodError, match=r"but 1 of model .* run more often \(for one, 'shared.1', 2 times\)"):
        found.maps("captum:DeepLift")
    assert not any(place for m in model.modules() for key, place in vars(m).items() if key.endswith("_hooks"))


def test_a_model_without_gradients_is_a_sentence_where_they_are_needed() -> None:
    model = make(NoGradForward, 2706)
    found = run(model, pictures(2, model.image))
    for method in (ALL[0], ALL[1], *ALL[3:]):
        with pytest.raises(MethodError, match=r"cannot be done: the scores do not depend on it through autograd"):
            found.maps(method)
    assert found.maps(ALL[2]).counts()


def test_an_operation_without_a_derivative_is_a_sentence() -> None:
    class Stubborn(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, values: Tensor) -> Tensor:
            return values.clone()

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Tensor:
            raise RuntimeError("nobody wrote it")

    class Front(Modular):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(Stubborn.apply(x))

    model = make(Front, 7)
    with pytest.raises(MethodError, match="cannot be done: nobody wrote it"):
        run(model, pictures(2, model.image)).maps(f"{IG}[steps:2]")


def test_an_error_of_captum_names_method_model_and_image(monkeypatch: pytest.MonkeyPatch) -> None:
    import captum.attr

    def broken(self: object, *args: object, **named: object) -> Tensor:
        raise AssertionError("Something inside.\nMore of it.")

    monkeypatch.setattr(captum.attr.IntegratedGradients, "attribute", broken)
    model = make(Modular, 7)
    sentence = (
        r"method 'captum:IntegratedGradients\[steps:2\]' of captum, given model 'Modular' and 2 images \(for one,"
    )
    with pytest.raises(MethodError, match=f"{sentence} '.*'\\), raised AssertionError.*: Something inside\\.$"):
        run(model, pictures(2, model.image)).maps(f"{IG}[steps:2]")


def test_without_captum_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make(Modular, 7)
    found = run(model, pictures(2, model.image))
    _ = found.logits
    monkeypatch.setitem(sys.modules, "captum", None)
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(MethodError, match=r"needs the package captum.*pip install 'pytest-saliency\[captum\]'\.$"):
        found.maps("captum:Saliency")
