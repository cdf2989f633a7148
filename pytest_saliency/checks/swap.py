"""Scores images with their own and each other's regions removed: the numbers of the swap test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pytest_saliency.checks.common import Floats, Kept
from pytest_saliency.decide.randomness import Stream
from pytest_saliency.engine.batches import stream_chunks
from pytest_saliency.engine.explained import Explained
from pytest_saliency.engine.maps import Maps
from pytest_saliency.errors import SubjectError
from pytest_saliency.measure.regions import region_size, top_region
from pytest_saliency.measure.removal import filled, remove
from pytest_saliency.measure.scores import log_odds, softmax_probability


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

    def rows(self, fill: str, blocks: Sequence[Sequence[int]], count: int) -> list[list[float] | None]:
        """Return row i of its block's D for each kept image, so that the decision can be made again."""
        made: list[list[float] | None] = [None] * count
        for block, matrix in zip(blocks, self.drops[fill], strict=True):
            for position, i in enumerate(block):
                made[i] = matrix[position].tolist()
        return made


def one_per_cluster(explained: Explained, kept: Kept, seed: int) -> tuple[Kept, dict[str, int]]:
    """Keep one image of each cluster (patient), drawn by ``seed``: images of one patient are not independent."""
    clusters = explained.cases.clusters
    if clusters is None:
        return kept, {}
    order = Stream(seed, "cluster").permutation(len(kept.indices))
    seen: set[str] = set()
    chosen: list[int] = []
    for position in order:
        cluster = clusters[kept.indices[position]]
        if cluster not in seen:
            seen.add(cluster)
            chosen.append(int(position))
    left_out = len(kept.indices) - len(chosen)
    indices = kept.indices[sorted(chosen)]
    return Kept(indices, kept.total, kept.dropped), {"another image of the same cluster": left_out} if left_out else {}


def score(
    explained: Explained,
    kept: Kept,
    blocks: Sequence[Sequence[int]],
    own: Maps,
    others: Mapping[str, Maps],
    fills: Sequence[str],
    fraction: float,
    seed: int,
) -> Scored:
    """Return every drop that the decision needs.

    An image whose own map is unusable lends its block a seeded random region of the same size.

    Raises
    ------
    SubjectError
        The model's scores of an image with a region removed are not finite.
    """
    count = len(kept.indices)
    drops: dict[str, list[Floats]] = {fill: [] for fill in fills}
    single = {fill: np.full(count, np.nan) for fill in fills}
    softmax = {fill: np.full(count, np.nan) for fill in fills}
    other = {name: {fill: np.full(count, np.nan) for fill in fills} for name in others}
    groups = _group(blocks, explained.batch_size)
    chunks = [tuple(int(kept.indices[i]) for block in group for i in block) for group in groups]
    images = 0
    runner = explained.runner
    with runner.session():
        for group, batch in zip(
            groups, stream_chunks(explained.cases, explained.subject.preprocess, chunks), strict=True
        ):
            work = _Group(explained, list(batch.indices), batch.pixels, fraction, seed)
            own_regions = work.regions(own, lend=True)
            other_regions = {name: work.regions(maps, lend=False) for name, maps in others.items()}
            for fill in fills:
                replacement = filled(batch.pixels, fill)
                pairs = work.pairs(group)
                odds, probability = work.after(replacement, [i for i, _ in pairs], own_regions[[j for _, j in pairs]])
                images += len(pairs)
                at = 0
                start = 0
                for block in group:
                    size = len(block)
                    matrix = work.odds[start : start + size, None] - odds[at : at + size * size].reshape(size, size)
                    drops[fill].append(matrix)
                    single[fill][list(block)] = np.diag(matrix)
                    left = np.diag(probability[at : at + size * size].reshape(size, size))
                    softmax[fill][list(block)] = work.probability[start : start + size] - left
                    at, start = at + size * size, start + size
                members = [i for block in group for i in block]
                for name, regions in other_regions.items():
                    odds, _ = work.after(replacement, list(range(len(members))), regions)
                    images += len(members)
                    usable = others[name].ok[list(batch.indices)]
                    other[name][fill][members] = np.where(usable, work.odds - odds, np.nan)
    unusable = ~own.ok[kept.indices]
    for fill in fills:
        softmax[fill][unusable] = np.nan
        single[fill][unusable] = np.nan
    return Scored(drops, single, other, softmax, images)


def _group(blocks: Sequence[Sequence[int]], batch_size: int) -> list[list[Sequence[int]]]:
    """Put blocks together until a group has about ``batch_size`` images."""
    groups: list[list[Sequence[int]]] = []
    filled_up = batch_size
    for block in blocks:
        if filled_up + len(block) > batch_size:
            groups.append([])
            filled_up = 0
        groups[-1].append(block)
        filled_up += len(block)
    return groups


class _Group:
    """A few blocks' images in memory, with their scores before anything is removed."""

    def __init__(self, explained: Explained, indices: list[int], pixels: Tensor, fraction: float, seed: int) -> None:
        self.explained, self.indices, self.pixels = explained, indices, pixels
        self.fraction, self.seed = fraction, seed
        self.classes = torch.from_numpy(explained.predicted[indices].copy())
        logits = explained.logits[indices]
        self.odds = log_odds(logits, self.classes, explained.binary).numpy()
        self.probability = softmax_probability(logits, self.classes, explained.binary).numpy()

    def pairs(self, group: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
        """Return (image, region) positions within the group, block by block, row by row."""
        made, start = [], 0
        for block in group:
            span = range(start, start + len(block))
            made += [(i, j) for i in span for j in span]
            start += len(block)
        return made

    def regions(self, maps: Maps, *, lend: bool) -> Tensor:
        """Return region weights (n, *S) at the pixels' size."""
        size = tuple(self.pixels.shape[2:])
        weights = top_region(maps.values[self.indices], self.fraction, size).weights.to(torch.float32)
        positions = weights.shape[1]
        for row, i in enumerate(self.indices):
            if maps.status[i] == "ok":
                continue
            weights[row] = 0.0
            if lend:
                order = Stream(self.seed, "region", self.explained.cases.ids[i]).permutation(positions)
                weights[row, torch.from_numpy(order[: region_size(self.fraction, positions)])] = 1.0
        return weights.reshape(len(self.indices), *size)

    def after(self, replacement: Tensor, images: list[int], regions: Tensor) -> tuple[Floats, Floats]:
        """Return log-odds and softmax probability of each image with its region replaced, in batches."""
        step = self.explained.batch_size
        odds, probability = [], []
        for start in range(0, len(images), step):
            rows = images[start : start + step]
            changed = remove(self.pixels[rows], regions[start : start + step], replacement[rows])
            scores = self.explained.runner.scores(changed).float().cpu()
            bad = (~torch.isfinite(scores)).any(1).nonzero().flatten().tolist()
            if bad:
                case = self.explained.cases.ids[self.indices[rows[bad[0]]]]
                raise SubjectError(
                    f"model '{self.explained.subject.name}' returns NaN or infinite logits for image '{case}' with a"
                    " region removed; its faithfulness cannot be measured."
                )
            classes = self.classes[rows]
            odds.append(log_odds(scores, classes, self.explained.binary).numpy())
            probability.append(softmax_probability(scores, classes, self.explained.binary).numpy())
        return np.concatenate(odds), np.concatenate(probability)
