"""Identities that need no second implementation: closed forms, completeness, invariances."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pytest_saliency import Cases, Subject, explain

from .helpers import BY_NAME, GRADIENT, TOLERANCE, cases_of, raw, run, six, subject_of
from .nets import ConvNet, LinearTail, MirrorNet, PooledLinear, make, pictures
from .oracles import distance


def activations(model: Any, images: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return model.until(torch.from_numpy(images)).flatten(2).double().numpy()


@pytest.fixture(scope="module")
def pooled() -> Any:
    return make(PooledLinear, 2005)


@pytest.mark.parametrize("method", ["gradcam", "hirescam", "xgradcam"])
def test_pooled_linear_three_methods_are_cam(pooled: Any, method: str) -> None:
    images = six(pooled)
    a, w = activations(pooled, images), pooled.fc.weight.detach().double().numpy()
    explained = run(pooled, images)
    for c in range(6):
        cam = np.einsum("k,nkp->np", w[c], a) / a.shape[2]
        assert distance(raw(explained, method, c).reshape(6, -1), cam) < TOLERANCE


def test_pooled_linear_layercam_and_gradcam_plus_plus(pooled: Any) -> None:
    images = six(pooled)
    a, w = activations(pooled, images), pooled.fc.weight.detach().double().numpy()
    explained = run(pooled, images)
    for c in range(6):
        positive = np.maximum(w[c], 0)
        layer = np.einsum("k,nkp->np", positive, a) / a.shape[2]
        assert distance(raw(explained, "layercam", c).reshape(6, -1), layer) < TOLERANCE
        plus = np.einsum("nk,nkp->np", positive / (2 + w[c] * a.mean(2)), a)
        assert distance(raw(explained, "gradcam++", c).reshape(6, -1), plus) < TOLERANCE


def test_pooled_linear_case_is_a_projection_of_rows(pooled: Any) -> None:
    images = six(pooled)
    a, w = activations(pooled, images), pooled.fc.weight.detach().double().numpy()
    explained = run(pooled, images, contrast={"select": "explicit", "classes": {0: [2, 3], 1: [0]}})
    for c, others in ((0, [2, 3]), (1, [0])):
        shared = w[others].mean(0)
        left = w[c] - shared * (w[c] @ shared) / (shared @ shared)
        cam = np.einsum("k,nkp->np", left, a) / a.shape[2]
        assert distance(raw(explained, "case", c).reshape(6, -1), cam) < TOLERANCE


@pytest.mark.parametrize("method", ["hirescam", "xgradcam"])
def test_affine_tail_is_complete(method: str) -> None:
    model = make(LinearTail, 2101)
    explained = run(model, six(model))
    with torch.no_grad():
        bias = model.after(torch.zeros(1, 6, 6, 8))[0].double().numpy()
    for c in range(5):
        total = raw(explained, method, c).sum(axis=(1, 2))
        np.testing.assert_allclose(total, explained.logits[:, c].double().numpy() - bias[c], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", GRADIENT)
def test_adding_a_constant_to_all_scores_changes_nothing(method: str) -> None:
    model = make(ConvNet, 1108)
    shifted = copy.deepcopy(model)
    with torch.no_grad():
        shifted.fc.bias.add_(2.5)
    for target in ("top1", "top2", "label"):
        expected = raw(run(model, six(model)), method, target)
        assert np.abs(expected).max() > 0
        assert distance(raw(run(shifted, six(model)), method, target), expected) < TOLERANCE


@pytest.mark.parametrize("method", GRADIENT)
@pytest.mark.parametrize("factor", [0.01, 20.0])
def test_scaling_all_scores_scales_the_map(method: str, factor: float) -> None:
    model = make(ConvNet, 1108)
    scaled = copy.deepcopy(model)
    with torch.no_grad():
        scaled.fc.weight.mul_(factor)
        scaled.fc.bias.mul_(factor)
    expected = raw(run(model, six(model)), method)
    found = raw(run(scaled, six(model)), method) / factor
    if method == "gradcam++":
        assert distance(found, expected) > 1e-3
    else:
        assert distance(found, expected) < TOLERANCE


@pytest.mark.parametrize("name", ["relu", "tokens", "volume", "drop_norm"])
def test_batch_size_and_order_change_nothing(name: str) -> None:
    net = BY_NAME[name]
    model = net.model()
    cases = cases_of(six(model), model.classes)
    whole = explain(subject_of(net, model), cases, device="cpu", batch_size=6)
    turned = explain(subject_of(net, model), cases.subset([5, 3, 1, 0, 2, 4]), device="cpu", batch_size=4)
    single = explain(subject_of(net, model), cases, device="cpu", batch_size=1)
    for method in GRADIENT:
        for target in ("top1", "top2", "label", 1):
            expected = raw(whole, method, target)
            assert distance(raw(single, method, target), expected) < TOLERANCE
            assert distance(raw(turned, method, target), expected[[5, 3, 1, 0, 2, 4]]) < TOLERANCE


def test_all_classes_at_once_are_the_classes_one_by_one() -> None:
    net = BY_NAME["gelu"]
    model = net.model()
    cases = cases_of(six(model), 5)
    together = explain(subject_of(net, model), cases, device="cpu", batch_size=4)
    for method in GRADIENT:
        by_class = []
        for c in range(5):
            alone = explain(subject_of(net, model), cases, device="cpu", batch_size=4, methods=[method], targets=[])
            by_class.append(raw(alone, method, c))
        for target in ("top1", "top2", "label"):
            found = together.maps(method, target)
            expected = np.stack([by_class[c][i] for i, c in enumerate(found.classes)])
            assert distance(found.values.numpy(), expected) < TOLERANCE


@pytest.mark.parametrize("method", GRADIENT)
def test_the_order_of_the_classes_changes_nothing(method: str) -> None:
    model = make(ConvNet, 1108)
    order = [3, 0, 4, 1, 2]
    turned = copy.deepcopy(model)
    with torch.no_grad():
        turned.fc.weight.copy_(model.fc.weight[order])
        turned.fc.bias.copy_(model.fc.bias[order])
    first, second = run(model, six(model)), run(turned, six(model))
    for new, old in enumerate(order):
        assert distance(raw(second, method, new), raw(first, method, old)) < TOLERANCE
    assert distance(raw(second, method, "top1"), raw(first, method, "top1")) < TOLERANCE


@pytest.mark.parametrize("method", GRADIENT)
def test_a_mirrored_image_has_the_mirrored_map(method: str) -> None:
    model = make(lambda: MirrorNet(), 61).mirror_kernels()
    images = pictures(4, model.image, seed=2)
    plain, mirrored = run(model, images), run(model, images[..., ::-1].copy())
    for target in ("top1", "top2", "label"):
        expected = raw(plain, method, target)[..., ::-1]
        assert distance(expected[..., ::-1].copy(), expected) > 1e-2
        assert distance(raw(mirrored, method, target), expected) < TOLERANCE


def test_the_layer_that_is_asked_for_does_not_change_the_others() -> None:
    model = make(ConvNet, 1108)
    first = raw(run(model, six(model), layer="conv3"), "gradcam")
    run(model, six(model), layer="act1").maps("gradcam")
    assert np.array_equal(raw(run(model, six(model), layer="conv3"), "gradcam"), first)


def test_the_same_call_twice_is_the_same_to_the_bit() -> None:
    model = make(ConvNet, 1108)
    for method in GRADIENT:
        once, again = run(model, six(model)).maps(method), run(model, six(model)).maps(method)
        assert torch.equal(once.values, again.values)


def test_a_preprocessed_subject_equals_a_model_that_normalises_itself() -> None:
    model = make(ConvNet, 1108)
    mean, std = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.25, 0.3])

    class Normalised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner((x - mean[:, None, None]) / std[:, None, None])

    cases = Cases.from_arrays(six(model), [0] * 6)
    inside = explain(Subject(Normalised().eval(), layer="inner.act2"), cases, device="cpu")
    declared = {"mean": mean.tolist(), "std": std.tolist()}
    outside = explain(Subject(model, layer="act2", preprocess=declared), cases, device="cpu")
    called = Subject(model, layer="act2", preprocess=lambda x: (x - mean[:, None, None]) / std[:, None, None])
    third = explain(called, cases, device="cpu")
    for method in GRADIENT:
        expected = raw(inside, method)
        assert distance(raw(outside, method), expected) < TOLERANCE
        assert distance(raw(third, method), expected) < TOLERANCE
