from __future__ import annotations

import pytest

from pytest_saliency.report.progress import BAR, ProgressLine, progress_for


class Watch:
    """A clock that stands where it is put, and a terminal that keeps what it is sent."""

    def __init__(self) -> None:
        self.now = 100.0
        self.sent: list[str] = []
        self.line = ProgressLine(self.sent.append, lambda: self.now)

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
    assert shown == f"\nft: capture [{'#' * (BAR // 2)}{'.' * (BAR // 2)}] 50/100 10.0/s 5 s left"
    assert watch.report(0.01, 51) == "", "not more often than an eye can see"
    assert watch.report(1.0, 60).startswith("\rft: capture [############........] 60/100 ")
    wiped = watch.report(1.0, 100)
    assert wiped.startswith("\r")
    assert wiped.endswith("\r")
    assert wiped.strip() == ""
    assert watch.report(0.0, 10) == "", "the next pass has its own patience"


def test_two_stages_are_two_clocks() -> None:
    watch = Watch()
    watch.report(0.0, 10)
    assert watch.report(9.0, 10, stage="ft: jitter") == ""


def test_there_is_no_line_in_a_pipe(pytester: pytest.Pytester) -> None:
    config = pytester.parseconfigure()
    assert progress_for(config) is None
