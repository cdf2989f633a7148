"""What GitHub shows of a run beside the log: annotations at the lines of the contract, and a job summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_saliency.report.escape import command_data, command_property, one_line
from pytest_saliency.report.markdown import name_of, ordered
from pytest_saliency.report.measured import Record
from pytest_saliency.report.terminal import headline_of, violated_line

SUMMARY_BYTES = 1024 * 1024
"""GitHub drops a step's summary that is larger."""
SHOWN = 10
"""Annotations of each kind that GitHub shows for a step; it drops further ones without a word."""
WAIVER_WARNINGS = ("expired", "unreadable", "lapsed", "other model", "unused", "invalid")
MESSAGE = 4000


@dataclass(frozen=True)
class Annotation:
    """One remark; ``level`` is "error" or "warning"."""

    level: str
    title: str
    message: str
    file: str | None = None
    line: int | None = None

    def command(self) -> str:
        """Return the line that the runner turns into the remark; nothing in it can be taken for another command."""
        properties = {"file": self.file, "line": self.line, "title": self.title}
        shown = ",".join(
            f"{key}={command_property(one_line(value))}" for key, value in properties.items() if value not in (None, "")
        )
        return f"::{self.level} {shown}::{command_data(one_line(self.message, MESSAGE))}"


def remarks_on(document: Mapping[str, Any], prefix: str = "") -> list[Annotation]:
    """Return the remarks on a run, errors first, no more of a kind than GitHub shows.

    ``prefix`` leads from the repository's root to pytest's ("" where they are one).
    """
    found = [_of_record(record, prefix) for record in ordered(document["records"])]
    made = [remark for remark in found if remark is not None]
    made += [_of_waiver(waiver) for waiver in document.get("waivers") or () if waiver.get("state") in WAIVER_WARNINGS]
    errors = [remark for remark in made if remark.level == "error"]
    warnings = [remark for remark in made if remark.level == "warning"]
    return [*_capped(errors), *_capped(warnings)]


def annotation_lines(document: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return the remarks as lines for the log; the runner reads a command only at the start of a line."""
    return [remark.command() for remark in remarks_on(document, prefix)]


def _of_record(record: Record, prefix: str) -> Annotation | None:
    verdict = str(record["verdict"])
    if verdict in ("PASS", "NOT_RUN"):
        return None
    policy = record.get("policy") or {}
    known = policy.get("known_failure")
    excused = policy.get("severity") == "warn" or (known and not known.get("expired"))
    source = record.get("source") or {}
    file = source.get("file")
    return Annotation(
        level="error" if verdict in ("FAIL", "ERROR") and not excused else "warning",
        title=f"{name_of(record)}: {verdict}",
        message=headline_of(record),
        file=f"{prefix}{file}" if file else None,
        line=violated_line(record),
    )


def _of_waiver(waiver: Mapping[str, Any]) -> Annotation:
    said = f"waiver {waiver.get('id')} for {waiver.get('check')}: {waiver.get('why')}"
    return Annotation("warning", f"waiver {waiver.get('id')}: {waiver.get('state')}", said)


def _capped(remarks: Sequence[Annotation]) -> list[Annotation]:
    if len(remarks) <= SHOWN:
        return list(remarks)
    more = len(remarks) - (SHOWN - 1)
    said = f"{more} more {remarks[0].level}s are not shown at their lines; the job summary and the log name all checks."
    return [*remarks[: SHOWN - 1], Annotation(remarks[0].level, f"{more} more", said)]
