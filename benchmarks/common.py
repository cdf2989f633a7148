"""What the benchmarks share: contenders that take turns, the machine they ran on, and markdown."""

from __future__ import annotations

import gc
import importlib.metadata
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

PACKAGES = ("torch", "torchvision", "grad-cam", "captum", "torchcam")


@dataclass(frozen=True)
class Done:
    """What a contender did in one turn.

    Attributes
    ----------
    count
        How many units' worth of work it was: images, pairs of maps, or images times channels. Its time is divided
        by this and then by the seconds that a forward pass takes for an image.
    seconds
        What counts of its time, where that is not all of it.
    parts
        Seconds of its stages.
    words
        What was counted, for the table.
    """

    count: float
    seconds: float | None = None
    parts: Mapping[str, float] = field(default_factory=dict)
    words: str = ""


@dataclass(frozen=True)
class Contender:
    """Something that is timed. One that is ``dear`` has a single turn and no warm-up.

    ``only`` says what part of the row's work it does, where that is not all of it.
    """

    who: str
    work: Callable[[], Done]
    dear: bool = False
    only: str = ""


@dataclass
class Measured:
    """The ratios of one contender, one a turn, with its stages in the same unit and what it counted last."""

    ratios: list[float] = field(default_factory=list)
    parts: dict[str, list[float]] = field(default_factory=dict)
    words: str = ""

    @property
    def middle(self) -> float:
        return statistics.median(self.ratios)

    def shown(self) -> str:
        """Return the median over the turns with the smallest and the largest."""
        return spread(self.ratios)

    def stages(self) -> str:
        """Return the stages with their medians, the longest first, without those that round to nothing."""
        middle = {name: statistics.median(values) for name, values in self.parts.items()}
        order = sorted(middle, key=lambda name: -middle[name])
        return ", ".join(f"{name} {number(middle[name])}" for name in order if middle[name] >= 0.005)


def in_turns(
    contenders: Sequence[Contender], unit: Callable[[], float], repeats: int, wait: Callable[[], None]
) -> tuple[dict[str, Measured], list[float]]:
    """Time the contenders in turns; return their ratios to ``unit``, and every measurement of the unit.

    ``unit`` measures anew the seconds of a forward pass for an image. It is asked just before each turn, so that a
    machine that slows down slows both sides of a ratio; the first round warms up and is not counted.
    """
    found: dict[str, Measured] = {one.who: Measured() for one in contenders}
    units: list[float] = []
    unit()
    for one in contenders:
        if not one.dear:
            one.work()
    for turn in range(repeats):
        for one in contenders:
            if one.dear and turn:
                continue
            units.append(unit())
            done, seconds = timed(one.work, wait)
            share = units[-1] * done.count
            measured = found[one.who]
            measured.ratios.append((seconds if done.seconds is None else done.seconds) / share)
            for name, part in done.parts.items():
                measured.parts.setdefault(name, []).append(part / share)
            measured.words = done.words
    return found, units


def timed(work: Callable[[], Done], wait: Callable[[], None]) -> tuple[Done, float]:
    """Return what ``work`` did and the seconds it took; ``wait`` returns when the device has nothing left to do."""
    gc.collect()  # what others left must not be cleared away on this one's time
    wait()
    start = time.perf_counter()
    done = work()
    wait()
    return done, time.perf_counter() - start


# -- numbers in tables ------------------------------------------------------------------------------------------------


def number(value: float) -> str:
    """Return a ratio with as many digits as it is worth."""
    if value >= 100:
        return f"{value:.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def spread(values: Sequence[float], show: Callable[[float], str] = number) -> str:
    """Return the median, and the smallest and largest where there are several."""
    middle = show(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} ({show(min(values))} .. {show(max(values))})"


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a markdown table."""
    lines = [f"| {' | '.join(headings)} |", "|---" * len(headings) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


# -- the machine ------------------------------------------------------------------------------------------------------


def about(*notes: str, device: str = "cpu", packages: Sequence[str] = PACKAGES) -> str:
    """Return the lines that belong above a table: machine, versions, what was measured, the command."""
    lines = [f"Machine: {machine(device)}.", f"Versions: {versions(packages)}.", *notes]
    lines.append(f"Command: `{command()}`")
    return "\n".join(f"{line}  " for line in lines)


def machine(device: str = "cpu") -> str:
    """Return what the computer calls itself, with the number of CPU threads in use."""
    parts = [f"{processor()}, {os.cpu_count()} logical CPUs"]
    if "torch" in sys.modules:
        import torch

        parts.append(f"{torch.get_num_threads()} CPU threads in use")
        if device.startswith("cuda"):
            parts.insert(0, torch.cuda.get_device_name(device))
    return ", ".join(parts)


def processor() -> str:
    """Return the processor's name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def versions(packages: Sequence[str]) -> str:
    """Return the versions of Python, of this package and of ``packages``."""
    import pytest_saliency

    found = [f"Python {platform.python_version()}", f"pytest-saliency {pytest_saliency.__version__}"]
    for name in packages:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{name} not installed")
    return ", ".join(found)


def command() -> str:
    """Return the command line, with the script as it is called from the root of the repository."""
    script = Path(sys.argv[0])
    return " ".join(["python", f"{script.parent.name}/{script.name}", *sys.argv[1:]])


def say(text: str) -> None:
    """Tell what is going on, apart from the table."""
    print(text, file=sys.stderr, flush=True)
