from __future__ import annotations

import pytest
import torch

from pytest_saliency.measure.concentration import concentration
from pytest_saliency.measure.pairs import PAIR_MEASURES, compare
from pytest_saliency.measure.registry import MEASURES, Better


def test_every_measure_of_a_pair_is_described() -> None:
    assert set(PAIR_MEASURES) <= set(MEASURES)


def test_names_titles_and_ranges_are_whole() -> None:
    assert all(name == info.name for name, info in MEASURES.items())
    assert len({info.title for info in MEASURES.values()}) == len(MEASURES)
    assert all(info.low < info.high and info.version >= 1 for info in MEASURES.values())


@pytest.mark.parametrize("name", sorted(PAIR_MEASURES))
def test_declared_ranges_hold_and_better_is_better(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(40, 7, 7, generator=generator), torch.randn(40, 7, 7, generator=generator)
    info = MEASURES[name]
    apart = compare(a, b, [name], fraction=0.2, size=(28, 28))[name]
    same = compare(a, a, [name], fraction=0.2, size=(28, 28))[name]
    assert ((apart >= info.low) & (apart <= info.high)).all()
    if info.better is Better.HIGHER:
        assert (same >= apart).all()
    elif name == "agreement":  # of maps for two different classes: the less they share, the better
        assert info.better is Better.LOWER
        assert (same >= apart).all()
    else:
        assert (same.abs() <= apart.abs()).all()


def test_concentration_is_within_its_range() -> None:
    maps = torch.rand(20, 6, 6, generator=torch.Generator().manual_seed(1)) ** 8
    found = concentration(maps)
    assert ((found >= MEASURES["concentration"].low) & (found <= MEASURES["concentration"].high)).all()
