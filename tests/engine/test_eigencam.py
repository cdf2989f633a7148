"""Eigen-CAM against NumPy's singular value decomposition, a peer, and matrices whose answer is known."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pytest_saliency import explain
from pytest_saliency.engine.maps import judge
from pytest_saliency.engine.methods import eigencam
from pytest_saliency.engine.methods.eigencam import EIGENCAM
from pytest_saliency.engine.methods.evidence import Evidence, RawMaps

from .helpers import BY_NAME, TOLERANCE, cases_of, raw, run, six, subject_of
from .nets import NETS, ConvNet, Net, PooledLinear, make
from .oracles import Array, capture, distance


def oracle(a: Array) -> Array:
    """Bany Muhammad and Yeasin 2020: M v_1 of the positions by channels matrix M, turned towards the mean channel."""
    m = a.T
    _, _, vt = np.linalg.svd(m, full_matrices=False)
    projection: Array = m @ vt[0]
    return projection if projection @ m.mean(1) >= 0 else -projection


def computed(activations: Any) -> RawMaps:
    a = torch.as_tensor(activations)
    return EIGENCAM.compute(Evidence(a, torch.zeros_like(a)))


def random(n: int, k: int, p: int, *, rectified: bool = False, seed: int = 0) -> Tensor:
    values = np.random.default_rng(seed).normal(size=(n, k, p))
    return torch.from_numpy((np.maximum(values, 0) if rectified else values).astype(np.float32))


@pytest.mark.parametrize("net", NETS, ids=lambda n: n.name)
def test_the_singular_value_decomposition_agrees(net: Net) -> None:
    model = net.model()
    images = six(model)
    explained = explain(subject_of(net, model), cases_of(images, model.classes), device="cpu", batch_size=4)
    got = capture(model, images)
    expected = np.stack([oracle(a) for a in got.a]).reshape(6, *got.grid)
    assert distance(raw(explained, "eigencam"), expected) < TOLERANCE
    assert "degenerate" not in set(explained.maps("eigencam").status)


@pytest.mark.parametrize("shape", [(7, 50), (50, 7), (1, 30), (30, 1), (1, 1), (160, 200), (300, 150)])
@pytest.mark.parametrize("rectified", [False, True])
def test_either_gram_matrix_and_either_way_to_its_eigenvector(shape: tuple[int, int], rectified: bool) -> None:
    a = random(3, *shape, rectified=rectified)
    a[:, :, 0] += 0.5  # so that no entry of a 1 x 1 matrix is zero
    found = computed(a)
    assert found.degenerate is not None
    assert not bool(found.degenerate.any())
    expected = np.stack([oracle(one) for one in a.double().numpy()])
    assert distance(found.values.numpy(), expected) < TOLERANCE
    energy = [np.linalg.svd(one, compute_uv=False)[0] ** 2 / (one**2).sum() for one in a.double().numpy()]
    np.testing.assert_allclose(found.details["energy"].numpy(), energy, rtol=1e-5)


def test_what_does_not_converge_is_decomposed(monkeypatch: pytest.MonkeyPatch) -> None:
    a = random(3, 160, 200)
    expected = computed(a).values
    asked: list[int] = []
    dense = eigencam._dense
    monkeypatch.setattr(eigencam, "STEPS", 1)
    monkeypatch.setattr(eigencam, "_dense", lambda gram: asked.append(len(gram)) or dense(gram))
    assert distance(computed(a).values.numpy(), expected.double().numpy()) < TOLERANCE
    assert asked == [3]


def test_iterating_spares_the_decomposition(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rectified activations have one direction far above the others."""
    monkeypatch.setattr(eigencam, "_dense", lambda gram: pytest.fail("decomposed"))
    a = random(4, 160, 200, rectified=True)
    expected = np.stack([oracle(one) for one in a.double().numpy()])
    assert distance(computed(a).values.numpy(), expected) < TOLERANCE


def test_rectified_activations_have_a_map_that_is_nowhere_negative() -> None:
    assert float(computed(random(5, 9, 40, rectified=True)).values.min()) >= 0
    # A strong channel that runs against the mean: a correlation around the means would turn this map negative.
    a = torch.tensor([[[10.0, 9.0]] + [[0.0, 1.0]] * 5])
    found = computed(a).values
    assert float(found.min()) > 0
    assert float(found[0, 0]) > float(found[0, 1])
    assert float(a[0, :, 0].mean()) < float(a[0, :, 1].mean())


def test_the_sign_follows_the_mean_activation() -> None:
    a = random(4, 9, 40) + 0.3
    found = computed(a).values
    assert bool(((found * a.mean(1)).sum(1) > 0).all())
    np.testing.assert_allclose(computed(-a).values.numpy(), -found.numpy(), rtol=1e-6, atol=1e-6)


def test_where_all_activations_are_negative_the_map_is_blank() -> None:
    """Before an activation function, where nothing is active: turning the map round would show what is off."""
    found = computed(-random(3, 9, 40, rectified=True))
    assert float(found.values.max()) <= 0
    assert set(judge(found.values, found.degenerate)) == {"blank"}


def test_where_the_mean_says_nothing_the_largest_entry_is_positive() -> None:
    """Behind a normalisation over channels the mean activation is rounding noise."""
    a = random(4, 9, 40)
    a = a - a.mean(1, keepdim=True)
    for one in (a, -a):
        found = computed(one)
        assert found.degenerate is not None
        assert not bool(found.degenerate.any())
        assert bool((found.values.amax(1) > -found.values.amin(1)).all())


def test_without_any_sign_it_is_degenerate() -> None:
    wave = torch.tensor([1.0, -1.0, 2.0, -2.0])
    a = torch.stack([wave, -wave]).unsqueeze(0)
    assert bool(computed(a).degenerate.all())  # type: ignore[union-attr]


def test_two_equal_directions_are_degenerate() -> None:
    """The identity has no first singular vector; one entry a little larger has."""
    tied = torch.eye(4).unsqueeze(0)
    clear = tied.clone()
    clear[0, 2, 2] = 1.01
    found = computed(torch.cat([tied, clear]))
    assert found.degenerate is not None
    assert found.degenerate.tolist() == [True, False]
    np.testing.assert_allclose(found.values[1].numpy(), [0, 0, 1.01, 0], atol=1e-6)


def test_a_tie_in_a_large_matrix_is_degenerate() -> None:
    a = torch.zeros(1, 150, 160)
    a[0, :150, :150] = torch.eye(150)
    assert bool(computed(a).degenerate.all())  # type: ignore[union-attr]


def test_zero_activations_are_a_blank_map() -> None:
    found = computed(torch.zeros(2, 5, 6))
    assert found.degenerate is not None
    assert not bool(found.degenerate.any())
    assert torch.equal(found.values, torch.zeros(2, 6))
    model = make(PooledLinear, 2005)
    with torch.no_grad():
        model.conv.weight.zero_()
        model.conv.bias.fill_(-1.0)
        model.fc.weight.abs_()
    explained = run(model, six(model))
    assert set(explained.maps("eigencam").status) == {"blank"}


def test_values_that_are_not_finite_spoil_their_own_image_only() -> None:
    a = random(3, 5, 30)
    expected = computed(a).values[[0, 2]]
    a[1, 2, 3] = float("inf")
    found = computed(a)
    assert bool(found.values[1].isnan().all())
    assert torch.equal(found.values[[0, 2]], expected)
    assert not bool(found.degenerate[1])  # type: ignore[index]


@pytest.mark.parametrize("factor", [1e-18, 1e18])
def test_the_size_of_the_activations_changes_nothing(factor: float) -> None:
    a = random(2, 6, 20)
    assert distance((computed(a * factor).values / factor).numpy(), computed(a).values.double().numpy()) < TOLERANCE


def test_the_class_does_not_enter() -> None:
    model = make(ConvNet, 1108)
    explained = run(model, six(model))
    for target in ("top2", "label", 3):
        assert np.array_equal(raw(explained, "eigencam", target), raw(explained, "eigencam", "top1"))


@pytest.mark.parametrize("shape", [(12, 40), (160, 200)])
def test_the_batch_changes_nothing(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    a = torch.cat([random(3, *shape, rectified=True), random(2, *shape, seed=1)])
    expected = computed(a).values
    single = torch.cat([computed(one.unsqueeze(0)).values for one in a])
    assert distance(single.numpy(), expected.double().numpy()) < 1e-6
    monkeypatch.setattr(eigencam, "TOGETHER", 2 * a[0].numel())
    assert distance(computed(a).values.numpy(), expected.double().numpy()) < 1e-6


def test_batch_size_of_a_pass_changes_nothing() -> None:
    net = BY_NAME["relu"]
    model = net.model()
    one, all_ = run(model, six(model), batch_size=1), run(model, six(model), batch_size=6)
    assert distance(raw(one, "eigencam"), raw(all_, "eigencam")) < TOLERANCE


@pytest.mark.filterwarnings("ignore")
def test_a_peer_agrees_on_centred_activations() -> None:
    """The peer centres every channel and leaves the sign to chance: on centred activations nothing else differs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = pytest.importorskip("pytorch_grad_cam")
    a = random(4, 6, 35, rectified=True)
    centred = a - a.mean(2, keepdim=True)
    cam = peer.EigenCAM(torch.nn.Linear(1, 1), [])
    theirs = cam.get_cam_image(None, None, None, centred.reshape(4, 6, 5, 7).numpy(), None, False).reshape(4, 35)
    found = computed(centred).values.double().numpy()
    signs = np.sign((theirs * found).sum(1, keepdims=True))
    assert distance(found, theirs * signs) < 1e-4
    uncentred = cam.get_cam_image(None, None, None, a.reshape(4, 6, 5, 7).numpy(), None, False).reshape(4, 35)
    assert distance(computed(a).values.numpy(), np.abs(uncentred)) > 0.1
