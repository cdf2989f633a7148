"""The lines about a run's cost, from records written by hand."""

from __future__ import annotations

from typing import Any

from pytest_saliency.report.durations import duration_lines, notes_of, summary_line, works_of


def stage(passes: int, seconds: float, **images: int) -> dict[str, Any]:
    return {"passes": passes, "seconds": seconds, "images": {key.replace("_", " "): n for key, n in images.items()}}


def work(name: str, found: int | None = None, notes: tuple[str, ...] = (), **stages: dict[str, Any]) -> dict[str, Any]:
    cache = None if found is None else {"found": found, "made": 1}
    return {"id": name, "subject": "net", "stages": stages, "cache": cache, "precision": None, "notes": list(notes)}


def record(*works: dict[str, Any], **seconds: float) -> dict[str, Any]:
    return {"execution": {"work": {str(i): one for i, one in enumerate(works)}, "check_seconds": seconds}}


def cells(line: str) -> list[str]:
    return line.split()


def test_a_line_says_time_passes_and_images_the_longest_stage_first() -> None:
    one = work(
        "a",
        capture=stage(1, 2.0, capture=1),
        ablationcam=stage(1_250, 1234.4, capture=300, tail=512_000),
        score=stage(20, 99.0, removed=1_200),
    )
    assert duration_lines([record(one, measure=0.25)]) == [
        "stage            time   passes   images",
        "ablationcam   1,234 s    1,250   300 images, 512,000 from the target layer on",
        "score         99.00 s       20   1,200 images with a region removed",
        "capture        2.00 s        1   1 image",
        "measure        0.25 s",
    ]
    assert summary_line([record(one, measure=0.25)]) == (
        "1,501 images through models in 1,271 forward passes, 1,335.7 s"
    )


def test_one_is_not_many() -> None:
    one = work("a", found=1, capture=stage(1, 0.04, capture=1))
    assert summary_line([record(one)]) == "1 image through models in 1 forward pass, 0.0 s; 1 result from the cache"
    assert duration_lines([record(work("a", score=stage(1, 1.0, removed=1)))])[1].endswith(
        "1   1 image with a region removed"
    )


def test_images_of_a_stage_are_told_by_what_they_were_for() -> None:
    (_, line) = duration_lines([record(work("a", scorecam=stage(9, 1.0, channels=80, capture=10, sketches=7)))])
    assert line.endswith("10 images, 80 for single channels, 7 sketches")


def test_checks_that_share_their_work_do_not_count_it_twice() -> None:
    """Each record tells of all that was done so far; the last one to be told counts, in whatever order they come."""
    early = work("7-0", capture=stage(2, 1.0, capture=60))
    late = work("7-0", capture=stage(2, 1.0, capture=60), jitter=stage(2, 0.5, capture=60))
    for order in ([early, late], [late, early]):
        records = [record(one, decide=0.25) for one in order]
        assert len(works_of(records)) == 1
        assert summary_line(records) == "120 images through models in 4 forward passes, 2.0 s"
        lines = [cells(line)[:4] for line in duration_lines(records)]
        assert lines[1:] == [["capture", "1.00", "s", "2"], ["jitter", "0.50", "s", "2"], ["decide", "0.50", "s"]]


def test_the_two_models_of_a_check_are_both_counted_and_one_that_is_both_once() -> None:
    before, after = work("7-0", capture=stage(2, 1.0, capture=60)), work("7-1", capture=stage(3, 2.0, capture=60))
    assert summary_line([record(before, after)]) == "120 images through models in 5 forward passes, 3.0 s"
    assert summary_line([record(before, before)]) == "60 images through models in 2 forward passes, 1.0 s"


def test_work_of_several_processes_adds_up() -> None:
    one, two = work("7-0", capture=stage(2, 1.0, capture=60)), work("8-0", capture=stage(2, 2.0, capture=60))
    records = [record(one), record(two), record(one)]
    assert summary_line(records) == "120 images through models in 4 forward passes, 3.0 s"


def test_passes_that_were_not_counted_are_not_called_none() -> None:
    one = work("a", capture=stage(2, 1.0, capture=60), score=stage(0, 9.0, removed=500))
    assert summary_line([record(one)]) == "560 images through models, 10.0 s"
    assert cells(duration_lines([record(one)])[1])[:5] == ["score", "9.00", "s", "500", "images"]


def test_what_goes_through_the_tail_alone_is_not_a_pass() -> None:
    one = work("a", capture=stage(2, 1.0, capture=60), replay=stage(0, 1.0, tail=500))
    assert summary_line([record(one)]) == "60 images through models in 2 forward passes, 2.0 s"


def test_a_run_in_which_nothing_ran() -> None:
    for records in ([], [{"verdict": "ERROR"}], [{"execution": {}}], [{"execution": None}]):
        assert summary_line(records) is None
        assert duration_lines(records) == []
        assert notes_of(records) == []


def test_a_note_is_told_once() -> None:
    one, two = work("a", notes=("slow.", "odd")), work("b", notes=("odd", "new"))
    assert notes_of([record(one), record(one, two)]) == ["slow.", "odd", "new"]
