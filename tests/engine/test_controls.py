"""The negative controls are what they say: noise, a Gaussian, edges, averages, a network that learned nothing."""

from __future__ import annotations

import copy
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pytest_saliency import Cases, Explained, Subject
from pytest_saliency.engine.layers import LayerInfo, observe, resolve_layer
from pytest_saliency.engine.maps import judge
from pytest_saliency.engine.methods.controls import EDGES, MEAN_MAP, RANDOM_MODEL, ControlInput, luminance, sobel
from pytest_saliency.engine.reinitialise import reinitialised_copy, reinitialised_gradcam
from pytest_saliency.engine.runner import Runner
from pytest_saliency.engine.sizing import BatchSize
from pytest_saliency.errors import MethodError

from .helpers import TOLERANCE, raw, run
from .nets import ConvNet, DropNormNet, Tiny, TinyViT, VolumeNet, make, pictures
from .oracles import capture, distance, gradcam


def explained(n: int = 12) -> Explained:
    model = make(ConvNet, 1108)
    return run(model, pictures(n, model.image, seed=1), batch_size=5)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def test_random_draws_afresh_for_every_call() -> None:
    run_once = explained(40)
    again = run_once.maps_jittered("random")
    assert again is not None
    draws = [raw(run_once, "random", t) for t in ("top1", "top2", "label")] + [again.values.double().numpy()]
    for i, a in enumerate(draws):
        for b in draws[i + 1 :]:
            assert not np.any(np.all(a == b, axis=(1, 2)))
            assert abs(correlation(a, b)) < 5 / a.size**0.5


def test_random_differs_between_images_and_repeats_between_runs() -> None:
    first, second = explained(), explained()
    for target in ("top1", "top2", "label"):
        a = raw(first, "random", target)
        assert np.array_equal(a, raw(second, "random", target))
        assert len({m.tobytes() for m in a}) == 12
    once, twice = first.maps_jittered("random"), second.maps_jittered("random")
    assert once is not None
    assert twice is not None
    assert np.array_equal(once.values, twice.values)


def test_random_belongs_to_the_image_not_to_its_place() -> None:
    model = make(ConvNet, 1108)
    whole = run(model, pictures(12, model.image, seed=1))
    part = run(model, cases=whole.cases.subset([7, 2]))
    assert np.array_equal(raw(part, "random"), raw(whole, "random")[[7, 2]])


@pytest.mark.parametrize("build", [ConvNet, VolumeNet])
def test_centre_is_a_gaussian_in_the_middle(build: type) -> None:
    """Standard deviation a quarter of each side, read at the centres of the cells."""
    model = make(build, 1700)
    found = run(model, pictures(4, model.image, seed=1))
    values = raw(found, "centre")
    assert values.shape[1:] == raw(found, "gradcam").shape[1:]
    assert all(np.array_equal(values[0], v) for v in values)
    assert np.array_equal(raw(found, "centre", "top2"), values)
    one = values[0]
    expected = np.ones(())
    for size in one.shape:
        position = (np.arange(size) + 0.5) / size - 0.5
        expected = expected[..., None] * np.exp(-0.5 * (position / 0.25) ** 2)
    assert distance(one[None] / one.max(), expected[None] / expected.max()) < TOLERANCE
    middle = tuple(s // 2 for s in one.shape)
    assert one[middle] == one.max()
    assert set(found.maps("centre").status) == {"ok"}


def test_class_mean_is_that_of_the_other_images_of_the_class() -> None:
    found = explained(30)
    plain = raw(found, "gradcam")
    top = found.maps("class_mean", "top1")
    for c in set(top.classes.tolist()):
        members = top.classes == c
        scaled = [np.maximum(m, 0) / m.max() if m.max() > 0 else 0 * m for m in plain[members]]
        for at, value in enumerate(top.values.double().numpy()[members]):
            others = scaled[:at] + scaled[at + 1 :]
            expected = np.mean(others, axis=0) if others else 0 * value
            assert distance(value[None], expected[None]) < TOLERANCE or (not expected.any() and not value.any())
    assert top.method == "class_mean[gradcam]"


def test_an_unknown_method_is_told_what_there_is() -> None:
    with pytest.raises(MethodError) as caught:
        explained().maps("gradcam+")
    for name in ("gradcam", "gradcam++", "case", "layercam"):
        assert name in str(caught.value)


# -- edges ----------------------------------------------------------------------------------------------------------


def given(grid: tuple[int, ...], images: Sequence[Tensor] = (), **more: Any) -> ControlInput:
    count = len(images)
    settings: dict[str, Any] = {
        "ids": tuple(f"case-{i}" for i in range(count)),
        "target": "top1",
        "draw": "",
        "classes": torch.zeros(count, dtype=torch.int64),
        "gradcam": torch.zeros(count, *grid),
        "pixels": lambda index: images[index],
    }
    return ControlInput(**{**settings, **more})


def test_the_edges_of_a_step_by_hand() -> None:
    """Height 0.8 between columns 3 and 4 of 8: 0.4 a pixel in both columns. Four cells get 0, 0.2, 0.2 and 0."""
    image = torch.zeros(1, 8, 8)
    image[:, :, 4:] = 0.8
    found = sobel(luminance(image))
    assert found.tolist() == [pytest.approx([0, 0, 0, 0.4, 0.4, 0, 0, 0])] * 8
    cells = EDGES.compute(given((2, 4), [image, image.transpose(1, 2)]))
    assert cells[0].tolist() == [pytest.approx([0, 0.2, 0.2, 0])] * 2
    assert cells[1].tolist() == [pytest.approx([0.1] * 4), pytest.approx([0.1] * 4)]


def test_the_edges_of_a_point_by_hand() -> None:
    """The Sobel kernels themselves: a point of 1 shows them mirrored."""
    image = torch.zeros(1, 5, 5)
    image[0, 2, 2] = 1.0
    around = np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]]) / 8
    expected = np.zeros((5, 5))
    expected[1:4, 1:4] = np.hypot(around, around.T)
    assert sobel(luminance(image)).numpy() == pytest.approx(expected)


def test_the_edges_of_a_volume() -> None:
    """A plane inside a volume is smoothed by both other axes without loss: 0.5 on either side of it."""
    for axis in range(3):
        volume = torch.zeros(1, 6, 6, 6)
        volume.movedim(axis + 1, 0)[3:] = 1.0
        slices = sobel(luminance(volume)).movedim(axis, 0).flatten(1)
        assert [one.unique().tolist() for one in slices] == [[0.0], [0.0], [0.5], [0.5], [0.0], [0.0]]
        cells = EDGES.compute(given((3, 3, 3), [volume]))[0].movedim(axis, 0)
        assert [one.unique().tolist() for one in cells] == [[0.0], [0.5], [0.0]]


def test_edges_are_those_of_the_luminance() -> None:
    """BT.601: red 0.299, green 0.587, blue 0.114; two channels count alike."""
    step = torch.zeros(8, 8)
    step[:, 4:] = 1.0
    for channel, weight in enumerate((0.299, 0.587, 0.114)):
        image = torch.zeros(3, 8, 8)
        image[channel] = step
        assert float(sobel(luminance(image)).max()) == pytest.approx(weight / 2)
    assert float(sobel(luminance(torch.stack([step, torch.zeros(8, 8)]))).max()) == pytest.approx(0.25)


def test_a_grid_that_does_not_divide_the_image() -> None:
    """Cell i covers pixels floor(i n / cells) to ceil((i + 1) n / cells)."""
    image = torch.from_numpy(pictures(1, (1, 7, 10), seed=4)[0])
    strength = sobel(luminance(image)).double().numpy()
    found = EDGES.compute(given((3, 4), [image]))[0].double().numpy()
    for i in range(3):
        for j in range(4):
            rows = slice(i * 7 // 3, -(-(i + 1) * 7 // 3))
            columns = slice(j * 10 // 4, -(-(j + 1) * 10 // 4))
            assert found[i, j] == pytest.approx(strength[rows, columns].mean(), rel=1e-5)


def test_an_image_without_edges_has_a_blank_map() -> None:
    image = torch.full((3, 9, 9), 0.37)
    assert judge(EDGES.compute(given((3, 3), [image]))).tolist() == ["blank"]


def test_edges_need_as_many_dimensions_as_the_image() -> None:
    with pytest.raises(MethodError, match="3 spatial dimensions"):
        EDGES.compute(given((3, 3), [torch.zeros(1, 6, 6, 6)]))


# -- mean_map -------------------------------------------------------------------------------------------------------


def test_the_mean_of_maps_by_hand() -> None:
    """Negative parts count as 0, each map has a maximum of 1; a blank and a broken one count as 0 everywhere."""
    maps = torch.tensor([[[4.0, 2.0, -9.0]], [[0.0, 1e-3, 1e-3]], [[-1.0, -2.0, 0.0]], [[float("nan"), 0.0, 0.0]]])
    made = MEAN_MAP.compute(given((1, 3), [torch.zeros(1, 2, 6)] * 4, gradcam=maps))
    assert made.shape == maps.shape
    expected = [[0.0, 1 / 3, 1 / 3], [1 / 3, 0.5 / 3, 0.0], [1 / 3, 0.5, 1 / 3], [1 / 3, 0.5, 1 / 3]]
    for one, row in zip(made, expected, strict=True):
        assert one[0].tolist() == pytest.approx(row)


# -- random_model ---------------------------------------------------------------------------------------------------


def layer_of(model: Tiny, **settings: Any) -> tuple[Runner, LayerInfo]:
    runner = Runner(Subject(model, **{"layer": model.layer, **settings}), torch.device("cpu"))
    pixels = torch.from_numpy(pictures(1, model.image))
    with runner.session():
        return runner, resolve_layer(runner, pixels, observe(runner, pixels))


def random_maps(model: Tiny, images: np.ndarray, classes: Sequence[int], seed: int = 3, **settings: Any) -> np.ndarray:
    batch = settings.pop("batch", 4)
    transform = settings.pop("transform", None)
    runner, layer = layer_of(model, **settings)
    cases = Cases.from_arrays(images, [0] * len(images))
    made = reinitialised_gradcam(runner, layer, cases, BatchSize(batch), torch.tensor(classes), seed, transform)
    return made.double().numpy()


def learned(model: Tiny) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def test_a_copy_has_forgotten_everything_and_keeps_every_scale() -> None:
    for build in (ConvNet, DropNormNet, TinyViT, VolumeNet):
        model = make(build, 1108)
        before = learned(model)
        made = dict(reinitialised_copy(model, 5).named_parameters())
        for name, parameter in model.named_parameters():
            other = made[name].detach()
            assert torch.equal(parameter, before[name])
            if parameter.unique().numel() > 1:
                size = parameter.detach().square().mean().sqrt()
                anew = not torch.equal(other, parameter)
                assert anew, name
                if bool(other.any()):
                    assert torch.allclose(other.square().mean().sqrt(), size, rtol=1e-5), name
                if parameter.ndim > 1:
                    assert abs(correlation(other.numpy(), parameter.detach().numpy())) < 5 / parameter.numel() ** 0.5


class Loose(nn.Module):
    """Parameters of its own, without a way to reset them: varying, constant, and one that a reset forgets."""

    def __init__(self) -> None:
        super().__init__()
        self.scales = nn.Parameter(torch.linspace(2.0, 4.0, 400))
        self.ones = nn.Parameter(torch.full((6,), 1.5))
        self.table = nn.Embedding(20, 3)
        self.inner = Forgetful()


class Forgetful(nn.Linear):
    def __init__(self) -> None:
        super().__init__(30, 20)
        self.extra = nn.Parameter(torch.linspace(-1.0, 1.0, 500))


def test_parameters_that_no_reset_reaches_are_drawn_like_the_old_ones() -> None:
    model = Loose()
    made = reinitialised_copy(model, 8)
    for old, new in ((model.scales, made.scales), (model.inner.extra, made.inner.extra)):
        old, new = old.detach(), new.detach()
        spread = float(old.std())
        assert abs(float(new.mean() - old.mean())) < 5 * spread / old.numel() ** 0.5
        assert float(new.std()) == pytest.approx(spread, rel=0.2)
        assert abs(correlation(new.numpy(), old.numpy())) < 5 / old.numel() ** 0.5
    assert torch.equal(made.ones, model.ones)
    assert not torch.equal(made.table.weight, model.table.weight)
    assert not torch.equal(made.inner.weight, model.inner.weight)


@pytest.mark.parametrize("make_one", [nn.utils.parametrizations.weight_norm, nn.utils.parametrizations.spectral_norm])
def test_a_parametrised_weight_is_drawn_anew(make_one: Any) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        model = make_one(nn.Linear(30, 30))
    made = reinitialised_copy(model, 1)
    assert abs(correlation(made.weight.detach().numpy(), model.weight.detach().numpy())) < 5 / 30


def test_shared_parameters_stay_shared() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    made: Any = reinitialised_copy(model, 0)
    assert made[1].weight is made[0].weight
    assert not torch.equal(made[0].weight, model[0].weight)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_copy_keeps_its_precision(dtype: torch.dtype) -> None:
    made = reinitialised_copy(make(DropNormNet, 2905).to(dtype), 0)
    assert {parameter.dtype for parameter in made.parameters()} == {dtype}
    assert all(bool(torch.isfinite(parameter).all()) for parameter in made.parameters())


def test_the_model_and_the_random_states_are_left_alone() -> None:
    class Draws(ConvNet):
        def reset_parameters(self) -> None:
            random.random()
            np.random.rand()
            torch.rand(1)

    model = make(Draws, 1108)
    before, flags = learned(model), [(m.training, len(m._forward_hooks)) for m in model.modules()]
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]
    random_maps(model, pictures(4, model.image, seed=1), [0, 1, 2, 3])
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.random.get_state()[1].tolist() == states[2]  # type: ignore[index]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [(m.training, len(m._forward_hooks)) for m in model.modules()] == flags
    assert all(parameter.grad is None for parameter in model.parameters())


SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from engine.nets import DropNormNet, make
from engine.test_controls import random_maps
from engine.nets import pictures
model = make(DropNormNet, 2905)
print(random_maps(model, pictures(5, model.image, seed=1), [0, 1, 2, 3, 4]).tobytes().hex())
"""


def test_another_process_draws_the_same_network() -> None:
    model = make(DropNormNet, 2905)
    torch.manual_seed(99)
    here = random_maps(model, pictures(5, model.image, seed=1), [0, 1, 2, 3, 4])
    tests = str(Path(__file__).resolve().parent.parent)
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, tests]
    there = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(tests).parent).stdout
    assert np.allclose(np.frombuffer(bytes.fromhex(there.strip())).reshape(here.shape), here, rtol=1e-5, atol=1e-8)
    assert not np.allclose(random_maps(model, pictures(5, model.image, seed=1), [0, 1, 2, 3, 4], seed=4), here)


@pytest.mark.parametrize("build", [ConvNet, TinyViT, VolumeNet])
def test_the_maps_are_grad_cam_of_the_copy_for_the_given_classes(build: type[Tiny]) -> None:
    model = make(build, 1108)
    images, classes = pictures(5, model.image, seed=1), [3, 0, 2, 2, 1]
    made = random_maps(model, images, classes, **({"reshape": "tokens"} if build is TinyViT else {}))
    twin: Any = reinitialised_copy(model, 3)
    got = capture(twin, images)
    expected = np.stack([gradcam(got.a[i], got.g[c, i]) for i, c in enumerate(classes)]).reshape(5, *got.grid)
    assert distance(made, expected) < 1e-4


def test_statistics_are_those_of_the_first_images_by_id() -> None:
    """Two groups of four by hand, whatever the batch and the order of the cases."""
    model = make(DropNormNet, 2905)
    images = pictures(9, model.image, seed=1)
    twin: Any = reinitialised_copy(model, 3)
    means, variances = [], []
    with torch.no_grad():
        for group in (images[:4], images[4:8]):
            first = twin.conv1(torch.from_numpy(group))
            means.append(first.mean((0, 2, 3)))
            variances.append(first.var((0, 2, 3)))
            normal = twin.norm1.train()(first)
            second = twin.conv2(torch.relu(normal))
            for sums, value in ((means, second.mean((0, 2, 3))), (variances, second.var((0, 2, 3)))):
                sums.append(value)
    twin.eval()
    for at, norm in enumerate((twin.norm1, twin.norm2)):
        norm.running_mean.copy_((means[at] + means[at + 2]) / 2)
        norm.running_var.copy_((variances[at] + variances[at + 2]) / 2)
    classes = [0, 1, 2, 3, 4, 0, 1, 2, 3]

    def said_of(pixels: np.ndarray) -> np.ndarray:
        got = capture(twin, pixels)
        return np.stack([gradcam(got.a[i], got.g[c, i]) for i, c in enumerate(classes)]).reshape(9, *got.grid)

    expected = said_of(images)
    assert distance(random_maps(model, images, classes), expected) < 1e-4
    # Changed images meet the same network: its statistics are those of the images as they came.
    dimmed = random_maps(model, images, classes, transform=lambda pixels: pixels * 0.5)
    assert distance(dimmed, said_of(images * np.float32(0.5))) < 1e-4
    assert distance(random_maps(model, images, classes, batch=1), expected) < 1e-4
    runner, layer = layer_of(model)
    order = [8, 2, 5, 0, 7, 1, 4, 3, 6]
    cases = Cases.from_arrays(images, classes).subset(order)
    moved = reinitialised_gradcam(runner, layer, cases, BatchSize(2), torch.tensor([classes[i] for i in order]), 3)
    assert distance(moved.double().numpy(), expected[order]) < 1e-4


def test_one_image_is_enough() -> None:
    model = make(DropNormNet, 2905)
    assert np.isfinite(random_maps(model, pictures(1, model.image, seed=1), [2])).all()


def test_a_deep_network_still_tells_images_apart() -> None:
    """As initialised by default, 20 layers answer every image alike; what is left is the padding's pattern."""

    class Deep(Tiny):
        layer = "body"

        def __init__(self) -> None:
            super().__init__()
            layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, padding=1), nn.ReLU()]
            for _ in range(19):
                layers += [nn.Conv2d(16, 16, 3, padding=1), nn.ReLU()]
            self.body, self.fc = nn.Sequential(*layers), nn.Linear(16, 5)

        def until(self, x: Tensor) -> Tensor:
            return self.body(x)

        def after(self, a: Tensor) -> Tensor:
            return self.fc((a * a).mean((2, 3)))

    def alike(values: np.ndarray) -> float:
        table = np.corrcoef(values.reshape(len(values), -1))
        return float(table[np.triu_indices(len(table), 1)].mean())

    model = make(Deep, 7)
    with torch.no_grad():
        for module in model.body:
            if isinstance(module, nn.Conv2d):
                module.bias.mul_(0.05)
    images = pictures(6, model.image, seed=1)
    default: Any = copy.deepcopy(model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        for module in default.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
    got = capture(default, images)
    assert alike(np.stack([gradcam(got.a[i], got.g[1, i]) for i in range(6)])) > 0.999
    assert alike(random_maps(model, images, [1] * 6)) < 0.9


def test_what_overflows_or_says_nothing_is_a_status() -> None:
    model = make(ConvNet, 1108)
    images = pictures(3, model.image, seed=1)
    with torch.no_grad():
        model.fc.weight.zero_()
    assert judge(torch.from_numpy(random_maps(model, images, [0, 1, 2]))).tolist() == ["blank"] * 3
    model = make(ConvNet, 1108)
    with torch.no_grad():
        model.fc.weight.mul_(1e38)
        model.conv3.weight.mul_(1e38)
    assert judge(torch.from_numpy(random_maps(model, images, [0, 1, 2]))).tolist() == ["nonfinite"] * 3


def test_a_model_that_cannot_be_copied_is_told() -> None:
    class Fixed(ConvNet):
        def __deepcopy__(self, memo: object) -> Fixed:
            raise TypeError("cannot pickle a lock")

    with pytest.raises(MethodError, match=r"copy\.deepcopy of it raised TypeError.*cannot pickle a lock"):
        reinitialised_copy(make(Fixed, 1108), 0)


def test_a_copy_that_is_none_is_told_before_anything_is_drawn() -> None:
    class Same(ConvNet):
        def __deepcopy__(self, memo: object) -> Same:
            return self

    model = make(Same, 1108)
    before = learned(model)
    with pytest.raises(MethodError, match="shares tensors"):
        reinitialised_copy(model, 0)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_reset_that_raises_is_told_by_its_place() -> None:
    class Wrong(ConvNet):
        def __init__(self) -> None:
            super().__init__()
            self.part = Needy()

    class Needy(nn.Module):
        def reset_parameters(self, gain: float) -> None: ...

    with pytest.raises(MethodError, match=r"reset_parameters of 'part' \(Needy\) raised TypeError"):
        reinitialised_copy(make(Wrong, 1108), 0)


def test_random_model_asks_for_one_network_whatever_the_target_and_the_repeat() -> None:
    asked: list[int] = []

    def maps(seed: int) -> Tensor:
        asked.append(seed)
        return torch.full((2, 3, 3), float(len(asked)))

    images = [torch.zeros(1, 3, 3)] * 2
    for number, (target, draw) in enumerate((("top1", ""), ("top2", ""), ("top1", "jitter")), 1):
        made = RANDOM_MODEL.compute(given((3, 3), images, target=target, draw=draw, reinitialised=maps))
        assert bool((made == number).all())
    assert len(set(asked)) == 1
    assert 0 <= asked[0] < 2**64
