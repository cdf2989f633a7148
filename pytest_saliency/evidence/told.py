"""What verifying a bundle says to a reader: whole or not first, then what was tested, then what was not checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pytest_saliency.evidence.findings import OTHER_BUNDLE, TAMPERED
from pytest_saliency.evidence.outcome import names_of
from pytest_saliency.evidence.split import models_of
from pytest_saliency.evidence.verify import Report
from pytest_saliency.report.roles import role_title

ROLES = {"model": "model under test", "after": "model under test", "before": "compared with"}
"""What a check's subjects are to whoever wants to release one of them."""
ABOVE = {
    0: "level 1 (every decision, criterion and report again from the numbers), 2 and 3",
    1: "level 2 (per-image numbers again from stored maps) and 3 (the model again)",
    2: "level 3 (the model again)",
}


def lines_of(report: Report) -> list[str]:
    """Return the lines of a report; text of the bundle is shown without control characters."""
    lines = [_first(report), f"bundle id: {report.id or 'none: there is no manifest'}"]
    lines += [f"  FOUND {finding}" for finding in report.findings]
    lines += [f"  NOT REPEATED: {line}" for line in report.unrepeated]
    lines += [f"  NOT THE SAME: {line}" for line in report.unlike]
    if report.id is None:
        return [printable(line) for line in lines]
    if report.document is not None:
        if report.findings:
            lines.append("What follows is what the files say, and they cannot be relied on:")
        for part in (_run, _models, _checks, _decision):
            lines += _shown(part, report.document)
    lines.append(f"signatures: {'none' if not report.signatures else ''}".rstrip())
    lines += [f"  {line}" for line in report.signatures]
    lines += [f"checked: {line}" for line in report.checked]
    lines += [f"note: {line}" for line in report.told]
    lines += [f"not checked: {line}" for line in report.skipped]
    if report.tried in ABOVE:
        why = "see --level" if report.tried == report.level else "the files cannot be read"
        lines.append(f"not checked: {ABOVE[report.tried]}; {why}")
    return [printable(line) for line in lines]


def _shown(part: Callable[[Mapping[str, Any]], list[str]], document: Mapping[str, Any]) -> list[str]:
    """Return the lines of ``part``; a document that was tampered with may be anything, which is told already."""
    try:
        return part(document)
    except Exception as error:
        return [f"(a part of the run cannot be shown: {type(error).__name__}: {error})"]


def printable(text: str) -> str:
    """Return ``text`` in one line without anything that a terminal would act on."""
    return "".join(one if one.isprintable() else " " if one in "\n\t\r" else f"\\x{ord(one):02x}" for one in text)


def _first(report: Report) -> str:
    level = report.reached
    if not report.whole:
        count = len(report.findings)
        return f"{_called(report)}: {count} finding{'s' if count != 1 else ''} up to level {level}"
    words = "and every check says PASS" if report.passed else "but not every check says PASS"
    if report.partial is not None:
        words = "but it is not of one whole run"
    for what, lines in (("NOT THE SAME", report.unlike), ("NOT REPEATED", report.unrepeated)):
        if lines:
            return f"WHOLE up to level {level}, {words}; {what} at level 3"
    return f"WHOLE up to level {level}, {words if report.verdicts else 'but no check is in it'}"


def _called(report: Report) -> str:
    """Return what a bundle with findings is called: by its bytes and decisions first, then by its name or signer."""
    if report.id is None:
        return "NO BUNDLE"
    said = list(dict.fromkeys(finding.headline for finding in report.findings))
    worst = [one for one in (TAMPERED, OTHER_BUNDLE) if one in said]
    return worst[0] if worst else f"NOT SIGNED BY {', '.join(one.removeprefix('NOT SIGNED BY ') for one in said)}"


def _run(document: Mapping[str, Any]) -> list[str]:
    run = document.get("run") or {}
    tester, git = run.get("tester"), run.get("git")
    who = f"{tester.get('name')} ({tester.get('source')})" if isinstance(tester, Mapping) else "nobody is named"
    commit = "no commit is recorded"
    if isinstance(git, Mapping):
        dirty = {"True": ", with uncommitted changes", "False": ""}.get(str(git.get("dirty")), ", changes not known")
        commit = f"commit {git.get('commit')}{dirty}"
    lines = [
        f"run {run.get('id')}: {run.get('started')} to {run.get('finished')}, tester {who}",
        f"  {run.get('command')}",
        f"  {commit}; pytest-saliency {(run.get('versions') or {}).get('pytest-saliency')}",
    ]
    lines += [f"deviation: {line}" for line in document.get("deviations") or ()]
    return lines


def _models(document: Mapping[str, Any]) -> list[str]:
    lines: dict[str, dict[str, None]] = {word: {} for word in dict.fromkeys(ROLES.values())}
    for record in document["records"]:
        for role, subject in (record.get("subjects") or {}).items():
            (model,) = models_of([{"subjects": {role: subject}}])
            weights = model["weights_sha256"]
            digest = f"weights sha256 {weights}" if weights else "weights: not from a file"
            said = f"{model['name']}: {digest}, state sha256 {model['state_sha256']}, {model['architecture']}"
            lines.setdefault(ROLES.get(role, f"model ({role_title(role)})"), {})[said] = None
    return [f"{word} {said}" for word, found in lines.items() for said in sorted(found)]


def _checks(document: Mapping[str, Any]) -> list[str]:
    names = names_of(document["records"])
    return [
        f"{record.get('verdict')!s:<12} {name}: {record.get('headline')}"
        for name, record in zip(names, document["records"], strict=True)
    ]


def _decision(document: Mapping[str, Any]) -> list[str]:
    from pytest_saliency.evidence.release import release

    made = release(document)
    lines = [f"release decision: {made['decision']}. {made.get('why') or ''}".rstrip()]
    waivers = {str(row.get("id")): row for row in document.get("waivers") or ()}
    for entry in made["waived"]:
        row = waivers.get(str(entry["waiver"]), {})
        lines.append(
            f"  waived: {entry['check']} ({entry['verdict']}) by {entry['waiver']}, approved by"
            f" {row.get('approved_by')}, until {row.get('expires')}: {row.get('reason')}"
        )
    lines += [f"  not excused: {entry['check']} ({entry['verdict']})" for entry in made["unwaived"]]
    return lines
