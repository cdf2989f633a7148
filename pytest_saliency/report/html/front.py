"""The front of the report: verdict line, who and when, deviations, matrix, waivers, locks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_saliency.decide.words import several
from pytest_saliency.evidence.release import release
from pytest_saliency.evidence.waivers import check_name
from pytest_saliency.report.html.baseline import loosened
from pytest_saliency.report.html.identity import method_line, subject_line
from pytest_saliency.report.html.models import model_rows
from pytest_saliency.report.html.numbers import limit_rows
from pytest_saliency.report.html.runs import run_rows
from pytest_saliency.report.html.text import instant, name, setting, words
from pytest_saliency.report.html.verdicts import DECISIONS, UNTESTED, counted, look, word
from pytest_saliency.report.measured import near_limit
from pytest_saliency.report.terminal import describe_policy

Document = Mapping[str, Any]
Record = Mapping[str, Any]


def front(document: Document, records: Sequence[Record], matrix: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what the report says before its first check; ``records`` and ``matrix`` in the order of the report."""
    made = release(document)
    tally = [{"word": word(verdict), "look": look(verdict), "count": count} for verdict, count in counted([*records])]
    return {
        "decision": made["decision"],
        "decision_look": DECISIONS.get(str(made["decision"]), "fail"),
        "why": made["why"],
        "counts": tally,
        "total": len(records),
        "facts": fact_rows(document),
        "contracts": contract_rows(records),
        "models": model_rows(records),
        "runs": run_rows(document),
        "deviations": [str(sentence) for sentence in document.get("deviations") or ()],
        "waivers": [_waiver(one) for one in document.get("waivers") or ()],
        "locks": [_lock(one) for one in document.get("locks") or ()],
        "loosened": loosened(records),
        "matrix": list(matrix),
    }


def titled(records: Sequence[Record]) -> str:
    """Return the title of a report: what it is and of which contracts."""
    contracts = sorted({str(record["contract"]) for record in records if record.get("contract")})
    return "Explanation tests" + (f": {', '.join(map(name, contracts))}" if contracts else "")


def fact_rows(document: Document) -> list[tuple[str, str]]:
    """Return who ran what, when and from which commit."""
    run = document["run"]
    git, tester = run.get("git"), run.get("tester")
    rows = [
        ("Finished", instant(run.get("finished"))),
        ("Started", instant(run.get("started"))),
        ("Tested by", _tester(tester)),
        ("Commit", str(git.get("commit")) if git else "not recorded (no git work tree)"),
        ("Work tree", _dirty(git)),
        ("Command", str(run.get("command") or "not recorded")),
        ("Exit status", _exit_status(run.get("exit_status"))),
        ("Run", str(run.get("id") or "not recorded")),
        ("Platform", str(run.get("platform") or "not recorded")),
    ]
    versions = run.get("versions") or {}
    if versions:
        rows.append(("Versions", ", ".join(f"{key} {versions[key]}" for key in sorted(versions))))
    return rows


def _tester(tester: Mapping[str, Any] | None) -> str:
    if not tester or not tester.get("name"):
        return "not recorded (name the tester with --saliency-tester)"
    source = tester.get("source")
    where = {"git": "as git knows the user", "declared": "as declared"}.get(str(source), source)
    return f"{tester['name']} ({where})" if where else str(tester["name"])


def _dirty(git: Mapping[str, Any] | None) -> str:
    if not git:
        return "not recorded"
    if git.get("dirty") is None:
        return "not known whether it had changes that are not in the commit"
    said = "had changes that are not in the commit" if git["dirty"] else "as committed"
    beside = git.get("untracked")
    return f"{said}; beside it {several(beside, 'file')} in no commit" if beside else said


def _exit_status(status: Any) -> str:
    meanings = {0: "all tests as wanted", 1: "some tests failed", 2: "interrupted", 5: "no test was collected"}
    return f"{status} ({meanings[status]})" if status in meanings else str(status)


def contract_rows(records: Sequence[Record]) -> list[tuple[str, str]]:
    """Return each contract of the run with its full SHA-256."""
    found = {(str(one["contract"]), str(one.get("contract_sha256"))) for one in records if one.get("contract")}
    return sorted(found)


def shown_name(record: Record, document: Document) -> str:
    """Return the check as its node id names it, ``faithful[gradcam]``; with its contract where there are several."""
    node = str(record.get("node") or "")
    name = node.rpartition("::")[2] or str(record.get("check") or "unnamed")
    contracts = {one.get("contract") for one in document.get("records") or () if one.get("contract")}
    return f"{record['contract']}/{name}" if len(contracts) > 1 and record.get("contract") else name


def excused(record: Record, document: Document) -> list[str]:
    """Return what is said beside a verdict: waivers, and what the contract makes of it for pytest."""
    said = [
        f"waiver {name(one.get('id'))}: {one.get('state')}"
        for one in document.get("waivers") or ()
        if _names(one, record)
    ]
    policy = record.get("policy") or {}
    if policy.get("known_failure"):
        expired = "expired " if policy["known_failure"].get("expired") else ""
        said.append(expired + describe_policy(policy))
    if policy.get("severity") == "warn":
        said.append("severity warn: does not fail the run")
    if record.get("verdict") == "INCONCLUSIVE" and policy.get("on_inconclusive") not in (None, "fail"):
        said.append(f"inconclusive: {policy['on_inconclusive']}")
    return said


def _names(waiver: Mapping[str, Any], record: Record) -> bool:
    if waiver.get("nodes") is not None:
        return record.get("node") in waiver["nodes"]
    return waiver.get("check") in (check_name(record), record.get("node"))


def matrix_row(record: Record, place: int, document: Document) -> dict[str, Any]:
    """Return the row of the check at ``place``, which counts from 1."""
    cases, decision = record.get("cases") or {}, record.get("decision") or {}
    limits = limit_rows(record)
    return {
        "anchor": f"check-{place}",
        "requirement": record.get("requirement"),
        "check": shown_name(record, document),
        "contract": record.get("contract"),
        "method": (record.get("method") or {}).get("name") or method_line(record),
        "subject": subject_line(record),
        "n": decision.get("n"),
        "total": cases.get("n"),
        "limits": limits,
        "rows": max(1, len(limits)),
        "headline": str(record.get("headline") or ""),
        "untested": record.get("verdict") in UNTESTED or not decision,
        "near": near_limit(record),
        "word": word(record.get("verdict")),
        "look": look(record.get("verdict")),
        "excused": excused(record, document),
    }


def _waiver(one: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("id", "check", "state", "why", "reason", "risk", "requested_by", "approved_by", "created", "expires")
    bound = one.get("bound") or {}
    more = [
        ("Model, SHA-256", one.get("model")),
        ("Accepted up to", ", ".join(f"{words(key)} {setting(bound[key])}" for key in sorted(bound))),
        *(("Problem", problem) for problem in one.get("problems") or ()),
    ]
    return {key: one.get(key) for key in keys} | {
        **{key: instant(one[key]) for key in ("created", "expires") if one.get(key)},
        "applies": one.get("state") == "applies",
        "more": [(key, str(value)) for key, value in more if value],
    }


def _lock(one: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is known of a contract's lock; whatever else the entry says is listed as it is."""
    named = {"file": "File", "at": "Locked at", "commit": "Commit"}
    more = [
        (title, [instant(one[key]) if key == "at" else str(one[key])]) for key, title in named.items() if one.get(key)
    ]
    told = ("contract", "state", "why", "changes", *named)
    rest = sorted(key for key in one if key not in told and one[key] not in (None, [], {}, ""))
    return {
        "contract": one.get("contract"),
        "state": one.get("state"),
        "why": one.get("why"),
        "changes": [str(line) for line in one.get("changes") or ()],
        "more": more + [(words(key), [setting(entry) for entry in _listed(one[key])]) for key in rest],
    }


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
