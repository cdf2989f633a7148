"""One line that tells how far a long check is, on a terminal only."""

from __future__ import annotations

import time
from collections.abc import Callable
from shutil import get_terminal_size

import pytest

PATIENCE = 2.0  # seconds before anything is shown
INTERVAL = 0.2  # seconds between two states of the line
BAR = 20


class ProgressLine:
    """Called with (stage, images done, images in all); draws stage, bar, rate and time left, and wipes itself."""

    def __init__(
        self,
        write: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        columns: Callable[[], int] = lambda: get_terminal_size().columns,
    ) -> None:
        self._write = write
        self._clock = clock
        self._columns = columns
        self._stage = ""
        self._first = (0, 0.0)
        self._last_done = 0
        self._drawn_at = 0.0
        self._width = 0

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = self._clock()
        if stage != self._stage or done < self._last_done:
            # The first report comes after the first batch, which pays for warming up; the rate counts from there.
            self._stage, self._first, self._drawn_at = stage, (done, now), now
        self._last_done = done
        if done >= total:
            self._stage = ""  # the next pass has a clock of its own, also where it has the same name
            self._wipe()
        elif now - self._first[1] >= PATIENCE and now - self._drawn_at >= INTERVAL:
            self._draw(done, total, now)

    def _draw(self, done: int, total: int, now: float) -> None:
        passed = now - self._first[1]
        rate = (done - self._first[0]) / passed
        full = BAR * done // total
        pace = f"{_rate(rate)}, {_duration((total - done) / rate)} left" if rate > 0 else f"{_duration(passed)} so far"
        bar, numbers = f"[{'#' * full}{'.' * (BAR - full)}]", f"{done:,}/{total:,}, {pace}"
        room = self._columns() - 1  # a line that wraps could not be drawn over
        text = next(
            (
                text
                for text in (f"{self._stage} {bar} {numbers}", f"{self._stage} {numbers}", numbers)
                if len(text) <= room
            ),
            "",
        )
        # pytest's own line (the file and its dots) is left as it is: the bar has a line of its own.
        self._write(("\n" if self._width == 0 else "\r") + text.ljust(self._width))
        self._width = max(self._width, len(text))
        self._drawn_at = now

    def _wipe(self) -> None:
        if self._width:
            self._write("\r" + " " * self._width + "\r")
            self._width = 0


def _rate(rate: float) -> str:
    """Return images a second, or where that is below 1 the seconds that each takes."""
    return f"{rate:.1f}/s" if rate >= 1 else f"{_duration(1 / rate)} each"


def _duration(seconds: float) -> str:
    """Return "45 s", "12 min" or "3 h 05 min"; short ones with a digit more."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02} min"


def progress_for(config: pytest.Config) -> ProgressLine | None:
    """Return a line on pytest's terminal, or None where there is none (a pipe, a log, a worker)."""
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal is None or not terminal.isatty:
        return None
    capture = config.pluginmanager.get_plugin("capturemanager")

    def write(text: str) -> None:
        if capture is None:
            terminal.write(text, flush=True)
        else:
            with capture.global_and_fixture_disabled():
                terminal.write(text, flush=True)

    return ProgressLine(write)
