"""What a map is worth: ok, blank, flat, nonfinite, degenerate."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pytest_saliency.errors import SubjectError

from .helpers import GRADIENT, run, six
from .nets import ConvNet, PooledLinear, make


def test_blank_when_nothing_is_positive() -> None:
    model = make(PooledLinear, 2005)
    with torch.no_grad():
        model.fc.weight[0].abs_().neg_()
    found = run(model, six(model)).maps("gradcam", 0)
    assert set(found.status) == {"blank"}
    assert float(found.values.min()) < 0


def test_all_zero_is_not_ok() -> None:
    model = make(PooledLinear, 2005)
    with torch.no_grad():
        model.fc.weight[0].zero_()
    for method in ("gradcam", "gradcam++", "hirescam", "xgradcam", "layercam"):
        found = run(model, six(model)).maps(method, 0)
        assert set(found.status) <= {"blank", "flat"}


def test_flat_when_one_value_everywhere() -> None:
    model = make(PooledLinear, 2005)
    with torch.no_grad():
        model.conv.weight.zero_()
        model.conv.bias.copy_(torch.linspace(0.5, 1.5, 7))
        model.fc.weight[0].abs_()
    explained = run(model, six(model))
    for method in ("gradcam", "gradcam++", "hirescam", "xgradcam", "layercam"):
        assert set(explained.maps(method, 0).status) == {"flat"}


class RootNet(ConvNet):
    """The root of a square at zero: finite scores, a derivative of infinity times zero."""

    def after(self, a: Tensor) -> Tensor:
        return self.fc(torch.sqrt((0 * self.conv3(a)).square()).mean((2, 3)))


def test_nonfinite_gradients_are_named_not_hidden() -> None:
    model = make(RootNet, 1108)
    explained = run(model, six(model))
    assert bool(torch.isfinite(explained.logits).all())
    for method in ("gradcam", "hirescam", "case"):
        assert set(explained.maps(method).status) == {"nonfinite"}


def test_scores_that_are_not_finite_name_the_image() -> None:
    class Fragile(ConvNet):
        def after(self, a: Tensor) -> Tensor:
            scores = super().after(a)
            bad = a.flatten(1).amax(1) >= self.limit
            return torch.where(bad[:, None], torch.full_like(scores, float("nan")), scores)

    model: Any = make(lambda: _limited(Fragile()), 1108)
    images = six(model)
    with torch.no_grad():
        peaks = model.until(torch.from_numpy(images)).flatten(1).amax(1)
    model.limit = float(peaks.max()) - 1e-6
    worst = int(peaks.argmax())
    explained = run(model, images)
    with pytest.raises(SubjectError) as caught:
        explained.maps("gradcam")
    assert explained.cases.ids[worst] in str(caught.value)
    assert "finite" in str(caught.value) or "NaN" in str(caught.value)


def _limited(model: Any) -> Any:
    model.limit = float("inf")
    return model


def test_counts_and_ok_follow_status() -> None:
    model = make(PooledLinear, 2005)
    found = run(model, six(model)).maps("gradcam", 0)
    positive = (found.values > 0).flatten(1).any(1).numpy()
    assert np.array_equal(found.ok, positive)
    assert sum(found.counts().values()) == 6


def test_every_method_has_a_status_for_every_image() -> None:
    model = make(ConvNet, 1108)
    explained = run(model, six(model))
    for method in (*GRADIENT, "random", "centre", "class_mean"):
        found = explained.maps(method)
        assert found.status.shape == (6,)
        assert set(found.status) <= {"ok", "blank", "flat", "nonfinite", "degenerate"}
