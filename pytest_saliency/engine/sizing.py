"""How many images go through a model at once, and what happens when they do not fit."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Literal, TypeVar

import torch

from pytest_saliency.errors import DeviceError, MethodError, first_line

T = TypeVar("T")

AUTO = 32  # fixed on the CPU, where a larger batch gains nothing and a record should not depend on free memory
MOST = 256  # beyond it a GPU gains little, and one batch takes long enough to look stuck
SPARE = 0.8  # share of free memory that a doubled step may take

# What allocators say in a plain RuntimeError: torch on the CPU (Linux, Windows), MPS, the CUDA driver and libraries.
WORDS = (
    "can't allocate memory",
    "not enough memory",
    "MPS backend out of memory",
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)


class BatchSize:
    """The number of images in work at a time; it halves when memory runs out, and numbers stay the same.

    Parameters
    ----------
    wanted
        A number, or ``auto``: 32, which on CUDA doubles up to 256 for as long as twice the memory of the last step
        is less than 80 % of what is free. After memory has run out once, the size never grows again.
    device
        Where the images go; None is the CPU.

    Raises
    ------
    MethodError
        The size is neither ``auto`` nor a number of at least 1.
    """

    def __init__(self, wanted: int | Literal["auto"] = "auto", device: torch.device | str | None = None) -> None:
        if wanted != "auto" and (isinstance(wanted, bool) or not isinstance(wanted, int) or wanted < 1):
            raise MethodError(f"batch_size={wanted!r} must be 'auto' or a number of at least 1.")
        self.wanted: int | Literal["auto"] = wanted
        self.device = torch.device(device if device is not None else "cpu")
        self.current = AUTO if wanted == "auto" else wanted
        self.halved = 0
        self._growing = wanted == "auto" and self.device.type == "cuda"

    def __repr__(self) -> str:
        return f"BatchSize({self.wanted!r}, now {self.current})"

    def describe(self) -> dict[str, Any]:
        """Return what a record says of it: what was asked for, where it ended, how often memory ran out."""
        return {"wanted": self.wanted, "final": self.current, "out_of_memory": self.halved}

    def stay(self) -> None:
        """Let the size grow no more."""
        self._growing = False

    def shrink(self, error: BaseException) -> bool:
        """Halve the size if ``error`` (or its cause) says that memory ran out; tell whether it is worth trying again.

        The failed step's tensors hang on the error's traceback: let go of the error, then call :meth:`release`.
        """
        if self.current == 1 or not out_of_memory(error):
            return False
        self._halve(self.current)
        self.release()
        return True

    def release(self) -> None:
        """Give memory that nothing uses any more back to the device."""
        gc.collect()
        torch.cuda.empty_cache()  # nothing where CUDA was not used
        if self.device.type == "mps":
            torch.mps.empty_cache()

    def each(self, count: int, work: Callable[[slice], T]) -> list[T]:
        """Return what ``work`` makes of consecutive slices of ``range(count)``, none longer than the current size.

        A slice that runs out of memory is done again in halves; ``work`` must keep nothing of a slice it failed on.

        Raises
        ------
        DeviceError
            Not even one image fits.
        """
        made: list[T] = []
        start = 0
        while start < count:
            part = slice(start, min(count, start + self.current))
            length = part.stop - part.start
            before = self._mark()
            found = self.attempt(length, partial(work, part))
            if found is None:
                continue
            made += found
            if before is not None and length == self.current:
                self._grow(before)
            start = part.stop
        return made

    def attempt(self, length: int, work: Callable[[], T]) -> tuple[T] | None:
        """Return what ``work`` makes of ``length`` images at once, in a tuple; None if memory ran out.

        The size is then halved and what the failed step held is given back, so that it can be tried with fewer.

        Raises
        ------
        DeviceError
            ``length`` is 1, so that there is nothing to halve.
        """
        try:
            return (work(),)
        except Exception as error:
            if not out_of_memory(error):
                raise
            if length <= 1:
                raise self._nothing_fits(error) from error
            _forget_frames(error)
        # Only here, behind the except block, is the error gone and with it whatever its frames held.
        self._halve(length)
        self.release()
        return None

    def _halve(self, length: int) -> None:
        self.current = max(1, min(self.current, length) // 2)
        self.halved += 1
        self._growing = False

    def _mark(self) -> int | None:
        """Return the bytes in use before a step, with the peak counted from here; None where nothing can grow."""
        if not self._growing or self.current >= MOST:
            return None
        torch.cuda.reset_peak_memory_stats(self.device)
        return torch.cuda.memory_allocated(self.device)

    def _grow(self, before: int) -> None:
        step = torch.cuda.max_memory_allocated(self.device) - before
        free, _ = torch.cuda.mem_get_info(self.device)
        # What torch's allocator holds without using it is free to us, though not to the driver.
        cached = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        if 2 * step < SPARE * (free + cached):
            self.current = min(MOST, 2 * self.current)

    def _nothing_fits(self, error: BaseException) -> DeviceError:
        root = next(link for link in reversed(list(_chain(error))) if _says_so(link))
        where = "the memory of this machine" if self.device.type == "cpu" else f"the memory of device '{self.device}'"
        return DeviceError(
            f"one image at a time does not fit into {where} ({first_line(root)}). Give the subject a smaller 'resize'"
            " or a target layer nearer to the output, free memory, or take a device that has more."
        )


def out_of_memory(error: BaseException | None) -> bool:
    """Tell whether ``error``, or what it came from, is torch or Python running out of memory."""
    return any(_says_so(link) for link in _chain(error))


def _says_so(error: BaseException) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in WORDS)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what it came from, outermost first."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _forget_frames(error: BaseException) -> None:
    """Drop the tracebacks of a chain of errors: their frames keep the tensors of the failed step alive."""
    for link in list(_chain(error)):
        link.__traceback__ = None
