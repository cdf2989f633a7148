"""Half precision on request: what it changes, what comes back, and that float32 stays what it was."""

from __future__ import annotations

import contextlib
import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pytest_saliency import Cases, Subject, explain
from pytest_saliency.engine import precision as module
from pytest_saliency.engine.capture import capture
from pytest_saliency.engine.layout import find_layout
from pytest_saliency.engine.precision import HALVES, half_dtype
from pytest_saliency.engine.runner import Runner
from pytest_saliency.errors import DeviceError, SubjectError

from .nets import pictures, seed_weights

CPU = torch.device("cpu")


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.two = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 3)
        self.types: list[torch.dtype] = []

    def after(self, features: Tensor) -> Tensor:
        return self.head(torch.relu(features).mean((2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        features = self.two(torch.relu(self.one(x)))
        self.types.append(features.dtype)
        return self.after(features)


def net() -> Any:
    return seed_weights(Net(), 3).eval()


def images() -> Tensor:
    return torch.from_numpy(pictures(4, (3, 16, 16)))


def captured(runner: Runner) -> tuple[Tensor, Tensor, Tensor]:
    """Scores, activations and the gradients of class 1 at layer ``two``."""
    layout = find_layout((4, 8, 8, 8), (16, 16))
    assert layout is not None
    with runner.session():
        made = capture(runner, runner.subject.model.two, "two", layout, images())  # type: ignore[union-attr,arg-type]
        cotangents = torch.zeros_like(made.scores)
        cotangents[:, 1] = 1.0
        return made.scores, made.activations, made.gradients(cotangents.unsqueeze(0))[0]


@pytest.mark.parametrize("word", ["bf16", "fp16"])
def test_half_precision_is_used_and_handed_out_as_float32(word: Any) -> None:
    model = net()
    half = captured(Runner(Subject(model), CPU, precision=word))
    assert model.types[-1] == HALVES[word]
    full = captured(Runner(Subject(model), CPU))
    assert model.types[-1] == torch.float32
    eps = torch.finfo(HALVES[word]).eps
    for found, expected in zip(half, full, strict=True):
        assert found.dtype == expected.dtype == torch.float32
        # In the mean: where rounding turns the sign in front of a ReLU, one gradient is there or not at all.
        apart = float((found - expected).abs().sum() / expected.abs().sum())
        assert 0 < apart < 4 * eps


@pytest.mark.parametrize("word", ["bf16", "fp16"])
def test_scores_are_those_of_autocast(word: Any) -> None:
    model = net()
    runner = Runner(Subject(model), CPU, precision=word)
    with runner.session():
        found = runner.scores(images())
    with torch.no_grad(), torch.autocast("cpu", HALVES[word]):
        expected = model(images())
    assert expected.dtype == HALVES[word]
    assert torch.equal(found, expected.float())


def test_the_default_is_float32_also_inside_the_users_autocast() -> None:
    model = net()
    expected = captured(Runner(Subject(model), CPU))
    with torch.autocast("cpu", torch.bfloat16):
        found = captured(Runner(Subject(model), CPU))
        assert torch.is_autocast_enabled("cpu")
    assert all(torch.equal(one, two) for one, two in zip(found, expected, strict=True))


def test_a_half_session_leaves_autocast_and_parameters_as_they_were() -> None:
    model = net()
    before = copy.deepcopy(model.state_dict())
    pointers = [p.data_ptr() for p in model.parameters()]
    with contextlib.suppress(KeyError), Runner(Subject(model), CPU, precision="bf16").session():
        assert torch.is_autocast_enabled("cpu")
        raise KeyError
    assert not torch.is_autocast_enabled("cpu")
    captured(Runner(Subject(model), CPU, precision="fp16"))
    assert not torch.is_autocast_enabled("cpu")
    assert pointers == [p.data_ptr() for p in model.parameters()]
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_a_model_with_a_type_of_its_own_computes_in_it(dtype: torch.dtype) -> None:
    model = net().to(dtype)
    asked = Runner(Subject(model), CPU, precision="bf16")
    assert asked.computes_in == dtype
    for found, expected in zip(captured(asked), captured(Runner(Subject(model), CPU)), strict=True):
        assert torch.equal(found, expected)
    assert model.types[0] == dtype


def test_precise_is_the_same_subject_and_state_in_float32() -> None:
    model = net()
    runner = Runner(Subject(model), CPU, precision="bf16", threads=1)
    model.one.weight.data.mul_(2.0)
    precise = runner.precise()
    assert (precise.subject, precise.device, precise.precision, precise.threads) == (runner.subject, CPU, "float32", 1)
    with pytest.raises(SubjectError, match="changed after explain"):  # which a state taken now would not see
        precise.check_unchanged()
    model.one.weight.data.mul_(0.5)
    assert torch.equal(captured(precise)[0], captured(Runner(Subject(model), CPU))[0])


@pytest.mark.parametrize(("word", "within"), [("float32", 1e-3), ("bf16", 16 / 128), ("fp16", 16 / 1024)])
def test_repeats_may_differ_by_the_rounding_of_the_precision(word: Any, within: float) -> None:
    runner = Runner(Subject(net()), CPU, precision=word)
    once = torch.tensor([[10.0, -3.0]])
    runner.check_repeated(once, once + 0.9 * within * 10)
    with pytest.raises(SubjectError, match="from batch to batch"):
        runner.check_repeated(once, once + 1.1 * within * 10)


def test_a_whole_pass_runs_in_half_precision_and_the_record_says_how_far_off_it_is() -> None:
    cases = Cases.from_arrays(images().numpy(), [0, 1, 2, 0])
    full, half = (
        explain(Subject(net(), layer="two"), cases, batch_size=2, precision=word)
        for word in ("float32", "bf16")  # type: ignore[arg-type]
    )
    exact, rough = (one.maps("gradcam", "1").values for one in (full, half))
    assert rough.dtype == torch.float32
    assert 0 < float((rough - exact).abs().max() / exact.abs().max()) < 0.1
    assert full.costs()["precision"] is None
    told = half.costs()["precision"]
    assert told["images"] == 4
    assert told["score"] == pytest.approx(
        float((half.logits - full.logits).abs().max() / full.logits.abs().max()), rel=1e-6
    )
    same = torch.from_numpy(half.predicted == full.predicted)
    assert told["predictions"] == int((~same).sum())
    pair = [one.maps("layercam").values[same].flatten(1).double().numpy() for one in (half, full)]
    rows = [np.corrcoef(a, b)[0, 1] for a, b in zip(*pair, strict=True)]
    assert told["correlation"]["layercam"] == pytest.approx(min(rows), rel=1e-6)


def test_an_unknown_precision_is_a_sentence() -> None:
    with pytest.raises(DeviceError, match="precision 'half' is not known; use float32, bf16, fp16"):
        Runner(Subject(net()), CPU, precision="half")  # type: ignore[arg-type]


def refuses(*args: Any, **kwargs: Any) -> Any:
    raise RuntimeError("\"slow_conv2d_cpu\" not implemented for 'Half'")


def warns(device: str, dtype: torch.dtype) -> Any:
    import warnings

    warnings.warn("In MPS autocast, but the target dtype is not supported. Disabling autocast.", stacklevel=1)


def wrong(*args: Any, **kwargs: Any) -> Tensor:
    return torch.full((1, 1, 2, 2), 8.0, dtype=torch.float16)


@pytest.mark.parametrize(
    ("where", "name", "fake", "said"),
    [
        (module.F, "conv2d", refuses, "not implemented for 'Half'"),
        (torch, "autocast", warns, "target dtype is not supported"),
        (module.F, "conv2d", wrong, "torch computed 4 times 9 as 32"),
    ],
)
def test_a_device_that_cannot_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, where: Any, name: str, fake: Any, said: str
) -> None:
    monkeypatch.setattr(where, name, fake)
    with pytest.raises(
        DeviceError, match=rf"device 'cpu' cannot compute in fp16 \(.*{said}.*\); use precision float32"
    ):
        half_dtype("fp16", CPU)
    monkeypatch.undo()
    assert half_dtype("fp16", CPU) == torch.float16


def test_a_gpu_that_emulates_bfloat16_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    with pytest.raises(DeviceError, match=r"compute capability is 7\.5.*try fp16"):
        half_dtype("bf16", torch.device("cuda"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("word", "apart"), [("float32", 1e-4), ("bf16", 0.1), ("fp16", 0.02)])
def test_cuda_agrees_with_the_cpu(word: Any, apart: float) -> None:
    model = net()
    for found, expected in zip(
        captured(Runner(Subject(model), torch.device("cuda"), precision=word)),
        captured(Runner(Subject(model), CPU)),
        strict=True,
    ):
        assert float((found.cpu() - expected).abs().sum() / expected.abs().sum()) < apart
