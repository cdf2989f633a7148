"""The end of a run in the controller: records gathered from reports, the JSON file, the lines of the summary."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from pytest_saliency.records.record import Setting, without_result
from pytest_saliency.report.document import now
from pytest_saliency.report.durations import duration_lines, notes_of, record_of, summary_line
from pytest_saliency.report.escape import log_line
from pytest_saliency.report.measured import detectable_text, measured_text
from pytest_saliency.report.paths import option_flag
from pytest_saliency.report.terminal import describe_policy, headline_of
from pytest_saliency.session import SALIENCY

VERDICTS = ("PASS", "FAIL", "INCONCLUSIVE", "ERROR", "NOT_RUN")


def records_of(report: pytest.TestReport) -> list[dict[str, Any]]:
    """Return the records that travelled on a report."""
    found: list[dict[str, Any]] = json.loads(getattr(report, "saliency_records", "[]"))
    return found


def status_of(report: pytest.TestReport, config: pytest.Config) -> tuple[str, str, Any] | None:
    """Return category, letter and verbose word with the measured values; None leaves them to pytest."""
    if report.when != "call" or hasattr(report, "wasxfail"):
        return None
    records = records_of(report)
    unmet = [record for record in records if record["verdict"] in ("FAIL", "INCONCLUSIVE")]
    if report.passed:
        if unmet:
            words = ", ".join(f"{record['verdict']} (warn) {measured_text(record)}" for record in unmet)
            return "passed", ".", (words, {"yellow": True})
        words = ", ".join(_held(record) for record in records if record["verdict"] == "PASS")
        return "passed", ".", (f"PASSED {words}".rstrip(), {"green": True})
    if report.failed and unmet:
        # No values here: the word leads the short summary, whose message is the headline with all of them.
        return "failed", "F", ("FAILED" if unmet[0]["verdict"] == "FAIL" else "INCONCLUSIVE", {"red": True})
    return None


def _held(record: dict[str, Any]) -> str:
    """Return what a PASS measured, and the smallest effect that it could have told."""
    power = detectable_text(record)
    return measured_text(record) + (f"; 80 % power for: {power}" if power else "")


def _stopped(session: pytest.Session) -> str:
    """Return how the session ended before its time (-x, --maxfail, --stepwise); nothing where it did not."""
    said = session.shouldfail or session.shouldstop
    return f"stopped early ({said})" if isinstance(said, str) else "stopped early" if said else ""


class RunReport:
    """Gathers the records of a run and reports them once at its end; ``uncollected`` grows while it runs."""

    def __init__(self, config: pytest.Config, uncollected: Sequence[str] = ()) -> None:
        self._config = config
        self._by_node: dict[str, list[dict[str, Any]]] = {}
        self._started = now()
        self._document: dict[str, Any] | None = None
        self._lines: list[str] = []
        self._problems: list[str] = []
        self._seconds: Mapping[str, float] = {}
        self._uncollected = uncollected

    @property
    def records(self) -> list[dict[str, Any]]:
        """All records so far, sorted by node id."""
        return [record for node in sorted(self._by_node) for record in self._by_node[node]]

    def add(self, report: pytest.TestReport) -> None:
        """Take what travelled on ``report``; a rerun's earlier attempts do not count."""
        if str(report.outcome) == "rerun":
            self._by_node.pop(report.nodeid, None)
            return
        found = records_of(report)
        if str(report.when) == "???":  # how xdist reports the test during which a worker died
            found = self._crashed(report.nodeid)
        if found:
            self._by_node.setdefault(report.nodeid, []).extend(found)

    def _crashed(self, node: str) -> list[dict[str, Any]]:
        path, _, check = node.partition("::")
        if not any((self._config.rootpath / path).match(glob) for glob in self._config.getini("saliency_files")):
            return []
        setting = Setting(node=node, source=None, check=check)
        return [without_result(setting, "ERROR", "the worker process died while this check ran")]

    def finish(self, session: pytest.Session, exit_status: int, exited: bool = False) -> bool:
        """Write every report that was asked for; return False if one could not be written.

        ``exited``: pytest.exit ended the run, with whichever exit status it was given.
        """
        from pytest_saliency.report.document import document_of
        from pytest_saliency.report.outputs import write_outputs

        document, problems = document_of(
            self.records,
            self._config,
            started=self._started,
            exit_status=exit_status,
            stopped="was ended by pytest.exit" if exited else _stopped(session),
            uncollected=self._uncollected,
        )
        self._document = document
        written = write_outputs(document, self._config)
        self._lines, self._seconds = written.lines, written.seconds
        self._problems = [*problems, *written.problems]
        return not self._problems

    def write_summary(self, terminal: pytest.TerminalReporter) -> None:
        """Write the verdicts in one line, then what is excused, then where the JSON file is."""
        records = self.records
        counted = {verdict: sum(record["verdict"] == verdict for record in records) for verdict in VERDICTS}
        shown = ", ".join(f"{count} {verdict}" for verdict, count in counted.items() if count) or "none ran"
        terminal.write_line(f"saliency: {len(records)} check{'s' if len(records) != 1 else ''}: {shown}")
        for record in records:
            for line in self._excused(record):
                terminal.write_line(log_line(f"saliency: {line}"), yellow=True)
        for line in self._tables():
            terminal.write_line(log_line(f"saliency: {line}"))
        self.write_costs(terminal)
        for line in self._told():
            terminal.write_line(log_line(f"saliency: {line}"), yellow=True)
        for line in self._hints():
            terminal.write_line(log_line(f"saliency: {line}."), yellow=True)
        for line in self._lines:
            terminal.write_line(line if line.startswith("::") else log_line(f"saliency: {line}"))
        for problem in self._problems:
            terminal.write_line(log_line(f"saliency: ERROR: {problem}"), red=True)

    def _tables(self) -> list[str]:
        """Return what several checks say together: drift by architecture and method."""
        if not any((record.get("axes") or {}).get("pair") for record in self.records):
            return []
        from pytest_saliency.report.drift_table import table_lines

        return table_lines(self.records)

    def _hints(self) -> list[str]:
        from pytest_saliency.report.hints import hint_lines

        return hint_lines(self.records)

    def _told(self) -> list[str]:
        """Return what the run's document says of waivers and locks, which no single check tells."""
        if self._document is None:
            return []
        from pytest_saliency.evidence.lock import lock_lines
        from pytest_saliency.evidence.release import summary_lines
        from pytest_saliency.report.families import family_lines

        return [*summary_lines(self._document), *lock_lines(self._document), *family_lines(self._document)]

    def write_costs(self, terminal: pytest.TerminalReporter) -> None:
        """Write what the work wants the user to know and, if asked for, what it cost; also of what no check used."""
        told = self.records
        if SALIENCY in self._config.stash:
            told = [*told, record_of(self._config.stash[SALIENCY].costs())]
        for note in notes_of(told):
            terminal.write_line(log_line(f"saliency: {note.rstrip('.')}."), yellow=True)
        if self._config.getoption("saliency_durations") or self._config.getini("saliency_durations"):
            told = [*told, {"execution": {"check_seconds": dict(self._seconds)}}]
            line = summary_line(told)
            terminal.write_line(f"saliency: {line or 'no model ran'}")
            for row in duration_lines(told):
                terminal.write_line(f"  {row}")

    def _excused(self, record: dict[str, Any]) -> list[str]:
        policy, verdict = record["policy"], record["verdict"]
        if option_flag(self._config, "strict"):  # nothing was excused
            return []
        lines = []
        known = describe_policy(policy)
        if known:
            state = "expired " if policy["known_failure"].get("expired") else ""
            lines.append(f"{state}{known}: {record['node']} is {verdict}")
        elif verdict == "FAIL" and policy["severity"] == "warn":
            lines.append(f"severity warn, did not fail the run: {record['node']}: {headline_of(record)}")
        elif verdict == "INCONCLUSIVE" and "warn" in (policy["severity"], policy["on_inconclusive"]):
            lines.append(f"warned, did not fail the run: {record['node']}: {headline_of(record)}")
        elif verdict == "INCONCLUSIVE" and policy["on_inconclusive"] == "skip":
            lines.append(f"on_inconclusive skip: {record['node']}: {headline_of(record)}")
        return lines
