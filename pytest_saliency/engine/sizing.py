"""How many images go through a model at once, and what happens when they do not fit."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TypeVar

import torch

T = TypeVar("T")


class BatchSize:
    """The number of images in work at a time; it halves when memory runs out, and numbers stay the same."""

    def __init__(self, wanted: int) -> None:
        self.current = wanted

    def shrink(self, error: BaseException) -> bool:
        """Halve the size if ``error`` (or its cause) says that memory ran out; tell whether it is worth trying again."""
        if self.current == 1 or not out_of_memory(error):
            return False
        self.current = max(1, self.current // 2)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return True

    def each(self, count: int, work: Callable[[slice], T]) -> list[T]:
        """Return what ``work`` makes of consecutive slices of ``range(count)``, none longer than the current size."""
        made: list[T] = []
        start = 0
        while start < count:
            part = slice(start, min(count, start + self.current))
            try:
                made.append(work(part))
            except Exception as error:
                if not self.shrink(error):
                    raise
                continue
            start = part.stop
        return made


def out_of_memory(error: BaseException | None) -> bool:
    """Tell whether ``error``, or what caused it, is torch or Python running out of memory."""
    while error is not None:
        if isinstance(error, torch.OutOfMemoryError | MemoryError):
            return True
        if isinstance(error, RuntimeError) and "not enough memory" in str(error):
            return True
        error = error.__cause__
    return False
