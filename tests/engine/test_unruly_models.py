"""Models that do what a hook, a graph or a verdict cannot bear: each gets the right maps or one clear sentence."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pytest_saliency import Cases, Explained, Subject, explain
from pytest_saliency.engine.observing import _Memory
from pytest_saliency.engine.precision import full_float32
from pytest_saliency.errors import MethodError, SubjectError

from .helpers import GRADIENT
from .nets import pictures, seed_weights

LABELS = [0, 1, 2, 0, 1, 2]


class Plain(nn.Module):
    """Two convolutions, a mean, a linear head."""

    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.two = nn.Conv2d(8, channels, 3, padding=1)
        self.head = nn.Linear(channels, 3)

    def until(self, x: Tensor) -> Tensor:
        return self.two(F.relu(self.one(x)))

    def after(self, features: Tensor) -> Tensor:
        return self.head(F.relu(features).mean((2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.until(x))


def seeded(model: nn.Module, seed: int) -> Any:
    return seed_weights(model, seed).eval()


def cases() -> Cases:
    return Cases.from_arrays(pictures(6, (3, 16, 16)), LABELS)


def explained(model: nn.Module, batch_size: int = 4, **settings: Any) -> Explained:
    return explain(Subject(model, **settings), cases(), device="cpu", batch_size=batch_size)


def gradcam(model: Any, features: Tensor) -> Tensor:
    """Grad-CAM of the top-1 class by autograd alone, in float64."""
    leaf = features.detach().double().requires_grad_(True)
    scores = copy.deepcopy(model).double().after(leaf)
    (gradient,) = torch.autograd.grad(scores.max(1).values.sum(), leaf)
    return (gradient.mean((2, 3), keepdim=True) * leaf).sum(1).detach()


class WorksInPlace(Plain):
    """Changes its input, and runs its backbone in a ``no_grad`` block of its own: it is run twice on one batch."""

    def forward(self, x: Tensor) -> Tensor:
        x.sub_(0.5)
        with torch.no_grad():
            features = self.until(x)
        return self.after(features)


def test_a_model_that_changes_its_input_sees_the_same_pixels_every_time() -> None:
    model = seeded(WorksInPlace(), 1).eval()
    one = explained(model, layer="two")
    images = torch.from_numpy(pictures(6, (3, 16, 16)))
    with torch.no_grad():
        torch.testing.assert_close(one.logits, model(images.clone()))
    expected = gradcam(model, model.until(images - 0.5))
    torch.testing.assert_close(one.maps("gradcam").values.double(), expected, rtol=1e-4, atol=1e-6)


def test_a_preprocess_that_works_in_place_sees_the_same_pixels_every_time() -> None:
    model = seeded(Plain(), 1).eval()
    one = explained(model, preprocess=lambda pixels: pixels.sub_(0.5).div_(0.25))
    with torch.no_grad():
        expected = model((torch.from_numpy(pictures(6, (3, 16, 16))) - 0.5) / 0.25)
    torch.testing.assert_close(one.logits, expected)


class HandsOnItsInput(Plain):
    """Its dropout returns the very tensor it was given, which is overwritten once it has been used."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.3)

    def until(self, x: Tensor) -> Tensor:
        return F.relu(self.one(x))

    def after(self, features: Tensor) -> Tensor:
        return self.head(F.relu(self.two(features)).mean((2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        features = self.until(x)
        scores = self.after(self.drop(features))
        features.zero_()
        return scores


def test_activations_are_those_that_the_scores_were_made_of() -> None:
    model = seeded(HandsOnItsInput(), 2).eval()
    maps = explained(model, layer="drop").maps("gradcam").values
    expected = gradcam(model, model.until(torch.from_numpy(pictures(6, (3, 16, 16)))))
    assert float(expected.abs().max()) > 0
    torch.testing.assert_close(maps.double(), expected, rtol=1e-4, atol=1e-6)


class Flattens(Plain):
    """64 channels of 64 or 49 positions: read as tokens, the channels would be an 8 x 8 grid."""

    def __init__(self) -> None:
        super().__init__(64)
        self.flat = nn.Flatten(2)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.act(self.flat(self.until(x))).mean(2))


@pytest.mark.parametrize("side", [16, 14])
def test_a_flattened_feature_map_is_not_a_grid_of_tokens(side: int) -> None:
    images = pictures(6, (3, side, side))
    subject = Subject(seeded(Flattens(), 3))
    one = explain(subject, Cases.from_arrays(images, LABELS), device="cpu")
    assert one.layer.name == "two"
    assert one.maps("gradcam").values.shape[1:] == (side // 2, side // 2)


class BreaksItsGraph(Plain):
    """Runs in inference, but overwrites what its own backward pass needs."""

    def after(self, features: Tensor) -> Tensor:
        gate = features.sigmoid()
        gate.mul_(2.0)
        return self.head(gate.mean((2, 3)))


def test_a_tail_without_a_gradient_is_a_sentence() -> None:
    with pytest.raises(SubjectError, match="back to layer 'two' of model 'BreaksItsGraph' cannot be computed"):
        explained(seeded(BreaksItsGraph(), 4), layer="two").maps("gradcam")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_model_in_another_precision_gives_the_maps_of_that_model(dtype: torch.dtype) -> None:
    model = seeded(Plain(), 5).eval().to(dtype)
    one = explained(model, layer="two")
    reference = explained(copy.deepcopy(model).float(), layer="two")
    for method in GRADIENT:
        found, expected = (each.maps(method, 1).values for each in (one, reference))
        assert found.dtype == torch.float32
        scale = expected.flatten(1).abs().amax(1)[:, None, None]
        assert float(((found - expected).abs() / scale).max()) < 40 * torch.finfo(dtype).eps + 1e-4, method


def test_sums_over_half_precision_do_not_overflow() -> None:
    model = seeded(Plain(), 5).eval()
    with torch.no_grad():
        model.two.bias.fill_(3e4)
        model.head.weight.mul_(1e-3)
    one = explained(model.half(), layer="two")
    assert one.maps("gradcam").counts().get("nonfinite", 0) == 0
    assert one.maps("hirescam").counts().get("nonfinite", 0) == 0


class Caches(Plain):
    """Keeps a tensor between calls and makes it anew for another batch size."""

    def __init__(self) -> None:
        super().__init__()
        self.mask: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        features = self.until(x)
        if self.mask is None or len(self.mask) != len(x):
            self.mask = torch.ones(len(x), 1, 1, 1)
        return self.after(features * self.mask)


def test_what_a_model_caches_can_still_be_trained_with() -> None:
    model = seeded(Caches(), 6)
    one = explained(model)
    one.maps("gradcam")
    with one.runner.session():
        one.runner.scores(torch.rand(3, 3, 16, 16))
    assert model.mask is not None
    assert not model.mask.is_inference()
    model.train()(torch.rand(3, 3, 16, 16)).sum().backward()


class FunctionalDropout(Plain):
    def after(self, features: Tensor) -> Tensor:
        return self.head(F.dropout(F.relu(features).mean((2, 3)), 0.3))


class BatchStatistics(Plain):
    def after(self, features: Tensor) -> Tensor:
        return self.head(F.relu(F.batch_norm(features, None, None, training=True)).mean((2, 3)))


@pytest.mark.parametrize("build", [FunctionalDropout, BatchStatistics])
def test_scores_that_depend_on_chance_or_company_are_refused(build: Callable[[], nn.Module]) -> None:
    with pytest.raises(SubjectError, match="differently from call to call or from batch to batch"):
        _ = explained(seeded(build(), 7)).logits


@pytest.mark.parametrize("whole", [True, False])
def test_a_compiled_model_that_has_run_before_has_layers(whole: bool) -> None:
    plain = seeded(Plain(), 8).eval()
    if whole:
        compiled: Any = torch.compile(copy.deepcopy(plain), backend="eager")
    else:
        compiled = copy.deepcopy(plain)
        compiled.compile(backend="eager")
    for count in (2, 4, 6):
        compiled(torch.rand(count, 3, 16, 16))
    one = explained(compiled)
    assert one.layer.name.endswith("two")
    assert torch.equal(one.maps("case").values, explained(plain).maps("case").values)


def train(model: nn.Module) -> None:
    for parameter in model.parameters():
        parameter.data.mul_(1.5)  # through .data, which leaves a tensor's version as it was


def test_maps_of_before_are_never_made_after_training() -> None:
    """Lazily, both would be made of the trained weights, and no fine-tuning would ever be seen to drift."""
    model = seeded(Plain(), 9)
    before = explained(model, name="before")
    train(model)
    with pytest.raises(SubjectError, match="weights of model 'before' changed after explain"):
        before.maps("gradcam")


def test_maps_made_before_training_stay_and_nothing_is_added_to_them() -> None:
    model = seeded(Plain(), 9)
    before = explained(model, name="before")
    kept = before.maps("gradcam").values.clone()
    identity = before.identity()
    train(model)
    assert torch.equal(before.maps("gradcam").values, kept)
    for late in (lambda: before.maps("gradcam", 1), before.identity):
        with pytest.raises(SubjectError, match="explain a copy"):
            late()
    after = explained(model, name="after")
    assert not torch.equal(after.maps("gradcam").values, kept)
    assert after.identity()["state_sha256"] != identity["state_sha256"]


def test_a_subject_is_hashed_again_once_its_model_was_trained() -> None:
    subject = Subject(seeded(Plain(), 9))
    first = subject.state_sha256
    assert subject.state_sha256 == first
    train(subject.model)
    assert subject.state_sha256 != first


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", [(), (1,), (2,), (3, 5), (4, 6, 2, 2), (0, 4)])
def test_any_parameter_counts_in_the_fingerprint(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    model = nn.ParameterDict({"a": torch.randn(shape, dtype=dtype)})
    subject = Subject(model)
    before = subject.fingerprint()
    assert before == Subject(copy.deepcopy(model)).fingerprint()
    if 0 not in shape:
        model["a"].data.view(-1)[-1].mul_(1.5)
        assert subject.fingerprint() != before


def test_how_parameters_lie_in_memory_does_not_count_in_the_fingerprint() -> None:
    whole = torch.randn(1 + 8 * 3 * 3 * 3)
    model = nn.Conv2d(3, 8, 3, bias=False)
    model.weight = nn.Parameter(whole[1:].view(8, 3, 3, 3))  # begins in the middle of a word of 64 bits
    assert model.weight.storage_offset() == 1
    found = Subject(model).fingerprint()
    assert Subject(copy.deepcopy(model)).fingerprint() == found
    assert Subject(copy.deepcopy(model).to(memory_format=torch.channels_last)).fingerprint() == found
    model.weight = nn.Parameter(model.weight.detach().clone())
    assert Subject(model).fingerprint() == found


def test_memory_that_is_used_again_is_another_place() -> None:
    memory = _Memory()
    addresses, places = set(), set()
    for _ in range(50):
        tensor = torch.empty(1000)
        addresses.add(tensor.data_ptr())
        place = memory.place(tensor)
        assert memory.place(tensor.view(10, 100)) == place
        assert memory.place(tensor[1:]) != place
        places.add(place)
        del tensor
    assert len(addresses) < 50  # or nothing was tried
    assert len(places) == 50


class Deep(nn.Module):
    """Enough convolutions for another memory format to be tried; remembers how its inputs lay."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(*(nn.Conv2d(3 if i == 0 else 8, 8, 3, padding=1) for i in range(18)))
        self.head = nn.Linear(8, 3)
        self.lay: list[tuple[int, bool]] = []

    def pooled(self, features: Tensor) -> Tensor:
        return features.mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        self.lay.append((len(x), x.is_contiguous()))
        return self.head(self.pooled(self.body(x).relu()))


class Views(Deep):
    """Takes it for granted that images lie channels first, and fails otherwise."""

    def pooled(self, features: Tensor) -> Tensor:
        return features.view(len(features), -1).view(len(features), 8, -1).mean(2)


class ReadsMemory(Deep):
    """Takes it for granted that images lie channels first, and is wrong otherwise."""

    def pooled(self, features: Tensor) -> Tensor:
        rows = features.as_strided((len(features), 8, features[0, 0].numel()), (features[0].numel(), 256, 1))
        return rows.mean(2)


@pytest.mark.parametrize(("build", "last"), [(Deep, True), (Views, False), (ReadsMemory, False), (Plain, None)])
@pytest.mark.parametrize("layer", ["auto", "named"])
def test_channels_lie_last_where_the_model_allows_it(build: Any, last: bool | None, layer: str) -> None:
    model = seeded(build(), 2)
    name = {"auto": "auto", "named": "two" if build is Plain else "body.17"}[layer]
    one = explained(model, layer=name)
    maps = one.maps("gradcam", 1).values
    strides = [parameter.stride() for parameter in model.parameters()]
    assert (one.runner.memory_format == torch.channels_last) == bool(last)
    if last is not None:
        assert all(contiguous != last for count, contiguous in model.lay if count == 4)  # the batches of the pass
    with torch.no_grad():
        torch.testing.assert_close(one.logits, model(torch.from_numpy(pictures(6, (3, 16, 16)))), rtol=1e-5, atol=1e-6)
    again = explained(model, layer=name)
    object.__setattr__(again.runner, "settle_memory_format", lambda *args: None)
    torch.testing.assert_close(again.maps("gradcam", 1).values, maps, rtol=1e-4, atol=1e-7)
    assert strides == [parameter.stride() for parameter in model.parameters()]
    assert one.runner.precise().memory_format == one.runner.memory_format


class FlattensLast(Flattens):
    """The flattened map of a model that lays its channels last itself."""

    def until(self, x: Tensor) -> Tensor:
        return super().until(x.contiguous(memory_format=torch.channels_last))


def test_a_flattened_feature_map_with_channels_last_is_not_a_grid_of_tokens() -> None:
    images = pictures(6, (3, 16, 16))
    one = explain(Subject(seeded(FlattensLast(), 3)), Cases.from_arrays(images, LABELS), device="cpu")
    assert one.layer.name == "two"


class DeadForOne(Plain):
    """Its scores do not depend on the features of dark images, of which the first is one."""

    def after(self, features: Tensor) -> Tensor:
        return super().after(features * self.lit[: len(features), None, None, None])

    def forward(self, x: Tensor) -> Tensor:
        self.lit = (x.mean((1, 2, 3)) > 0.2).float()
        return super().forward(x)


def test_a_layer_that_counts_only_for_the_second_image_is_found() -> None:
    images = np.array(pictures(6, (3, 16, 16)))
    images[0] = 0.0
    subject = Subject(seeded(DeadForOne(), 1))
    found = explain(subject, Cases.from_arrays(images, LABELS), device="cpu").layer
    assert found.name == "two"


def test_targets_are_checked_at_once() -> None:
    with pytest.raises(MethodError, match="target 'top3' is not known; use top1, top2, label or a class index"):
        explain(Subject(Plain()), cases(), device="cpu", targets=("top3",))


def precision() -> list[Any]:
    backends: Any = torch.backends
    found: list[Any] = []
    if hasattr(backends.cuda.matmul, "fp32_precision"):
        found += [backends.cuda.matmul.fp32_precision, backends.cudnn.conv.fp32_precision]
        found += [backends.mkldnn.matmul.fp32_precision, backends.mkldnn.conv.fp32_precision]
    try:
        found.append((torch.get_float32_matmul_precision(), backends.cuda.matmul.allow_tf32))
    except RuntimeError:
        found.append("not readable")
    return found


@pytest.mark.parametrize("words", ["highest", "high", "medium"])
def test_the_users_precision_comes_back_as_it_was(words: str) -> None:
    found = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(words)
        before = precision()
        with full_float32():
            assert torch.get_float32_matmul_precision() == "highest"
            assert not torch.backends.cuda.matmul.allow_tf32
        assert precision() == before
        explained(Plain()).maps("gradcam")
        assert precision() == before
    finally:
        torch.set_float32_matmul_precision(found)


def test_a_process_that_uses_the_newer_precision_switches_can_be_explained() -> None:
    matmul: Any = torch.backends.mkldnn.matmul if hasattr(torch.backends, "mkldnn") else None
    if not hasattr(matmul, "fp32_precision"):
        pytest.skip("this torch has only the older switches")
    found = matmul.fp32_precision
    try:
        matmul.fp32_precision = "bf16"  # after which torch refuses to read the older switches
        before = precision()
        explained(Plain()).maps("gradcam")
        assert precision() == before
    finally:
        matmul.fp32_precision = found


def test_cases_do_not_change_with_the_array_they_were_made_of() -> None:
    images = np.array(pictures(6, (3, 16, 16)))
    clean = Cases.from_arrays(images, LABELS)
    kept = clean.image(0).clone()
    images[:, :, :4, :4] = 1.0  # the way a marker is planted
    assert torch.equal(clean.image(0), kept)
    assert clean.digest != Cases.from_arrays(images, LABELS).digest
