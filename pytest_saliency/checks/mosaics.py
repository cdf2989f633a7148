"""Which images stand side by side in the mosaics of ``planted_evidence``, and whether the model sees them there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pytest_saliency.checks.changes import ChangedScores, untouched_scores
from pytest_saliency.checks.common import Floats, Kept
from pytest_saliency.decide.sets import Sets, tiles_of
from pytest_saliency.engine.batches import Batch, stream_chunks
from pytest_saliency.engine.beside import after_geometry, explain_beside
from pytest_saliency.engine.explained import Explained
from pytest_saliency.engine.mosaics import Mosaic, Scale, mosaic_cases, without_own
from pytest_saliency.errors import SubjectError

VERSION = 1
"""Rises whenever the same mosaics would be scored differently."""


def planned(kept: Kept, labels: Sequence[int], sets: Sets, cells: int) -> list[Mosaic]:
    """Return one mosaic for each kept image, set by set; ``sets`` hold positions among the kept images."""
    rows = [int(i) for i in kept.indices]
    of_kept = [labels[i] for i in rows]
    return [
        Mosaic(tuple(rows[i] for i in tiles), own)
        for members in sets
        for tiles, own in tiles_of(members, of_kept, cells)
    ]


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
