"""The numbers of the swap test: what is removed from which image, what it costs, and that nothing else matters."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import Tensor

from fixtures.planted import MatchedFilters, Planted, planted_images
from pytest_saliency import Cases, Explained, SaliencyError, Subject, explain
from pytest_saliency.checks import swap
from pytest_saliency.checks.common import Kept
from pytest_saliency.checks.registry import KINDS
from pytest_saliency.checks.swap import Scored
from pytest_saliency.decide.randomness import Stream
from pytest_saliency.decide.swap import make_blocks
from pytest_saliency.measure.fills.linear import Interpolation
from pytest_saliency.measure.regions import top_region
from pytest_saliency.measure.removal import FILLS, Remover

FRACTION = 0.05
SEED = 17
COUNT = 27


class Watched(MatchedFilters):
    """The matched filters, with a list of the batches that came, and as much memory as ``room`` images take."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []
        self.room: float = math.inf

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > self.room:
            raise torch.OutOfMemoryError("no room")
        self.seen.append(len(x))
        return super().forward(x)


@pytest.fixture(scope="module")
def some() -> Planted:
    return planted_images(COUNT, seed=5)


def explained_of(some: Planted, batch_size: int, order: np.ndarray | None = None) -> Explained:
    chosen = np.arange(COUNT) if order is None else order
    cases = Cases.from_arrays(some.images[chosen], some.labels[chosen], ids=[f"case-{i:02d}" for i in chosen])
    one = explain(Subject(Watched(), layer="features"), cases, device="cpu", batch_size=batch_size)
    maps = one.maps("gradcam").values.clone()
    for hole in (3, 4, 11):
        maps[np.flatnonzero(chosen == hole)] = 0.0
    one.add_maps("holes", top1=maps)
    return one


def watched(explained: Explained) -> Watched:
    assert isinstance(explained.subject.model, Watched)
    return explained.subject.model


@contextmanager
def listed(model: Watched, room: float = math.inf) -> Iterator[list[int]]:
    model.seen, model.room = [], room
    yield model.seen
    model.room = math.inf


def kept_by_id(explained: Explained) -> tuple[Kept, tuple[tuple[int, ...], ...]]:
    indices = np.asarray(sorted(range(COUNT), key=lambda i: explained.cases.ids[i]), dtype=np.int64)
    return Kept(indices, COUNT, {}), make_blocks(explained.predicted[indices], SEED)


def scored(explained: Explained, fills: tuple[str, ...] = tuple(FILLS), others: tuple[str, ...] = ()) -> Scored:
    kept, blocks = kept_by_id(explained)
    compared = {name: explained.maps(name) for name in others}
    return swap.score(explained, kept, blocks, explained.maps("holes"), compared, fills, FRACTION, SEED)


def assert_same(one: Scored, two: Scored, atol: float) -> None:
    mine, theirs = one.to_arrays(), two.to_arrays()
    assert mine.keys() == theirs.keys()
    for name, values in mine.items():
        np.testing.assert_allclose(values, theirs[name], atol=atol, err_msg=name)


@pytest.mark.parametrize("batch_size", [1, 7, 32, 1000])
def test_batches_are_full_and_as_many_images_as_planned(some: Planted, batch_size: int) -> None:
    """Groups of blocks, fills and compared methods all flow into one stream of batches."""
    one = explained_of(some, batch_size)
    kept, blocks = kept_by_id(one)
    one.maps("layercam")
    total = swap.planned(blocks, FILLS, ("layercam", "gradcam"))
    assert total == sum(4 * (len(b) * len(b) + 2 * len(b)) for b in blocks)
    assert total - 4 * 2 * sum(map(len, blocks)) <= 5 * 4 * COUNT
    with listed(watched(one)) as seen:
        found = scored(one, others=("layercam", "gradcam"))
    assert found.images == sum(seen) == total
    assert set(seen[:-1]) <= {batch_size}
    assert 0 < seen[-1] <= batch_size
    assert len(kept.indices) == COUNT


def expected_drop(one: Explained, i: int, weights: np.ndarray, fill: str) -> float:
    """The drop of the log-odds by hand, in float64: fill, blend, one call of the model."""
    image = one.pixels(i).double().numpy()[0]
    if fill == "mean":
        replacement = np.full_like(image, image.mean())
    elif fill == "zero":
        replacement = np.zeros_like(image)
    else:
        replacement = image.copy()
        system = Interpolation(weights)
        drawn = Stream(SEED, "noise", one.cases.ids[i]).uniform(image.size)
        value = system.values(image.reshape(1, -1))[0] + 0.01 * norm.ppf(drawn)[system.touched]
        replacement.flat[system.touched] = value.clip(0, 1)
    changed = image * (1 - weights) + replacement * weights
    with torch.no_grad():
        both = torch.from_numpy(np.stack([image, changed])[:, None]).float()
        logits = one.subject.model.eval()(both).double()
    k = int(one.predicted[i])
    rest = [c for c in range(4) if c != k]
    odds = logits[:, k] - logits[:, rest].exp().sum(1).log()
    return float(odds[0] - odds[1])


@pytest.mark.parametrize("fill", ["mean", "zero", "noisy_linear"])
def test_drops_are_what_the_model_says(some: Planted, fill: str) -> None:
    one = explained_of(some, 8)
    kept, blocks = kept_by_id(one)
    found = scored(one, (fill,), ("layercam",))
    maps, other = one.maps("holes"), one.maps("layercam")

    def region(values: Tensor, i: int) -> np.ndarray:
        return top_region(values[i : i + 1], FRACTION, one.input_size).weights.double().reshape(32, 32).numpy()

    for b in (0, 3, len(blocks) - 1):
        members = kept.indices[list(blocks[b])]
        for row, i in enumerate(members):
            for column, j in enumerate(members):
                if maps.ok[j]:
                    drop = expected_drop(one, i, region(maps.values, j), fill)
                    assert found.drops[fill][b][row, column] == pytest.approx(drop, abs=1e-4)
            drop = expected_drop(one, i, region(other.values, i), fill)
            assert found.other["layercam"][fill][blocks[b][row]] == pytest.approx(drop, abs=1e-4)


def test_an_unusable_map_lends_a_random_region_and_has_no_drop_of_its_own(some: Planted) -> None:
    one = explained_of(some, 32)
    kept, blocks = kept_by_id(one)
    found = scored(one, ("zero",), ("holes",))
    place = {i: (b, row) for b, block in enumerate(blocks) for row, i in enumerate(block)}
    for hole in (3, 4, 11):
        b, row = place[hole]
        assert np.isnan(found.own["zero"][hole])
        assert np.isnan(found.softmax["zero"][hole])
        assert np.isnan(found.other["holes"]["zero"][hole])
        weights = np.zeros(32 * 32)
        weights[Stream(SEED, "region", one.cases.ids[hole]).permutation(32 * 32)[: round(FRACTION * 32 * 32)]] = 1.0
        victim = blocks[b][(row + 1) % len(blocks[b])]
        drop = expected_drop(one, int(kept.indices[victim]), weights.reshape(32, 32), "zero")
        assert found.drops["zero"][b][(row + 1) % len(blocks[b]), row] == pytest.approx(drop, abs=1e-4)
    usable = [i for i in place if i not in (3, 4, 11)]
    np.testing.assert_array_equal(found.own["zero"][usable], found.other["holes"]["zero"][usable])


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_batch_and_order_change_no_number(some: Planted, batch_size: int) -> None:
    straight = scored(explained_of(some, 16), others=("layercam",))
    shuffled = explained_of(some, batch_size, np.random.default_rng(2).permutation(COUNT))
    assert_same(scored(shuffled, others=("layercam",)), straight, atol=1e-4)


@pytest.mark.parametrize("room", [1, 3, 9])
def test_running_out_of_memory_halves_the_batch_and_changes_no_number(some: Planted, room: int) -> None:
    one = explained_of(some, 32)
    whole = scored(one)
    with listed(watched(one), room) as seen:
        again = scored(one)
    assert_same(again, whole, atol=1e-4)
    assert max(seen) <= room
    assert sum(seen) == again.images == whole.images
    assert len(set(seen[:-1])) == 1, "batches stay full after they were halved"


def test_memory_that_is_too_small_for_one_image_is_said(some: Planted) -> None:
    one = explained_of(some, 8)
    one.maps("holes")
    with listed(watched(one), 0), pytest.raises(SaliencyError, match="no room"):
        scored(one)


def test_a_group_that_does_not_fit_is_halved(some: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    one = explained_of(some, 32)
    whole = scored(one)
    groups: list[int] = []

    class Small(Remover):
        def __init__(self, images: Tensor, *rest: object) -> None:
            if len(images) > 8:
                raise torch.OutOfMemoryError("no room for fills")
            groups.append(len(images))
            super().__init__(images, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(swap, "Remover", Small)
    assert_same(scored(one), whole, atol=1e-4)
    assert sum(groups) == len(FILLS) * sum(map(len, kept_by_id(one)[1]))


def test_another_error_of_the_model_is_not_taken_for_memory(some: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    one = explained_of(some, 8)
    one.maps("holes")
    tries = []

    def broken(self: Watched, x: Tensor) -> Tensor:
        tries.append(len(x))
        raise RuntimeError("a bug in the model")

    monkeypatch.setattr(Watched, "forward", broken)
    with pytest.raises(SaliencyError, match="a bug in the model"):
        scored(one)
    assert len(tries) == 1


def test_scores_that_are_not_finite_name_the_image(some: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    one = explained_of(some, 8)
    kept, blocks = kept_by_id(one)
    victim = one.pixels(int(kept.indices[blocks[2][1]]))
    forward = Watched.forward

    def spoilt(self: Watched, x: Tensor) -> Tensor:
        # The corner is in no region: it tells the changed images of the victim from the others.
        mine = (x[:, 0, 0, :2] == victim[0, 0, :2]).all(1)
        return torch.where(mine[:, None], torch.nan, forward(self, x))

    monkeypatch.setattr(Watched, "forward", spoilt)
    name = one.cases.ids[kept.indices[blocks[2][1]]]
    with pytest.raises(SaliencyError, match=f"image '{name}' with a region removed"):
        scored(one, ("zero",))


def test_numbers_survive_being_stored(some: Planted) -> None:
    found = scored(explained_of(some, 16), others=("layercam", "centre"))
    again = Scored.from_arrays(found.to_arrays())
    assert all(isinstance(values, np.ndarray) for values in found.to_arrays().values())
    assert again.images == found.images
    for fill in FILLS:
        assert [m.shape for m in again.drops[fill]] == [m.shape for m in found.drops[fill]]
        assert all(map(np.array_equal, again.drops[fill], found.drops[fill]))
        np.testing.assert_array_equal(again.own[fill], found.own[fill])
        np.testing.assert_array_equal(again.softmax[fill], found.softmax[fill])
        for name in ("layercam", "centre"):
            np.testing.assert_array_equal(again.other[name][fill], found.other[name][fill])
    empty = Scored({"blur": []}, {"blur": np.full(3, np.nan)}, {}, {"blur": np.full(3, np.nan)}, 0)
    assert Scored.from_arrays(empty.to_arrays()).drops == {"blur": []}


def test_what_identifies_the_numbers_changes_with_each_part(some: Planted) -> None:
    one = explained_of(some, 16)
    kept, blocks = kept_by_id(one)
    maps = one.maps("holes")
    moved = replace(maps, values=maps.values + 1e-3)

    def told(**changed: object) -> str:
        given = {
            "kept": kept,
            "blocks": blocks,
            "own": maps,
            "others": {"layercam": one.maps("layercam")},
            "fills": ("blur", "zero"),
            "fraction": FRACTION,
            "seed": SEED,
            **changed,
        }
        return json.dumps(swap.identifying(**given), sort_keys=True)  # type: ignore[arg-type]

    variants = [
        told(),
        told(kept=Kept(kept.indices[::-1].copy(), COUNT, {})),
        told(blocks=blocks[1:]),
        told(own=moved),
        told(own=replace(maps, version=2)),
        told(others={}),
        told(others={"layercam": moved}),
        told(fills=("blur",)),
        told(fraction=0.06),
        told(seed=18),
    ]
    assert len(set(variants)) == len(variants)
    assert told() == told()


def test_progress_counts_to_what_was_planned(some: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    one = explained_of(some, 16)
    one.maps("holes")
    seen: list[tuple[str, int, int]] = []
    monkeypatch.setattr(
        one, "report", lambda stage: lambda done, total: seen.append((stage, done, total)), raising=False
    )
    found = scored(one, ("zero",))
    assert [done for _, done, _ in seen] == sorted({done for _, done, _ in seen})
    assert seen[-1] == ("score", found.images, found.images)
    assert {total for _, _, total in seen} == {found.images}


@pytest.mark.parametrize("fill", ["zero", "noisy_linear"])
def test_faithful_takes_every_fill(sound: Explained, fill: str) -> None:
    kind = KINDS["faithful"]
    options = {"method": "gradcam", "top_k": 0.04, "min_advantage": 0.05, "fill": fill}
    result = kind.run({"model": sound}, kind.parameters.from_keywords(kind.assertion, options))
    assert result.verdict.value == "PASS"
    assert result.execution["planned_images"] == result.execution["scored_images"]
    assert f"advantage[{fill}]" in result.measures
