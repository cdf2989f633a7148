"""Everything in this process, one batch after the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from pytest_saliency.engine.executors.executor import Work
from pytest_saliency.engine.runner import Runner
from pytest_saliency.engine.sizing import BatchSize
from pytest_saliency.engine.sweep import Counted, Ground

T = TypeVar("T")


@dataclass(frozen=True)
class Local:
    """Does the work where it is asked for."""

    name: str = "local"

    def over(self, work: Work[T], ground: Ground, counted: Counted) -> T:
        return work.whole(ground, counted)

    def scoring(self, runner: Runner, size: BatchSize, total: int) -> None:
        return None

    def settled(self, size: BatchSize) -> BatchSize:
        return size

    def device_type(self, runner: Runner) -> str:
        return runner.device.type

    def describe(self) -> None:
        return None

    def close(self) -> None:
        return None
