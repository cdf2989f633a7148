"""pytest's side: options, collection, fixtures, outcome, summary.

pytest imports this module at every start, so it imports the standard library and pytest only; whatever is heavy is
imported when a contract is collected or a fixture is used.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pytest_saliency.contracts.items import ContractFile
    from pytest_saliency.records.baseline_handle import BaselineHandle
    from pytest_saliency.report.summary import RunReport
    from pytest_saliency.session import Saliency

PRECISIONS = ("float32", "bf16", "fp16")
FILES = ("*.saliency.yaml", "*.saliency.yml")
RUN_REPORT = pytest.StashKey["RunReport"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options, each with its ini twin; the command line wins."""
    group = parser.getgroup("saliency", "explanation regression tests (pytest-saliency)")
    options = (
        ("device", "DEVICE", None, "where models run: auto (default), cpu, cuda, cuda:<number>, mps"),
        ("batch", "N", None, "images in memory at a time, or auto (default)"),
        ("precision", None, PRECISIONS, "float32 (default), or bf16, fp16: faster, with other numbers"),
        ("cache", "PATH", None, "where passes are kept between runs (default: in pytest's cache)"),
        ("cache-size", "SIZE", None, "how large that may grow, as 500MB or 2GB (default 2GB)"),
        ("json", "PATH", None, "write one JSON file with the records of all checks"),
        ("html", "PATH", None, "write a report for people: one HTML file with pictures, without scripts"),
        ("images", None, ("failed", "all", "none"), "for which checks pictures are kept (default failed)"),
        ("bundle", "DIR", None, "write an evidence bundle, a new folder in DIR, which pytest-saliency verify checks"),
        ("case-key", "VARIABLE", None, "replace image ids in the bundle by digests keyed with this variable's value"),
        ("shard", "I/N", None, "run the I-th of N parts of the checks; pytest-saliency merge joins the parts"),
        ("tester", "NAME", None, "who answers for this run (default: git's user.name)"),
        ("waivers", "PATH", None, "the file of accepted failures (default saliency-waivers.yaml, if it is there)"),
        (
            "baseline",
            None,
            ("check", "new", "update"),
            "write baselines: new ones only, or candidates for all that ran",
        ),
        ("baselines", "DIR", None, "where baselines are kept (default saliency-baselines)"),
    )
    for name, metavar, choices, text in options:
        flag, dest = f"--saliency-{name}", f"saliency_{name.replace('-', '_')}"
        if choices is None:
            group.addoption(flag, dest=dest, default=None, metavar=metavar, help=text)
        else:
            group.addoption(flag, dest=dest, default=None, choices=choices, help=text)
        parser.addini(dest, f"as {flag}", default=None)
    group.addoption(
        "--saliency-ray",
        dest="saliency_ray",
        nargs="?",
        const="local",
        default=None,
        metavar="ADDRESS",
        help="spread passes over a Ray cluster: at this address (host:port, auto), or one started here",
    )
    parser.addini("saliency_ray", "as --saliency-ray: an address, auto, or local", default=None)
    for name, text in (
        ("no-cache", "keep nothing between runs, and use nothing that was kept"),
        ("bundle-maps", "put maps and pictures into the bundle, which may hold patient data"),
        ("strict", "let nothing soften a verdict: no severity or on_inconclusive of a contract, no known_failure"),
        ("github", "add a summary to the GitHub job, and annotations to its log"),
        ("durations", "show where the time went: images, passes and seconds of every stage"),
    ):
        flag, dest = f"--saliency-{name}", f"saliency_{name.replace('-', '_')}"
        group.addoption(flag, dest=dest, action="store_true", default=None, help=text)
        parser.addini(dest, f"as {flag}", type="bool", default=False)
    parser.addini("saliency_files", "file names of contracts", type="args", default=list(FILES))
    parser.addini(
        "saliency_allow_python",
        "whether contracts may import code of the repository (python: sources)",
        type="bool",
        default=True,
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker and the object that gathers the records of the run."""
    config.addinivalue_line(
        "markers",
        "saliency(contract, check, kind): set on every check of a contract, by pytest-saliency.",
    )
    config.pluginmanager.register(_Gatherer(config), "saliency-gatherer")
    if config.getoption("saliency_baseline") or config.getini("saliency_baseline"):
        from pytest_saliency.records.baseline_mode import refuse_wrong_mode

        refuse_wrong_mode(config)
    if config.getoption("saliency_ray") or config.getini("saliency_ray"):
        from pytest_saliency.session import refuse_ray_with_workers

        refuse_ray_with_workers(config)
    if config.getoption("saliency_shard") or config.getini("saliency_shard"):
        from pytest_saliency.shards import shard_for

        shard_for(config)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> ContractFile | None:
    """Collect the files that look like contracts."""
    if not any(file_path.match(pattern) for pattern in parent.config.getini("saliency_files")):
        return None
    from pytest_saliency.contracts.items import ContractFile

    return ContractFile.from_parent(parent, path=file_path)


@pytest.fixture(scope="session")
def saliency(request: pytest.FixtureRequest) -> Saliency:
    """Explain subjects once per session, on the device of the run: ``saliency.explain(subject, cases)``."""
    from pytest_saliency.errors import SaliencyError
    from pytest_saliency.session import saliency_of

    try:
        return saliency_of(request.config)
    except SaliencyError as error:
        problem = str(error)
    pytest.fail(f"pytest-saliency: {problem}", pytrace=False)  # out of the block, so that nothing is chained to it


@pytest.fixture(scope="session")
def saliency_device(saliency: Saliency) -> str:
    """The device of the run as text, as ``cpu`` or ``cuda``."""
    return saliency.device


@pytest.fixture
def saliency_baseline(request: pytest.FixtureRequest) -> Callable[[str], BaselineHandle]:
    """Name the approved numbers that a test compares with: ``saliency_baseline("chest-sensitive")``."""
    from pytest_saliency.records.baseline_handle import handles_for

    return handles_for(request.node)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Let assertions know which item is running, so that their results are recorded on it."""
    from pytest_saliency.records.recording import recording_on
    from pytest_saliency.report.attach import Completer

    with recording_on(Completer(item)):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put what was recorded onto the report: the one thing that reaches the controller with and without xdist."""
    report = yield
    from pytest_saliency.report.attach import attach

    attach(item, call, report)
    return report


def pytest_report_teststatus(report: pytest.TestReport, config: pytest.Config) -> Any:
    """Show the measured values in the verbose word, on PASS too."""
    if not hasattr(report, "saliency_records"):
        return None
    from pytest_saliency.report.summary import status_of

    return status_of(report, config)


class _Gatherer:
    """Gathers records from reports in the controller and reports the run at its end."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._uncollected: list[str] = []
        self._exited = False

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._uncollected.append(report.nodeid)

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        # After pytest.exit the exit status may be any, 0 too.
        self._exited = isinstance(excinfo.value, pytest.exit.Exception)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        crashed = getattr(report, "when", None) == "???"
        if not crashed and not hasattr(report, "saliency_records"):
            return
        self._run_report().add(report)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if hasattr(self._config, "workerinput") or not self._used():
            return
        whole = self._run_report().finish(session, int(session.exitstatus), exited=self._exited)
        if not whole and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._used():
            self._run_report().write_summary(terminalreporter)
        elif "pytest_saliency.session" in sys.modules:  # the fixture may have been used without an assertion
            self._run_report().write_costs(terminalreporter)

    def _used(self) -> bool:
        """Whether a check ran, or a report was asked for (which then says that nothing ran)."""
        if self._config.option.collectonly:  # an editor's, say, where the project's own options name the files of a run
            return False
        asked = ("saliency_json", "saliency_html", "saliency_bundle")
        return RUN_REPORT in self._config.stash or any(
            self._config.getoption(name) or self._config.getini(name) for name in asked
        )

    def _run_report(self) -> RunReport:
        if RUN_REPORT not in self._config.stash:
            from pytest_saliency.report.summary import RunReport

            self._config.stash[RUN_REPORT] = RunReport(self._config, self._uncollected)
        return self._config.stash[RUN_REPORT]
