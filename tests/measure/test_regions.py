from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pytest_saliency.errors import CriterionError, MethodError
from pytest_saliency.measure.grid import positive, resize
from pytest_saliency.measure.regions import region_size, top_region

from . import oracle

GRIDS = [
    ((7, 7), (32, 32)),
    ((4, 6), (13, 17)),
    ((5, 5), None),
    ((3, 4, 5), (6, 7, 9)),
    ((1, 1), (8, 8)),
    ((9,), (30,)),
]


@pytest.mark.parametrize(("shape", "size"), GRIDS)
@pytest.mark.parametrize("fraction", [0.05, 0.2, 0.5, 1.0])
def test_weights_equal_the_oracle(shape: tuple[int, ...], size: tuple[int, ...] | None, fraction: float) -> None:
    generator = torch.Generator().manual_seed(len(shape) + int(100 * fraction))
    maps = torch.randn(6, *shape, generator=generator)
    maps[0] = maps[0].abs() * (maps[0] > 1.0)
    maps[1] = 1.0
    region = top_region(maps, fraction, size)
    for row, map_ in enumerate(maps.numpy()):
        expected, support = oracle.weights(oracle.enlarge(map_, size or shape), fraction)
        assert int(region.support[row]) == support
        assert bool(region.blank[row]) == (support == 0)
        np.testing.assert_allclose(region.weights[row].numpy(), expected, atol=1e-6)
    assert region.positions == np.prod(size or shape)
    assert region.weights.dtype == torch.float32


@pytest.mark.parametrize(("shape", "size"), [((7, 7), (224, 224)), ((14, 9), (50, 61)), ((4, 5, 6), (9, 16, 11))])
def test_resize_equals_torch_interpolate(shape: tuple[int, ...], size: tuple[int, ...]) -> None:
    values = torch.rand(3, *shape, dtype=torch.float64)
    mode = "bilinear" if len(size) == 2 else "trilinear"
    expected = torch.nn.functional.interpolate(values[:, None], size=size, mode=mode, align_corners=False)
    torch.testing.assert_close(resize(values, size), expected.flatten(1).float(), rtol=0, atol=2e-7)


def test_resize_to_a_smaller_grid_equals_torch_interpolate() -> None:
    values = torch.rand(2, 31, 20, dtype=torch.float64)
    expected = torch.nn.functional.interpolate(values[:, None], size=(8, 7), mode="bilinear", align_corners=False)
    torch.testing.assert_close(resize(values, (8, 7)), expected.flatten(1).float(), rtol=0, atol=2e-7)


def test_ties_share_what_is_left_of_the_region() -> None:
    maps = torch.tensor([[[3.0, 2.0], [2.0, 2.0]]])
    region = top_region(maps, 0.5)  # k = 2: one sure, one shared among three
    torch.testing.assert_close(region.weights, torch.tensor([[1.0, 1 / 3, 1 / 3, 1 / 3]]))


def test_values_an_ulp_apart_are_ties() -> None:
    one = np.float32(0.7)
    above = np.nextafter(one, np.float32(1.0))
    maps = torch.tensor(np.array([[[1.0, one], [above, one]], [[1.0, above], [one, one]]]))
    region = top_region(maps, 0.5)
    torch.testing.assert_close(region.weights, torch.tensor([[1.0, 1 / 3, 1 / 3, 1 / 3]] * 2))


def test_the_higher_of_two_ulp_neighbours_is_a_tie_as_well() -> None:
    one = np.float32(0.7)
    above = np.nextafter(one, np.float32(1.0))
    maps = torch.tensor(np.array([[[1.0, one], [above, one]], [[1.0, above], [one, above]]]))
    region = top_region(maps, 0.75)  # k = 3: the third value is the lower neighbour
    torch.testing.assert_close(region.weights, torch.tensor([[1.0, 2 / 3, 2 / 3, 2 / 3]] * 2))


def test_values_clearly_apart_are_not_ties() -> None:
    maps = torch.tensor([[[1.0, 0.7], [0.70001, 0.7]]])
    assert top_region(maps, 0.5).weights.tolist() == [[1.0, 0.0, 1.0, 0.0]]


def test_zeros_and_negatives_never_enter() -> None:
    maps = torch.tensor([[[5.0, 0.0, -1.0], [0.0, 2.0, -9.0]]])
    region = top_region(maps, 1.0)
    assert region.weights.tolist() == [[1.0, 0.0, 0.0, 0.0, 1.0, 0.0]]
    assert region.support.tolist() == [2]


def test_rounding_noise_around_zero_never_enters() -> None:
    maps = torch.tensor([[[1.0, 1e-9, -1e-9, 1e-9]]])
    for fraction in (0.5, 1.0):
        region = top_region(maps, fraction)
        assert region.support.tolist() == [1]
        assert region.weights.tolist() == [[1.0, 0.0, 0.0, 0.0]]
    faint = torch.tensor([[[1.0, 1.5e-6, 0.8e-6, 0.0]]])  # the third is within the tolerance of zero
    assert top_region(faint, 0.5).weights.tolist() == [[1.0, 1.0, 0.0, 0.0]]


@pytest.mark.parametrize("bad", [0.0, -3.0, float("nan"), float("inf"), -float("inf")])
def test_blank_and_non_finite_maps_have_no_region(bad: float) -> None:
    maps = torch.full((1, 3, 3), min(bad, 0.0) if bad == bad else 0.0)
    maps[0, 1, 1] = bad
    region = top_region(torch.cat([maps, torch.ones(1, 3, 3)]), 0.2, (9, 9))
    assert region.blank.tolist() == [True, False]
    assert region.support.tolist() == [0, 16]
    assert not region.weights[0].any()
    assert torch.isfinite(region.weights).all()


@pytest.mark.parametrize(
    ("fraction", "positions", "expected"),
    [
        (0.05, 50176, 2509),
        (0.2, 50176, 10035),
        (0.1, 49, 5),
        (0.01, 9, 1),
        (1.0, 7, 7),
        (0.29, 50, 15),
        (0.145, 100, 15),
    ],
)
def test_size_is_rounded_half_up_of_the_written_number(fraction: float, positions: int, expected: int) -> None:
    assert region_size(fraction, positions) == expected


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.01, float("nan")])
def test_a_share_outside_its_range_is_refused(fraction: float) -> None:
    with pytest.raises(CriterionError, match="share of positions"):
        top_region(torch.ones(1, 2, 2), fraction)


@pytest.mark.parametrize(("shape", "size"), [((3,), None), ((2, 3, 3), (9,)), ((2, 3, 3), (9, 0)), ((2, 0, 3), None)])
def test_shapes_that_do_not_fit_are_refused(shape: tuple[int, ...], size: tuple[int, ...] | None) -> None:
    with pytest.raises(MethodError, match=r"[Mm]aps"):
        top_region(torch.ones(*shape), 0.5, size)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_floating_type_is_read(dtype: torch.dtype) -> None:
    maps = torch.arange(1.0, 10.0).reshape(1, 3, 3)
    expected = top_region(maps, 0.3, (12, 12))
    assert torch.equal(top_region(maps.to(dtype), 0.3, (12, 12)).weights, expected.weights)


@pytest.mark.parametrize("scale", [1e-38, 1e-12, 1.0, 1e30])
def test_scale_changes_nothing(scale: float) -> None:
    maps = torch.randn(3, 7, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = top_region(maps, 0.2, (40, 40)).weights
    torch.testing.assert_close(top_region(maps * scale, 0.2, (40, 40)).weights, expected)


def test_maps_are_left_untouched_and_carry_no_graph() -> None:
    maps = torch.randn(2, 5, 5, requires_grad=True)
    before = maps.detach().clone()
    region = top_region(maps, 0.3)
    assert torch.equal(maps, before)
    assert not region.weights.requires_grad


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.float32, (2, 4, 5), elements=st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.0])),
    st.sampled_from([0.05, 0.2, 0.34, 0.6, 1.0]),
)
def test_weights_with_many_ties_equal_the_oracle(values: np.ndarray, fraction: float) -> None:
    region = top_region(torch.from_numpy(values), fraction)
    for row in range(2):
        expected, support = oracle.weights(oracle.enlarge(values[row], (4, 5)), fraction)
        np.testing.assert_allclose(region.weights[row].numpy(), expected, atol=1e-6)
        assert int(region.support[row]) == support
        assert float(region.weights[row].sum()) == pytest.approx(support, abs=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.permutations(range(5)))
def test_images_do_not_touch_each_other(seed: int, order: list[int]) -> None:
    maps = torch.randn(5, 4, 4, generator=torch.Generator().manual_seed(seed))
    maps[0] = -1.0
    maps[1, 0, 0] = torch.nan
    together = top_region(maps, 0.2, (11, 11))
    shuffled = top_region(maps[order], 0.2, (11, 11))
    torch.testing.assert_close(shuffled.weights, together.weights[order])
    for row in range(5):
        torch.testing.assert_close(top_region(maps[row : row + 1], 0.2, (11, 11)).weights[0], together.weights[row])


def test_positive_scales_each_map_by_its_own_maximum() -> None:
    found = positive(torch.tensor([[[-1.0, 4.0]], [[2.0, 1.0]], [[-1.0, -2.0]]]))
    assert found.values.tolist() == [[[0.0, 1.0]], [[1.0, 0.5]], [[0.0, 0.0]]]
    assert found.blank.tolist() == [False, False, True]
