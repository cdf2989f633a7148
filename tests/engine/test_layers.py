"""Choosing the target layer: auto, penultimate, a name, a module, and what is said when it cannot be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pytest_saliency import Cases, Subject, explain
from pytest_saliency.errors import SubjectError

from .helpers import BY_NAME, GRADIENT, TOLERANCE, cases_of, raw, run, six, subject_of
from .nets import (
    ChannelsLastNet,
    ConvNet,
    FrozenBackbone,
    InplaceNet,
    PooledLinear,
    Tiny,
    TinyViT,
    VolumeNet,
    make,
    pictures,
)
from .oracles import capture, distance, maps, ranked


def test_auto_takes_the_last_grid() -> None:
    model = make(ConvNet, 1108)
    info = run(model, six(model), layer="auto").layer
    assert info.name == "act3"
    assert tuple(info.shape) == (7, 6, 8)


def test_auto_equals_the_layer_it_names() -> None:
    model = make(ConvNet, 1108)
    found, named = run(model, six(model), layer="auto"), run(model, six(model), layer="act3")
    for method in GRADIENT:
        assert np.array_equal(raw(found, method), raw(named, method))


def test_penultimate_is_the_one_before() -> None:
    model = make(ConvNet, 1108)
    assert run(model, six(model), layer="penultimate").layer.name == "conv3"


def test_a_module_is_its_name() -> None:
    model = make(ConvNet, 1108)
    by_module, by_name = run(model, six(model), layer=model.conv2), run(model, six(model), layer="conv2")
    assert by_module.layer.name == "conv2"
    assert np.array_equal(raw(by_module, "case"), raw(by_name, "case"))


def test_a_module_of_another_model_is_refused() -> None:
    model = make(ConvNet, 1108)
    with pytest.raises(SubjectError):
        run(model, six(model), layer=make(ConvNet, 1108).conv2).maps("gradcam")


@pytest.mark.parametrize("name", ["conv9", "features.norm5", ""])
def test_a_layer_that_does_not_exist_is_told_which_do(name: str) -> None:
    model = make(ConvNet, 1108)
    with pytest.raises(SubjectError) as caught:
        run(model, six(model), layer=name).maps("gradcam")
    message = str(caught.value)
    for candidate in ("conv1", "act1", "conv2", "act2", "conv3", "act3"):
        assert candidate in message
    for shape in ("6x6x8", "8x6x8", "7x6x8"):
        numbers = shape.split("x")
        assert shape in message or ", ".join(numbers) in message or " x ".join(numbers) in message


@pytest.mark.parametrize("name", ["fc", "pool"])
def test_a_layer_without_a_grid_is_told_which_have_one(name: str) -> None:
    class Pooling(Tiny):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 6, 3, padding=1)
            self.pool = nn.AdaptiveAvgPool2d(1)
            self.fc = nn.Linear(6, 5)

        def until(self, x: Tensor) -> Tensor:
            return self.conv(x)

        def after(self, a: Tensor) -> Tensor:
            return self.fc(self.pool(torch.relu(a)).flatten(1))

    model = make(Pooling, 91)
    assert run(model, six(model), layer="auto").layer.name == "conv"
    with pytest.raises(SubjectError) as caught:
        run(model, six(model), layer=name).maps("gradcam")
    assert name in str(caught.value)
    assert "conv" in str(caught.value)


def test_a_model_without_any_grid_is_a_sentence() -> None:
    class Flat(Tiny):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.fc = nn.Linear(3 * 12 * 16, 8), nn.Linear(8, 5)

        def until(self, x: Tensor) -> Tensor:
            return self.first(x.flatten(1))

        def after(self, a: Tensor) -> Tensor:
            return self.fc(torch.relu(a))

    model = make(Flat, 92)
    with pytest.raises(SubjectError, match="grid"):
        run(model, six(model), layer="auto").maps("gradcam")


def test_a_layer_that_never_runs_is_refused() -> None:
    model = make(ConvNet, 1108)
    model.spare = nn.Conv2d(3, 3, 1)
    with pytest.raises(SubjectError, match="spare"):
        run(model, six(model), layer="spare").maps("gradcam")


def test_a_layer_the_scores_do_not_depend_on_is_never_auto_and_refused_by_name() -> None:
    class SideBranch(ConvNet):
        def __init__(self) -> None:
            super().__init__()
            self.side = nn.Conv2d(8, 4, 1)

        def after(self, a: Tensor) -> Tensor:
            self.side(a)
            return super().after(a)

    model = make(SideBranch, 93)
    assert run(model, six(model), layer="auto").layer.name == "act3"
    with pytest.raises(SubjectError, match="'side' on any of the 6 images"):
        run(model, six(model), layer="side").maps("gradcam")


def test_auto_on_a_transformer_has_a_gradient_on_its_grid() -> None:
    model = make(TinyViT, 1645)
    explained = run(model, six(model), layer="auto")
    assert raw(explained, "gradcam").shape == (6, 4, 4)
    for method in ("gradcam", "case", "layercam"):
        assert np.all(np.abs(raw(explained, method)).max(axis=(1, 2)) > 0)


def test_tokens_are_found_without_being_declared() -> None:
    net = BY_NAME["tokens"]
    model = net.model()
    declared = explain(subject_of(net, model), cases_of(six(model), 5), device="cpu")
    found = run(model, six(model), reshape=None)
    for method in GRADIENT:
        assert np.array_equal(raw(found, method), raw(declared, method))


def test_channels_last_is_found_without_being_declared() -> None:
    net = BY_NAME["channels_last"]
    model = net.model()
    images = pictures(6, (3, 24, 20), seed=1)
    found = run(model, images, reshape=None)
    got = capture(model, images)
    top = ranked(got.scores)[:, 0]
    assert raw(found, "gradcam").shape == (6, 6, 5)
    assert distance(raw(found, "gradcam"), maps(got, "gradcam", top)) < TOLERANCE


def test_a_callable_rearranges() -> None:
    model = make(ChannelsLastNet, 1529)
    declared = run(model, six(model), reshape="channels_last")
    called = run(model, six(model), reshape=lambda a: a.permute(0, 3, 1, 2))
    for method in GRADIENT:
        assert np.array_equal(raw(called, method), raw(declared, method))


@pytest.mark.parametrize("front", [2, 5])
def test_register_tokens_stay_out_of_the_grid(front: int) -> None:
    """A distillation token, or four registers, beside the class token: the map is that of the patches alone."""

    class Registers(TinyViT):
        def __init__(self) -> None:
            super().__init__()
            self.registers = nn.Parameter(torch.zeros(1, front - 1, 8))

        def until(self, x: Tensor) -> Tensor:
            patches = self.patch(x).flatten(2).transpose(1, 2)
            first = torch.cat([self.token, self.registers], 1).expand(len(x), -1, -1)
            return self.blocks[0](torch.cat([first, patches], 1))

    model: Any = make(Registers, 94)
    images = six(model)
    with torch.no_grad():
        a = model.until(torch.from_numpy(images))
    a.requires_grad_(True)
    top = model.after(a).argmax(1)
    (g,) = torch.autograd.grad(model.after(a)[range(6), top].sum(), a)
    weights = g[:, front:].mean(1, keepdim=True)
    expected = (weights * a[:, front:]).sum(2).detach().double().numpy().reshape(6, 4, 4)
    assert distance(raw(run(model, images, reshape="tokens"), "gradcam"), expected) < TOLERANCE


def test_a_volume_has_a_volume_for_a_map() -> None:
    model = make(VolumeNet, 1700)
    explained = run(model, six(model), layer="auto")
    assert explained.layer.name == "conv3"
    assert raw(explained, "case").shape == (6, 3, 4, 5)
    assert explained.input_size == (6, 8, 10)


def test_identity_names_layer_and_shape() -> None:
    model = make(PooledLinear, 2005)
    identity = run(model, six(model)).identity()
    assert identity["layer"] == "act"
    assert list(identity["layer_shape"]) == [7, 6, 8]
    assert list(identity["input_size"]) == [12, 16]


@pytest.mark.parametrize("output", [0, 3, "scores", lambda z: z["logits"]], ids=["0", "3", "key", "callable"])
@pytest.mark.parametrize("n", [1, 5, 6])
@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence")
def test_an_output_that_is_not_there_is_a_subject_error(output: Any, n: int) -> None:
    """With as many images as classes, row 0 of a plain tensor would have the length of a one-logit batch."""
    model = make(ConvNet, 1108)
    cases = Cases.from_arrays(six(model)[:n], [0] * n)
    with pytest.raises(SubjectError):
        run(model, cases=cases, batch_size=8, output=output).maps("gradcam")


@pytest.mark.parametrize("name", ["tuple", "dict", "model_output"])
def test_a_callable_selects_the_output(name: str) -> None:
    net = BY_NAME[name]
    model = net.model()
    select = {"tuple": lambda z: z[1], "dict": lambda z: z["logits"], "model_output": lambda z: z.logits}[name]
    cases = cases_of(six(model), 5)
    called = explain(Subject(model, layer="act2", output=select), cases, device="cpu")
    declared = explain(subject_of(net, model), cases, device="cpu")
    assert np.array_equal(raw(called, "case"), raw(declared, "case"))


@pytest.mark.parametrize("name", ["dict", "model_output"])
def test_logits_in_a_mapping_are_found_alone(name: str) -> None:
    net = BY_NAME[name]
    model = net.model()
    cases = cases_of(six(model), 5)
    found = explain(Subject(model, layer="act2"), cases, device="cpu")
    declared = explain(subject_of(net, model), cases, device="cpu")
    assert np.array_equal(raw(found, "case"), raw(declared, "case"))


def test_a_map_of_scores_is_not_a_row_of_scores() -> None:
    class Dense(ConvNet):
        def after(self, a: Tensor) -> Tensor:
            return self.act3(self.conv3(a))

    with torch.random.fork_rng(devices=[]):
        model = Dense().eval()
    with pytest.raises(SubjectError):
        run(model, six(model)).maps("gradcam")


def test_a_layer_that_returns_a_tuple_is_read_at_its_first_tensor() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(6, 8, 3, padding=1)

        def forward(self, x: Tensor) -> tuple[Tensor, None]:
            return self.conv(x), None

    class PairNet(ConvNet):
        def __init__(self) -> None:
            super().__init__()
            self.pair = Pair()

        def until(self, x: Tensor) -> Tensor:
            return self.pair(self.act1(self.conv1(x)))[0]

    model = make(PairNet, 95)
    got = capture(model, six(model))
    top = ranked(got.scores)[:, 0]
    explained = run(model, six(model), layer="pair")
    for method in GRADIENT:
        assert distance(raw(explained, method), maps(got, method, top)) < TOLERANCE


def test_two_layers_of_one_model_do_not_mix() -> None:
    model = make(ConvNet, 1108)
    cases = Cases.from_arrays(six(model), [0] * 6)
    first = explain(Subject(model, layer="act2"), cases, device="cpu")
    second = explain(Subject(model, layer="act1"), cases, device="cpu")
    assert raw(second, "gradcam").shape == raw(first, "gradcam").shape
    assert not np.array_equal(raw(second, "gradcam"), raw(first, "gradcam"))
    alone = explain(Subject(model, layer="act1"), cases, device="cpu")
    assert np.array_equal(raw(second, "gradcam"), raw(alone, "gradcam"))


def test_an_inplace_layer_can_itself_be_the_target() -> None:
    model = make(InplaceNet, 1303)
    with torch.no_grad():
        a = torch.relu(model.until(torch.from_numpy(six(model))))
    a.requires_grad_(True)
    scores = model.fc(torch.relu(model.conv3(a)).mean((2, 3)))
    top = scores.argmax(1)
    (g,) = torch.autograd.grad(scores[range(6), top].sum(), a)
    expected = (g * a).sum(1).detach().double().numpy()
    assert distance(raw(run(model, six(model), layer="act2"), "hirescam"), expected) < TOLERANCE


def test_a_layer_that_hands_on_its_input_has_the_map_of_its_input() -> None:
    class Passing(InplaceNet):
        def __init__(self) -> None:
            super().__init__()
            self.drop, self.keep = nn.Dropout(0.5), nn.Identity()

        def until(self, x: Tensor) -> Tensor:
            return self.keep(self.drop(self.conv2(torch.relu(self.conv1(x)))))

    model = make(Passing, 1303)
    expected = raw(run(model, six(model), layer="conv2"), "hirescam")
    assert np.abs(expected).max() > 0
    for name in ("drop", "keep"):
        assert distance(raw(run(model, six(model), layer=name), "hirescam"), expected) < TOLERANCE


def test_a_users_hook_that_replaces_the_output_is_respected() -> None:
    model = make(ConvNet, 1108)
    doubled = make(ConvNet, 1108)
    with torch.no_grad():
        doubled.conv2.weight.mul_(2)
        doubled.conv2.bias.mul_(2)
    handle = model.act2.register_forward_hook(lambda _module, _inputs, output: 2 * output)
    expected = raw(run(doubled, six(model)), "hirescam")
    assert distance(raw(run(model, six(model)), "hirescam"), expected) < TOLERANCE
    handle.remove()


@pytest.mark.parametrize("method", GRADIENT)
def test_a_backbone_in_a_no_grad_block_of_its_own_can_be_explained(method: str) -> None:
    model = make(FrozenBackbone, 1108)
    expected = raw(run(make(ConvNet, 1108), six(model)), method)
    assert distance(raw(run(model, six(model)), method), expected) < TOLERANCE


def inference_forward() -> Tiny:
    class Decorated(ConvNet):
        @torch.inference_mode()
        def forward(self, x: Tensor) -> Tensor:
            return self.after(self.until(x))

    return Decorated()


def test_a_forward_in_inference_mode_is_told_what_to_use() -> None:
    model = make(inference_forward, 1108)
    with pytest.raises(SubjectError) as caught:
        run(model, six(model)).maps("gradcam")
    assert "inference_mode" in str(caught.value)
    assert "no_grad" in str(caught.value)


def test_a_caller_in_inference_mode_gets_the_same_maps() -> None:
    model = make(ConvNet, 1108)
    expected = raw(run(model, six(model)), "case")
    with torch.inference_mode():
        found = raw(run(model, six(model)), "case")
        assert torch.is_inference_mode_enabled()
    assert distance(found, expected) < TOLERANCE
