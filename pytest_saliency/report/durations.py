"""Where the time of a run went: images, passes and seconds of every stage, from records alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

TAIL = "tail"  # images that went only through what follows the target layer
PLAIN = ("capture", "layer", "own")  # images as they are; what else images are counted for is told beside their number
WORDS = {
    "channels": "for single channels",
    "removed": "with a region removed",
    "curves": "for curves",
    TAIL: "from the target layer on",
}


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


def record_of(costs: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return work that no check told of in the form of a record, to be told of beside the others."""
    return {"execution": {"work": {work["id"]: work for work in costs}}}


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
    """Return a table, a line for each stage, the longest first: seconds, forward passes, images by what they were for.

    Stages of a check ("measure", "decide") are summed over the checks. Passes are left out where none were counted.
    """
    rows = _rows(list(records))
    table = [("stage", "time", "passes", "images")] + [
        (name, _seconds(row.seconds), f"{row.passes:,}" if row.passes else "", _images(row.images))
        for name, row in sorted(rows.items(), key=lambda pair: -pair[1].seconds)
    ]
    widths = [max(len(row[column]) for row in table) for column in range(3)]
    return [
        f"{name:<{widths[0]}}   {seconds:>{widths[1]}}   {passes:>{widths[2]}}   {images}".rstrip()
        for name, seconds, passes, images in (table if rows else ())
    ]


def summary_line(records: Iterable[Mapping[str, Any]]) -> str | None:
    """Return one line on what the run cost; None where no record tells.

    The seconds are those of the table, added up over worker processes. Passes are told where all stages count them.
    """
    records = list(records)
    works = works_of(records)
    if not works:
        return None
    rows = _rows(records)
    images = sum(count for row in rows.values() for what, count in row.images.items() if what != TAIL)
    passes = sum(row.passes for row in rows.values())
    counted = all(row.passes for row in rows.values() if set(row.images) - {TAIL})
    found = sum(int((work.get("cache") or {}).get("found", 0)) for work in works)
    through = f"{_count(images, 'image', 'images')} through models"
    if passes and counted:
        through += f" in {_count(passes, 'forward pass', 'forward passes')}"
    kept = f"; {_count(found, 'result', 'results')} from the cache" if found else ""
    return f"{through}, {sum(row.seconds for row in rows.values()):,.1f} s{kept}"


def _rows(records: list[Mapping[str, Any]]) -> dict[str, Row]:
    rows: dict[str, Row] = {}
    for work in works_of(records):
        for name, stage in work["stages"].items():
            rows.setdefault(name, Row()).add(stage)
    for record in records:
        for name, seconds in ((record.get("execution") or {}).get("check_seconds") or {}).items():
            rows.setdefault(name, Row()).add({"passes": 0, "seconds": seconds, "images": {}})
    return rows


def _images(counts: Mapping[str, int]) -> str:
    """Return "64 images, 248 from the target layer on"; what went through as it was comes first."""
    plain = sum(count for what, count in counts.items() if what in PLAIN)
    parts = [_count(plain, "image", "images")] if plain else []
    for what, count in counts.items():
        if what not in PLAIN:
            number = f"{count:,}" if parts else _count(count, "image", "images")
            parts.append(f"{number} {WORDS.get(what, what)}")
    return ", ".join(parts)


def _seconds(seconds: float) -> str:
    return f"{seconds:,.0f} s" if seconds >= 100 else f"{seconds:.2f} s"


def notes_of(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return what the work wants the user to know, each sentence once."""
    return list(dict.fromkeys(note for work in works_of(records) for note in work.get("notes", ())))


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"
