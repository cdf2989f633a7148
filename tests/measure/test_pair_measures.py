from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pytest_saliency.errors import CriterionError, MethodError
from pytest_saliency.measure.agreement import agreement
from pytest_saliency.measure.concentration import concentration
from pytest_saliency.measure.correlation import pattern_correlation
from pytest_saliency.measure.displacement import centre_of_mass, displacement
from pytest_saliency.measure.iou import iou
from pytest_saliency.measure.pairs import PAIR_MEASURES, compare
from pytest_saliency.measure.regions import top_region

from . import oracle

SIZE = (24, 24)
CASES = [((7, 7), (24, 24)), ((5, 8), (20, 15)), ((6, 6), None), ((3, 4, 4), (7, 8, 9))]
SYMMETRIC = ("agreement", "iou", "displacement", "correlation")


def random_maps(shape: tuple[int, ...], seed: int, n: int = 5) -> Tensor:
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed))


def blob(row: int, column: int, side: int = 3, grid: int = 24) -> Tensor:
    map_ = torch.zeros(1, grid, grid)
    map_[0, row : row + side, column : column + side] = torch.arange(1.0, side * side + 1).reshape(side, side)
    return map_


def every(a: Tensor, b: Tensor, size: tuple[int, ...] | None = SIZE, fraction: float = 0.2) -> dict[str, Tensor]:
    return compare(a, b, tuple(PAIR_MEASURES), fraction=fraction, size=size)


@pytest.mark.parametrize(("shape", "size"), CASES)
@pytest.mark.parametrize("fraction", [0.05, 0.2])
def test_every_measure_equals_its_oracle(shape: tuple[int, ...], size: tuple[int, ...] | None, fraction: float) -> None:
    a, b = random_maps(shape, 1), random_maps(shape, 2)
    b[0] = a[0] + 0.3 * b[0]
    a[1] = torch.where(a[1] > 1.2, a[1], -1.0)
    a[1].view(-1)[0] = 2.0
    found = every(a, b, size, fraction)
    for row in range(len(a)):
        x, y = a[row].double().numpy(), b[row].double().numpy()
        wide_x, wide_y = oracle.enlarge(x, size or shape), oracle.enlarge(y, size or shape)
        (w_x, k_x), (w_y, k_y) = oracle.weights(wide_x, fraction), oracle.weights(wide_y, fraction)
        expected = {
            "agreement": oracle.agreement(w_x, w_y, k_x, k_y),
            "iou": oracle.iou(w_x, w_y),
            "displacement": oracle.displacement(wide_x, wide_y),
            "correlation": np.corrcoef(np.maximum(x, 0).ravel(), np.maximum(y, 0).ravel())[0, 1],
            "concentration_change": oracle.concentration(wide_y, 0.1) - oracle.concentration(wide_x, 0.1),
        }
        for name, value in expected.items():
            assert float(found[name][row]) == pytest.approx(value, abs=2e-6), name
            assert found[name].dtype == torch.float64


def test_raw_correlation_equals_numpy() -> None:
    a, b = random_maps((6, 5), 3), random_maps((6, 5), 4)
    found = pattern_correlation(a, b, rectify=False)
    expected = [np.corrcoef(x.ravel(), y.ravel())[0, 1] for x, y in zip(a.numpy(), b.numpy(), strict=True)]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)


def test_a_map_is_wholly_like_itself() -> None:
    maps = random_maps((7, 7), 5, n=20)
    found = every(maps, maps.clone())
    for name, value in {"agreement": 1.0, "iou": 1.0, "displacement": 0.0, "concentration_change": 0.0}.items():
        assert (found[name] == value).all(), name
    torch.testing.assert_close(found["correlation"], torch.ones(20, dtype=torch.float64))


def test_disjoint_blobs_share_nothing_whatever_the_region_size() -> None:
    a, b = blob(0, 0), blob(15, 15)
    for fraction in (0.01, 0.2, 1.0):
        found = every(a, b, fraction=fraction)
        assert found["agreement"].item() == 0.0
        assert found["iou"].item() == 0.0


def test_a_blob_within_a_larger_one_is_not_full_agreement() -> None:
    small, large = torch.zeros(1, 10, 10), torch.zeros(1, 10, 10)
    small[0, 0, :5] = 1.0
    large[0, :2, :] = 1.0
    a, b = top_region(small, 0.2), top_region(large, 0.2)
    assert agreement(a, b).item() == pytest.approx(5 / 20)
    assert iou(a, b).item() == pytest.approx(5 / 20)


@pytest.mark.parametrize("size", [None, SIZE])
def test_two_blank_maps_are_undefined_and_not_equal(size: tuple[int, ...] | None) -> None:
    blank = torch.stack([torch.zeros(6, 6), -torch.rand(6, 6) - 0.1, torch.full((6, 6), torch.nan)])
    blank[2, 1, 1] = 1.0
    for a, b in ((blank, blank), (blank, random_maps((6, 6), 6, 3)), (random_maps((6, 6), 6, 3), blank)):
        for name, values in every(a, b, size).items():
            assert values.isnan().all(), name
    assert concentration(blank).isnan().all()


def test_one_undefined_image_leaves_the_others_alone() -> None:
    a, b = random_maps((5, 5), 7), random_maps((5, 5), 8)
    whole = every(a, b)
    a[2, 0, 0] = torch.inf
    broken = every(a, b)
    for name, values in broken.items():
        assert values.isnan().tolist() == [False, False, True, False, False], name
        rest = [0, 1, 3, 4]
        torch.testing.assert_close(values[rest], whole[name][rest])


@pytest.mark.parametrize("constant", [0.1, 1 / 3, 1e-20, 7e8])
def test_correlation_with_a_flat_map_is_undefined(constant: float) -> None:
    flat = torch.full((1, 7, 7), constant)
    flat[0, 3, 3] = float(np.nextafter(np.float32(constant), np.float32(np.inf)))
    assert pattern_correlation(flat, random_maps((7, 7), 9, 1)).isnan().all()
    assert pattern_correlation(-flat, random_maps((7, 7), 9, 1), rectify=False).isnan().all()


def test_correlation_knows_a_positive_and_a_negative_multiple() -> None:
    maps = random_maps((7, 7), 10)
    ones = torch.ones(5, dtype=torch.float64)
    torch.testing.assert_close(pattern_correlation(maps, 3e-9 * maps), ones)
    torch.testing.assert_close(pattern_correlation(maps, 5.0 - 2.0 * maps, rectify=False), -ones)


@pytest.mark.parametrize(("down", "right"), [(0, 5), (4, 0), (3, 4), (12, 9)])
def test_displacement_of_a_moved_blob_is_the_distance_moved(down: int, right: int) -> None:
    moved = displacement(blob(2, 3), blob(2 + down, 3 + right), SIZE)
    assert moved.item() == pytest.approx(math.hypot(down, right) / math.hypot(24, 24), abs=1e-12)


def test_displacement_in_a_volume() -> None:
    a, b = torch.zeros(1, 4, 6, 8), torch.zeros(1, 4, 6, 8)
    a[0, 0, 1, 1] = 2.0
    b[0, 2, 4, 7] = 0.1
    expected = math.sqrt(2**2 + 3**2 + 6**2) / math.sqrt(4**2 + 6**2 + 8**2)
    assert displacement(a, b).item() == pytest.approx(expected)


def test_centre_of_a_symmetric_map_is_the_middle_of_the_image() -> None:
    maps = torch.zeros(1, 7, 7)
    maps[0, 3, 3] = 1.0
    assert centre_of_mass(maps, (224, 100)).tolist() == [[pytest.approx(111.5), pytest.approx(49.5)]]


def test_displacement_between_layers_of_different_resolution() -> None:
    coarse, fine = torch.zeros(1, 4, 4), torch.zeros(1, 8, 8)
    coarse[0, 1, 1] = 1.0
    fine[0, 2:4, 2:4] = 1.0
    assert displacement(coarse, fine, (64, 64)).item() == pytest.approx(0.0, abs=1e-12)


def test_concentration_of_known_maps() -> None:
    flat = torch.ones(1, 10, 10)
    spike = torch.zeros(1, 10, 10)
    spike[0, 4, 4] = 9.0
    half = torch.ones(1, 10, 10)
    half[0, 0] = 9.0  # ten positions of 9 and ninety of 1
    assert concentration(flat).item() == pytest.approx(0.1)
    assert concentration(spike).item() == 1.0
    assert concentration(half).item() == pytest.approx(0.5)


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("size", [(24, 24), (23, 30)])
def test_flipping_both_maps_changes_nothing(axis: int, size: tuple[int, int]) -> None:
    a, b = random_maps((7, 7), 11), random_maps((7, 7), 12)
    a[0] = a[0] + a[0].flip(0) + a[0].flip(1) + a[0].flip(0, 1)
    plain, flipped = every(a, b, size), every(a.flip(axis), b.flip(axis), size)
    for name in plain:
        torch.testing.assert_close(plain[name], flipped[name], rtol=0, atol=1e-6)


def test_a_symmetric_map_agrees_with_its_mirror_image() -> None:
    a = random_maps((7, 7), 13).abs()
    symmetric = a + a.flip(2)
    found = every(symmetric, symmetric.flip(2) * 0.1, (224, 224), 0.05)
    torch.testing.assert_close(found["agreement"], torch.ones(5, dtype=torch.float64), rtol=0, atol=1e-6)
    torch.testing.assert_close(found["iou"], torch.ones(5, dtype=torch.float64), rtol=0, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**31),
    st.sampled_from([0.01, 0.05, 0.2, 0.7, 1.0]),
    st.floats(-2.0, 2.0),
    st.sampled_from([1e-25, 1e-3, 1.0, 1e20]),
    st.permutations(range(5)),
)
def test_range_symmetry_scale_and_order(
    seed: int, fraction: float, shift: float, scale: float, order: list[int]
) -> None:
    a, b = random_maps((4, 5), seed) + shift, random_maps((4, 5), seed + 1)
    size = (9, 12)
    found = every(a, b, size, fraction)
    for name, low in {
        "agreement": 0,
        "iou": 0,
        "displacement": 0,
        "correlation": -1,
        "concentration_change": -1,
    }.items():
        values = found[name][~found[name].isnan()]
        assert ((values >= low) & (values <= 1)).all(), name
    back, scaled = every(b, a, size, fraction), every(a * scale, b / scale, size, fraction)
    shuffled = every(a[order], b[order], size, fraction)
    for name in SYMMETRIC:
        torch.testing.assert_close(back[name], found[name], rtol=0, atol=1e-9, equal_nan=True)
    torch.testing.assert_close(
        back["concentration_change"], -found["concentration_change"], rtol=0, atol=1e-9, equal_nan=True
    )
    for name in found:
        torch.testing.assert_close(scaled[name], found[name], rtol=0, atol=1e-5, equal_nan=True)
        torch.testing.assert_close(shuffled[name], found[name][order], rtol=0, atol=1e-9, equal_nan=True)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([0.05, 0.2, 0.5]))
def test_iou_follows_from_agreement_where_supports_are_equal(seed: int, fraction: float) -> None:
    a, b = random_maps((5, 5), seed).abs(), random_maps((5, 5), seed + 1).abs()
    x, y = top_region(a, fraction, (16, 16)), top_region(b, fraction, (16, 16))
    assert torch.equal(x.support, y.support)
    share = agreement(x, y)
    torch.testing.assert_close(iou(x, y), share / (2.0 - share), rtol=0, atol=1e-6)


@pytest.mark.parametrize("batch", [1, 2, 5, 64])
def test_batches_change_nothing(batch: int) -> None:
    a, b = random_maps((7, 7), 14, 7), random_maps((7, 7), 15, 7)
    expected = every(a, b)
    found = compare(a, b, tuple(PAIR_MEASURES), fraction=0.2, size=SIZE, batch=batch)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=0, atol=1e-9)


def test_no_images_give_no_numbers() -> None:
    found = every(torch.empty(0, 7, 7), torch.empty(0, 7, 7))
    assert {name: tuple(values.shape) for name, values in found.items()} == dict.fromkeys(PAIR_MEASURES, (0,))


@pytest.mark.parametrize(
    "call",
    [
        lambda: agreement(top_region(torch.ones(1, 3, 3), 0.2), top_region(torch.ones(1, 4, 4), 0.2)),
        lambda: iou(top_region(torch.ones(2, 3, 3), 0.2), top_region(torch.ones(1, 3, 3), 0.2)),
        lambda: pattern_correlation(torch.ones(1, 3, 3), torch.ones(1, 4, 4)),
        lambda: displacement(torch.ones(1, 3, 3), torch.ones(1, 4, 4)),
        lambda: displacement(torch.ones(1, 3, 3), torch.ones(2, 3, 3), (8, 8)),
        lambda: every(torch.ones(2, 3, 3), torch.ones(1, 3, 3)),
    ],
)
def test_maps_that_do_not_belong_together_are_refused(call: Callable[[], object]) -> None:
    with pytest.raises(MethodError, match=r"cannot|no common grid"):
        call()


def test_an_unknown_measure_is_refused_with_the_known_ones() -> None:
    with pytest.raises(CriterionError, match=r"'ssim'.*agreement, iou"):
        compare(torch.ones(1, 2, 2), torch.ones(1, 2, 2), ["ssim"], fraction=0.2, size=None)
