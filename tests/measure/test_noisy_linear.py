"""The fill of ROAD against a dense solve of its equations, against what is known of it, and against grad-cam's copy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from pytest_saliency.measure.fills.linear import NOISE, neighbour_weights
from pytest_saliency.measure.removal import filled, remove

SHAPES = [(7, 9), (12, 5), (1, 6), (5, 1), (2, 2), (4, 3, 5)]


def dense(image: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """What every touched position becomes: one equation each, written down pixel by pixel and solved densely."""
    positions = list(itertools.product(*map(range, image.shape)))
    touched = [p for p in positions if weights[p] > 0]
    place = {p: k for k, p in enumerate(touched)}
    matrix, right = np.zeros((len(touched), len(touched))), np.zeros(len(touched))
    for k, p in enumerate(touched):
        for q in positions:
            apart = [abs(a - b) for a, b in zip(p, q, strict=True)]
            if max(apart) != 1:
                continue
            if len(p) == 2:
                a = {1: 1 / 6, 2: 1 / 12}[sum(apart)]
            elif sum(apart) == 1:
                a = 1 / 6
            else:
                continue
            matrix[k, k] += a
            right[k] += a * (1 - weights[q]) * image[q]
            if q in place:
                matrix[k, place[q]] -= a * weights[q]
    made = image.astype(np.float64).copy()
    for p, value in zip(touched, np.linalg.solve(matrix, right), strict=True):
        made[p] = value
    return made


def images_and_weights(shape: tuple[int, ...], fractions: bool, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    weights = np.clip(generator.random(shape) * 3 - 1, 0, 1)
    if not fractions:
        weights = (weights > 0.4).astype(float)
    weights.flat[seed % weights.size] = 0.0  # something is left to start from
    return generator.random(shape), weights


@pytest.mark.parametrize("fractions", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_values_solve_the_equations(shape: tuple[int, ...], fractions: bool) -> None:
    for seed in range(4):
        image, weights = images_and_weights(shape, fractions, seed)
        found = filled(torch.from_numpy(image)[None, None], "noisy_linear", torch.from_numpy(weights)[None])
        np.testing.assert_allclose(found[0, 0].numpy(), dense(image, weights), atol=1e-12)


def test_a_ramp_comes_back() -> None:
    """The mean of a straight slope over symmetric neighbours is the slope: inside the image nothing changes."""
    rows, columns = np.mgrid[0:15, 0:18]
    ramp = torch.from_numpy(0.2 + 0.02 * rows + 0.01 * columns)
    weights = torch.zeros(15, 18)
    weights[3:9, 4:12] = 1.0
    weights[10:13, 13] = 0.3
    found = filled(ramp[None, None], "noisy_linear", weights[None])
    torch.testing.assert_close(found[0, 0], ramp, atol=1e-12, rtol=0.0)


def test_one_pixel_is_the_weighted_mean_of_its_neighbours() -> None:
    image = torch.arange(9.0, dtype=torch.float64).reshape(1, 1, 3, 3) / 9
    inside, corner = torch.zeros(1, 3, 3), torch.zeros(1, 3, 3)
    inside[0, 1, 1] = corner[0, 0, 0] = 1.0
    assert filled(image, "noisy_linear", inside)[0, 0, 1, 1] == pytest.approx(4 / 9)
    # Of the corner's neighbours three are there: 1 and 3 beside it, 4 diagonal at half their weight.
    assert filled(image, "noisy_linear", corner)[0, 0, 0, 0] == pytest.approx((1 + 3 + 4 / 2) / 2.5 / 9)


def test_where_nothing_is_left_it_is_the_mean() -> None:
    images = torch.rand(2, 3, 5, 6, generator=torch.Generator().manual_seed(1))
    found = filled(images, "noisy_linear", torch.ones(2, 5, 6))
    torch.testing.assert_close(found, filled(images, "mean"))


def test_where_nothing_is_removed_the_image_stays() -> None:
    images = torch.rand(1, 3, 5, 6)
    assert torch.equal(filled(images, "noisy_linear", torch.zeros(1, 5, 6)), images)


def test_weights_that_change_a_little_change_the_image_a_little() -> None:
    """A tie that rounding breaks, 1 against 0.999999 or 0 against 0.000001, must not show."""
    images = torch.rand(1, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    weights = (torch.rand(1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(3)) > 0.5).double()
    nearly = (weights * (1 - 2e-6) + 1e-6).clone()
    one, two = (remove(images, w, filled(images, "noisy_linear", w)) for w in (weights, nearly))
    torch.testing.assert_close(one, two, atol=2e-5, rtol=0.0)


def test_noise_is_added_to_what_is_filled_and_stays_in_range() -> None:
    images = torch.full((1, 1, 60, 60), 0.5)
    weights = torch.zeros(1, 60, 60)
    weights[:, 10:50, 10:50] = 1.0
    noise = torch.randn(1, 1, 60, 60, generator=torch.Generator().manual_seed(4))
    added = filled(images, "noisy_linear", weights, noise) - 0.5
    torch.testing.assert_close(added[0], NOISE * noise[0] * weights, atol=1e-6, rtol=0.0)
    assert float(added[weights[:, None] > 0].std()) == pytest.approx(0.01, rel=0.05)
    for level in (0.0, 1.0):
        found = filled(torch.full((1, 1, 60, 60), level), "noisy_linear", weights, noise)
        assert 0.0 <= float(found.min()) <= float(found.max()) <= 1.0


def test_neighbours_weigh_as_much_as_there_is() -> None:
    for dimensions in (1, 2, 3):
        weights = neighbour_weights(dimensions)
        assert sum(weights.values()) == pytest.approx(1.0)
        assert all(weights[tuple(-step for step in offset)] == weight for offset, weight in weights.items())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("share", [0.05, 0.4, 0.95])
def test_peer_grad_cam_without_noise(share: float) -> None:
    road = pytest.importorskip("pytorch_grad_cam.metrics.road")
    generator = torch.Generator().manual_seed(5)
    images = torch.rand(2, 3, 21, 17, generator=generator)
    weights = (torch.rand(2, 21, 17, generator=generator) < share).float()
    found = filled(images, "noisy_linear", weights)
    for image, mask, mine in zip(images, weights, found, strict=True):
        theirs = road.NoisyLinearImputer(noise=0.0)(image, 1.0 - mask)
        torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=0.0)
