"""Half precision is the model's: what a method does with the numbers it gets is done in float32."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pytest_saliency.engine.methods.attention import Watch
from pytest_saliency.engine.methods.evidence import weighted_sum
from pytest_saliency.engine.methods.pixels import summed
from pytest_saliency.engine.methods.rollout import Rolling


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
