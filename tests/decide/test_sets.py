"""Sets of images that share mosaics or floors: what they hold, and that bounds over them err no more than alpha."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from pytest_saliency.decide import means, rates
from pytest_saliency.decide.decision import NotAttainable
from pytest_saliency.decide.sets import compared_of, floor_sets, mosaic_sets, numbered, partners_of, tiles_of
from pytest_saliency.decide.values import Units

ALPHA, DRAWS = 0.05, 600


@pytest.mark.parametrize("counts", [(15, 15, 15, 15), (30, 30), (57, 1, 1, 1), (20, 19, 1), (9, 8, 7, 6, 5, 4, 3)])
@pytest.mark.parametrize("cells", [4, 9])
def test_each_image_is_in_one_set_and_shares_mosaics_within_it(counts: tuple[int, ...], cells: int) -> None:
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    sets = mosaic_sets(labels, None, cells, 3)
    assert sorted(i for one in sets for i in one) == list(range(len(labels)))
    assert len(sets) == min(len(labels) // min(cells, len(counts)), len(labels) - max(counts))
    targets = []
    for one in sets:
        for tiles, own in tiles_of(one, labels, cells):
            assert len(tiles) == cells
            assert set(tiles) <= set(one)
            assert all(labels[i] != labels[tiles[own]] for at, i in enumerate(tiles) if at != own)
            targets.append(tiles[own])
    assert sorted(targets) == list(range(len(labels)))


def test_what_knows_nothing_of_the_class_has_chance_in_every_set_of_four_classes() -> None:
    """Whatever the images' strengths: each is divided by the same sum, and together they are all of it."""
    labels = [0, 1, 2, 3] * 10
    strength = np.exp(np.random.default_rng(0).normal(0.0, 2.0, 40))
    for one in mosaic_sets(labels, None, 4, 1):
        shares = [strength[tiles[own]] / strength[list(tiles)].sum() for tiles, own in tiles_of(one, labels, 4)]
        assert np.mean(shares) == pytest.approx(0.25)


def test_cells_are_drawn_and_not_the_classes() -> None:
    labels = [0, 1, 2, 3] * 100
    found = Counter()
    for one in mosaic_sets(labels, None, 4, 1):
        found.update((labels[tiles[own]], own) for tiles, own in tiles_of(one, labels, 4))
    assert len(found) == 16
    assert max(found.values()) < 50


def test_images_of_one_patient_are_in_one_set() -> None:
    labels = [i // 2 % 3 for i in range(60)]
    patients = [f"p{i // 2}" for i in range(60)]
    both = [i % 2 for i in range(20)]
    for sets in (mosaic_sets(labels, patients, 4, 0), floor_sets(60, patients, 50, 0)):
        name = numbered(sets, 60)
        assert all(name[i] == name[i + 1] for i in range(0, 60, 2))
        assert sorted(i for one in sets for i in one) == list(range(60))
    partners = partners_of(floor_sets(60, patients, 50, 0), patients)
    assert all(others and all(patients[i] != patients[j] for j in others) for i, others in partners.items())
    # A patient with images of both classes needs nobody else.
    assert len(mosaic_sets(both, [f"p{i // 2}" for i in range(20)], 4, 0)) == 10
    mixed = mosaic_sets([0] * 6 + [0, 1], [*"abcdef", "g", "g"], 4, 0)
    assert [sorted(one) for one in mixed] == [list(range(8))]


def test_compared_images_come_from_as_many_sets_as_can_be() -> None:
    many = floor_sets(200, None, 50, 0)
    chosen = compared_of(many, 50)
    assert len(chosen) == len({numbered(many, 200)[i] for i in chosen}) == 50
    assert all(len(others) == 3 for others in partners_of(many, None).values())
    few = floor_sets(50, None, 50, 0)
    assert len(few) == 25
    assert compared_of(few, 50) == list(range(50))
    assert len(floor_sets(80, None, 50, 0)) == 40
    with pytest.raises(NotAttainable, match="1 image:"):
        floor_sets(1, None, 50, 0)
    with pytest.raises(NotAttainable, match="1 cluster:"):
        floor_sets(2, ["a", "a"], 50, 0)
    with pytest.raises(NotAttainable, match="one class"):
        mosaic_sets([1, 1], None, 4, 0)


def _holds(wrong: int, n: int) -> bool:
    return rates.lower_bound(wrong, n, 1e-4) <= ALPHA + 0.01


@pytest.mark.parametrize(("n", "classes"), [(60, 4), (60, 2), (200, 4)])
def test_an_image_that_spoils_its_mosaics_makes_no_wrong_verdicts(n: int, classes: int) -> None:
    """The limit is the true mean. With every mosaic a unit by itself about 0.2 of the verdicts were wrong."""
    rng = np.random.default_rng(1)
    labels = [i % classes for i in range(n)]
    sets = mosaic_sets(labels, None, 4, 5)
    tiles = np.zeros((n, 4), dtype=int)
    for one in sets:
        for mosaic, own in tiles_of(one, labels, 4):
            tiles[mosaic[own]] = mosaic
    units = Units(n, numbered(sets, n))
    passed = failed = 0
    for _ in range(DRAWS):
        spoilt = (rng.random(n) < 0.5).astype(float)
        values = units.average(1.0 - spoilt[tiles].mean(axis=1))
        passed += means.p_above(values, 0.0, 1.0, 0.5, ALPHA) < ALPHA
        failed += means.p_below(values, 0.0, 1.0, 0.5, ALPHA) < ALPHA
    assert _holds(passed, DRAWS)
    assert _holds(failed, DRAWS)


@pytest.mark.parametrize(("n", "most"), [(50, 50), (200, 50), (200, 200)])
def test_maps_of_two_kinds_make_no_wrong_verdicts(n: int, most: int) -> None:
    """Maps of one kind overlap by 0.6 and others by nothing; the limit is the true mean excess."""
    rng = np.random.default_rng(2)
    sets = floor_sets(n, None, most, 7)
    chosen, partners, number = compared_of(sets, most), partners_of(sets, None), numbered(sets, n)
    units = Units(len(chosen), [number[i] for i in chosen])
    limit = 0.6 - 0.6 * (0.75**2 + 0.25**2)
    passed = failed = 0
    for _ in range(DRAWS):
        kind = rng.random(n) < 0.75
        excess = np.asarray([0.6 - 0.6 * np.mean(kind[partners[i]] == kind[i]) for i in chosen])
        values = units.average(excess)
        passed += means.p_below(values, -1.0, 1.0, limit, ALPHA) < ALPHA
        failed += means.p_above(values, -1.0, 1.0, limit, ALPHA) < ALPHA
    assert _holds(passed, DRAWS)
    assert _holds(failed, DRAWS)
