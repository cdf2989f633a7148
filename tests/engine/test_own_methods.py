"""Methods of the user's own: what they are given, what they may return, what they may do to the model, their names."""

from __future__ import annotations

import random
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fixtures.planted import MatchedFilters, planted_images
from pytest_saliency import (
    Cases,
    Explained,
    ExplanationAssertionError,
    Subject,
    assert_class_sensitive,
    assert_faithful,
    assert_no_semantic_drift,
    explain,
    register_method,
)
from pytest_saliency.engine.batches import jittered
from pytest_saliency.engine.methods import own
from pytest_saliency.engine.methods.registry import find_method
from pytest_saliency.errors import MethodError, SubjectError

from .nets import ConvNet, DropNormNet, PooledLinear, Tiny, VolumeNet, make, pictures
from .test_side_effects import changes, fingerprint, untidy

N = 7
Own = Callable[[Subject, Tensor, Tensor], Any]


@pytest.fixture(autouse=True)
def _registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "_REGISTERED", {})


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """An importable module that is empty yet."""
    made = types.ModuleType("my_methods")
    monkeypatch.setitem(sys.modules, "my_methods", made)
    return made


def scores_of(subject: Subject, images: Tensor) -> Tensor:
    made: Tensor = subject.model(subject.preprocess.normalise(images))
    return made


def saliency(subject: Subject, images: Tensor, targets: Tensor) -> Tensor:
    """Gradient times input, as a user would write it."""
    images = images.requires_grad_()
    scores = scores_of(subject, images).gather(1, targets[:, None])
    (gradients,) = torch.autograd.grad(scores.sum(), images)
    return (gradients * images).sum(1)


def explained(method: Own | None = None, model: Tiny | None = None, batch_size: int = 3, **settings: Any) -> Explained:
    if method is not None:
        register_method("mine", method)
    model = model or make(PooledLinear, 2005)
    images = pictures(N, model.image, seed=1)
    cases = Cases.from_arrays(images, [i % model.classes for i in range(N)])
    subject = Subject(model, layer=model.layer, name="net", **settings)
    return explain(subject, cases, device="cpu", batch_size=batch_size)


def stack() -> Tensor:
    return torch.from_numpy(pictures(N, PooledLinear.image, seed=1))


# -- what it is given -----------------------------------------------------------------------------------------------


def test_it_is_given_pixels_and_classes_batch_by_batch() -> None:
    seen: list[tuple[Tensor, Tensor]] = []

    def method(subject: Subject, images: Tensor, targets: Tensor) -> Tensor:
        assert subject.model is found.subject.model
        assert not subject.model.training
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()
        assert images.is_leaf
        seen.append((images.clone(), targets.clone()))
        return images[:, 0]

    model = make(PooledLinear, 2005).train()
    found = explained(method, model, preprocess={"mean": [0.5] * 3, "std": [0.25] * 3})
    for target in ("top1", "top2", "label", 4):
        seen.clear()
        maps = found.maps("mine", target)
        assert [len(images) for images, _ in seen] == [3, 3, 1]
        assert torch.equal(torch.cat([images for images, _ in seen]), stack())
        assert torch.cat([targets for _, targets in seen]).tolist() == maps.classes.tolist()
        assert maps.classes.tolist() == found.maps("gradcam", target).classes.tolist()
        assert torch.equal(maps.values, stack()[:, 0])
        assert (maps.method, maps.version, maps.target) == ("mine", 1, str(target))
        assert found.maps("mine", target) is maps
    assert len(seen) == 3, "asked for once"
    assert model.training


def test_the_repeat_is_of_the_jittered_images_for_the_same_classes() -> None:
    found = explained(lambda subject, images, targets: images[:, 1] + targets[:, None, None])
    again = found.maps_jittered("mine")
    assert again is not None
    assert again.classes.tolist() == found.predicted.tolist()
    expected = jittered(stack())[:, 1] + torch.from_numpy(found.predicted)[:, None, None]
    assert torch.equal(again.values, expected)


def test_a_gradient_method_of_ones_own_is_the_gradient_of_the_score() -> None:
    found = explained(saliency)
    model: Any = found.subject.model
    double = stack().double().requires_grad_()
    scores = model.double()(double)
    classes = scores.argmax(1)
    (gradient,) = torch.autograd.grad(scores.gather(1, classes[:, None]).sum(), double)
    model.float()
    expected = (gradient * double).sum(1).detach()
    assert found.maps("mine").values.double().sub(expected).abs().max() < 1e-5 * expected.abs().max()


def test_the_batch_size_changes_nothing() -> None:
    one, many = explained(saliency, batch_size=1), explained(batch_size=32)
    for target in ("top1", 2):
        a, b = one.maps("mine", target).values, many.maps("mine", target).values
        assert (a - b).abs().max() <= 1e-5 * b.abs().max()


@pytest.mark.parametrize("around", [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16)])
def test_it_works_in_whatever_mode_it_is_asked_for(around: Any) -> None:
    expected = explained(saliency).maps("mine").values
    model = make(PooledLinear, 2005)
    with around():
        found = explained(model=model)
        values = found.maps("mine").values
    assert torch.equal(values, expected)
    assert not values.is_inference()


def test_volumes_too() -> None:
    found = explained(lambda s, images, t: images[:, 0, ::2, ::2, ::2], make(VolumeNet, 1700))
    assert found.maps("mine").values.shape == (N, 3, 4, 5)


# -- what it returns ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "grid"),
    [
        (lambda s, images, t: images.mean(1), (12, 16)),
        (lambda s, images, t: images.mean(1, keepdim=True), (12, 16)),
        (lambda s, images, t: images.mean(1).numpy(), (12, 16)),
        (lambda s, images, t: images.mean(1).double(), (12, 16)),
        (lambda s, images, t: images.mean(1).half(), (12, 16)),
        (lambda s, images, t: images.mean(1).bfloat16(), (12, 16)),
        (lambda s, images, t: images.mean(1).numpy().astype(np.float16), (12, 16)),
        (lambda s, images, t: (images.mean(1) * 100).int(), (12, 16)),
        (lambda s, images, t: images.mean(1) > 0.5, (12, 16)),
        (lambda s, images, t: images.mean(1).tolist(), (12, 16)),
        (lambda s, images, t: list(images.mean(1)), (12, 16)),
        (lambda s, images, t: [one.numpy() for one in images.mean(1)], (12, 16)),
        (lambda s, images, t: images.requires_grad_().mean(1), (12, 16)),
        (lambda s, images, t: list(images.requires_grad_().mean(1)), (12, 16)),
        (lambda s, images, t: images.mean(1).transpose(1, 2), (16, 12)),
        (lambda s, images, t: images.mean(1).numpy()[:, ::-1, ::-1], (12, 16)),
        (lambda s, images, t: images[:, 0, :3, :5], (3, 5)),
        (lambda s, images, t: images[:, 0].repeat(1, 3, 3), (36, 48)),
        (lambda s, images, t: images[:, 0].to_sparse().to_dense(), (12, 16)),
    ],
)
def test_maps_of_every_sort_are_read(method: Own, grid: tuple[int, ...]) -> None:
    maps = explained(method).maps("mine")
    assert maps.values.shape == (N, *grid)
    assert maps.values.dtype == torch.float32
    assert not maps.values.requires_grad
    assert maps.values.device.type == "cpu"
    expected = torch.as_tensor(np.array(_plain(method(None, stack(), None))), dtype=torch.float32)  # type: ignore[arg-type]
    assert torch.equal(maps.values, expected.reshape(N, *grid))


def _plain(made: Any) -> Any:
    if isinstance(made, Tensor):
        return made.detach().float().numpy()
    return [_plain(one) for one in made] if isinstance(made, list) else made


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (lambda images: None, "returned a NoneType that cannot be read as numbers"),
        (lambda images: "maps", "returned a str that cannot be read"),
        (lambda images: {"maps": images}, "returned a dict that cannot be read"),
        (lambda images: [[1.0], [2.0, 3.0], [1.0]], "returned a list that cannot be read as numbers"),
        (lambda images: [images[0, 0], images[1, 0], images[0, 0, :3]], "returned a list that cannot be read"),
        (lambda images: (images.mean(1), 0.5), "returned a tuple that cannot be read"),
        (lambda images: images.mean(1) + 1j, "returned complex numbers"),
        (lambda images: images, r"maps of shape \(3, 3, 12, 16\) for 3 images; expected .*\(3, side, side\)"),
        (lambda images: images.mean((1, 2)), r"maps of shape \(3, 16\) for 3 images"),
        (lambda images: images.mean(), r"maps of shape \(\) for 3 images"),
        (lambda images: images[:2, 0], r"maps of shape \(2, 12, 16\) for 3 images"),
        (lambda images: images[:0, 0], r"maps of shape \(0, 12, 16\) for 3 images"),
        (lambda images: images[:, 0, :0], r"maps of shape \(3, 0, 16\) for 3 images"),
    ],
)
def test_what_cannot_be_read_is_a_sentence(made: Callable[[Tensor], Any], sentence: str) -> None:
    with pytest.raises(
        MethodError, match=f"own method 'mine' {'returned ' if sentence.startswith('maps') else ''}{sentence}"
    ):
        explained(lambda subject, images, targets: made(images)).maps("mine")


def test_another_grid_in_a_later_batch_names_an_image() -> None:
    def method(subject: Subject, images: Tensor, targets: Tensor) -> Tensor:
        return images[:, 0, : 4 + len(images)]

    found = explained(method)
    with pytest.raises(MethodError, match=r"different grids, \(7, 16\) and then \(5, 16\) \(for one, 'case-0006'\)"):
        found.maps("mine")


def test_maps_that_are_not_finite_are_known_as_such() -> None:
    def method(subject: Subject, images: Tensor, targets: Tensor) -> Tensor:
        made = images[:, 0].clone()
        made[0, 0, 0] = torch.nan
        made[1] = -1.0
        made[2] = 3.0
        return made

    maps = explained(method, batch_size=7).maps("mine")
    assert maps.status.tolist() == ["nonfinite", "blank", "flat", "ok", "ok", "ok", "ok"]


def test_memory_that_it_uses_again_is_not_ours() -> None:
    scratch = torch.zeros(3, 12, 16)

    def method(subject: Subject, images: Tensor, targets: Tensor) -> Any:
        scratch[: len(images)] = images[:, 0]
        return scratch[: len(images)]

    found = explained(method)
    first = found.maps("mine")
    scratch.zero_()
    assert torch.equal(first.values, stack()[:, 0])


def test_what_it_does_to_its_input_reaches_nobody() -> None:
    def method(subject: Subject, images: Tensor, targets: Tensor) -> Tensor:
        made = images[:, 0].clone()
        images.zero_()
        targets.fill_(0)
        return made

    found = explained(method)
    classes = found.maps("mine", "top2").classes.tolist()
    assert torch.equal(found.maps("mine", "top2").values, stack()[:, 0])
    assert classes == found.maps("gradcam", "top2").classes.tolist()
    assert torch.equal(torch.stack([found.pixels(i) for i in range(N)]), stack())
    assert torch.equal(found.maps("mine", "top1").values, stack()[:, 0])


# -- what it raises -------------------------------------------------------------------------------------------------


def test_what_it_raises_is_a_sentence_with_its_place() -> None:
    def method(subject: Subject, images: Tensor, targets: Tensor) -> Tensor:
        raise KeyError("no such layer")

    with pytest.raises(MethodError) as caught:
        explained(method).maps("mine")
    assert str(caught.value).startswith(
        "own method 'mine', given 3 images of shape (3, 12, 16) (for one, 'case-0000'), raised KeyError at "
    )
    assert "test_own_methods.py:" in str(caught.value)
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_sentence_of_its_own_goes_through() -> None:
    def method(subject: Subject, images: Tensor, targets: Tensor) -> Tensor:
        raise SubjectError("this model has no attention.")

    with pytest.raises(SubjectError, match="this model has no attention"):
        explained(method).maps("mine")


def test_an_interrupt_goes_through_and_leaves_nothing() -> None:
    def method(subject: Subject, images: Tensor, targets: Tensor) -> Tensor:
        _mess(subject, images)
        raise KeyboardInterrupt

    model = untidy(make(DropNormNet, 81))
    found = explained(method, model)
    _ = found.logits
    before = fingerprint(model)
    with pytest.raises(KeyboardInterrupt):
        found.maps("mine")
    assert changes(model, before) == []


def test_a_batch_that_does_not_fit_is_taken_in_halves() -> None:
    sizes: list[int] = []

    def method(subject: Subject, images: Tensor, targets: Tensor) -> Tensor:
        sizes.append(len(images))
        if len(images) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return images[:, 0]

    found = explained(method, batch_size=4)
    assert torch.equal(found.maps("mine").values, stack()[:, 0])
    assert sizes == [4, 2, 2, 2, 1]


# -- what it does to the model --------------------------------------------------------------------------------------


def _mess(subject: Subject, images: Tensor) -> None:
    """Do to a model whatever does not change what it computes."""
    model = subject.model
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    scores_of(subject, images).sum().backward()
    for index, parameter in enumerate(model.parameters()):
        if index % 2:
            parameter.requires_grad_(False)
    model.train()
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)


@pytest.mark.parametrize("build", [DropNormNet, ConvNet])
@pytest.mark.parametrize("fails", [False, True])
def test_flags_gradients_and_random_states_are_put_back(build: Any, fails: bool) -> None:
    modes: list[bool] = []

    def method(subject: Subject, images: Tensor, targets: Tensor) -> Tensor:
        modes.append(subject.model.training)
        assert all(parameter.grad is None for parameter in subject.model.parameters())
        _mess(subject, images)
        if fails and len(modes) == 2:
            raise ValueError("enough")
        return images[:, 0]

    model = untidy(make(build, 81))
    before = fingerprint(model)
    found = explained(method, model)
    for target in ("top1", "top2"):
        if fails:
            modes.clear()
            with pytest.raises(MethodError, match="enough"):
                found.maps("mine", target)
        else:
            found.maps("mine", target)
        assert changes(model, before) == []
    assert not any(modes), "each batch begins in evaluation mode"


def test_gradients_that_were_there_are_not_added_to() -> None:
    model = make(PooledLinear, 2005)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    kept = [parameter.grad for parameter in model.parameters()]

    def method(subject: Subject, images: Tensor, targets: Tensor) -> Tensor:
        scores_of(subject, images).sum().backward()
        for parameter in subject.model.parameters():
            assert parameter.grad is not None
            parameter.grad.zero_()
        return images[:, 0]

    explained(method, model).maps("mine")
    for parameter, grad in zip(model.parameters(), kept, strict=True):
        assert parameter.grad is grad
        assert bool((grad == 1).all())


def test_buffers_that_training_mode_changes_are_put_back_and_told() -> None:
    def method(subject: Subject, images: Tensor, targets: Tensor) -> Tensor:
        subject.model.train()
        scores_of(subject, images)
        return images[:, 0]

    model = make(DropNormNet, 81)
    before = fingerprint(model)
    found = explained(method, model)
    with pytest.raises(MethodError, match=r"own method 'mine' changed buffers of the model .*'running_mean'.*put back"):
        found.maps("mine")
    assert [change for change in changes(model, before) if not change.startswith("identity")] == []
    assert found.maps("gradcam").ok.any()


def test_a_buffer_that_is_replaced_is_put_back_and_told() -> None:
    def method(subject: Subject, images: Tensor, targets: Tensor) -> Tensor:
        subject.model.norm1.running_var = subject.model.norm1.running_var * 2
        return images[:, 0]

    model = make(DropNormNet, 81)
    before = fingerprint(model)
    with pytest.raises(MethodError, match=r"changed buffers of the model .*'running_var'"):
        explained(method, model).maps("mine")
    assert changes(model, before) == []


def test_weights_that_it_changes_are_told() -> None:
    def method(subject: Subject, images: Tensor, targets: Tensor) -> Tensor:
        with torch.no_grad():
            subject.model.fc.weight.mul_(1.01)
        return images[:, 0]

    with pytest.raises(MethodError, match=r"own method 'mine' changed the weights of model 'net'.*copy\.deepcopy"):
        explained(method).maps("mine")


def test_hooks_that_it_leaves_are_removed_and_told() -> None:
    def method(subject: Subject, images: Tensor, targets: Tensor) -> Tensor:
        subject.model.conv.register_forward_hook(lambda *_: None)
        subject.model.register_full_backward_hook(lambda *_: None)
        return images[:, 0]

    model = make(PooledLinear, 2005)
    user = model.conv.register_forward_pre_hook(lambda *_: None)
    before = fingerprint(model)
    with pytest.raises(MethodError, match=r"own method 'mine' left 2 hooks on the model.*handle\.remove\(\)"):
        explained(method, model).maps("mine")
    assert changes(model, before) == []
    assert user.id in model.conv._forward_pre_hooks


def test_hooks_that_it_removes_are_its_own_affair() -> None:
    def method(subject: Subject, images: Tensor, targets: Tensor) -> Tensor:
        seen: list[Tensor] = []
        handle = subject.model.act.register_forward_hook(lambda module, args, output: seen.append(output.detach()))
        scores_of(subject, images)
        handle.remove()
        return seen[0].mean(1)

    found = explained(method)
    layer = found.subject.model.until(stack()).detach().mean(1)  # type: ignore[operator]
    assert (found.maps("mine").values - layer).abs().max() < 1e-6


# -- random numbers -------------------------------------------------------------------------------------------------


def noisy(subject: Subject, images: Tensor, targets: Tensor) -> Tensor:
    made = torch.rand(len(images), 4, 4) + torch.from_numpy(np.random.rand(len(images), 4, 4)).float()
    return made + random.random()


def test_random_numbers_are_the_same_in_every_run_and_others_for_each_target_and_repeat() -> None:
    runs = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        found = explained(noisy)
        again = found.maps_jittered("mine")
        assert again is not None
        runs.append([found.maps("mine", "top1").values, found.maps("mine", "top2").values, again.values])
        assert random.random() == random.Random(seed).random(), "the user's own numbers go on as they would have"
    for one, two in zip(*runs, strict=True):
        assert torch.equal(one, two)
    top1, top2, repeat = runs[0]
    assert not torch.isclose(top1, top2).any()
    assert not torch.isclose(top1, repeat).any()
    assert not torch.isclose(top1[:3], top1[3:6]).any(), "each batch has its own"


# -- what it costs --------------------------------------------------------------------------------------------------


def test_the_passes_it_makes_are_counted() -> None:
    def method(subject: Subject, images: Tensor, targets: Tensor) -> Tensor:
        scores_of(subject, torch.cat([images, images]))
        scores_of(subject, images)
        return images[:, 0]

    found = explained(method)
    found.maps("mine")
    (cost,) = [stage for name, stage in found.costs()["stages"].items() if name == "mine"]
    assert cost["passes"] == 6
    assert cost["images"] == {"own": 3 * N}


# -- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gradcam", "case", "random", "class_mean"])
def test_a_built_in_name_cannot_be_taken(name: str) -> None:
    with pytest.raises(MethodError, match=f"'{name}' is a method of the engine; choose another name"):
        register_method(name, saliency)


@pytest.mark.parametrize("name", ["", "my maps", "case[mine]", "a:b", "1st", "ü", "-a"])
def test_what_is_no_name_cannot_be_taken(name: str) -> None:
    with pytest.raises(MethodError, match="is no name"):
        register_method(name, saliency)


@pytest.mark.parametrize("version", [0, -1, True, 1.5, "2", None])
def test_a_version_is_a_whole_number(version: Any) -> None:
    with pytest.raises(MethodError, match="must be a whole number from 1"):
        register_method("mine", saliency, version=version)


def test_only_what_can_be_called_is_a_method() -> None:
    with pytest.raises(MethodError, match=r"a function \(subject, images, targets\) -> maps is needed"):
        register_method("mine", 3)  # type: ignore[arg-type]


def test_a_name_stands_for_one_function_and_one_version() -> None:
    register_method("mine", saliency, version=2)
    register_method("mine", saliency, version=2)
    assert find_method("mine").version == 2
    for function in (noisy, lambda subject, images, targets: images[:, 0]):
        with pytest.raises(MethodError, match="registered already, as another function"):
            register_method("mine", function, version=2)
    closures = [lambda subject, images, targets, k=k: images[:, k] for k in range(2)]
    register_method("other", closures[0])
    with pytest.raises(MethodError, match="registered already"):
        register_method("other", closures[1])


def test_the_same_file_imported_again_registers_its_newer_function(tmp_path: Path) -> None:
    """As two runs of pytest in one process do with a conftest.py."""
    file = tmp_path / "conftest_of_mine.py"
    made = []
    for channel in (0, 1):
        file.write_text(f"def method(subject, images, targets):\n    return images[:, {channel}]\n")
        names: dict[str, Any] = {"__name__": "conftest_of_mine"}
        exec(compile(file.read_text(), str(file), "exec"), names)
        register_method("mine", names["method"], version=channel + 1)
        made.append(find_method("mine"))
    assert [method.version for method in made] == [1, 2]
    assert torch.equal(explained().maps("mine").values, stack()[:, 1])


def test_brought_maps_and_methods_do_not_share_a_name() -> None:
    found = explained(saliency)
    with pytest.raises(MethodError, match="'mine' is a method of the engine or registered"):
        found.add_maps("mine", top1=np.zeros((N, 2, 2)))
    for name in ("cam", "case[mine]"):
        with pytest.raises(MethodError, match="is a method of the engine or registered"):
            found.add_maps(name, top1=np.zeros((N, 2, 2)))
    found.add_maps("shap", top1=np.ones((N, 2, 2)))
    with pytest.raises(
        MethodError, match=r"method 'shapp' is not known; there are .*mine, shap\. Did you mean 'shap'\?"
    ):
        found.maps("shapp")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (np.zeros((N, 3, 4, 4)), r"top1 holds maps of shape \(7, 3, 4, 4\) for 7 images"),
        (np.zeros((N - 1, 4, 4)), r"top1 holds maps of shape \(6, 4, 4\) for 7 images"),
        (np.zeros((N, 4, 4), dtype=complex), "top1 holds complex numbers"),
        ([[1.0], [1.0, 2.0]], "top1 holds a list that cannot be read as numbers"),
        ("maps", "top1 holds a str that cannot be read as numbers"),
    ],
)
def test_brought_maps_that_cannot_be_read_are_a_sentence(given: Any, sentence: str) -> None:
    with pytest.raises(MethodError, match=f"add_maps\\('shap'\\): {sentence}"):
        explained().add_maps("shap", top1=given)


def test_brought_maps_may_be_turned_round_and_of_a_graph() -> None:
    found = explained()
    turned = stack()[:, 0].numpy()[:, ::-1]
    found.add_maps("turned", top1=turned)
    found.add_maps("graph", top1=stack().requires_grad_().mean(1, keepdim=True))
    assert np.array_equal(found.maps("turned").values.numpy(), turned)
    assert not found.maps("graph").values.requires_grad


# -- import paths ---------------------------------------------------------------------------------------------------


def test_a_path_is_imported(module: Any) -> None:
    class Family:
        @staticmethod
        def red(subject: Subject, images: Tensor, targets: Tensor) -> Tensor:
            return images[:, 0]

    def green(subject: Subject, images: Tensor, targets: Tensor) -> Tensor:
        return images[:, 1]

    green.saliency_version = 7  # type: ignore[attr-defined]
    module.Family, module.green = Family, green
    found = explained()
    assert torch.equal(found.maps("my_methods:green").values, stack()[:, 1])
    assert found.maps("my_methods:green").version == 7
    assert found.maps("my_methods:green").method == "my_methods:green"
    assert torch.equal(found.maps("my_methods:Family.red").values, stack()[:, 0])
    assert found.maps("my_methods:Family.red").version == 1


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("no_such_module:method", r"cannot be imported: it raised ModuleNotFoundError.*'no_such_module'"),
        ("my_methods:nothing", r"cannot be imported: it raised AttributeError.*'nothing'"),
        ("my_methods:number", "is of type int; a function"),
        ("my_methods:versioned", "has saliency_version = '2'; it must be a whole number from 1"),
    ],
)
def test_a_path_that_leads_nowhere_is_a_sentence(module: Any, path: str, sentence: str) -> None:
    module.number = 3
    module.versioned = lambda subject, images, targets: images[:, 0]
    module.versioned.saliency_version = "2"
    with pytest.raises(MethodError, match=f"method '{path}' \\(import path\\) {sentence}"):
        explained().maps(path)


# -- entry points ---------------------------------------------------------------------------------------------------


@pytest.fixture
def announce(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Install a package in name only: its metadata on the path, with entry points of the group."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def install(package: str, **points: str) -> None:
        folder = tmp_path / f"{package.replace('-', '_')}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = "".join(f"{name} = {value}\n" for name, value in points.items())
        (folder / "entry_points.txt").write_text(f"[{own.GROUP}]\n{lines}")

    return install


def test_an_installed_package_announces_methods(announce: Callable[..., None], module: Any) -> None:
    module.blue = lambda subject, images, targets: images[:, 2]
    announce("my-package", theirs="my_methods:blue", broken="my_methods:nothing", gradcam="my_methods:blue")
    assert "theirs" in own.own_names()
    assert "gradcam" not in own.own_names(), "a built-in name cannot be taken"
    found = explained()
    assert torch.equal(found.maps("theirs").values, stack()[:, 2])
    assert found.maps("theirs").method == "theirs"
    assert found.maps("gradcam").values.shape[1:] != stack().shape[2:]
    with pytest.raises(MethodError, match=r"method 'broken' \(entry point my_methods:nothing\) cannot be imported"):
        found.maps("broken")
    with pytest.raises(MethodError, match="'theirs' is a method of the engine or registered"):
        found.add_maps("theirs", top1=np.zeros((N, 2, 2)))
    with pytest.raises(
        MethodError, match="'theirs' is a method of package 'my-package', which announces my_methods:blue"
    ):
        register_method("theirs", saliency)


def test_a_package_may_register_what_it_announces(announce: Callable[..., None], module: Any) -> None:
    def blue(subject: Subject, images: Tensor, targets: Tensor) -> Tensor:
        return images[:, 2]

    blue.__module__, blue.__qualname__ = "my_methods", "blue"
    module.blue = blue
    announce("my-package", theirs="my_methods:blue")
    register_method("theirs", blue, version=3)
    assert explained().maps("theirs").version == 3


def test_two_packages_that_announce_one_name_are_both_named(announce: Callable[..., None], module: Any) -> None:
    module.red = lambda subject, images, targets: images[:, 0]
    module.blue = lambda subject, images, targets: images[:, 2]
    announce("one-package", theirs="my_methods:red")
    announce("two-package", theirs="my_methods:blue")
    with pytest.raises(MethodError, match=r"announced by package '(one|two)-package' and package '(one|two)-package'"):
        explained().maps("theirs")
    assert torch.equal(explained().maps("my_methods:red").values, stack()[:, 0])


# -- in the checks --------------------------------------------------------------------------------------------------


def planted(model: nn.Module, count: int = 60) -> Explained:
    made = planted_images(count, seed=0)
    return explain(Subject(model, layer="features"), Cases.from_arrays(made.images, made.labels), device="cpu")


def where_it_is(subject: Subject, images: Tensor, targets: Tensor) -> Tensor:
    """What the target's own filter sees, at a resolution of its own."""
    found = subject.model.filters(images)[torch.arange(len(images)), targets]  # type: ignore[operator]
    return nn.functional.interpolate(found.relu()[:, None], size=(48, 48), mode="bilinear")[:, 0].detach()


def test_an_own_method_works_in_every_check() -> None:
    register_method("mine", where_it_is)
    register_method("noise", noisy)
    before, after = planted(MatchedFilters()), planted(MatchedFilters(jitter=0.01, seed=1))
    sensitive = assert_class_sensitive(before, "mine")
    assert "self_agreement" in sensitive.per_image, "its repeat under jitter was asked for"
    assert_faithful(before, "mine", top_k=0.04, min_advantage=0.0)
    assert_faithful(before, "mine", top_k=0.04, min_advantage=0.0, against=["noise", "centre"])
    assert_no_semantic_drift(before, after, method="mine", max_iou_drop=0.2, max_displacement=0.1)
    with pytest.raises(ExplanationAssertionError):
        assert_faithful(before, "noise", top_k=0.04, min_advantage=0.0)
    with pytest.raises(ExplanationAssertionError):
        assert_class_sensitive(before, "noise")
    result = assert_faithful(before, "gradcam", top_k=0.04, min_advantage=0.0, against="noise")
    assert result.to_record()["criterion"]["against"] == ["noise"]


def test_maps_that_are_nan_never_pass() -> None:
    def method(subject: Subject, images: Tensor, targets: Tensor) -> Tensor:
        return where_it_is(subject, images, targets) * torch.nan

    register_method("mine", method)
    found = planted(MatchedFilters())
    with pytest.raises(ExplanationAssertionError) as caught:
        assert_class_sensitive(found, "mine")
    assert caught.value.result.verdict == "INCONCLUSIVE"
    with pytest.raises(ExplanationAssertionError):
        assert_faithful(found, "mine", top_k=0.04, min_advantage=0.0)
    with pytest.raises(ExplanationAssertionError):
        assert_no_semantic_drift(found, planted(MatchedFilters()), method="mine", max_iou_drop=0.9)


# -- captum ---------------------------------------------------------------------------------------------------------


def test_integrated_gradients_of_captum_in_ten_lines() -> None:
    """Completeness (arXiv 1703.01365): what it attributes adds up to what the score gains from black to the image."""
    from captum.attr import IntegratedGradients

    def integrated_gradients(subject: Subject, images: Tensor, targets: Tensor) -> Tensor:
        def scores(pixels: Tensor) -> Tensor:
            made: Tensor = subject.model(subject.preprocess.normalise(pixels))
            return made

        found: Tensor = IntegratedGradients(scores).attribute(images, target=targets, n_steps=64)
        return found.sum(1)

    found = explained(integrated_gradients, make(ConvNet, 1108), preprocess={"mean": [0.4] * 3, "std": [0.3] * 3})
    model: Any = found.subject.model
    before = fingerprint(model)
    maps = found.maps("mine")
    assert maps.values.shape == (N, 12, 16)
    normalised = (torch.cat([stack(), torch.zeros_like(stack())]) - 0.4) / 0.3
    scores = model(normalised).detach().gather(1, torch.from_numpy(np.tile(maps.classes, 2))[:, None])[:, 0]
    gained = (scores[:N] - scores[N:]).numpy()
    np.testing.assert_allclose(maps.values.sum((1, 2)).numpy(), gained, atol=0.02 * np.abs(gained).max())
    assert changes(model, before) == []
    assert found.maps_jittered("mine") is not None
