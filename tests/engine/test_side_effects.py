"""The user's model, and the process around it, are as they were: after success, error, interrupt."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pytest_saliency import Cases, Subject, explain
from pytest_saliency.engine.runner import Runner
from pytest_saliency.errors import SaliencyError

from .helpers import GRADIENT
from .nets import DropNormNet, ExplodingNet, NoGradForward, SharedAroundNet, TinyViT, make, pictures

HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks_with_kwargs",
    "_state_dict_hooks",
    "_load_state_dict_pre_hooks",
)


def spin(module: nn.Module, inputs: tuple[Any, ...]) -> None:
    """A forward hook the user had placed; it must survive."""


def fingerprint(model: nn.Module) -> dict[str, Any]:
    """Everything that could have been left changed, as comparable values."""
    state: dict[str, Any] = {}
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        state[f"bytes {name}"] = tensor.detach().numpy().tobytes()
        state[f"identity {name}"] = (id(tensor), tensor.data_ptr(), tensor._version, str(tensor.device), tensor.dtype)
        state[f"requires {name}"] = tensor.requires_grad
        state[f"grad {name}"] = None if tensor.grad is None else (id(tensor.grad), tensor.grad.numpy().tobytes())
        state[f"tensor hooks {name}"] = dict(tensor._backward_hooks or {})
    for name, module in model.named_modules():
        state[f"training {name}"] = module.training
        state[f"attributes {name}"] = sorted(k for k in vars(module) if k not in ("fuse", "seen"))
        state[f"forward {name}"] = vars(module).get("forward")
        for hooks in HOOKS:
            state[f"{hooks} {name}"] = dict(getattr(module, hooks))
    every = nn.modules.module
    for hooks in ("_global_forward_hooks", "_global_forward_pre_hooks", "_global_backward_hooks"):
        state[hooks] = dict(getattr(every, hooks))
    state["torch random"] = torch.get_rng_state().numpy().tobytes()
    generator = np.random.get_state()
    state["numpy random"] = (generator[0], np.asarray(generator[1]).tobytes(), generator[2:])
    state["python random"] = random.getstate()
    state["modes"] = (
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.is_anomaly_enabled(),
        torch.get_default_dtype(),
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.benchmark,
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.allow_tf32,
        torch.backends.cuda.matmul.allow_tf32,
        torch.get_float32_matmul_precision(),
    )
    return state


def untidy(model: Any) -> Any:
    """Give a model a state worth keeping: mixed flags, gradients, frozen parts, a hook of the user's."""
    model.train()
    children = [m for m in model.modules() if not list(m.children())]
    children[0].eval()
    children[-1].eval()
    for index, parameter in enumerate(model.parameters()):
        if index % 3 == 0:
            parameter.requires_grad_(False)
        if index % 3 == 1:
            parameter.grad = torch.full_like(parameter, 0.125)
    model.get_submodule(model.layer).register_forward_pre_hook(spin)
    torch.manual_seed(5)
    np.random.seed(6)
    random.seed(7)
    return model


def changes(model: nn.Module, before: dict[str, Any]) -> list[str]:
    after = fingerprint(model)
    return [key for key in {**before, **after} if before.get(key, "absent") != after.get(key, "absent")]


def everything(model: Any, images: np.ndarray, **settings: Any) -> None:
    chosen = {"layer": model.layer, **settings}
    cases = Cases.from_arrays(images, [0] * len(images))
    explained = explain(Subject(model, **chosen), cases, device="cpu", batch_size=2)
    for method in (*GRADIENT, "random", "centre", "class_mean"):
        for target in ("top1", "top2", "label", 1):
            explained.maps(method, target)
        explained.maps_jittered(method)
    explained.identity()


@pytest.mark.parametrize("build", [DropNormNet, TinyViT, SharedAroundNet, NoGradForward])
@pytest.mark.parametrize("grad", [True, False])
def test_success_leaves_nothing(build: Any, grad: bool) -> None:
    model = untidy(make(build, 81))
    images = pictures(3, model.image)
    kept = images.copy()
    before = fingerprint(model)
    with torch.set_grad_enabled(grad):
        everything(model, images, reshape="tokens" if build is TinyViT else None)
        assert torch.is_grad_enabled() == grad
    assert changes(model, before) == []
    assert np.array_equal(images, kept)


@pytest.mark.parametrize("build", [DropNormNet, TinyViT])
@pytest.mark.parametrize("interrupt", [True, False])
def test_half_precision_and_other_threads_leave_nothing(build: Any, interrupt: bool) -> None:
    model = untidy(make(build, 81))
    before = fingerprint(model)
    runner = Runner(Subject(model), torch.device("cpu"), precision="bf16", threads=3)
    pixels = torch.from_numpy(pictures(2, model.image))
    with contextlib.suppress(KeyboardInterrupt), runner.session():
        runner.scores(pixels)
        assert torch.get_num_threads() == 3
        assert torch.is_autocast_enabled("cpu")
        if interrupt:
            raise KeyboardInterrupt
    assert changes(model, before) == []


def test_training_mode_is_left_alone_and_not_used() -> None:
    """A model in training mode is explained in evaluation mode: same maps, same running statistics."""
    still, moving = make(DropNormNet, 81), make(DropNormNet, 81).train()
    images = pictures(3, still.image)
    cases = Cases.from_arrays(images, [0, 1, 2])
    first = explain(Subject(still, layer="act2"), cases, device="cpu")
    second = explain(Subject(moving, layer="act2"), cases, device="cpu")
    for method in GRADIENT:
        assert torch.equal(first.maps(method).values, second.maps(method).values)
    assert all(m.training for m in moving.modules())


def bad_class(model: Any, images: np.ndarray) -> None:
    cases = Cases.from_arrays(images, [0] * len(images))
    explain(Subject(model, layer=model.layer), cases, device="cpu", batch_size=2).maps("gradcam", 99)


def bad_label(model: Any, images: np.ndarray) -> None:
    cases = Cases.from_arrays(images, [0, 1, 17])
    explain(Subject(model, layer=model.layer), cases, device="cpu", batch_size=2).maps("gradcam", "label")


def bad_layer(model: Any, images: np.ndarray) -> None:
    everything(model, images, layer="nowhere")


def bad_method(model: Any, images: np.ndarray) -> None:
    cases = Cases.from_arrays(images, [0] * len(images))
    explain(Subject(model, layer=model.layer), cases, device="cpu", batch_size=2).maps("gradcamm")


def bad_output(model: Any, images: np.ndarray) -> None:
    everything(model, images, output="logits")


def bad_shape(model: Any, images: np.ndarray) -> None:
    everything(model, images[:, :1])


def nan_scores(model: Any, images: np.ndarray) -> None:
    with torch.no_grad():
        keep = model.fc.bias[0].clone()
        model.fc.bias.data[0] = float("nan")
    try:
        everything(model, images)
    finally:
        model.fc.bias.data[0] = keep


@pytest.mark.parametrize("act", [bad_class, bad_label, bad_layer, bad_method, bad_output, bad_shape, nan_scores])
def test_a_refusal_leaves_nothing(act: Callable[[Any, np.ndarray], None]) -> None:
    model = untidy(make(DropNormNet, 81))
    images = pictures(3, model.image)
    before = fingerprint(model)
    with pytest.raises(SaliencyError) as caught:
        act(model, images)
    assert changes(model, before) == []
    message = str(caught.value)
    assert message.endswith((".", "?"))
    assert "Traceback" not in message


@pytest.mark.parametrize("fuse", [0, 1])
@pytest.mark.parametrize("error", [RuntimeError("shape mismatch"), ValueError("no"), MemoryError("full")])
def test_an_exploding_module_leaves_nothing(error: Exception, fuse: int) -> None:
    model = untidy(make(lambda: ExplodingNet(error), 81))
    images = pictures(6, model.image)
    before = fingerprint(model)
    model.bomb.fuse = fuse
    with pytest.raises(Exception) as caught:
        everything(model, images)
    chain: list[BaseException] = []
    link: BaseException | None = caught.value
    while link is not None:
        chain.append(link)
        link = link.__cause__ or link.__context__
    assert error in chain
    assert changes(model, before) == []


@pytest.mark.parametrize("fuse", [0, 1])
def test_an_interrupt_goes_through_and_leaves_nothing(fuse: int) -> None:
    model = untidy(make(lambda: ExplodingNet(KeyboardInterrupt()), 81))
    images = pictures(6, model.image)
    before = fingerprint(model)
    model.bomb.fuse = fuse
    with pytest.raises(KeyboardInterrupt):
        everything(model, images)
    assert changes(model, before) == []


class RaisesBackwards(torch.autograd.Function):
    """The identity, until a gradient comes back through it."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no way back")


class OneWayNet(DropNormNet):
    def after(self, a: torch.Tensor) -> torch.Tensor:
        return super().after(RaisesBackwards.apply(a))


def test_a_backward_that_raises_leaves_nothing() -> None:
    model = untidy(make(OneWayNet, 81))
    images = pictures(6, model.image)
    before = fingerprint(model)
    with pytest.raises(Exception, match="no way back"):
        everything(model, images)
    assert changes(model, before) == []


def test_an_interrupt_while_images_are_read_leaves_nothing() -> None:
    class Interrupted:
        def __len__(self) -> int:
            return 6

        def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
            if index == 4 and armed:
                raise KeyboardInterrupt
            return pictures(1, (3, 12, 16), seed=index)[0], 0

    armed: list[bool] = []
    model = untidy(make(DropNormNet, 81))
    cases = Cases.from_dataset(Interrupted())
    before = fingerprint(model)
    armed.append(True)
    with pytest.raises(KeyboardInterrupt):
        explain(Subject(model, layer="act2"), cases, device="cpu", batch_size=2).maps("gradcam")
    assert changes(model, before) == []


def test_after_an_explosion_the_same_subject_works_again() -> None:
    model = make(lambda: ExplodingNet(RuntimeError("once")), 81)
    cases = Cases.from_arrays(pictures(3, model.image), [0, 1, 2])
    subject = Subject(model, layer="act2")
    model.bomb.fuse = 0
    with pytest.raises(Exception, match="once"):
        explain(subject, cases, device="cpu").maps("gradcam")
    model.bomb.fuse = -1
    once, again = (explain(subject, cases, device="cpu").maps("gradcam") for _ in range(2))
    assert torch.equal(once.values, again.values)


def test_a_training_step_afterwards_gives_the_same_gradients() -> None:
    first, second = make(DropNormNet, 81), make(DropNormNet, 81)
    images = pictures(4, first.image)
    everything(second, images)
    for model in (first, second):
        torch.manual_seed(3)
        model.train()
        model(torch.from_numpy(images)).logsumexp(1).sum().backward()
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert a.grad is not None
        assert b.grad is not None
        assert torch.equal(a.grad, b.grad)


def test_no_graph_stays_alive() -> None:
    model = make(DropNormNet, 81)
    cases = Cases.from_arrays(pictures(3, model.image), [0, 1, 2])
    explained = explain(Subject(model, layer="act2"), cases, device="cpu")
    found = explained.maps("case")
    assert found.values.grad_fn is None
    assert explained.logits.grad_fn is None
    assert not explained.logits.requires_grad
