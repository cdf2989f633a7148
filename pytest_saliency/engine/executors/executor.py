"""What an executor is: it does a pass over the cases, and scores batches of changed images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from torch import Tensor

from pytest_saliency.engine.runner import Runner
from pytest_saliency.engine.sizing import BatchSize
from pytest_saliency.engine.sweep import Counted, Ground

T = TypeVar("T")


class Work(Protocol[T]):
    """A pass in a form that can be sent to another process."""

    def whole(self, ground: Ground, counted: Counted) -> T:
        """Do all of it here, inside the runner's session."""

    def part(self, ground: Ground, counted: Counted) -> T:
        """Do the cases of ``ground.order``, a run of whole batches, in whichever process this is called."""

    def joined(self, parts: Sequence[T], ground: Ground) -> T:
        """Return what :meth:`whole` would have returned, from the parts in order."""


class Scoring(Protocol):
    """A stream of batches of pixels that are scored somewhere."""

    def put(self, pixels: Tensor, take: Callable[[Tensor], None]) -> None:
        """Score ``pixels`` (n, C, *S); ``take`` gets the scores (n, C), in the order of the calls, maybe later."""

    def finish(self) -> None:
        """Return when every ``take`` was called."""


class Executor(Protocol):
    """Spreads the work of passes; see ``local`` and ``on_ray``."""

    @property
    def name(self) -> str:
        """What it is called in ``registry``."""

    def over(self, work: Work[T], ground: Ground, counted: Counted) -> T:
        """Return what ``work`` makes of the whole of ``ground``; called inside the runner's session."""

    def scoring(self, runner: Runner, size: BatchSize, total: int) -> Scoring | None:
        """Return what scores ``total`` changed images elsewhere; None where they are scored here."""

    def settled(self, size: BatchSize) -> BatchSize:
        """Return the batch size with which passes are made, which must not depend on who makes them."""

    def device_type(self, runner: Runner) -> str:
        """Return the type of the device on which passes run."""

    def describe(self) -> dict[str, Any] | None:
        """Return what records say of it; None for this process."""

    def close(self) -> None:
        """Let go of everything that was started."""
