from __future__ import annotations

import numpy as np
import pytest
import torch

from pytest_saliency.errors import CriterionError
from pytest_saliency.measure.curves import Ranking, area, relevance_gain, shares_of, weakest_first
from pytest_saliency.measure.regions import top_region


def strongest_by_hand(values: list[float], wanted: float) -> list[float]:
    """Hand out ``wanted`` positions level by level, the strongest first; a level that is not used up is shared."""
    made = [0.0] * len(values)
    for level in sorted({max(v, 0.0) for v in values}, reverse=True):
        members = [i for i, v in enumerate(values) if max(v, 0.0) == level]
        part = min(1.0, wanted / len(members))
        for i in members:
            made[i] = part
        wanted -= part * len(members)
        if wanted <= 1e-12:
            break
    return made


@pytest.mark.parametrize("share", [0.0, 0.05, 0.1, 0.3, 0.31, 0.5, 0.7, 0.95, 1.0])
def test_strongest_equals_handing_out_by_hand(share: float) -> None:
    generator = np.random.default_rng(1)
    maps = np.round(generator.normal(size=(20, 4, 5)) * 2)  # whole numbers: ties, zeros and negatives everywhere
    maps[0] = 3.0
    found = Ranking(torch.from_numpy(maps)).strongest(share)
    for row, values in zip(found.tolist(), maps.reshape(20, -1).tolist(), strict=True):
        np.testing.assert_allclose(row, strongest_by_hand(values, share * 20), atol=1e-6)


def test_shares_nest_and_sum_to_what_was_asked_for() -> None:
    maps = torch.randn(6, 7, 7, generator=torch.Generator().manual_seed(2))
    ranking = Ranking(maps, (20, 24))
    before = torch.zeros(6, 480)
    for share in shares_of(10).tolist():
        weights = ranking.strongest(share)
        torch.testing.assert_close(weights.double().sum(1), torch.full((6,), share * 480).double(), atol=1e-3, rtol=0.0)
        assert bool((weights >= before - 1e-6).all())
        before = weights


def test_a_whole_number_of_positive_positions_is_the_top_region() -> None:
    maps = torch.rand(5, 7, 7, generator=torch.Generator().manual_seed(3))
    for share in (0.05, 0.2):
        region = top_region(maps, share, (20, 20))
        torch.testing.assert_close(Ranking(maps, (20, 20)).strongest(share), region.weights)


def test_rounding_noise_breaks_no_tie() -> None:
    maps = torch.ones(1, 4, 4)
    maps[0, 0] = 2.0
    noisy = maps * (1 + 1e-7 * torch.randn(1, 4, 4, generator=torch.Generator().manual_seed(4)))
    for share in shares_of(16).tolist():
        torch.testing.assert_close(Ranking(noisy).strongest(share), Ranking(maps).strongest(share))


def test_blank_maps_say_so() -> None:
    maps = torch.stack([torch.zeros(3, 3), -torch.rand(3, 3), torch.full((3, 3), torch.nan), torch.rand(3, 3)])
    ranking = Ranking(maps)
    assert ranking.blank.tolist() == [True, True, True, False]
    torch.testing.assert_close(ranking.strongest(0.5)[:3], torch.full((3, 9), 0.5))


def test_areas_of_lines_and_parabolas() -> None:
    shares = shares_of(10)
    lines = np.stack([1.0 - shares, np.full(11, 0.3), 2.0 * shares - 4.0])
    np.testing.assert_allclose(area(shares, lines), [0.5, 0.3, -3.0])
    fine = shares_of(1000)
    assert area(fine, fine[None] ** 2)[0] == pytest.approx(1 / 3, abs=1e-6)
    assert np.isnan(area(shares, np.full((1, 11), np.nan))[0])


def test_the_gain_is_the_area_between_both_orders() -> None:
    shares = shares_of(4)
    deletion = np.array([[1.0, 0.2, 0.1, 0.0, 0.0]])
    insertion = np.array([[0.0, 0.7, 0.8, 0.9, 1.0]])
    np.testing.assert_array_equal(weakest_first(shares, insertion), [[1.0, 0.9, 0.8, 0.7, 0.0]])
    assert relevance_gain(shares, deletion, insertion)[0] == pytest.approx((0.9 + 0.8 + 0.7 - 0.2 - 0.1) / 4)
    assert relevance_gain(shares, deletion, deletion[:, ::-1])[0] == pytest.approx(0.0)


@pytest.mark.parametrize("steps", [1, 0, -3, 2.5, True])
def test_too_few_steps_are_refused(steps: object) -> None:
    with pytest.raises(CriterionError, match="at least 2 steps"):
        shares_of(steps)  # type: ignore[arg-type]


def test_what_does_not_fit_is_refused() -> None:
    shares = shares_of(4)
    with pytest.raises(CriterionError, match="4 points"):
        area(shares, np.zeros((2, 4)))
    with pytest.raises(CriterionError, match="rise from 0 to 1"):
        area(np.array([0.0, 0.5, 0.5, 0.7, 1.0]), np.zeros((2, 5)))
    with pytest.raises(CriterionError, match="evenly"):
        weakest_first(np.array([0.0, 0.2, 1.0]), np.zeros((2, 3)))
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(CriterionError, match="from 0 to 1"):
            Ranking(torch.rand(1, 2, 2)).strongest(share)
