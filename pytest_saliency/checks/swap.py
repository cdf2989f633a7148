"""Scores images with their own and each other's regions removed: the numbers of the swap test."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pytest_saliency.checks.changes import ChangedScores, noise_of, told, untouched_scores
from pytest_saliency.checks.common import Floats, Kept
from pytest_saliency.checks.fates import SAME_CLUSTER, drawn_of_clusters
from pytest_saliency.decide.randomness import Stream
from pytest_saliency.engine.batches import Batch, stream_chunks
from pytest_saliency.engine.explained import Explained
from pytest_saliency.engine.maps import Maps
from pytest_saliency.engine.scoring import Slots
from pytest_saliency.measure.regions import region_size, top_region
from pytest_saliency.measure.removal import FILLS, Remover

VERSION = 1
"""Rises whenever the same maps, blocks and pixels would give other numbers."""

Blocks = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Scored:
    """Drops by fill. Arrays (n,) are over the kept images, NaN for one that is in no block.

    ``drops``: one (m, m) matrix a block; ``own``: its diagonals; ``other``: the drop of each compared method's
    region; ``softmax``: drop of the softmax probability; ``images``: how many images the model scored.
    """

    drops: Mapping[str, list[Floats]]
    own: Mapping[str, Floats]
    other: Mapping[str, Mapping[str, Floats]]
    softmax: Mapping[str, Floats]
    images: int

    def rows(self, fill: str, blocks: Blocks, count: int) -> list[list[float] | None]:
        """Return row i of its block's D for each kept image, so that the decision can be made again."""
        made: list[list[float] | None] = [None] * count
        for block, matrix in zip(blocks, self.drops[fill], strict=True):
            for position, i in enumerate(block):
                made[i] = matrix[position].tolist()
        return made

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the same as named arrays; names are ``/``-separated, as in ``other/layercam/blur``."""
        made: dict[str, NDArray[Any]] = {"images": np.asarray(self.images, dtype=np.int64)}
        for fill, matrices in self.drops.items():
            made["sizes"] = np.asarray([len(matrix) for matrix in matrices], dtype=np.int64)
            made[f"drops/{fill}"] = np.concatenate([np.empty(0), *(matrix.ravel() for matrix in matrices)])
            made[f"own/{fill}"] = self.own[fill]
            made[f"softmax/{fill}"] = self.softmax[fill]
        for name, fills in self.other.items():
            made |= {f"other/{name}/{fill}": values for fill, values in fills.items()}
        return made

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Scored:
        """Return what :meth:`to_arrays` was made of. Raises ``KeyError`` or ``ValueError`` for arrays that are not."""
        drops: dict[str, list[Floats]] = {}
        single: dict[str, dict[str, Floats]] = {"own": {}, "softmax": {}}
        other: dict[str, dict[str, Floats]] = {}
        for name, values in arrays.items():
            kind, _, rest = name.partition("/")
            if kind == "drops":
                sizes = arrays["sizes"]
                parts = np.split(values, np.cumsum(sizes**2)[:-1]) if len(sizes) else []
                drops[rest] = [part.reshape(m, m) for part, m in zip(parts, sizes.tolist(), strict=True)]
            elif kind in single:
                single[kind][rest] = values
            elif kind == "other":
                method, _, fill = rest.rpartition("/")
                other.setdefault(method, {})[fill] = values
        return cls(drops, single["own"], other, single["softmax"], int(arrays["images"]))


def one_per_cluster(explained: Explained, kept: Kept, seed: int) -> tuple[Kept, dict[str, int]]:
    """Keep one image of each cluster (patient), drawn by ``seed``: images of one patient are not independent."""
    clusters = explained.cases.clusters
    if clusters is None:
        return kept, {}
    chosen = drawn_of_clusters([clusters[i] for i in kept.indices], seed)
    left_out = len(kept.indices) - len(chosen)
    indices = kept.indices[chosen]
    return Kept(indices, kept.total, kept.dropped), {SAME_CLUSTER: left_out} if left_out else {}


def planned(blocks: Blocks, fills: Collection[str], others: Collection[str]) -> int:
    """Return how many images the model will score: m an image and fill in a block of m, 1 a compared method."""
    return len(fills) * sum(len(block) * (len(block) + len(others)) for block in blocks)


def identifying(
    kept: Kept,
    blocks: Blocks,
    own: Maps,
    others: Mapping[str, Maps],
    fills: Sequence[str],
    fraction: float,
    seed: int,
) -> dict[str, Any]:
    """Return, as JSON, what the numbers of :func:`score` depend on besides model, pixels and precision."""
    return {
        "version": VERSION,
        "ids": [own.ids[i] for i in kept.indices],
        "blocks": [list(block) for block in blocks],
        "own": told(own, kept.indices),
        "others": {name: told(maps, kept.indices) for name, maps in others.items()},
        "fills": {fill: FILLS[fill].version for fill in fills},
        "fraction": fraction,
        "seed": f"{seed:016x}",
    }


def score(
    explained: Explained,
    kept: Kept,
    blocks: Blocks,
    own: Maps,
    others: Mapping[str, Maps],
    fills: Sequence[str],
    fraction: float,
    seed: int,
) -> Scored:
    """Return every drop that the decision needs; the model scores :func:`planned` images for it.

    Images are loaded and moved to the device once; regions, fills and changed images are made there. An image whose
    own map is unusable lends its block a seeded random region of the same size.

    Raises
    ------
    SubjectError
        The model's scores of an image with a region removed are not finite.
    """
    layout = _Layout(kept, blocks, tuple(fills), tuple(others))
    regions = _Regions(explained, own, others, fraction, seed)
    members = layout.images
    scores = ChangedScores(explained, kept.indices[members], explained.judged[kept.indices[members]], "score")
    groups = list(_groups(blocks, scores.loaded))
    chunks = [tuple(int(kept.indices[i]) for b in group for i in blocks[b]) for group in groups]
    with explained.stage("score") as cost, explained.runner.session():
        for group, batch in zip(
            groups, stream_chunks(explained.cases, explained.subject.preprocess, chunks), strict=True
        ):
            _put_group(scores, layout, regions, group, batch)
        scores.finish()
        cost.count("removed", scores.images)
        cost.passes += len(scores.batches)
    return layout.drops(explained, own, others, scores)


class _Layout:
    """Where each number goes: fill by fill and block by block, first D row by row, then each compared method."""

    def __init__(self, kept: Kept, blocks: Blocks, fills: tuple[str, ...], others: tuple[str, ...]) -> None:
        self.kept, self.blocks, self.fills, self.others = kept, blocks, fills, others
        self.sizes = [len(block) for block in blocks]
        per_block = np.asarray([m * (m + len(others)) for m in self.sizes], dtype=np.int64)
        self._starts = np.cumsum(per_block) - per_block
        self._per_fill = int(per_block.sum())

    @property
    def images(self) -> NDArray[np.int64]:
        """Which kept image each number belongs to, (total,)."""
        rows = [np.empty(0, dtype=np.int64)]
        for block in self.blocks:
            members = np.asarray(block, dtype=np.int64)
            rows += [np.repeat(members, len(members)), np.tile(members, len(self.others))]
        return np.tile(np.concatenate(rows), len(self.fills))

    def swapped(self, fill: str, b: int) -> NDArray[np.int64]:
        """Return the places of block ``b``'s D, (m, m)."""
        m = self.sizes[b]
        return self._start(fill, b) + np.arange(m * m).reshape(m, m)

    def compared(self, fill: str, b: int, other: str) -> NDArray[np.int64]:
        """Return the places of block ``b``'s scores without the other method's regions, (m,)."""
        m = self.sizes[b]
        return self._start(fill, b) + m * m + self.others.index(other) * m + np.arange(m)

    def _start(self, fill: str, b: int) -> int:
        return self.fills.index(fill) * self._per_fill + int(self._starts[b])

    def drops(self, explained: Explained, own: Maps, others: Mapping[str, Maps], after: ChangedScores) -> Scored:
        """Return the numbers in their places, as drops from the untouched image's."""
        indices = self.kept.indices
        odds, probability = untouched_scores(explained, indices, explained.judged[indices])

        def nothing() -> dict[str, Floats]:
            return {fill: np.full(len(indices), np.nan) for fill in self.fills}

        drops: dict[str, list[Floats]] = {fill: [] for fill in self.fills}
        single, softmax, other = nothing(), nothing(), {name: nothing() for name in others}
        for fill in self.fills:
            for b, block in enumerate(self.blocks):
                rows = list(block)
                places = self.swapped(fill, b)
                drops[fill].append(odds[rows, None] - after.odds[places])
                usable = own.ok[indices[rows]]
                single[fill][rows] = np.where(usable, np.diag(drops[fill][-1]), np.nan)
                softmax[fill][rows] = np.where(usable, probability[rows] - after.probability[np.diag(places)], np.nan)
                for name, maps in others.items():
                    left = after.odds[self.compared(fill, b, name)]
                    other[name][fill][rows] = np.where(maps.ok[indices[rows]], odds[rows] - left, np.nan)
        return Scored(drops, single, other, softmax, after.images)


@dataclass(frozen=True)
class _Regions:
    """Makes the region weights of images from their maps."""

    explained: Explained
    own: Maps
    others: Mapping[str, Maps]
    fraction: float
    seed: int

    def of(self, maps: Maps, indices: tuple[int, ...], size: tuple[int, ...], *, lend: bool) -> Tensor:
        """Return region weights (n, *S) at the pixels' size, on the device; of unusable maps a lent region or none."""
        device = self.explained.runner.device
        found = top_region(maps.values[list(indices)].to(device), self.fraction, size).weights.to(device)
        positions = found.shape[1]
        for row, i in enumerate(indices):
            if maps.status[i] == "ok":
                continue
            found[row] = 0.0
            if lend:
                order = Stream(self.seed, "region", self.explained.cases.ids[i]).permutation(positions)
                chosen = torch.from_numpy(order[: region_size(self.fraction, positions)])
                found[row, chosen.to(device)] = 1.0
        return found.reshape(len(indices), *size)


def _groups(blocks: Blocks, size: int) -> Iterator[list[int]]:
    """Put blocks (by their numbers) together until a group has about ``size`` images."""
    group: list[int] = []
    held = 0
    for b, block in enumerate(blocks):
        if group and held + len(block) > size:
            yield group
            group, held = [], 0
        group.append(b)
        held += len(block)
    if group:
        yield group


@dataclass(frozen=True)
class _Group:
    """A group of blocks on the device: regions at the pixels' size, and one remover a fill."""

    own: Tensor
    others: Mapping[str, Tensor]
    removers: Mapping[str, Remover]

    @classmethod
    def load(cls, layout: _Layout, regions: _Regions, batch: Batch) -> _Group:
        """Move pixels to the device and make regions and fills there."""
        pixels = batch.pixels.to(regions.explained.runner.device, non_blocking=True)
        size = tuple(pixels.shape[2:])
        noise = noise_of(regions.explained, regions.seed, batch.indices, tuple(pixels.shape[1:]))
        return cls(
            regions.of(regions.own, batch.indices, size, lend=True),
            {name: regions.of(maps, batch.indices, size, lend=False) for name, maps in regions.others.items()},
            {fill: Remover(pixels, fill, noise) for fill in layout.fills},
        )


def _put_group(scores: ChangedScores, layout: _Layout, regions: _Regions, numbers: list[int], batch: Batch) -> None:
    """Hand every changed image of a group of blocks to ``scores``; a group that does not fit in memory is halved."""
    least = len(numbers) == 1  # a block cannot be halved
    group = scores.size.attempt(1 if least else len(batch.indices), partial(_Group.load, layout, regions, batch))
    if group is not None:
        _put(scores, layout, group[0], numbers)
        return
    middle = len(numbers) // 2
    images = sum(layout.sizes[b] for b in numbers[:middle])
    for part, rows in ((numbers[:middle], slice(0, images)), (numbers[middle:], slice(images, None))):
        _put_group(scores, layout, regions, part, Batch(batch.indices[rows], batch.pixels[rows]))


def _put(scores: ChangedScores, layout: _Layout, group: _Group, numbers: list[int]) -> None:
    spans = np.cumsum([0, *(layout.sizes[b] for b in numbers)])
    members = np.arange(spans[-1])
    for fill, remover in group.removers.items():
        slots, images, lenders = [], [], []
        for b, start in zip(numbers, spans[:-1], strict=True):
            m = layout.sizes[b]
            # Region by region, not image by image: a fill that depends on the region is then prepared once.
            slots.append(layout.swapped(fill, b).T.ravel())
            images.append(start + np.tile(np.arange(m), m))
            lenders.append(start + np.repeat(np.arange(m), m))
        _put_pairs(scores, remover, group.own, np.concatenate(slots), np.concatenate(images), np.concatenate(lenders))
        for name, weights in group.others.items():
            places = np.concatenate([layout.compared(fill, b, name) for b in numbers])
            _put_pairs(scores, remover, weights, places, members, members)


def _put_pairs(
    scores: ChangedScores, remover: Remover, weights: Tensor, slots: Slots, images: Slots, lenders: Slots
) -> None:
    """Hand on image ``images[k]`` without region ``lenders[k]``, for all k."""

    def build(part: slice) -> Tensor:
        chosen = torch.from_numpy(lenders[part]).to(weights.device)
        return remover(images[part].tolist(), weights[chosen])

    scores.put(slots, build)
