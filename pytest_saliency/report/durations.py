"""Where the time of a run went: images, passes and seconds of every stage, from records alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Row:
    """What a stage cost, over all subjects or all checks."""

    images: dict[str, int] = field(default_factory=dict)
    passes: int = 0
    seconds: float = 0.0

    def add(self, stage: Mapping[str, Any]) -> None:
        self.passes += int(stage["passes"])
        self.seconds += float(stage["seconds"])
        for what, images in stage["images"].items():
            self.images[what] = self.images.get(what, 0) + int(images)


def works_of(records: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the work that the records tell of, each piece once and as it was last told.

    Checks over the same subject and cases share their work, and each tells of all that was done so far.
    """
    found: dict[str, Mapping[str, Any]] = {}
    for record in records:
        for work in ((record.get("execution") or {}).get("work") or {}).values():
            known = found.get(work["id"])
            if known is None or seconds_of(work) >= seconds_of(known):
                found[work["id"]] = work
    return list(found.values())


def seconds_of(work: Mapping[str, Any]) -> float:
    """Return the seconds of all stages of a piece of work."""
    return sum(float(stage["seconds"]) for stage in work["stages"].values())


def duration_lines(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return a line for each stage, the longest first: seconds, forward passes, images by what they were for.

    Stages of a check ("score", "measure", "decide") are summed over the checks.
    """
    records = list(records)
    rows: dict[str, Row] = {}
    for work in works_of(records):
        for name, stage in work["stages"].items():
            rows.setdefault(name, Row()).add(stage)
    for record in records:
        for name, seconds in ((record.get("execution") or {}).get("check_seconds") or {}).items():
            rows.setdefault(name, Row()).add({"passes": 0, "seconds": seconds, "images": {}})
    table = [
        (
            name,
            f"{row.seconds:.2f} s",
            _count(row.passes, "pass", "passes"),
            ", ".join(
                f"{images:,} {'images' if what == name else f'images ({what})'}" for what, images in row.images.items()
            ),
        )
        for name, row in sorted(rows.items(), key=lambda pair: -pair[1].seconds)
    ]
    widths = [max((len(row[column]) for row in table), default=0) for column in range(3)]
    return [
        f"{name:<{widths[0]}}  {seconds:>{widths[1]}}  {passes:>{widths[2]}}  {images}".rstrip()
        for name, seconds, passes, images in table
    ]


def summary_line(records: Iterable[Mapping[str, Any]]) -> str | None:
    """Return one line on what the run cost; None where no record tells."""
    works = works_of(records)
    if not works:
        return None
    stages = [stage for work in works for stage in work["stages"].values()]
    images = sum(count for stage in stages for count in stage["images"].values())
    passes = sum(int(stage["passes"]) for stage in stages)
    found = sum(int((work.get("cache") or {}).get("found", 0)) for work in works)
    kept = f", {_count(found, 'result', 'results')} from the cache" if found else ""
    seconds = sum(seconds_of(work) for work in works)
    return (
        f"{images:,} images through models in {_count(passes, 'forward pass', 'forward passes')}, {seconds:.1f} s{kept}"
    )


def notes_of(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return what the work wants the user to know, each sentence once."""
    return list(dict.fromkeys(note for work in works_of(records) for note in work.get("notes", ())))


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"
