"""How strongly a model says a class of images that were changed: what swap test and curves have in common."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri
from torch import Tensor

from pytest_saliency.checks.common import Floats, Indices
from pytest_saliency.decide.randomness import Stream
from pytest_saliency.engine.explained import Explained
from pytest_saliency.engine.maps import Maps
from pytest_saliency.engine.scoring import FullBatches, Slots
from pytest_saliency.engine.sizing import BatchSize
from pytest_saliency.errors import SubjectError
from pytest_saliency.measure.scores import log_odds, softmax_probability

LOADED = 64
"""Images held at a time beside the batch in work; batches are full whatever it is."""


class ChangedScores:
    """The log-odds and the softmax probability of changed images, each in the slot it was given.

    ``cases`` and ``classes`` (total,): which case each slot is made of, and which class it is scored for.
    Use it inside the runner's session; read ``odds`` and ``probability`` (total,) after :meth:`finish`.
    """

    def __init__(self, explained: Explained, cases: Indices, classes: NDArray[np.int64], stage: str) -> None:
        self._explained = explained
        self._cases, self._classes = cases, torch.from_numpy(np.ascontiguousarray(classes))
        self.odds: Floats = np.full(len(cases), np.nan)
        self.probability: Floats = np.full(len(cases), np.nan)
        self.size: BatchSize = explained.size
        self._batches = FullBatches(
            explained.runner, self.size, self._take, len(cases), explained.report(stage), explained.executor
        )

    @property
    def loaded(self) -> int:
        """How many unchanged images to hold at a time: a batch of them, within reason."""
        return min(self.size.current, LOADED)

    @property
    def images(self) -> int:
        """How many images the model scored."""
        return self._batches.images

    @property
    def batches(self) -> list[int]:
        """How many images each batch held."""
        return self._batches.batches

    def put(self, slots: Slots, build: Callable[[slice], Tensor]) -> None:
        """Score what ``build`` makes of slices of the slots; see :meth:`FullBatches.put`."""
        self._batches.put(slots, build)

    def finish(self) -> None:
        """Score what is left."""
        self._batches.finish()

    def _take(self, slots: Slots, scores: Tensor) -> None:
        exact, classes = scores.float(), self._classes[torch.from_numpy(slots)].to(scores.device)
        # Numbers alone leave the device: two an image, whatever the number of classes.
        head = self._explained.binary, self._explained.multi_label
        odds = log_odds(exact, classes, *head).cpu().numpy()
        bad = np.flatnonzero(~np.isfinite(odds))
        if bad.size:
            case = self._explained.cases.ids[self._cases[slots[bad[0]]]]
            raise SubjectError(
                f"model '{self._explained.subject.name}' returns NaN or infinite logits for image '{case}' with a"
                " region removed; its faithfulness cannot be measured."
            )
        self.odds[slots] = odds
        self.probability[slots] = softmax_probability(exact, classes, *head).cpu().numpy()


def untouched_scores(explained: Explained, indices: Indices, classes: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Return log-odds and softmax probability (n,) of whole images, which the first pass has scored already."""
    logits, of = explained.logits[torch.from_numpy(indices)], torch.from_numpy(np.ascontiguousarray(classes))
    head = explained.binary, explained.multi_label
    odds, probability = log_odds(logits, of, *head), softmax_probability(logits, of, *head)
    return odds.numpy(), probability.numpy()


def noise_of(
    explained: Explained, seed: int, indices: tuple[int, ...], shape: tuple[int, ...]
) -> Callable[[int], Tensor]:
    """Return what draws the noise of an image by its row in ``indices``: standard normal, ``shape`` (C, *S).

    Drawn by the image's id, so that batch, order and worker do not matter.
    """

    def draw(row: int) -> Tensor:
        uniform = Stream(seed, "noise", explained.cases.ids[indices[row]]).uniform(int(np.prod(shape)))
        # A uniform draw of exactly 0 would be minus infinity.
        return torch.from_numpy(ndtri(np.maximum(uniform, 2.0**-54)).reshape(shape))

    return draw


def told(maps: Maps, indices: Indices) -> dict[str, Any]:
    """Return, as JSON, which maps numbers were made from: those of the cases at ``indices``, by their content."""
    chosen = maps.values[torch.from_numpy(indices)].contiguous().numpy()
    digest = hashlib.sha256(chosen.tobytes() + "\n".join(maps.status[indices]).encode())
    return {
        "method": maps.method,
        "version": maps.version,
        "target": maps.target,
        "shape": list(chosen.shape),
        "sha256": digest.hexdigest(),
    }
