from __future__ import annotations

import pytest

from pytest_saliency.report.progress import BAR, ProgressLine, progress_for


class Watch:
    """A clock that stands where it is put, and a terminal that keeps what it is sent."""

    def __init__(self) -> None:
        self.now = 100.0
        self.sent: list[str] = []
        self.columns = 100
        self.line = ProgressLine(self.sent.append, lambda: self.now, lambda: self.columns)

    def report(self, after: float, done: int, total: int = 100, stage: str = "ft: capture") -> str:
        before = len(self.sent)
        self.now += after
        self.line(stage, done, total)
        return "".join(self.sent[before:])


def test_a_short_check_shows_nothing() -> None:
    watch = Watch()
    for done in range(10, 101, 10):
        assert watch.report(0.1, done) == ""


def test_a_long_check_shows_rate_and_time_left_and_wipes_the_line() -> None:
    watch = Watch()
    assert watch.report(0.0, 10) == ""
    assert watch.report(1.0, 20) == ""
    shown = watch.report(3.0, 50)
    assert shown == f"\nft: capture [{'#' * (BAR // 2)}{'.' * (BAR // 2)}] 50/100, 10.0/s, 5.0 s left"
    assert watch.report(0.01, 51) == "", "not more often than an eye can see"
    assert watch.report(1.0, 60).startswith("\rft: capture [############........] 60/100, ")
    wiped = watch.report(1.0, 100)
    assert wiped.startswith("\r")
    assert wiped.endswith("\r")
    assert wiped.strip() == ""
    assert watch.report(0.0, 10) == "", "the next pass has its own patience"


def test_two_stages_are_two_clocks() -> None:
    watch = Watch()
    watch.report(0.0, 10)
    assert watch.report(9.0, 10, stage="ft: jitter") == ""


def test_images_that_take_long_are_shown_before_the_first_is_done() -> None:
    """A perturbation method reports while it works on one image: the number of images done stays the same."""
    watch = Watch()
    shown = [watch.report(1.0, 0, 40, "ft: scorecam") for _ in range(5)]
    assert shown[:2] == ["", ""]
    assert shown[2] == f"\nft: scorecam [{'.' * BAR}] 0/40, 2.0 s so far"
    assert watch.report(8.0, 1, 40, "ft: scorecam").endswith("1/40, 12 s each, 8 min left")
    assert watch.report(1000.0, 2, 40, "ft: scorecam").endswith("2/40, 8 min each, 5 h 20 min left")


def test_a_line_fits_the_terminal() -> None:
    """A line that wraps could not be drawn over; what matters most stays."""
    watch = Watch()
    watch.report(0.0, 0, stage="before: jitter: scorecam[reference-code,channels:64]")
    whole = watch.report(4.0, 8, stage="before: jitter: scorecam[reference-code,channels:64]")
    assert whole.strip().endswith("] [#...................] 8/100, 2.0/s, 46 s left")
    lengths = []
    for columns in (80, 75, 40, 10):
        watch.columns = columns
        lengths.append(len(watch.report(4.0, watch.line._last_done + 8, stage=watch.line._stage).strip()))
        assert lengths[-1] < columns
    assert lengths[-1] == 0
    assert min(lengths[:-1]) > 20


def test_a_stage_that_is_run_again_has_a_clock_of_its_own() -> None:
    watch = Watch()
    watch.report(0.0, 10)
    watch.report(9.0, 90)
    assert watch.report(60.0, 10).strip() == "", "the first pass was broken off"
    assert watch.report(4.0, 50).strip().endswith("50/100, 10.0/s, 5.0 s left")
    watch.report(5.0, 100)
    assert watch.report(60.0, 100, 500) == ""
    assert watch.report(4.0, 140, 500).strip().endswith("140/500, 10.0/s, 36 s left")


def test_there_is_no_line_in_a_pipe(pytester: pytest.Pytester) -> None:
    config = pytester.parseconfigure()
    assert progress_for(config) is None
