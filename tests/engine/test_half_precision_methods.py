"""Half precision is the model's: what a method does with the numbers it gets is done in float32."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pytest_saliency import Subject, explain
from pytest_saliency.engine.methods.attention import Watch
from pytest_saliency.engine.methods.evidence import weighted_sum
from pytest_saliency.engine.methods.pixels import summed
from pytest_saliency.engine.methods.rollout import Rolling
from pytest_saliency.errors import MethodError

from .helpers import cases_of, raw
from .nets import pictures, seed_weights
from .oracles import distance


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(3))


def cells() -> Tensor:
    return summed(drawn(2, 60, 60), (56, 56))


def weighted() -> Tensor:
    return weighted_sum(drawn(2, 8), drawn(2, 8, 49))


def rolled() -> Tensor:
    rolling = Rolling("mean", 2)
    for _ in range(3):
        rolling.add(drawn(2, 3, 17, 17).softmax(-1))
    assert rolling.product is not None
    return rolling.product


def attended() -> Tensor:
    found: list[Tensor] = []
    with Watch(2, found.append):
        F.scaled_dot_product_attention(drawn(2, 3, 17, 8), drawn(2, 3, 17, 8), drawn(2, 3, 17, 8))
    return found[0]


@pytest.mark.parametrize("made", [cells, weighted, rolled, attended])
def test_methods_sum_in_float32_while_the_model_runs_in_half(made: Callable[[], Tensor]) -> None:
    full = made()
    with torch.autocast("cpu", torch.bfloat16):
        half = made()
        assert (drawn(2, 2) @ drawn(2, 2)).dtype == torch.bfloat16  # whoever multiplies otherwise
    assert half.dtype == torch.float32
    assert torch.equal(half, full)


def test_small_weights_are_no_zeros_in_fp16() -> None:
    """Gradients of 1e-9, as at early layers, made every map blank."""
    weights, activations = torch.full((1, 4), 1e-9), torch.ones(1, 4, 9)
    with torch.autocast("cpu", torch.float16):
        assert weighted_sum(weights, activations) == pytest.approx(torch.full((1, 9), 4e-9))


class Headed(nn.Module):
    """Pooling and a linear head behind ``conv``, ``wrong`` by a pooling that takes the largest."""

    def __init__(self, wrong: bool) -> None:
        super().__init__()
        self.conv, self.fc, self.wrong = nn.Conv2d(3, 32, 3, stride=2), nn.Linear(32, 5), wrong

    def forward(self, x: Tensor) -> Tensor:
        seen = torch.relu(self.conv(x))
        made: Tensor = self.fc(seen.amax((2, 3)) if self.wrong else self.conv(x).mean((2, 3)))
        return made


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_the_head_of_cam_is_recognised_in_half_precision(precision: str) -> None:
    images = pictures(4, (3, 16, 16), seed=1)

    def cam(wrong: bool, **settings: str) -> object:
        model = seed_weights(Headed(wrong), 3).eval()
        found = explain(Subject(model, layer="conv"), cases_of(images, 5), device="cpu", batch_size=4, **settings)
        return raw(found, "cam", 1)

    assert distance(cam(False, precision=precision), cam(False)) < 0.02  # type: ignore[arg-type]
    with pytest.raises(MethodError, match="cam has a meaning only where"):
        cam(True, precision=precision)


def test_a_sum_that_half_precision_rounded_is_not_blamed_on_the_steps_alone() -> None:
    images = pictures(3, (3, 16, 16), seed=2)

    def notes(**settings: str) -> list[str]:
        model = seed_weights(Headed(True), 3).eval()
        found = explain(Subject(model, layer="conv"), cases_of(images, 5), device="cpu", batch_size=4, **settings)
        found.maps("captum:IntegratedGradients[steps:1]")
        return [note for note in found.costs()["notes"] if "do not sum" in note]

    (half,), (full,) = notes(precision="bf16"), notes()
    assert half.endswith("and float32: half precision alone may round as much")
    assert "float32" not in full
