"""CAM: the formula, its identity with Grad-CAM, and the heads it has no meaning for."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pytest_saliency.errors import MethodError

from .helpers import BY_NAME, TOLERANCE, raw, run, six
from .nets import ConvNet, PooledLinear, TinyViT, make
from .oracles import Array, capture, distance


def oracle(model: Any, images: np.ndarray, c: int) -> Array:
    """Zhou et al. 2016, eq. 2: the class's row times the maps, position by position, in float64."""
    twin = copy.deepcopy(model).double()
    with torch.no_grad():
        a = twin.until(torch.from_numpy(images).double()).numpy()
        w = twin.fc.weight.numpy()
    out = np.zeros((len(a), *a.shape[2:]))
    for k in range(a.shape[1]):
        out += w[c, k] * a[:, k]
    return out


def test_the_formula() -> None:
    model = make(PooledLinear, 2005)
    images = six(model)
    explained = run(model, images)
    for c in range(model.classes):
        assert distance(raw(explained, "cam", c), oracle(model, images, c)) < TOLERANCE
    for target in ("top1", "top2", "label"):
        found = explained.maps("cam", target)
        expected = np.stack([oracle(model, images, int(c))[i] for i, c in enumerate(found.classes)])
        assert distance(found.values.numpy(), expected) < TOLERANCE


def test_it_is_gradcam_times_the_number_of_positions() -> None:
    model = make(PooledLinear, 2005)
    explained = run(model, six(model))
    for target in ("top1", "top2", "label"):
        expected = raw(explained, "gradcam", target)
        assert distance(raw(explained, "cam", target), expected * expected[0].size) < TOLERANCE


def test_its_mean_is_the_score_without_the_bias() -> None:
    model = make(PooledLinear, 2005)
    explained = run(model, six(model))
    for c in range(model.classes):
        score = explained.logits[:, c].double().numpy() - model.fc.bias[c].item()
        np.testing.assert_allclose(raw(explained, "cam", c).mean((1, 2)), score, rtol=1e-4, atol=1e-5)


class OnePooled(PooledLinear):
    """One logit behind the pooling."""

    def __init__(self) -> None:
        super().__init__(classes=1)
        self.classes = 2


def test_one_logit_has_opposite_maps() -> None:
    model = make(OnePooled, 2005)
    images = six(model)
    explained = run(model, images)
    assert distance(raw(explained, "cam", 1), oracle(model, images, 0)) < TOLERANCE
    assert np.array_equal(raw(explained, "cam", 0), -raw(explained, "cam", 1))


class TwoLayers(PooledLinear):
    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(7, 7)

    def after(self, a: Tensor) -> Tensor:
        scores: Tensor = self.fc(F.relu(self.hidden(a.mean((2, 3)))))
        return scores


class MaxPooled(PooledLinear):
    def after(self, a: Tensor) -> Tensor:
        scores: Tensor = self.fc(a.amax((2, 3)))
        return scores


@pytest.mark.parametrize("build", [TwoLayers, MaxPooled, ConvNet, TinyViT])
def test_other_heads_are_refused_with_a_sentence(build: Any) -> None:
    model = make(build, 2005)
    settings = {"reshape": "tokens"} if build is TinyViT else {}
    explained = run(model, six(model), **settings)
    with pytest.raises(MethodError, match=rf"'{build.__name__}'.*use gradcam"):
        explained.maps("cam")
    assert len(explained.maps("gradcam")) == 6


def test_a_flattened_grid_is_refused() -> None:
    net = BY_NAME["linear_tail"]
    model = net.model()
    with pytest.raises(MethodError, match="only where global average pooling"):
        run(model, six(model)).maps("cam")


def test_batch_size_changes_nothing() -> None:
    model = make(PooledLinear, 2005)
    one, all_ = run(model, six(model), batch_size=1), run(model, six(model), batch_size=6)
    assert distance(raw(one, "cam"), raw(all_, "cam")) < TOLERANCE


def test_the_oracle_is_the_derivative_of_the_scores() -> None:
    """The row is Z times the score's slope, so that oracle and head cannot both be wrong in the same way."""
    model = make(PooledLinear, 2005)
    images = six(model)
    got = capture(model, images)
    for c in range(model.classes):
        slope = np.einsum("nkp,nkp->np", got.g[c] * got.a.shape[2], got.a).reshape(6, *got.grid)
        assert distance(oracle(model, images, c), slope) < 1e-9
