"""A run as one page of Markdown, for the job summary of a CI run; without links or pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_saliency.decide.words import figures
from pytest_saliency.report.escape import markdown_text
from pytest_saliency.report.families import family_lines
from pytest_saliency.report.measured import MeasureDict, Record, limited, near_limit, number, title_of
from pytest_saliency.report.terminal import headline_of

ORDER = ("FAIL", "ERROR", "INCONCLUSIVE", "NOT_RUN", "PASS")
LEFT_OUT = "left out here, as GitHub shows no more than 1 MiB; all of it is in the run's JSON file and report."
RESERVE = 400
"""Bytes kept for saying what was left out."""
CLAIM = (
    "A verdict is evidence about attribution maps under the method, layer and images named here. It does not show that"
    " the model reasons correctly, and PASS makes nothing compliant with anything."
)


@dataclass(frozen=True)
class Block:
    """A part of the page: what stands above its rows, the rows, and what one row is called."""

    head: tuple[str, ...]
    rows: tuple[str, ...]
    noun: str


def render_markdown(document: Mapping[str, Any], limit: int | None = None) -> str:
    """Return the page, in at most ``limit`` bytes of UTF-8; a last sentence says which rows did not fit.

    Where not even that sentence fits, the page is empty.
    """
    records = ordered(document["records"])
    blocks = [block for block in _blocks(document, records) if block.rows]
    made = _release(document)
    decision = f"Release decision: **{made['decision']}**. {made['why']}"
    lines, missing = [f"## {title_of_run(records)}", "", f"{counts(records)}.", "", decision], []
    room = None if limit is None else limit - RESERVE - _size(lines)
    for block in blocks:
        head = ["", *block.head]
        fitting = len(block.rows) if room is None else _fitting(block.rows, room - _size(head))
        if fitting:
            lines += [*head, *block.rows[:fitting]]
        if room is not None:
            room -= _size([*head, *block.rows[:fitting]]) if fitting else 0
        if fitting < len(block.rows):
            missing.append(f"{len(block.rows) - fitting} {block.noun}")
    lines += ["", CLAIM]
    if missing:
        lines += ["", f"{', '.join(missing)}: {LEFT_OUT}"]
    page = "\n".join(lines) + "\n"
    return page if limit is None or len(page.encode()) <= limit else ""


def ordered(records: Sequence[Record]) -> list[Record]:
    """Return the records, those first that need somebody's attention."""
    places = {verdict: place for place, verdict in enumerate(ORDER)}
    return sorted(records, key=lambda record: (places.get(str(record["verdict"]), -1), str(record.get("node"))))


def title_of_run(records: Sequence[Record]) -> str:
    """Return the one line that a reader takes away."""
    if not records:
        return "Explanation checks: none ran"
    passed = sum(record["verdict"] == "PASS" for record in records)
    if passed == len(records):
        return f"Explanation checks: all {passed} passed" if passed > 1 else "Explanation check: passed"
    return f"Explanation checks: {len(records) - passed} of {len(records)} did not pass"


def name_of(record: Record) -> str:
    """Return "contract/check[method]", or the node id of a test in Python."""
    if not record.get("contract"):
        return str(record.get("node"))
    axes = ",".join(str(value) for value in (record.get("axes") or {}).values())
    return f"{record['contract']}/{record.get('check')}" + (f"[{axes}]" if axes else "")


def _release(document: Mapping[str, Any]) -> dict[str, Any]:
    from pytest_saliency.evidence.release import release

    return release(document)


def counts(records: Sequence[Record]) -> str:
    """Return "1 FAIL, 4 PASS"."""
    counted = ((verdict, sum(record["verdict"] == verdict for record in records)) for verdict in ORDER)
    return ", ".join(f"{count} {verdict.replace('_', ' ')}" for verdict, count in counted if count) or (
        "nothing was shown"
    )


def _word(verdict: object) -> str:
    return markdown_text(str(verdict).replace("_", " "), 20)


def _blocks(document: Mapping[str, Any], records: Sequence[Record]) -> Iterator[Block]:
    missed = [record for record in records if record["verdict"] != "PASS"]
    waived = {
        str(entry["node"]): f" (waived by {markdown_text(entry['waiver'])})" for entry in _release(document)["waived"]
    }
    yield Block(
        ("### What did not pass", ""),
        tuple(
            f"- **{_word(r['verdict'])}** {markdown_text(name_of(r))}: {_said(r)}{waived.get(str(r.get('node')), '')}"
            for r in missed
        ),
        "headlines",
    )
    yield Block(
        (
            "### All checks",
            "",
            "| Check | Method | Verdict | Observed [bounds] | Limit | n |",
            "| --- | --- | --- | --- | --- | ---: |",
        ),
        tuple(_row(record) for record in records),
        "checks",
    )
    together = tuple(f"- {markdown_text(line, 2000)}" for line in family_lines(document))
    yield Block(("### FAIL alarms together", ""), together, "contracts with FAIL alarms")
    yield Block(("### Models", "", "| Model | Layer | SHA-256 |", "| --- | --- | --- |"), _models(records), "models")
    yield Block(("### Waivers", ""), tuple(map(_waiver, document.get("waivers") or ())), "waivers")
    deviations = tuple(f"- {markdown_text(said, 2000)}" for said in document.get("deviations") or ())
    yield Block(("### Deviations", ""), deviations, "deviations")
    yield Block(("### Run", ""), tuple(_run(document["run"])), "lines about the run")


def _said(record: Record) -> str:
    said = (headline_of({**record, "check": None}), policy_text(record))
    return " ".join(markdown_text(text, 1000) for text in said if text)


def policy_text(record: Record) -> str:
    """Return what the contract makes of a check that does not pass, in brackets; "" for nothing."""
    policy = record.get("policy") or {}
    known = policy.get("known_failure")
    if known:
        state = "expired known failure" if known.get("expired") else "known failure"
        return f"({state} until {known.get('expires')}: {known.get('reason')})"
    return "(severity warn: does not fail the run)" if policy.get("severity") == "warn" else ""


def _row(record: Record) -> str:
    measures = limited(record)
    observed, limits = [], []
    for measure in measures:
        seen, limit = observed_text(measure)
        observed.append(f"{markdown_text(title_of(measure))} {markdown_text(seen)}")
        limits.append(markdown_text(limit))
    decision = record.get("decision") or {}
    verdict = f"**{_word(record['verdict'])}**" if record["verdict"] != "PASS" else _word(record["verdict"])
    cells = (
        markdown_text(name_of(record)),
        markdown_text((record.get("method") or {}).get("name", "")),
        verdict + (" near the limit" if near_limit(record) else ""),
        "<br>".join(observed),
        "<br>".join(limits),
        markdown_text(decision.get("n", "")),
    )
    return f"| {' | '.join(cells)} |"


def observed_text(measure: MeasureDict) -> tuple[str, str]:
    """Return "0.54 [0.47, 0.61]" and "<= 0.40", with decimals enough to tell each number from the limit."""
    interval = measure["interval"]
    values = (measure["estimate"], measure["limit"], interval["low"], interval["high"])
    estimate, limit, low, high = figures(*map(number, values))
    side = "|x| <=" if measure["side"] == "abs<=" else str(measure["side"])
    return f"{estimate} [{low}, {high}]", f"{side} {limit}"


def _models(records: Sequence[Record]) -> tuple[str, ...]:
    rows: dict[str, None] = {}
    for record in records:
        for role, subject in (record.get("subjects") or {}).items():
            if role.partition(".")[0] in ("nulls", "checkpoints"):  # many, and none of them under test
                continue
            weights, state = subject.get("weights_sha256"), subject.get("state_sha256")
            digest = f"{weights} (file of weights)" if weights else f"{state} (state)" if state else "none"
            cells = (subject.get("name"), subject.get("layer"), digest)
            rows[f"| {' | '.join(markdown_text(cell) for cell in cells)} |"] = None
    return tuple(sorted(rows))


def _waiver(waiver: Mapping[str, Any]) -> str:
    said = f"- **{markdown_text(waiver.get('state'))}** {markdown_text(waiver.get('id'))}"
    said += f" for {markdown_text(waiver.get('check'))}: {markdown_text(waiver.get('why'), 1000)}"
    if waiver.get("state") == "applies":
        said += (
            f" Approved by {markdown_text(waiver.get('approved_by'))}, until {markdown_text(waiver.get('expires'))}."
        )
    return said


def _run(run: Mapping[str, Any]) -> list[str]:
    return [f"- {word}: {markdown_text(value)}" for word, value in run_rows(run)]


def run_rows(run: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return when, by whom and from what the run was made."""
    git, tester = run.get("git") or {}, run.get("tester") or {}
    changed = git.get("dirty")
    unknown = " (whether with uncommitted changes is unknown)"
    dirty = " with uncommitted changes" if changed else "" if changed is False else unknown
    rows = [
        ("run", run.get("id")),
        ("from", f"{run.get('started')} to {run.get('finished')}"),
        ("tester", tester.get("name") or "nobody named"),
        ("commit", f"{git['commit']}{dirty}" if git.get("commit") else "none recorded"),
    ]
    if run.get("merged"):
        rows.append(("merged from", ", ".join(str(part.get("id"))[:8] for part in run["merged"])))
    return [(word, str(value)) for word, value in rows]


def _fitting(rows: Sequence[str], room: int) -> int:
    for place, row in enumerate(rows):
        room -= len(row.encode()) + 1
        if room < 0:
            return place
    return len(rows)


def _size(lines: Sequence[str]) -> int:
    return sum(len(line.encode()) + 1 for line in lines)
