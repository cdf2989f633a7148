"""The oracles against each other: closed forms, identities, finite differences and a peer. No engine here."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import pytest
import torch

from .helpers import TOLERANCE, six
from .nets import NETS, ConvNet, InplaceNet, LinearTail, Net, PooledLinear, VolumeNet, make
from .oracles import (
    METHODS,
    SINGLE,
    capture,
    case_parts,
    contrast_confusion,
    contrast_logits,
    contrast_size,
    distance,
    maps,
    ranked,
)


@pytest.mark.parametrize("net", NETS, ids=lambda n: n.name)
def test_the_table_is_well_conditioned(net: Net) -> None:
    """In float32 the oracle itself stays within half of the tolerance the engine is held to."""
    model = net.model()
    exact, single = capture(model, six(model)), capture(model, six(model), torch.float32)
    order = ranked(exact.scores)
    assert np.array_equal(order, ranked(single.scores))
    assert len(set(order[:, 0])) >= 2
    for method in METHODS:
        if method == "case" and model.classes == 2:
            continue
        for rank in range(2):
            assert distance(maps(single, method, order[:, rank]), maps(exact, method, order[:, rank])) < TOLERANCE / 2


@pytest.mark.parametrize("net", NETS, ids=lambda n: n.name)
def test_the_halves_make_the_whole(net: Net) -> None:
    model = net.model()
    images = torch.from_numpy(six(model))
    with torch.no_grad():
        whole = model(images)
    if isinstance(whole, tuple):
        whole = whole[1]
    elif isinstance(whole, dict):
        whole = whole["logits"]
    elif not isinstance(whole, torch.Tensor):
        whole = whole.logits
    scores = capture(model, six(model)).scores
    if model.classes == 2:
        scores = scores[:, 1:]
    np.testing.assert_allclose(whole.numpy().reshape(scores.shape), scores, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("build", [ConvNet, InplaceNet, VolumeNet])
def test_gradients_are_slopes(build: Any) -> None:
    model = make(build, 41)
    images = six(model)[:1]
    got = capture(model, images)
    twin = copy.deepcopy(model).double()
    with torch.no_grad():
        a = twin.until(torch.from_numpy(images).double())
        for index in (0, a.numel() // 3, a.numel() - 5):
            step = torch.zeros(a.numel(), dtype=torch.float64)
            step[index] = 1e-7
            up, down = twin.after(a + step.view_as(a)), twin.after(a - step.view_as(a))
            slope = ((up - down) / 2e-7)[0].numpy()
            np.testing.assert_allclose(got.g[:, 0].reshape(model.classes, -1)[:, index], slope, atol=1e-7)


def test_pooled_linear_closed_forms() -> None:
    model = make(PooledLinear, 2005)
    got = capture(model, six(model))
    w = model.fc.weight.detach().double().numpy()
    z = got.a.shape[2]
    for i, u in enumerate(ranked(got.scores)[:, 0]):
        cam = w[u] @ got.a[i]
        for method in ("gradcam", "hirescam", "xgradcam"):
            np.testing.assert_allclose(SINGLE[method](got.a[i], got.g[u, i]), cam / z, rtol=1e-9, atol=1e-12)
        positive = np.maximum(w[u], 0)
        np.testing.assert_allclose(SINGLE["layercam"](got.a[i], got.g[u, i]), positive @ got.a[i] / z, rtol=1e-9)
        weight = positive / (2 + w[u] * got.a[i].mean(1))
        np.testing.assert_allclose(SINGLE["gradcam++"](got.a[i], got.g[u, i]), weight @ got.a[i], rtol=1e-9)


def test_linear_tail_is_complete() -> None:
    model = make(LinearTail, 2101)
    got = capture(model, six(model))
    twin = copy.deepcopy(model).double()
    with torch.no_grad():
        bias = twin.after(torch.zeros(1, 6, 6, 8, dtype=torch.float64))[0].numpy()
    for i in range(6):
        for u in range(5):
            for method in ("hirescam", "xgradcam"):
                total = SINGLE[method](got.a[i], got.g[u, i]).sum()
                np.testing.assert_allclose(total, got.scores[i, u] - bias[u], rtol=1e-9, atol=1e-12)


def test_the_projection_is_orthogonal_and_blind_to_scale() -> None:
    draw = np.random.default_rng(0)
    own, first, second = draw.normal(size=(3, 6, 12))
    left, shared = case_parts(own, [first, second])
    assert abs(left @ shared) < 1e-14
    np.testing.assert_allclose(case_parts(own, [7 * first, 7 * second])[0], left, rtol=1e-12)
    np.testing.assert_array_equal(case_parts(own, [])[0], own.mean(1))


def test_contrast_rules_by_hand() -> None:
    assert [contrast_size(c) for c in (2, 3, 4, 5, 6, 7, 8, 1000)] == [1, 1, 1, 2, 2, 3, 3, 3]
    assert contrast_size(1000, 5) == 5
    scores = np.array([0.1, 3.0, -1.0, 2.0, 0.5])
    assert contrast_logits(scores, 1) == (3, 4)
    assert contrast_logits(scores, 3) == (1, 4)
    assert contrast_logits(scores, 2, k=1) == (1,)
    held = np.array([[0.0, 2, 0, 0, 1], [0, 2, 0, 0, 1], [0, 0, 3, 0, 1], [5, 0, 0, 0, 0], [0, 0, 9, 0, 0]])
    assert contrast_confusion(held, [0, 0, 0, 0, 1], 0) == (1, 2)
    assert contrast_confusion(held, [0, 0, 0, 0, 1], 1) == (2, 0)


def peer(name: str) -> Any:
    """A class of the peer library; its imports warn about things that are none of ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(pytest.importorskip("pytorch_grad_cam"), name)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("build", [ConvNet, VolumeNet, PooledLinear])
@pytest.mark.parametrize(
    ("method", "name"),
    [("gradcam", "GradCAM"), ("hirescam", "HiResCAM"), ("xgradcam", "XGradCAM"), ("layercam", "LayerCAM")],
)
def test_a_peer_agrees_with_the_oracles(build: Any, method: str, name: str) -> None:
    model = make(build, 2005)
    images = six(model)
    got = capture(model, images)
    targets = [i % model.classes for i in range(6)]
    layer = model.get_submodule(model.layer)
    cam = peer(name)(model, [layer])
    with torch.enable_grad():
        scores = cam.activations_and_grads(torch.from_numpy(images))
        sum(scores[i, u] for i, u in enumerate(targets)).backward()
    a, g = (cam.activations_and_grads.activations[0].numpy(), cam.activations_and_grads.gradients[0].numpy())
    theirs = cam.get_cam_image(torch.from_numpy(images), layer, targets, a, g, False)
    cam.activations_and_grads.release()
    expected = maps(got, method, targets)
    scale = np.abs(expected).max()
    # The peer adds an absolute 1e-7 to XGrad-CAM's denominator.
    assert np.abs(theirs - expected).max() / scale < (1e-4 if method == "xgradcam" else 1e-5)
