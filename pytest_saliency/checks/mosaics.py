"""Which images stand side by side in the mosaics of ``planted_evidence``, and whether the model sees them there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pytest_saliency.checks.changes import ChangedScores, untouched_scores
from pytest_saliency.checks.common import Floats, Kept
from pytest_saliency.decide.decision import NotAttainable
from pytest_saliency.decide.randomness import Stream
from pytest_saliency.engine.batches import Batch, stream_chunks
from pytest_saliency.engine.beside import after_geometry, explain_beside
from pytest_saliency.engine.explained import Explained
from pytest_saliency.engine.mosaics import Mosaic, Scale, mosaic_cases, without_own
from pytest_saliency.errors import SubjectError

VERSION = 1
"""Rises whenever the same mosaics would be scored differently."""

NEAR = 64
"""How many images ahead another class is looked for, so that mosaics in work need few images in memory."""


def planned(kept: Kept, ids: Sequence[str], labels: Sequence[int], cells: int, seed: int) -> list[Mosaic]:
    """Return one mosaic for each kept image, in the order in which they are best read.

    Images are put in a seeded order, and each takes those of other classes that follow it: of as many different
    classes as there are among the next ``NEAR``, then of any other class. Its cell is drawn by its id.

    Raises
    ------
    NotAttainable
        The kept images are of one class.
    """
    present = sorted({labels[i] for i in kept.indices})
    if len(present) < 2:
        raise NotAttainable(
            f"planted_evidence puts images of different classes side by side, but all {len(kept.indices)} kept images"
            " are of one class; give images of other classes that the model gets right.",
            n=len(kept.indices),
            needed=None,
        )
    order = [int(kept.indices[i]) for i in Stream(seed, "mosaics").permutation(len(kept.indices))]
    made = []
    for place, own in enumerate(order):
        others = _others(order, place, labels, cells - 1, len(present) - 1)
        cell = int(Stream(seed, "cell", ids[own]).integers(cells, 1)[0])
        made.append(Mosaic((*others[:cell], own, *others[cell:]), cell))
    return made


def _others(order: Sequence[int], place: int, labels: Sequence[int], count: int, classes: int) -> list[int]:
    """Return ``count`` images of other classes that follow the one at ``place`` in a cyclic order."""

    def following() -> Iterator[int]:
        ring = (order[(place + step) % len(order)] for step in range(1, len(order)))
        return (other for other in ring if labels[other] != labels[order[place]])

    different: dict[int, int] = {}
    for other in islice(following(), NEAR):
        if len(different) < min(count, classes):
            different.setdefault(labels[other], other)
    found = list(different.values())
    more = (other for other in following() if other not in different.values())
    found += islice(more, count - len(found))
    # Too few images of other classes: they come again.
    return [found[i % len(found)] for i in range(count)]


def explain_mosaics(
    explained: Explained, mosaics: Sequence[Mosaic], method: str, scale: Scale | Literal["auto"]
) -> tuple[Explained, Scale]:
    """Return the explanations of the mosaics, and at which scale they are.

    ``auto`` is ``double`` where the model accepts images of that size, else ``input``.
    """
    subject = after_geometry(explained.subject)
    subject.layer = explained.layer.name  # "auto" could find another one in larger images

    def at(scale: Scale) -> Explained:
        cases = mosaic_cases(explained.cases, explained.subject.preprocess, mosaics, scale)
        return explain_beside(explained, subject, cases, method, cached=True)

    if scale != "auto":
        return at(scale), scale
    larger = at("double")
    try:
        _ = larger.layer  # one pass over two of the mosaics
    except SubjectError:
        return at("input"), "input"
    return larger, "double"


def cell_drops(over: Explained, mosaics: Sequence[Mosaic]) -> Floats:
    """Return by how much the log-odds of each mosaic's class fall when the next cell's image takes its place, (n,)."""
    classes = np.asarray(over.cases.labels, dtype=np.int64)
    everything = np.arange(len(mosaics))
    before, _ = untouched_scores(over, everything, classes)

    def make() -> dict[str, NDArray[np.float64]]:
        scores = ChangedScores(over, everything, classes, "replaced cells")
        step = scores.loaded
        chunks = [tuple(range(start, min(len(mosaics), start + step))) for start in range(0, len(mosaics), step)]
        with over.stage("replaced cells") as cost, over.runner.session():
            for batch in stream_chunks(over.cases, over.runner.subject.preprocess, chunks):
                _put(scores, over, mosaics, batch)
            scores.finish()
            cost.count("removed", scores.images)
            cost.passes += len(scores.batches)
        return {"odds": scores.odds}

    what = {"version": VERSION, "cells": [[len(one.tiles), one.own] for one in mosaics]}
    return np.asarray(before - over.remember("replaced cells", what, make)["odds"], dtype=np.float64)


def _put(scores: ChangedScores, over: Explained, mosaics: Sequence[Mosaic], batch: Batch) -> None:
    chosen = [mosaics[i] for i in batch.indices]

    def build(part: slice) -> Tensor:
        pixels = batch.pixels[part].to(over.runner.device, non_blocking=True)
        return without_own(pixels, [one.own for one in chosen[part]], len(chosen[0].tiles))

    scores.put(np.asarray(batch.indices, dtype=np.int64), build)
