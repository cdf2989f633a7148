"""Score-CAM against its formula in float64, and what it does with passes, memory, flat channels and NaN."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from pytest_saliency import Subject
from pytest_saliency.engine.layers import observe, resolve_layer
from pytest_saliency.engine.layout import Layout
from pytest_saliency.engine.methods.names import parse_method
from pytest_saliency.engine.methods.perturbation import Perturbed, Site
from pytest_saliency.engine.methods.scorecam import scorecam_method
from pytest_saliency.engine.runner import Runner
from pytest_saliency.engine.sizing import BatchSize
from pytest_saliency.errors import MethodError, SubjectError

from .helpers import BY_NAME, TOLERANCE, subject_of
from .nets import Counting, ExplodingNet, MirrorNet, OneLogit, Tiny, make, pictures
from .oracles import Array, capture, distance

NETS = ("relu", "gelu", "inplace_relu", "channels_last", "tokens", "volume", "shared_target", "one_logit", "tuple")


# -- the formula once more ------------------------------------------------------------------------------------------


def axis_matrix(source: int, target: int) -> Array:
    """Linear resizing of one axis with cells of equal width: where a target's centre falls between source centres."""
    matrix = np.zeros((target, source))
    for t in range(target):
        at = min(max((t + 0.5) * source / target - 0.5, 0.0), source - 1.0)
        left = min(int(at), max(source - 2, 0))
        matrix[t, left] += 1.0 - (at - left)
        if source > 1:
            matrix[t, left + 1] += at - left
    return matrix


def resized(channel: Array, size: tuple[int, ...]) -> Array:
    for axis, target in enumerate(size):
        channel = np.moveaxis(np.tensordot(axis_matrix(channel.shape[axis], target), channel, (1, axis)), 0, axis)
    return channel


def oracle(
    model: Tiny,
    images: NDArray[np.float32],
    classes: Callable[[Array], NDArray[np.int64]],
    *,
    reference: bool = False,
    most: int | None = None,
    normalise: Callable[[Array], Array] = lambda x: x,
) -> tuple[Array, list[list[int]], Array]:
    """Wang et al. 2020, eq. 8-10, channel by channel: maps (N, *grid), the channels used, the share of energy."""
    inputs = normalise(np.asarray(images, np.float64))
    got = capture(model, inputs)  # type: ignore[arg-type]
    twin = copy.deepcopy(model).double().eval()
    chosen = classes(got.scores)
    maps, used, shares = [], [], []
    for i, x in enumerate(inputs):
        channels = [k for k, a in enumerate(got.a[i]) if a.max() > a.min()]
        energy = {k: float((got.a[i, k] ** 2).sum()) for k in channels}
        keep = sorted(sorted(channels, key=lambda k: -energy[k])[: most or len(channels)])
        said = []
        for k in keep:
            large = resized(got.a[i, k].reshape(got.grid), x.shape[1:])
            mask = (large - large.min()) / (large.max() - large.min())
            with torch.no_grad():
                scores = twin.after(twin.until(torch.from_numpy(x * mask)[None]))[0].numpy()
            if not reference:
                said.append(scores[chosen[i]])
            elif isinstance(model, OneLogit):
                said.append(1.0 / (1.0 + np.exp(-scores[chosen[i]])))
            else:
                said.append(np.exp(scores[chosen[i]]) / np.exp(scores).sum())
        weights = np.array(said) if reference else np.exp(said) / np.exp(said).sum()
        maps.append((weights[:, None] * got.a[i, keep]).sum(0))
        used.append(keep)
        shares.append(sum(energy[k] for k in keep) / sum(energy.values()))
    return np.stack(maps).reshape(len(maps), *got.grid), used, np.array(shares)


# -- running one method ---------------------------------------------------------------------------------------------


def targets_of(scores: Tensor) -> Mapping[str, Tensor]:
    order = torch.sort(scores, dim=1, descending=True, stable=True).indices
    return {"top1": order[:, 0], "top2": order[:, 1], "1": torch.ones_like(order[:, 0])}


RANKED: Mapping[str, Callable[[Array], NDArray[np.int64]]] = {
    "top1": lambda scores: np.argsort(-scores, axis=1, kind="stable")[:, 0],
    "top2": lambda scores: np.argsort(-scores, axis=1, kind="stable")[:, 1],
    "1": lambda scores: np.ones(len(scores), np.int64),
}


def site_of(subject: Subject, images: NDArray[np.float32], batch: int = 5) -> Site:
    runner = Runner(subject, torch.device("cpu"))
    pixels = torch.from_numpy(images[:1])
    with runner.session():
        layer = resolve_layer(runner, pixels, observe(runner, pixels))
    return Site(runner, layer, BatchSize(batch))


def scorecam(site: Site, images: NDArray[np.float32], *variants: str) -> Perturbed:
    with site.runner.session():
        return scorecam_method(variants).compute(site, torch.from_numpy(images), targets_of)


def values(made: Perturbed, target: str, grid: tuple[int, ...]) -> Array:
    return made.maps[target].values.double().numpy().reshape(-1, *grid)


def relu_net(**settings: Any) -> tuple[Any, Subject]:
    model = make(Counting, 1108)
    return model, Subject(model, layer=model.layer, **settings)


# -- the formula ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variants", [(), ("reference-code",), ("channels:3",), ("reference-code", "channels:3")])
@pytest.mark.parametrize("name", NETS)
def test_it_is_the_formula(name: str, variants: tuple[str, ...]) -> None:
    net = BY_NAME[name]
    model = net.model()
    images = pictures(3, model.image, seed=1)
    site = site_of(subject_of(net, model), images)
    made = scorecam(site, images, *variants)
    most = 3 if "channels:3" in variants else None
    for target, classes in RANKED.items():
        expected, used, shares = oracle(model, images, classes, reference="reference-code" in variants, most=most)
        assert distance(values(made, target, expected.shape[1:]), expected) < TOLERANCE
        details = made.maps[target].details
        assert details["channels"].tolist() == [len(one) for one in used]
        if most is not None:
            assert details["energy_kept"].numpy() == pytest.approx(shares, rel=1e-5)
    assert site.images == {"capture": 3, "channels": sum(map(len, used))}
    assert made.binary == (name == "one_logit")


def test_the_mask_is_multiplied_into_the_normalised_input() -> None:
    model, subject = relu_net(preprocess={"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]})
    images = pictures(3, model.image, seed=2)
    mean, std = (np.array(v).reshape(3, 1, 1) for v in ([0.5, 0.4, 0.3], [0.2, 0.3, 0.4]))
    made = scorecam(site_of(subject, images), images)
    right, _, _ = oracle(model, images, RANKED["top1"], normalise=lambda x: (x - mean) / std)
    assert distance(values(made, "top1", right.shape[1:]), right) < TOLERANCE


def test_the_input_may_be_smaller_than_the_grid() -> None:
    """A layer behind an enlargement: the mask is what is left of the channel at the input's size."""

    class Enlarged(Tiny):
        layer = "act"
        image = (3, 8, 10)

        def __init__(self) -> None:
            super().__init__()
            self.conv, self.act, self.fc = nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(), nn.Linear(5, 4)

        def until(self, x: Tensor) -> Tensor:
            size = (16, 7)
            return self.act(self.conv(F.interpolate(x, size, mode="bilinear", align_corners=False)))

        def after(self, a: Tensor) -> Tensor:
            return self.fc((a * a).mean((2, 3)))

    model = make(Enlarged, 31)
    images = pictures(2, model.image, seed=3)
    subject = Subject(model, layer="act", reshape="channels_first")
    found = values(scorecam(site_of(subject, images), images), "top1", (16, 7))
    expected, _, _ = oracle(model, images, RANKED["top1"])
    assert distance(found, expected) < TOLERANCE


def test_a_channel_that_only_the_enlarged_grid_tells_from_flat_costs_no_pass() -> None:
    """Stripes one cell wide are gone when the input has half the cells."""

    class Striped(Tiny):
        layer = "wide"
        image = (1, 4, 4)

        def __init__(self) -> None:
            super().__init__()
            self.wide = Stripes()
            self.fc = nn.Linear(2, 2)

        def until(self, x: Tensor) -> Tensor:
            return self.wide(x)

        def after(self, a: Tensor) -> Tensor:
            return self.fc((a * a).mean((2, 3)))

    class Stripes(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            big = F.interpolate(x, (8, 8), mode="nearest")
            stripes = torch.arange(8).remainder(2).to(x).expand_as(big)
            return torch.cat([stripes, big], 1)

    model = make(Striped, 5)
    images = pictures(2, model.image, seed=1)
    site = site_of(Subject(model, layer="wide", reshape="channels_first"), images)
    made = scorecam(site, images)
    assert site.images == {"capture": 2, "channels": 2}
    assert made.maps["top1"].details["channels"].tolist() == [1, 1]
    plain = F.interpolate(torch.from_numpy(images), (8, 8), mode="nearest").flatten(1)
    assert torch.allclose(made.maps["top1"].values, plain)  # one channel has all the weight


# -- flat channels --------------------------------------------------------------------------------------------------


def deaden(model: Any, channels: list[int]) -> None:
    with torch.no_grad():
        model.conv2.weight[channels] = 0.0
        model.conv2.bias[channels] = 0.7


def test_flat_channels_cost_no_pass_and_have_no_part_in_the_softmax() -> None:
    model, subject = relu_net()
    deaden(model, [0, 3])
    images = pictures(4, model.image, seed=1)
    site = site_of(subject, images)
    made = scorecam(site, images)
    expected, used, _ = oracle(model, images, RANKED["top1"])
    assert all(not {0, 3} & set(one) for one in used)
    assert distance(values(made, "top1", expected.shape[1:]), expected) < TOLERANCE
    assert site.images["channels"] == sum(map(len, used))


def test_a_channel_that_differs_by_rounding_only_is_flat() -> None:
    class Noisy(nn.Module):
        def forward(self, a: Tensor) -> Tensor:
            noise = torch.arange(a[0, 0].numel()).reshape(a.shape[2:]).remainder(3) * 1e-7
            return torch.cat([a[:, 1:], (1.0 + noise).to(a).expand_as(a[:, :1])], 1)

    model, subject = relu_net()
    model.act2 = nn.Sequential(model.act2, Noisy())
    images = pictures(2, model.image, seed=1)
    made = scorecam(site_of(subject, images), images)
    with torch.no_grad():
        a = model.until(torch.from_numpy(images))
    assert bool((a[:, -1].amax((1, 2)) > a[:, -1].amin((1, 2))).all())
    alive = (a[:, :-1].flatten(2).amax(2) > a[:, :-1].flatten(2).amin(2)).sum(1)
    assert made.maps["top1"].details["channels"].tolist() == alive.tolist()


@pytest.mark.parametrize("variants", [(), ("reference-code",), ("channels:2",)])
def test_an_image_whose_channels_are_all_flat_is_degenerate(variants: tuple[str, ...]) -> None:
    model, subject = relu_net()
    with torch.no_grad():
        model.conv1.bias.zero_()
        model.conv2.bias.zero_()
    images = pictures(3, model.image, seed=1)
    images[1] = 0.0
    site = site_of(subject, images)
    made = scorecam(site, images, *variants)
    for raw in made.maps.values():
        assert raw.degenerate is not None
        assert raw.degenerate.tolist() == [False, True, False]
        assert bool((raw.values[1] == 0).all())
        assert bool(torch.isfinite(raw.values).all())
        assert raw.details["channels"][1] == 0
        if variants == ("channels:2",):
            assert raw.details["energy_kept"][1] == 0
    none = scorecam(site_of(subject, images), images[1:2], *variants)
    assert none.maps["top1"].degenerate is not None
    assert none.maps["top1"].degenerate.tolist() == [True]


# -- channels:n -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reference", [(), ("reference-code",)])
def test_all_channels_are_the_full_map(reference: tuple[str, ...]) -> None:
    model, subject = relu_net()
    deaden(model, [2])
    images = pictures(3, model.image, seed=1)
    full = scorecam(site_of(subject, images), images, *reference)
    for most in ("channels:8", "channels:500"):
        made = scorecam(site_of(subject, images), images, *reference, most)
        for target, raw in made.maps.items():
            assert torch.equal(raw.values, full.maps[target].values)
            assert raw.details["energy_kept"].tolist() == [1.0] * 3


class Given(Tiny):
    """The target layer returns the same channels whatever the image is; the score is the brightness."""

    layer = "fixed"
    image = (1, 4, 4)
    classes = 2

    def __init__(self, channels: Tensor) -> None:
        super().__init__()
        self.fixed = Fixed(channels)

    def until(self, x: Tensor) -> Tensor:
        return self.fixed(x)

    def forward(self, x: Tensor) -> Tensor:
        light = x.mean((1, 2, 3)) + 0.0 * self.fixed(x).sum((1, 2, 3))
        return torch.stack([light, -light], 1)


class Fixed(nn.Module):
    def __init__(self, channels: Tensor) -> None:
        super().__init__()
        self.register_buffer("channels", channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.channels.expand(len(x), *self.channels.shape)


def given(*channels: list[list[float]]) -> tuple[Site, NDArray[np.float32]]:
    model = Given(torch.tensor(channels, dtype=torch.float32))
    images = np.ones((1, 1, 4, 4), np.float32)
    runner = Runner(Subject(model, layer="fixed"), torch.device("cpu"))
    with runner.session():
        layer = next(
            info for info in observe(runner, torch.from_numpy(images)).layers if info.name == "fixed" and info.has_grid
        )
    return Site(runner, layer, BatchSize(2)), images


def test_energy_by_hand() -> None:
    """Energies 4, 9 + 1, 4 and, flat, 4 x 25: the two kept hold 14 of 18, and of equal ones the first is taken."""
    site, images = given([[2, 0], [0, 0]], [[0, -3], [0, 1]], [[0, 0], [0, 2]], [[5, 5], [5, 5]])
    made = scorecam(site, images, "channels:2")
    details = made.maps["top1"].details
    assert details["energy_kept"].tolist() == pytest.approx([14 / 18])
    assert details["channels"].tolist() == [2]
    found = made.maps["top1"].values[0]
    assert found[0] > 0  # channel 0
    assert found[1] < 0  # channel 1
    # Channel 1 at the last position as at the second, and nothing of channel 2.
    assert float(found[3]) == pytest.approx(-float(found[1]) / 3)


def test_weights_by_hand() -> None:
    """A corner of 2x2 resized to 4x4 gives 1, 3/4, 1/4, 0 along each axis: a mean of 1/4, as for its complement 3/4."""
    site, images = given([[1, 0], [0, 0]], [[0, 1], [1, 1]])
    made = scorecam(site, images)
    high, low = math.exp(0.75), math.exp(0.25)
    share = low / (high + low)
    assert made.maps["top1"].values[0].tolist() == pytest.approx([share, 1 - share, 1 - share, 1 - share], rel=1e-6)
    literal = scorecam(site, images, "reference-code").maps["top1"].values[0]
    corner, rest = (1 / (1 + math.exp(-2 * light)) for light in (0.25, 0.75))
    assert literal.tolist() == pytest.approx([corner, rest, rest, rest], rel=1e-6)


def test_the_name_says_the_variants() -> None:
    for text in ("scorecam", "scorecam[channels:8]", "scorecam[channels:8,reference-code]"):
        name = parse_method(text)
        assert name is not None
        method = scorecam_method(name.variants)
        assert method.name == str(name)
        assert parse_method(method.name) == name


# -- passes and memory ----------------------------------------------------------------------------------------------


def test_one_pass_a_channel_in_full_batches() -> None:
    model, subject = relu_net()
    deaden(model, [1])
    images = pictures(5, model.image, seed=1)
    site = site_of(subject, images, batch=4)
    shares: list[float] = []
    site.progress = shares.append
    model.seen.clear()
    made = scorecam(site, images)
    active = int(made.maps["top1"].details["channels"].sum())
    assert active > 20
    assert model.seen[:2] == [4, 1]
    masked = model.seen[2:]
    assert sum(masked) == active
    assert masked[:-1] == [4] * (len(masked) - 1)
    assert site.images == {"capture": 5, "channels": active}
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


class Hooked(Counting):
    """Notes, in every pass, how many hooks there are on any module and whether gradients are on."""

    def __init__(self) -> None:
        super().__init__()
        self.hooks: list[int] = []
        self.gradients: list[bool] = []

    def forward(self, x: Tensor) -> Tensor:
        self.hooks.append(sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in self.modules()))
        self.gradients.append(torch.is_grad_enabled())
        return super().forward(x)


def test_there_is_a_hook_in_the_capture_pass_only() -> None:
    model = make(Hooked, 1108)
    images = pictures(3, model.image, seed=1)
    site = site_of(Subject(model, layer="act2"), images, batch=2)
    model.hooks.clear()
    model.gradients.clear()
    scorecam(site, images)
    assert model.hooks[:2] == [1, 1]
    assert len(model.hooks) > 10
    assert set(model.hooks[2:]) == {0}
    assert set(model.gradients) == {False}


@pytest.mark.parametrize("fuse", [0, 1, 3])
def test_no_hook_stays_when_the_model_raises(fuse: int) -> None:
    model = make(lambda: ExplodingNet(ValueError("boom")), 2905)
    images = pictures(2, model.image, seed=1)
    site = site_of(Subject(model, layer="act2"), images)
    model.bomb.fuse = fuse
    with pytest.raises(SubjectError, match="raised ValueError"):
        scorecam(site, images)
    assert all(not module._forward_hooks for module in model.modules())


def test_no_tensor_grows_with_the_number_of_channels_times_the_size_of_the_input() -> None:
    """Between the passes too: the largest tensor any operation makes is bounded by a batch of inputs."""

    class Wide(Tiny):
        layer = "act"
        image = (3, 48, 48)

        def __init__(self) -> None:
            super().__init__()
            self.conv, self.act, self.fc = nn.Conv2d(3, 128, 4, stride=8), nn.ReLU(), nn.Linear(128, 3)

        def until(self, x: Tensor) -> Tensor:
            return self.act(self.conv(x))

        def after(self, a: Tensor) -> Tensor:
            return self.fc(a.mean((2, 3)))

    class Largest(torch.utils._python_dispatch.TorchDispatchMode):
        most = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            made = func(*args, **(kwargs or {}))
            for one in made if isinstance(made, tuple | list) else (made,):
                if isinstance(one, Tensor):
                    self.most = max(self.most, one.numel())
            return made

    model = make(Wide, 9)
    images = pictures(4, model.image, seed=1)
    site = site_of(Subject(model, layer="act"), images, batch=4)
    with Largest() as largest:
        scorecam(site, images)
    assert site.images["channels"] > 100
    assert largest.most <= 4 * 3 * 48 * 48


@pytest.mark.parametrize("variants", [(), ("reference-code", "channels:5")])
def test_company_place_and_batch_size_change_nothing(variants: tuple[str, ...]) -> None:
    model, subject = relu_net()
    images = pictures(5, model.image, seed=1)
    whole = scorecam(site_of(subject, images, batch=7), images, *variants)
    for batch in (1, 3, 64):
        other = scorecam(site_of(subject, images, batch=batch), images, *variants)
        for target, raw in whole.maps.items():
            grid = (raw.values.shape[1],)
            assert distance(values(other, target, grid), values(whole, target, grid)) < 1e-6
    order = [3, 0, 4]
    part = scorecam(site_of(subject, images, batch=2), images[order], *variants)
    for target, raw in whole.maps.items():
        grid = (raw.values.shape[1],)
        assert distance(values(part, target, grid), values(whole, target, grid)[order]) < 1e-6
        for name, detail in raw.details.items():
            assert part.maps[target].details[name].tolist() == pytest.approx(detail[order].tolist())


class Cramped(Counting):
    """Has memory for three images."""

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return super().forward(x)


def test_running_out_of_memory_halves_and_goes_on() -> None:
    model, roomy = make(Cramped, 1108), make(Counting, 1108)
    images = pictures(5, model.image, seed=1)
    site = site_of(Subject(model, layer="act2"), images, batch=8)
    model.seen.clear()
    made = scorecam(site, images)
    other = site_of(Subject(roomy, layer="act2"), images, batch=8)
    expected = scorecam(other, images)
    assert site.size.current == 2
    assert site.images == other.images == {"capture": 5, "channels": sum(model.seen) - 5}
    for target, raw in expected.maps.items():
        grid = (raw.values.shape[1],)
        assert distance(values(made, target, grid), values(expected, target, grid)) < 1e-6


# -- awkward models -------------------------------------------------------------------------------------------------


class Breaks(Counting):
    """Returns no finite score for images that are dark: those that a mask has hidden."""

    floor = 0.0
    value = math.nan

    def forward(self, x: Tensor) -> Tensor:
        scores = super().forward(x)
        dark = x.flatten(1).mean(1) < self.floor
        return torch.where(dark[:, None], torch.full_like(scores, self.value), scores)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("variants", [(), ("reference-code",)])
def test_a_broken_score_of_a_masked_image_makes_that_map_nan_and_no_other(
    variants: tuple[str, ...], value: float
) -> None:
    model = make(Breaks, 1108)
    model.value = value
    images = pictures(3, model.image, seed=1)
    images[1] *= 0.05
    model.floor = float(images[1].mean()) * 0.99
    site = site_of(Subject(model, layer="act2"), images)
    made = scorecam(site, images, *variants)
    for raw in made.maps.values():
        assert torch.isnan(raw.values).all(1).tolist() == [False, True, False]
        assert bool(torch.isfinite(raw.values[[0, 2]]).all())


def test_scores_far_apart_neither_overflow_nor_vanish() -> None:
    """Logits of several thousand: one channel gets all the weight, as in the limit."""
    model, subject = relu_net()
    with torch.no_grad():
        model.fc.weight.mul_(1e5)
        model.fc.bias.mul_(1e5)
    images = pictures(3, model.image, seed=1)
    made = scorecam(site_of(subject, images), images)
    with torch.no_grad():
        a = model.until(torch.from_numpy(images)).flatten(2)
    for raw in made.maps.values():
        for found, channels in zip(raw.values, a, strict=True):
            assert min(float((found - one).abs().max()) for one in channels) <= 1e-6 * float(found.abs().max())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_precisions_come_close(dtype: torch.dtype) -> None:
    model, subject = relu_net()
    images = pictures(3, model.image, seed=1)
    full = scorecam(site_of(subject, images), images)
    twin = Subject(copy.deepcopy(model).to(dtype), layer="act2")
    made = scorecam(site_of(twin, images), images)
    found, expected = (made.maps["1"].values.double().numpy(), full.maps["1"].values.double().numpy())
    wanted = torch.float64 if dtype == torch.float64 else torch.float32
    assert made.scores.dtype == made.maps["1"].values.dtype == wanted
    assert distance(found, expected) < (0.05 if dtype == torch.bfloat16 else 0.01)


class Overwrites(Counting):
    """Normalises its input in place, as some ported models do."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.sub_(0.5))


def test_a_model_that_overwrites_its_input_is_shown_the_same_images() -> None:
    model, plain = make(Overwrites, 1108), make(Counting, 1108)
    images = pictures(3, model.image, seed=1)
    before = images.copy()
    made = scorecam(site_of(Subject(model, layer="act2"), images), images)
    with torch.no_grad():
        a = plain.until(torch.from_numpy(images - 0.5)).flatten(2)
    assert np.array_equal(images, before)
    # Masks of the very activations, multiplied into the images as they came.
    large = F.interpolate(a.unflatten(2, (6, 8)), images.shape[2:], mode="bilinear", align_corners=False)
    low, high = large.flatten(2).amin(2)[..., None, None], large.flatten(2).amax(2)[..., None, None]
    for i, alive in enumerate((high > low).flatten(1)):
        masks = ((large - low) / (high - low))[i, alive].unsqueeze(1)
        with torch.no_grad():
            weights = plain(torch.from_numpy(images[i]) * masks - 0.5)[:, 1].softmax(0)
        assert torch.allclose(made.maps["1"].values[i], weights @ a[i, alive], rtol=1e-4, atol=1e-6)


def test_a_model_without_gradients_is_no_obstacle() -> None:
    class Detached(Counting):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).detach()

    model, plain = make(Detached, 1108), make(Counting, 1108)
    images = pictures(3, model.image, seed=1)
    made, expected = (scorecam(site_of(Subject(m, layer="act2"), images), images) for m in (model, plain))
    assert torch.equal(made.maps["top1"].values, expected.maps["top1"].values)


def test_a_grid_with_other_dimensions_than_the_input_is_told() -> None:
    model, _ = relu_net()
    images = pictures(2, model.image, seed=1)
    site = site_of(Subject(model, layer="act2"), images)
    lines = Layout("callable", (), function=lambda output: output.flatten(2))
    site.layer = type(site.layer)(**{**vars(site.layer), "layout": lines})
    with pytest.raises(MethodError, match="same number of spatial dimensions"):
        scorecam(site, images)


# -- peers ----------------------------------------------------------------------------------------------------------


def grad_cam_says(model: Any, images: NDArray[np.float32]) -> Array:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        grad_cam = pytest.importorskip("pytorch_grad_cam")
        targets = pytest.importorskip("pytorch_grad_cam.utils.model_targets")
    peer: Any = grad_cam.ScoreCAM(model, [model.act2])
    inputs = torch.from_numpy(images)
    with torch.no_grad():
        a = model.until(inputs).numpy()
    chosen = [targets.ClassifierOutputTarget(1)] * len(images)
    theirs = peer.get_cam_image(inputs, model.act2, chosen, a, None, False)
    peer.activations_and_grads.release()
    return np.asarray(theirs, np.float64)


@pytest.mark.filterwarnings("ignore")
def test_grad_cam_agrees_where_its_corners_do_not_matter() -> None:
    """On a layer as large as the input, with no flat channel, the two are one formula."""
    model = make(MirrorNet, 12)
    with torch.no_grad():
        model.conv2.bias.add_(1.0)
    images = pictures(3, model.image, seed=1)
    made = scorecam(site_of(Subject(model, layer="act2"), images), images)
    assert made.maps["1"].details["channels"].tolist() == [8] * 3
    assert distance(values(made, "1", (10, 11)), grad_cam_says(model, images)) < 1e-5


@pytest.mark.filterwarnings("ignore")
def test_what_grad_cam_does_elsewhere() -> None:
    """It resizes with aligned corners, and lets flat channels, as black images, into the softmax."""
    model, subject = relu_net()
    deaden(model, [0, 3])
    images = pictures(2, model.image, seed=1)
    theirs = grad_cam_says(model, images)
    with torch.no_grad():
        x = torch.from_numpy(images)
        a = model.until(x)
        large = F.interpolate(a, x.shape[2:], mode="bilinear", align_corners=True)
        low, high = large.flatten(2).amin(2)[..., None, None], large.flatten(2).amax(2)[..., None, None]
        masks = (large - low) / (high - low + 1e-8)
        said = torch.stack([model(x * masks[:, k : k + 1])[:, 1] for k in range(8)], 1)
        expected = torch.einsum("nk,nkhw->nhw", said.softmax(1), a)
    assert distance(theirs, expected.double().numpy()) < 1e-4
    ours = scorecam(site_of(subject, images), images)
    assert distance(values(ours, "1", (6, 8)), theirs) > 0.01
