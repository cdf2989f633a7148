"""Scores a stream of changed images in batches that are always full."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pytest_saliency.engine.runner import Runner
from pytest_saliency.engine.sizing import BatchSize

if TYPE_CHECKING:
    from pytest_saliency.engine.executors.executor import Executor

Slots = NDArray[np.int64]


class FullBatches:
    """Collects changed images until a batch is full, scores it, and hands on numbers.

    Images come a few at a time, from one group of originals and then the next; what does not fill a batch waits for
    those that follow, so that only the very last batch is shorter. Where memory runs out the batches are halved
    (``size``), nothing is lost, and no image is counted twice. Use it inside the runner's session.

    ``take(slots, scores)`` gets the scores (n, C) on the device of the images put in as ``slots`` (n,); on the CPU
    where an ``executor`` scores them elsewhere, by the latest when :meth:`finish` returns.
    """

    def __init__(
        self,
        runner: Runner,
        size: BatchSize,
        take: Callable[[Slots, Tensor], None],
        total: int,
        progress: Callable[[int, int], None] | None = None,
        executor: Executor | None = None,
    ) -> None:
        self._runner, self._size, self._take = runner, size, take
        self._elsewhere = None if executor is None else executor.scoring(runner, size, total)
        self._total, self._progress = total, progress
        self._waiting: list[tuple[Slots, Tensor]] = []
        self.images = 0
        self.batches: list[int] = []

    def put(self, slots: Slots, build: Callable[[slice], Tensor]) -> None:
        """Score the images that ``build`` makes of slices of ``range(len(slots))``, (k, C, *S) on the device."""
        start = 0
        while start < len(slots):
            part = slice(start, min(len(slots), start + self._size.current - self._held))
            built = self._size.attempt(part.stop - part.start, partial(build, part))
            if built is not None:
                self._waiting.append((slots[part], built[0]))
                start = part.stop
            self._score()

    def finish(self) -> None:
        """Score what is left, in a batch that may be shorter."""
        self._score(everything=True)
        if self._elsewhere is not None:
            self._elsewhere.finish()

    @property
    def _held(self) -> int:
        return sum(len(slots) for slots, _ in self._waiting)

    def _score(self, everything: bool = False) -> None:
        while self._held and (everything or self._held >= self._size.current):
            slots, pixels = self._together()
            batch = min(len(slots), self._size.current)
            if self._elsewhere is not None:
                self._elsewhere.put(pixels[:batch], partial(self._taken, slots[:batch]))
            else:
                scored = self._size.attempt(batch, partial(self._runner.scores, pixels[:batch]))
                if scored is None:
                    continue
                self._taken(slots[:batch], scored[0])
            self._waiting = [(slots[batch:], pixels[batch:])] if batch < len(slots) else []

    def _taken(self, slots: Slots, scores: Tensor) -> None:
        self._take(slots, scores)
        self.images += len(slots)
        self.batches.append(len(slots))
        if self._progress is not None:
            self._progress(self.images, self._total)

    def _together(self) -> tuple[Slots, Tensor]:
        """Return all that waits as one; it stays in place, because scoring it may run out of memory."""
        if len(self._waiting) > 1:
            slots = np.concatenate([slots for slots, _ in self._waiting])
            self._waiting = [(slots, torch.cat([pixels for _, pixels in self._waiting]))]
        return self._waiting[0]
