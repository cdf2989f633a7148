from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from pytest_saliency.errors import CriterionError, MethodError
from pytest_saliency.measure.fills.fill import Imputer, RegionFill
from pytest_saliency.measure.regions import top_region
from pytest_saliency.measure.removal import FILLS, Remover, filled, remove

SHAPES = [(2, 3, 20, 14), (2, 1, 8, 8), (1, 2, 5, 9, 12), (1, 1, 3, 3), (1, 1, 2, 1)]


def blurred_by_hand(plane: np.ndarray) -> np.ndarray:
    """Gaussian blur from the definition: mirror-pad each axis, then a weighted sum around each position."""
    out = plane.astype(np.float64)
    for axis, length in enumerate(plane.shape):
        sigma = max(1.0, length / 10)
        reach = min(math.ceil(3 * sigma), length - 1)
        kernel = [math.exp(-(d**2) / (2 * sigma**2)) for d in range(-reach, reach + 1)]
        pad = [(reach, reach) if a == axis else (0, 0) for a in range(plane.ndim)]
        padded = np.pad(out, pad, mode="reflect")
        shifted = [np.take(padded, range(shift, shift + length), axis=axis) for shift in range(len(kernel))]
        out = np.tensordot(np.array(kernel) / sum(kernel), np.stack(shifted), axes=1)
    return out


@pytest.mark.parametrize("shape", SHAPES)
def test_blur_equals_the_definition(shape: tuple[int, ...]) -> None:
    images = torch.rand(*shape, generator=torch.Generator().manual_seed(1))
    found = filled(images, "blur")
    for n in range(shape[0]):
        for c in range(shape[1]):
            expected = blurred_by_hand(images[n, c].numpy())
            np.testing.assert_allclose(found[n, c].numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_mean_is_the_channels_own(shape: tuple[int, ...]) -> None:
    images = torch.rand(*shape, generator=torch.Generator().manual_seed(2))
    found = filled(images, "mean")
    for n in range(shape[0]):
        for c in range(shape[1]):
            np.testing.assert_allclose(found[n, c].numpy(), images[n, c].double().numpy().mean(), atol=1e-6)


def test_zero_is_black() -> None:
    assert torch.equal(filled(torch.rand(2, 3, 4, 5), "zero"), torch.zeros(2, 3, 4, 5))


def some_weights(shape: tuple[int, ...], seed: int = 9) -> torch.Tensor:
    """A third of the positions untouched, a third removed, the rest removed in part."""
    drawn = torch.rand(shape[0], *shape[2:], generator=torch.Generator().manual_seed(seed))
    return ((drawn - 1 / 3) * 3).clamp(0.0, 1.0)


def fill_of(images: torch.Tensor, fill: str, weights: torch.Tensor | None = None) -> torch.Tensor:
    return filled(images, fill, some_weights(tuple(images.shape)) if weights is None else weights)


@pytest.mark.parametrize("fill", sorted(FILLS))
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_fill_keeps_shape_range_constants_and_its_input(
    fill: str, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    images = torch.rand(*shape, generator=torch.Generator().manual_seed(3)).round().to(dtype)
    before = images.clone()
    found = fill_of(images, fill)
    assert found.shape == images.shape
    assert found.dtype == images.dtype
    assert -1e-6 <= float(found.min()) <= float(found.max()) <= 1.0 + 1e-6
    constant = torch.full(shape, 0.0 if fill == "zero" else 0.25, dtype=dtype)
    torch.testing.assert_close(fill_of(constant, fill), constant)
    assert torch.equal(images, before)
    found.add_(1.0)  # what comes back is the caller's own memory
    assert torch.equal(images, before)


@pytest.mark.parametrize("fill", sorted(FILLS))
def test_a_fill_looks_at_one_image_only(fill: str) -> None:
    images = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(4))
    weights = some_weights((3, 3, 16, 16))
    torch.testing.assert_close(fill_of(images[1:2], fill, weights[1:2]), fill_of(images, fill, weights)[1:2])


def test_blur_removes_detail() -> None:
    checks = (torch.arange(64)[:, None] + torch.arange(64)[None]) % 2 * 1.0
    assert float(filled(checks[None, None], "blur").std()) < 0.01


@pytest.mark.parametrize("fill", sorted(FILLS))
def test_a_fill_flips_with_the_image(fill: str) -> None:
    images = torch.rand(1, 3, 12, 17, generator=torch.Generator().manual_seed(5))
    weights = some_weights((1, 3, 12, 17))
    flipped = fill_of(images.flip(3), fill, weights.flip(2))
    torch.testing.assert_close(flipped, fill_of(images, fill, weights).flip(3))


def test_remove_blends_by_weight_and_spares_the_rest_to_the_bit() -> None:
    images = torch.rand(1, 3, 2, 3, generator=torch.Generator().manual_seed(6))
    fill = torch.rand(1, 3, 2, 3, generator=torch.Generator().manual_seed(7))
    weights = torch.tensor([[[0.0, 1.0, 0.25], [0.0, 0.5, 1.0]]])
    found = remove(images, weights, fill)
    torch.testing.assert_close(found, images * (1 - weights[:, None]) + fill * weights[:, None])
    assert torch.equal(found[:, :, weights[0] == 0], images[:, :, weights[0] == 0])
    assert torch.equal(found[:, :, weights[0] == 1], fill[:, :, weights[0] == 1])


def test_region_weights_fit_as_they_are() -> None:
    maps = torch.zeros(1, 2, 2)
    maps[0, 0, 1] = 1.0
    region = top_region(maps, 0.1, (8, 8))
    found = remove(torch.zeros(1, 3, 8, 8), region.weights, torch.ones(1, 3, 8, 8))
    assert found.sum(dim=(0, 2, 3)).tolist() == [pytest.approx(6.0)] * 3
    assert (found[0, :, :3, 5:].sum() / found.sum()).item() == pytest.approx(1.0)


def test_an_unknown_fill_is_refused_with_the_known_ones() -> None:
    with pytest.raises(CriterionError, match=r"'black'.*blur, mean, zero, noisy_linear"):
        filled(torch.rand(1, 1, 4, 4), "black")


def test_images_that_are_no_pixels_are_refused() -> None:
    with pytest.raises(MethodError, match="floating-point"):
        filled(torch.zeros(1, 1, 4, 4, dtype=torch.uint8), "mean")


def test_weights_of_another_size_are_refused() -> None:
    images = torch.rand(1, 3, 8, 8)
    for weights in (torch.rand(1, 7, 7), torch.rand(2, 8, 4)):
        with pytest.raises(MethodError, match="do not cover"):
            remove(images, weights, images)
        with pytest.raises(MethodError, match="do not cover"):
            filled(images, "noisy_linear", weights)
    with pytest.raises(MethodError, match="does not cover"):
        remove(images, torch.rand(1, 8, 8), torch.rand(1, 3, 8, 7))


def test_a_fill_that_depends_on_the_region_asks_for_it() -> None:
    with pytest.raises(MethodError, match="pass the region's weights"):
        filled(torch.rand(1, 1, 4, 4), "noisy_linear")


@pytest.mark.parametrize("fill", sorted(FILLS))
def test_a_remover_equals_fill_and_blend_one_by_one(fill: str) -> None:
    """Any order of images and regions, regions repeated, an empty and a whole one, noise where it belongs."""
    images = torch.rand(3, 2, 9, 7, generator=torch.Generator().manual_seed(11))
    noise = torch.randn(3, 2, 9, 7, generator=torch.Generator().manual_seed(12))
    masks = torch.cat([some_weights((3, 2, 9, 7), 13), torch.zeros(1, 9, 7), torch.ones(1, 9, 7)])
    rows, regions = [0, 1, 2, 2, 0, 1, 0, 2, 1], [0, 0, 0, 1, 1, 2, 3, 4, 0]
    found = Remover(images, fill, noise.__getitem__)(rows, masks[regions])
    for k, (row, region) in enumerate(zip(rows, regions, strict=True)):
        one, weights = images[row : row + 1], masks[region : region + 1]
        expected = remove(one, weights, filled(one, fill, weights, noise[row : row + 1]))
        torch.testing.assert_close(found[k : k + 1], expected)


def test_a_remover_prepares_a_region_once_for_all_images(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = []
    known = FILLS["noisy_linear"]
    assert isinstance(known, RegionFill)

    def prepare(weights: torch.Tensor) -> Imputer:
        prepared.append(weights)
        return known.prepare(weights)

    counted = {**FILLS, "noisy_linear": dataclasses.replace(known, prepare=prepare)}
    monkeypatch.setattr("pytest_saliency.measure.removal.FILLS", counted)
    images, masks = torch.rand(4, 1, 6, 6), some_weights((2, 1, 6, 6))
    remover = Remover(images, "noisy_linear")
    remover([0, 1, 2], masks[[0, 0, 0]])
    remover([3, 0], masks[[0, 1]])  # the batch was full in between
    assert len(prepared) == 2
