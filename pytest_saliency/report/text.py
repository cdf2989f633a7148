"""A run as one page of plain text: for a ticket or a mail, which show Markdown as it is typed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pytest_saliency.report.escape import log_line, one_line
from pytest_saliency.report.families import family_lines
from pytest_saliency.report.markdown import (
    CLAIM,
    counts,
    name_of,
    observed_text,
    ordered,
    policy_text,
    run_rows,
    title_of_run,
)
from pytest_saliency.report.measured import Record, limited, near_limit, title_of
from pytest_saliency.report.terminal import headline_of

Lines = Iterator[str]


def render_text(document: Mapping[str, Any]) -> str:
    """Return the page; no foreign text in it can break a line, move a cursor or command a CI runner."""
    from pytest_saliency.evidence.release import release

    records = ordered(document["records"])
    made = release(document)
    waived = {str(entry["node"]): str(entry["waiver"]) for entry in made["waived"]}
    lines = [
        title_of_run(records),
        f"{counts(records)}.",
        f"Release decision: {made['decision']}. {made['why']}",
    ]
    missed = [record for record in records if record["verdict"] != "PASS"]
    for title, rows in (
        ("What did not pass", (line for record in missed for line in _missed(record, waived))),
        ("All checks", (line for record in records for line in _check(record))),
        ("FAIL alarms together", (one_line(line, 2000) for line in family_lines(document))),
        ("Models", _models(document["records"])),
        ("Waivers", (line for waiver in document.get("waivers") or () for line in _waiver(waiver))),
        ("Deviations", (f"- {one_line(said, 2000)}" for said in document.get("deviations") or ())),
        ("Run", (f"{word}: {one_line(value)}" for word, value in run_rows(document["run"]))),
    ):
        found = [f"  {row}" for row in rows]
        lines += ["", title, *found] if found else []
    lines += ["", CLAIM]
    return "\n".join(map(log_line, lines)) + "\n"


def _missed(record: Record, waived: Mapping[str, str]) -> Lines:
    waiver = waived.get(str(record.get("node")))
    said = (headline_of({**record, "check": None}), policy_text(record), f"(waived by {waiver})" if waiver else "")
    yield f"{_word(record)}  {one_line(name_of(record))}: {' '.join(one_line(text, 1000) for text in said if text)}"


def _check(record: Record) -> Lines:
    method = (record.get("method") or {}).get("name")
    n = (record.get("decision") or {}).get("n")
    more = [f"method {method}" if method else "", f"n = {n}" if n is not None else ""]
    more.append("near the limit" if near_limit(record) else "")
    yield "  ".join((_word(record), one_line(", ".join(filter(None, (name_of(record), *more))))))
    for measure in limited(record):
        seen, limit = observed_text(measure)
        yield f"    {one_line(title_of(measure))}: {seen}, limit {limit}"


def _word(record: Record) -> str:
    return one_line(str(record["verdict"]).replace("_", " "), 20)


def _models(records: list[Record]) -> Lines:
    rows = set()
    for record in records:
        for subject in (record.get("subjects") or {}).values():
            weights, state = subject.get("weights_sha256"), subject.get("state_sha256")
            digest = f"SHA-256 of the weights {weights}" if weights else f"SHA-256 of the model's state {state}"
            rows.add(f"{one_line(subject.get('name'))}, layer {one_line(subject.get('layer'))}: {one_line(digest)}")
    yield from sorted(rows)


def _waiver(waiver: Mapping[str, Any]) -> Lines:
    yield f"{one_line(waiver.get('state'))}  {one_line(waiver.get('id'))} for {one_line(waiver.get('check'))}"
    yield f"    {one_line(waiver.get('why'), 1000)}"
