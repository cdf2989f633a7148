"""Mass and maximum inside a region, against loops in float64 written from the definitions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pytest_saliency.errors import MethodError
from pytest_saliency.measure.inside import border_weights, box_weights, mass_inside, maximum_inside

from .oracle import enlarge

Floats = NDArray[np.float64]


def mass_of(map_: Floats, region: Floats) -> float:
    large = enlarge(map_, region.shape)
    inside = total = 0.0
    for place in itertools.product(*(range(length) for length in region.shape)):
        total += large[place]
        inside += large[place] * region[place]
    return inside / total if total > 0 else math.nan


def covered(length: int, start: float, stop: float, steps: int = 1000) -> Floats:
    """Share of each of ``length`` pixels between two shares of the axis, by counting points on a fine grid."""
    points = ((np.arange(length * steps) + 0.5) / (length * steps)).reshape(length, steps)
    return ((points > start) & (points < stop)).mean(axis=1)


@pytest.mark.parametrize(
    ("grid", "size"), [((4, 4), (9, 12)), ((3, 5), (3, 5)), ((2, 3, 2), (4, 6, 5)), ((1, 1), (6, 7))]
)
def test_mass_is_the_sum_over_the_region_by_the_sum_over_the_image(
    grid: tuple[int, ...], size: tuple[int, ...]
) -> None:
    draw = np.random.Generator(np.random.PCG64(5))
    maps = draw.normal(size=(6, *grid)) + 0.3
    regions = draw.random((6, *size)) < 0.4
    made = mass_inside(torch.from_numpy(maps), torch.from_numpy(regions).double())
    expected = [mass_of(one, region.astype(float)) for one, region in zip(maps, regions, strict=True)]
    np.testing.assert_allclose(made.numpy(), expected, rtol=1e-6)
    whole = mass_inside(torch.from_numpy(maps), torch.ones((1, *size)))
    defined = ~np.isnan(expected)
    np.testing.assert_allclose(whole.numpy()[defined], 1.0, rtol=1e-12)
    outside = mass_inside(torch.from_numpy(maps), 1.0 - torch.from_numpy(regions).double())
    np.testing.assert_allclose((made + outside).numpy()[defined], 1.0, rtol=1e-6)


def test_neither_scale_nor_negative_values_matter() -> None:
    draw = np.random.Generator(np.random.PCG64(6))
    maps = torch.from_numpy(draw.normal(size=(5, 4, 4)) + 0.5)
    region = torch.zeros(1, 8, 8)
    region[0, 2:5, 1:6] = 1.0
    made = mass_inside(maps, region)
    torch.testing.assert_close(mass_inside(maps * 1e-7, region), made, rtol=1e-6, atol=0)
    torch.testing.assert_close(mass_inside(torch.where(maps < 0, maps * 50, maps), region), made, rtol=1e-6, atol=0)


def test_maps_without_a_value_have_none() -> None:
    maps = torch.stack(
        [torch.zeros(3, 3), -torch.ones(3, 3), torch.full((3, 3), torch.nan), torch.full((3, 3), torch.inf)]
    )
    region = torch.ones(1, 6, 6)
    region[0, 0] = 0.0
    assert mass_inside(maps, region).isnan().all()
    assert maximum_inside(maps, region).isnan().all()


def test_the_maximum_is_inside_or_not() -> None:
    maps = torch.zeros(3, 4, 4)
    maps[0, 1, 2] = maps[1, 3, 0] = 2.0
    maps[2, 1, 1:3] = 1.0  # a tie of two, one of them inside
    maps[1, 1, 2] = 1.9
    region = torch.zeros(1, 4, 4)
    region[0, 1, 2] = 1.0
    assert maximum_inside(maps, region).tolist() == [1.0, 0.0, 0.0]
    region[0, 1, 1] = 1.0
    assert maximum_inside(maps, region).tolist() == [1.0, 0.0, 1.0]


def test_rounding_at_a_plateau_does_not_turn_a_hit() -> None:
    """Three of four tied positions are inside; noise of float32 rounding changes which one is the very largest."""
    draw = np.random.Generator(np.random.PCG64(1))
    plateau = torch.zeros(50, 5, 5, dtype=torch.float64)
    plateau[:, 1:3, 1:3] = 1.0 + torch.from_numpy(draw.normal(size=(50, 2, 2))) * 1e-7
    region = torch.zeros(1, 5, 5)
    region[0, 1:3, 1:3] = 1.0
    region[0, 2, 2] = 0.0
    assert maximum_inside(plateau, region).tolist() == [1.0] * 50
    assert maximum_inside(plateau, 1.0 - region).tolist() == [0.0] * 50


@pytest.mark.parametrize("share", [0.1, 0.25, 0.33, 0.49])
@pytest.mark.parametrize("size", [(10, 10), (7, 13), (3, 4, 5)])
def test_a_border_covers_the_outer_share_of_every_side(size: tuple[int, ...], share: float) -> None:
    made = border_weights(size, share)[0]
    assert float(made.mean()) == pytest.approx(1.0 - (1.0 - 2.0 * share) ** len(size), abs=1e-12)
    for axis in range(len(size)):
        torch.testing.assert_close(made.flip(axis), made)
    inner = np.ones(())
    for length in size:
        inner = inner[..., None] * covered(length, share, 1.0 - share)
    np.testing.assert_allclose(made.numpy(), 1.0 - inner, atol=2e-3 * len(size))


def test_a_box_covers_pixels_by_their_share() -> None:
    made = box_weights((4, 8), ((0.25, 0.5), (0.0, 0.3125)))[0]
    expected = torch.zeros(4, 8, dtype=torch.float64)
    expected[1, :2] = 1.0
    expected[1, 2] = 0.5
    torch.testing.assert_close(made, expected)
    assert box_weights((3, 3), ((0.0, 1.0), (0.0, 1.0))).eq(1.0).all()


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(MethodError, match="do not fit 2 maps"):
        mass_inside(torch.ones(2, 3, 3), torch.ones(3, 6, 6))
    with pytest.raises(MethodError, match="both need 2 spatial"):
        mass_inside(torch.ones(2, 3, 3), torch.ones(1, 6, 6, 6))
    with pytest.raises(MethodError, match="box of 2 axes"):
        box_weights((4, 4, 4), ((0.0, 0.5), (0.0, 0.5)))
