"""CASE ``elementwise`` and ``shared_only`` against the paper's formulas in float64, and by their identities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pytest_saliency import explain
from pytest_saliency.engine.methods.case import CASE, case_method, project
from pytest_saliency.engine.methods.evidence import Evidence, RawMaps

from .helpers import TOLERANCE, cases_of, raw, run, six, subject_of
from .nets import NETS, ConvNet, Net, OneLogit, PooledLinear, make
from .oracles import Array, capture, contrast_logits, distance, ranked

ELEMENTWISE = "case[elementwise]"
SHARED_ONLY = "case[shared_only]"
BOTH = "case[elementwise,shared_only]"


def left_over(own: Array, shared: Array, *, shared_only: bool) -> Array:
    """Eq. 5 for vectors or whole tensors, without a stabiliser."""
    along = np.vdot(own, shared)
    if np.vdot(shared, shared) == 0 or (shared_only and along < 0):
        return own
    return own - along / np.vdot(shared, shared) * shared


def oracle(a: Array, g_u: Array, g_contrast: list[Array], method: str) -> Array:
    """Algorithm 1 with gamma either whole or pooled before line 11, and pooled before the weighted sum of eq. 6."""
    shared = np.mean(g_contrast, axis=0)
    only = "shared_only" in method
    if "elementwise" in method:
        weights = left_over(g_u, shared, shared_only=only).mean(1)
    else:
        weights = left_over(g_u.mean(1), shared.mean(1), shared_only=only)
    out = np.zeros(a.shape[1])
    for weight, channel in zip(weights, a, strict=True):
        out += weight * channel
    return out


@pytest.mark.parametrize("method", [ELEMENTWISE, SHARED_ONLY, BOTH])
@pytest.mark.parametrize("net", [net for net in NETS if "one_logit" not in net.name], ids=lambda n: n.name)
def test_the_formulas(net: Net, method: str) -> None:
    model = net.model()
    images = six(model)
    got = capture(model, images)
    explained = explain(subject_of(net, model), cases_of(images, model.classes), device="cpu", batch_size=4)
    for rank, target in enumerate(("top1", "top2")):
        expected = []
        for i, u in enumerate(ranked(got.scores)[:, rank]):
            others = [got.g[v, i] for v in contrast_logits(got.scores[i], u)]
            expected.append(oracle(got.a[i], got.g[u, i], others, method))
        found = raw(explained, method, target)
        assert distance(found, np.stack(expected).reshape(6, *got.grid)) < TOLERANCE


def draws(n: int = 8, k: int = 6, p: int = 20, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    draw = np.random.default_rng(seed)
    a, g, s = (torch.from_numpy(draw.normal(size=(n, k, p)).astype(np.float32)) for _ in range(3))
    return a, g, s


def computed(method: Any, a: Tensor, g: Tensor, s: Tensor, contrast: float = 1.0) -> RawMaps:
    raw_maps: RawMaps = method.compute(Evidence(a, g, s, torch.full((len(a), 3), contrast)))
    return raw_maps


@pytest.mark.parametrize("size", [1.0, 1e-20, 1e12])
def test_what_is_left_is_orthogonal_in_the_whole_space(size: float) -> None:
    """Also for gradients whose squares are beyond float32."""
    _, g, s = draws()
    own, shared = (g * size).flatten(1), (s * 3 * size).flatten(1)
    found = project(own, shared)
    left = own.double() - found.factor[:, None] * shared.double()
    products = (left * shared.double()).sum(1) / shared.double().norm(dim=1) / own.double().norm(dim=1)
    assert float(products.abs().max()) < 1e-7
    np.testing.assert_allclose(found.kept, (left.norm(dim=1) / own.double().norm(dim=1)).square(), rtol=1e-6)
    np.testing.assert_allclose(found.kept, 1 - found.cosine.square(), rtol=1e-6)
    expected = torch.nn.functional.cosine_similarity(g.double().flatten(1), s.double().flatten(1))
    np.testing.assert_allclose(found.cosine, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("variants", [(), ("elementwise",), ("shared_only",), ("elementwise", "shared_only")])
@pytest.mark.parametrize("factor", [1e-12, 5.0, 1e9])
def test_the_length_of_the_contrast_gradient_changes_nothing(variants: tuple[str, ...], factor: float) -> None:
    a, g, s = draws()
    method = case_method(variants)
    expected = computed(method, a, g, s).values.double().numpy()
    assert distance(computed(method, a, g, s * factor).values.numpy(), expected) < TOLERANCE
    small = computed(method, a, g * 1e-12, s).values.double().numpy() * 1e12
    assert distance(small, expected) < TOLERANCE


@pytest.mark.parametrize("variants", [("elementwise",), ("shared_only",), ("elementwise", "shared_only")])
def test_an_empty_contrast_leaves_gradcam(variants: tuple[str, ...]) -> None:
    a, g, s = draws()
    found = computed(case_method(variants), a, g, torch.zeros_like(s), contrast=0.0)
    gradcam = torch.einsum("nk,nkp->np", g.double().mean(2), a.double()).numpy()
    assert distance(found.values.numpy(), gradcam) < TOLERANCE
    assert found.degenerate is not None
    assert not bool(found.degenerate.any())
    assert torch.equal(found.details["cosine"], torch.zeros(8, dtype=torch.float64))


@pytest.mark.parametrize("variants", [(), ("elementwise",)])
def test_shared_only_is_case_or_gradcam_by_the_sign_of_the_cosine(variants: tuple[str, ...]) -> None:
    a, g, s = draws()
    plain, only = case_method(variants), case_method((*variants, "shared_only"))
    found, published = computed(only, a, g, s), computed(plain, a, g, s)
    gradcam = computed(plain, a, g, torch.zeros_like(s), contrast=0.0)
    cosine = found.details["cosine"]
    negative = cosine < 0
    assert 0 < int(negative.sum()) < len(negative)
    assert torch.equal(cosine, published.details["cosine"])
    assert torch.equal(found.values[~negative], published.values[~negative])
    assert torch.equal(found.values[negative], gradcam.values[negative])
    assert bool((found.details["kept"][negative] == 1).all())
    assert bool((published.details["kept"][negative] < 1).all())


def test_elementwise_differs_where_the_gradient_varies_over_positions() -> None:
    model = make(ConvNet, 1108)
    explained = run(model, six(model))
    assert distance(raw(explained, ELEMENTWISE), raw(explained, "case")) > 1e-2
    uniform = make(PooledLinear, 2005)
    explained = run(uniform, six(uniform))
    assert distance(raw(explained, ELEMENTWISE), raw(explained, "case")) < TOLERANCE


def test_full_names() -> None:
    model = make(PooledLinear, 2005)
    explained = run(model, six(model))
    assert explained.maps(ELEMENTWISE).method == "case[logits:2,elementwise]"
    assert explained.maps(BOTH).method == "case[logits:2,elementwise,shared_only]"
    assert CASE.name == "case"
    assert [case_method(v).name for v in (("elementwise",), ("shared_only",))] == [ELEMENTWISE, SHARED_ONLY]


def test_one_logit_is_degenerate_unless_only_the_shared_part_goes() -> None:
    """The two classes' gradients are opposite: nothing is left of them, and nothing is shared by them."""
    model = make(OneLogit, 2202)
    explained = run(model, six(model))
    assert set(explained.maps(ELEMENTWISE).status) == {"degenerate"}
    for method in (SHARED_ONLY, BOTH):
        found = explained.maps(method)
        assert "degenerate" not in set(found.status)
        np.testing.assert_allclose(found.details["cosine"], -1, rtol=1e-6)
        assert distance(found.values.numpy(), raw(explained, "gradcam")) < TOLERANCE


def test_equal_gradients_are_degenerate_in_every_form() -> None:
    a, g, _ = draws()
    for variants in ((), ("elementwise",), ("shared_only",), ("elementwise", "shared_only")):
        found = computed(case_method(variants), a, g, 2 * g)
        assert found.degenerate is not None
        assert bool(found.degenerate.all())


def test_elementwise_without_any_mean_left_is_degenerate() -> None:
    """What is left is orthogonal to the contrast and averages to zero over positions: its map would be rounding."""
    a = torch.rand(1, 2, 4)
    shared = torch.ones(1, 2, 4)
    wave = torch.tensor([1.0, -1.0, 1.0, -1.0]).expand(1, 2, 4)
    found = computed(case_method(("elementwise",)), a, shared + wave, shared)
    assert found.degenerate is not None
    assert bool(found.degenerate.all())
    assert float(found.details["kept"]) == pytest.approx(0.5)


def test_gradients_that_are_not_finite_stay_visible() -> None:
    a, g, s = draws(3)
    g[1, 2, 3] = float("inf")
    for variants in ((), ("elementwise",), ("shared_only",)):
        values = computed(case_method(variants), a, g, s).values
        assert not bool(torch.isfinite(values[1]).all())
        assert bool(torch.isfinite(values[[0, 2]]).all())


@pytest.mark.parametrize("method", [ELEMENTWISE, SHARED_ONLY, BOTH])
def test_batch_size_changes_nothing(method: str) -> None:
    model = make(ConvNet, 1108)
    one, all_ = run(model, six(model), batch_size=1), run(model, six(model), batch_size=6)
    assert distance(raw(one, method), raw(all_, method)) < TOLERANCE
