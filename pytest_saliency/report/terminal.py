"""The block a failing check prints: the verdict in words first, then what it rests on, then what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_saliency.decide.words import figures, p_value
from pytest_saliency.report.escape import log_line
from pytest_saliency.report.grouped import limited_group_rows_of
from pytest_saliency.report.measured import (
    STATISTICS,
    Record,
    detectable_text,
    key_of,
    limited,
    number,
    short_text,
    shown,
    violated,
)
from pytest_saliency.report.roles import counted
from pytest_saliency.report.trainings import shown_training, training_rows_of

WORST = 5
GROUPS = 12
COMPARING = ("no_semantic_drift", "not_worse_than_baseline")  # kinds that a meant change can make fail
NEXT_STEP = (
    "If this change is intended, look at the pictures, then change the contract in a reviewed commit,"
    " or declare known_failure with a reason and a date."
)
BASELINE_STEP = (
    "If this change is intended, look at the pictures, then run with --saliency-baseline update and see:"
    " pytest-saliency baseline diff '{selector}'"
)
COMPARE_STEP = (
    "To see what changed since the approved baseline, run with --saliency-baseline update, then:"
    " pytest-saliency baseline diff '{selector}'"
)


def render_failure(record: Record, location: str | None = None) -> str:
    """Return the text of a check that did not hold.

    ``record`` is a record as ``Result.to_record`` makes it; what a part needs and the record lacks is left out.
    ``location`` ("contracts/chest.saliency.yaml:27") adds the clickable last line; Python assertions have none,
    because pytest itself shows where they stand.
    """
    lines = [headline_of(record)]
    lines += _indented(_table(_measure_rows(record), "lrrrl"))
    lines += _indented(_trainings(record))
    lines += _indented(_legs(record))
    lines += _indented(_groups(record))
    lines += _indented(_worst(record))
    lines += _indented(_accounting(record))
    lines += _indented(_detectable(record))
    lines += _indented(_identities(record))
    lines += _indented(_conditions(record))
    lines += _indented(_notes(record))
    lines += _snippet(record)
    if record.get("contract") and record.get("kind") in COMPARING:
        lines.append(f"  {_next_step(record)}")
    if location is not None:
        lines.append(f"{location}: {record.get('check')}: {short_text(record)}")
    return "\n".join(map(log_line, lines))  # names of cases and classes are foreign text


def _next_step(record: Record) -> str:
    """Return what to do next; where the check has an approved baseline, how to see what changed since."""
    compared = ((record.get("inputs") or {}).get("baseline") or {}).get("selector")
    if compared:
        return BASELINE_STEP.format(selector=compared)
    known = (record.get("baseline") or {}).get("selector")
    return f"{NEXT_STEP}\n  {COMPARE_STEP.format(selector=known)}" if known else NEXT_STEP


def headline_of(record: Record) -> str:
    """Return "check: verdict in words, measured value and limit", the first line and the JUnit message."""
    check, headline = record.get("check"), str(record.get("headline") or record.get("verdict"))
    return f"{check}: {headline}" if check else headline


def violated_line(record: Record) -> int | None:
    """Return the contract's line of the first limit that does not hold, or of the check, or None in Python."""
    source = record.get("source") or {}
    lines = source.get("lines") or {}
    for measure in violated(record):
        key = key_of(measure, record)
        if key in lines:
            return int(lines[key])
    return int(source["line"]) if source else None


def short_hash(digest: object) -> str:
    """Return "3f9a..c1" for a digest, "none" where there is none."""
    text = str(digest) if digest else ""
    return f"{text[:4]}..{text[-2:]}" if len(text) > 8 else text or "none"


def _measure_rows(record: Record) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = []
    for measure in limited(record):
        estimate, bound, limit = shown(measure)
        title = str(measure["title"]).removeprefix("mean ")
        side = "|x| <=" if measure["side"] == "abs<=" else str(measure["side"])
        rows.append((title, estimate, bound, f"{side} {limit}", str(measure.get("verdict") or "")))
    means = all(not str(measure["title"]).startswith(STATISTICS[1:]) for measure in limited(record))
    return [("measure", "mean" if means else "value", "bound", "limit", ""), *rows] if rows else []


def _trainings(record: Record) -> list[str]:
    """Return each training that the check joins in one line, then of each that does not pass what it came to."""
    found = training_rows_of(record)
    rows = [(one.name, one.verdict, one.measure, one.estimate, one.bound, one.limit) for one in found]
    table = _table([("training", "", "measure", "value", "bound", "limit"), *rows], "lllrrr") if rows else []
    return [*table, *(f"{one.name} is {one.verdict}: {one.headline}" for one in found if not one.holds)]


def _legs(record: Record) -> list[str]:
    """Return the legs of PASS that do not hold, save those that only repeat a limit or a training of the tables."""
    decision, criterion = record.get("decision") or {}, record.get("criterion") or {}
    told = {f"models.{k}" for k, one in enumerate(training_rows_of(record), start=1) if not one.holds}
    return [
        f"not shown: {leg['statement']} ({p_value(number(leg['p']))})"
        for leg in decision.get("legs") or ()
        if not leg["holds"] and str(leg["name"]).partition("[")[0] not in criterion and leg["name"] not in told
    ]


def _worst(record: Record) -> list[str]:
    worst = list(record.get("worst") or ())
    rows: list[Sequence[str]] = []
    if worst:
        titles = list(worst[0].get("values") or {})
        rows.append(("case", "label", *titles))
        for case in worst[:WORST]:
            values = case.get("values") or {}
            rows.append((str(case["id"]), str(case.get("label", "")), *(_figure(values.get(t)) for t in titles)))
    lines = _table(rows, "ll" + "r" * 20)
    training = shown_training(record)
    if lines and training:
        lines.insert(0, f"cases as training '{training}' has them:")
    if len(worst) > WORST:
        lines.append(f"... {len(worst) - WORST} more in the report")
    return lines + [f"pictures: {path}" for path in record.get("pictures") or ()]


def _groups(record: Record) -> list[str]:
    """Return the declared groups, each by itself, in the measures that have a limit."""
    rows: list[Sequence[str]] = []
    for row in limited_group_rows_of(record):
        estimate, low, high = (number(row.get(key)) for key in ("estimate", "low", "high"))
        said = figures(estimate, low, high)
        lost = row.get("undefined")
        rows.append(
            (
                str(row.get("group")),
                str(row.get("title")).removeprefix("mean "),
                f"n = {row.get('n')}",
                said[0],
                f"{said[1]} .. {said[2]}",
                f"{lost} undefined" if lost else "",
            )
        )
    more = [f"... {len(rows) - GROUPS} more groups in the report"] if len(rows) > GROUPS else []
    return [*_table([("group", "measure", "", "mean", "bounds", ""), *rows[:GROUPS]], "llrrrl"), *more] if rows else []


def _accounting(record: Record) -> list[str]:
    cases = record.get("cases") or {}
    if "kept" not in cases:
        return []
    keep = str((record.get("criterion") or {}).get("keep", "")).replace("_", " ")
    dropped = ", ".join(f"{count} {reason}" for reason, count in (cases.get("dropped") or {}).items() if count)
    line = f"{cases['kept']} of {cases['n']} cases kept"
    line += f" ({keep})" if keep else ""
    return [line + (f"; dropped: {dropped}" if dropped else "")]


def _detectable(record: Record) -> list[str]:
    said = detectable_text(record)
    return [f"80 % power at this n for: {said}"] if said else []


def _identities(record: Record) -> list[str]:
    parts = []
    listed: dict[str, int] = {}
    for role, subject in (record.get("subjects") or {}).items():
        kind, _, number = role.partition(".")
        if number:  # nulls and checkpoints; which they are is in the record
            listed[kind] = listed.get(kind, 0) + 1
            continue
        digest = subject.get("weights_sha256")
        word, digest = ("weights", digest) if digest else ("state", subject.get("state_sha256"))
        parts.append(f"{role} {subject.get('name')}  {word} sha256 {short_hash(digest)}  layer {subject.get('layer')}")
    parts += [counted(kind, count) for kind, count in listed.items()]
    return ["   ".join(parts)] if parts else []


def _conditions(record: Record) -> list[str]:
    method, execution = record.get("method") or {}, record.get("execution") or {}
    parts = []
    if method:
        parts.append(f"method {method.get('name')} {method.get('version')}")
    if execution.get("device"):
        parts.append(f"device {execution['device']} {execution.get('precision') or ''}".rstrip())
    if record.get("seed"):
        parts.append(f"seed {str(record['seed'])[:4]}..")
    return ["   ".join(parts)] if parts else []


def _notes(record: Record) -> list[str]:
    decision = record.get("decision") or {}
    notes = [*(decision.get("notes") or ()), *(record.get("notes") or ())]
    return [f"note: {note}" for note in dict.fromkeys(notes)]


def _snippet(record: Record) -> list[str]:
    source = record.get("source") or {}
    snippet = [(int(number), str(text)) for number, text in source.get("snippet") or ()]
    if not snippet:
        return []
    marks: dict[int, str] = {}
    for measure in violated(record):
        key = key_of(measure, record)
        line = (source.get("lines") or {}).get(key)
        if line is not None:  # several limits may stand on one line, those that are exceeded first
            marks.setdefault(int(line), "exceeded" if measure.get("verdict") == "FAIL" else "not demonstrated")
    wanted = {int(source["line"]), *marks}
    width = len(str(max(wanted)))
    found = []
    for line_number, text in snippet:
        if line_number in wanted:
            row = f"    {line_number:>{width}} | {text}"
            found.append(f"{row:<44} <-- {marks[line_number]}" if line_number in marks else row)
    return found


def _figure(value: Any) -> str:
    if value is None:
        return "undefined"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _table(rows: Sequence[Sequence[str]], align: str) -> list[str]:
    """Return rows as aligned columns, two spaces apart; ``align`` has one of l and r for each column."""
    if not rows:
        return []
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    made = []
    for row in rows:
        cells = [
            cell.ljust(width) if side == "l" else cell.rjust(width)
            for cell, width, side in zip(row, widths, align, strict=False)
        ]
        made.append("   ".join(cells).rstrip())
    return made


def _indented(lines: Sequence[str]) -> list[str]:
    return [f"  {line}" for line in lines]


def describe_policy(policy: Mapping[str, Any]) -> str:
    """Return the exception that a record's policy declares, in words, or an empty text."""
    known = policy.get("known_failure")
    if not known:
        return ""
    return f"known failure until {known.get('expires')}: {known.get('reason')}"
