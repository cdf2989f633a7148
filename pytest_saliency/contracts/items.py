"""Contracts as pytest sees them: a file of checks, each an ordinary function item.

The items come from the text of the contract alone; neither torch nor the user's code is imported to collect them.
Being functions in a module, they take fixtures (module-scoped and autouse ones too), ``-k``, ``-m``, ``--lf``, strict
xfail, JUnit and xdist as every other test does.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_saliency.errors import ContractError, ExplanationAssertionError, SaliencyError

if TYPE_CHECKING:
    from _pytest._code.code import TerminalRepr

    from pytest_saliency.contracts.check import CheckItem
    from pytest_saliency.contracts.contract import Contract
    from pytest_saliency.records.record import Setting


class ContractFile(pytest.Module):
    """A ``*.saliency.yaml`` file."""

    obj = None  # there is no Python module behind it; pytest asks for one where it looks for xunit-style functions

    def collect(self) -> Iterable[ContractItem]:
        """Return an item for each check and value of its axes.

        Raises
        ------
        ContractError
            All problems of the file; shown as its text, without a traceback.
        """
        from pytest_saliency.contracts.contract import expand, load_contract
        from pytest_saliency.session import plan

        contract = load_contract(self.path)
        checks = expand(contract)
        for check in checks:
            plan(self.config, (check.parameters["method"], *(check.parameters.get("against") or ())))
        return [ContractItem.declared(self, contract, check) for check in checks]

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> str | TerminalRepr:
        """Show the problems of a contract as they are."""
        if not isinstance(excinfo.value, ContractError):
            return super().repr_failure(excinfo)
        from pytest_saliency.report.longrepr import failure_block, shown_path

        text = excinfo.value.render()
        line = max(1, excinfo.value.problems[0].line if excinfo.value.problems else 1)
        return failure_block(text, shown_path(self.path, self.config), line, text.splitlines()[0])

    def teardown(self) -> None:
        """Let go of the contract's models and images."""
        from pytest_saliency.session import SALIENCY

        if SALIENCY in self.config.stash:
            self.config.stash[SALIENCY].forget(str(self.path))
        super().teardown()


class ContractItem(pytest.Function):
    """One check with one value of each of its axes."""

    contract: Contract
    check: CheckItem

    @classmethod
    def declared(cls, parent: ContractFile, contract: Contract, check: CheckItem) -> ContractItem:
        """Return the item of ``check``."""
        from pytest_saliency.contracts.function import function_asking_for
        from pytest_saliency.contracts.policy import marks_of
        from pytest_saliency.report.paths import option_flag

        function = function_asking_for(check.name, fixtures_of(contract, check))
        for mark in marks_of(check, contract.slug, option_flag(parent.config, "strict")):
            function = mark(function)
        item: ContractItem = cls.from_parent(parent, name=check.name, callobj=function)
        item.contract, item.check = contract, check
        return item

    def reportinfo(self) -> tuple[Path, int, str]:
        """Return the contract, the line (from 0) of the check, and the title above its failure."""
        from pytest_saliency.report.attach import below_root

        return self.path, self.check.line - 1, f"{self.name} in {below_root(self.path, self.config)}"

    def setup(self) -> None:
        """Set fixtures up; one that the contract names and nobody defines is told as the contract's problem."""
        __tracebackhide__ = True
        try:
            super().setup()
        except pytest.FixtureLookupError as error:
            missing = str(error.argname)
            if missing not in fixtures_of(self.contract, self.check):
                raise
        else:
            return
        pytest.fail(  # out of the block, so that pytest's own error is not shown before it
            f"{self.check.check}: the contract names the fixture '{missing}', which no conftest.py or plugin here"
            f" defines; write it, or correct the name.\n{self._at(self._fixture_line(missing))}",
            pytrace=False,
        )

    def run(self, fixtures: dict[str, object]) -> None:
        """Decide the check, record it, and do with the verdict what the contract says."""
        from pytest_saliency.checks.registry import KINDS
        from pytest_saliency.contracts.imports import make_importable
        from pytest_saliency.contracts.policy import apply
        from pytest_saliency.contracts.running import Run, located
        from pytest_saliency.records.baseline_handle import not_yet
        from pytest_saliency.records.baseline_key import Key
        from pytest_saliency.records.baseline_mode import folder_of
        from pytest_saliency.records.baselines import approved_path
        from pytest_saliency.report.attach import Completer
        from pytest_saliency.report.paths import option_flag
        from pytest_saliency.report.terminal import render_failure, violated_line
        from pytest_saliency.session import saliency_of

        with located(self.check.line):
            session = saliency_of(self.config)
        if session.settings.allow_python:
            self.config.add_cleanup(make_importable((self.path.parent, self.config.rootpath)))
        baselines = folder_of(self.config)
        if KINDS[self.check.kind].baselined:
            key = Key.made(self.contract.slug, self.check.parameters["of"], self.check.axes)
            with located(self.check.line):
                reason = not_yet(self.config, key)
            if reason:
                pytest.skip(f"{self.check.check}: {reason}")
        result = Run(self.contract, self.check, session, fixtures, self.config.rootpath, baselines).result()
        record = Completer(self)(result)
        own = Key.of(record)
        if approved_path(baselines, own).is_file():
            record["baseline"] = {"selector": own.selector}
        text = render_failure(record, self._at(violated_line(record) or self.check.line))
        apply(self.check, record["policy"], record, result, text, option_flag(self.config, "strict"))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> str | TerminalRepr:
        """Show an unmet verdict and a known error as text; anything unexpected keeps its traceback."""
        from pytest_saliency.report.longrepr import failure_block, shown_path

        error, line = excinfo.value, self.check.line
        if self.config.getoption("fulltrace") and isinstance(error, SaliencyError):
            return super().repr_failure(excinfo)
        if isinstance(error, ExplanationAssertionError):
            text = str(error)
            location = text.splitlines()[-1].removeprefix(shown_path(self.path, self.config) + ":")
            number = location.partition(":")[0]
            line = int(number) if number.isdecimal() else line
        elif isinstance(error, SaliencyError):
            line = getattr(error, "line", line)
            text = f"{self.check.check}: {error}\n{self._at(line)}"
        else:
            return super().repr_failure(excinfo)
        message = text.splitlines()[0]
        shown = "" if self.config.getoption("tbstyle") == "line" else text  # pytest adds the line itself
        return failure_block(shown, shown_path(self.path, self.config), line, message)

    def saliency_setting(self) -> Setting:
        """Return what the record of this check says beside its result."""
        from pytest_saliency.contracts.settings import setting_of
        from pytest_saliency.report.attach import below_root

        return setting_of(self.contract, self.check, self.nodeid, below_root(self.path, self.config))

    def _at(self, line: int) -> str:
        from pytest_saliency.report.longrepr import shown_path

        return f"{shown_path(self.path, self.config)}:{line}"

    def _fixture_line(self, name: str) -> int:
        for model in self.check.roles.values():
            if self.contract.models[model].fixture == name:
                return self.contract.models[model].line
        if self.check.cases.fixture == name:
            return self.check.lines.get("cases") or self.contract.place("cases")[0]
        return self.check.line


def fixtures_of(contract: Contract, check: CheckItem) -> tuple[str, ...]:
    """Return the fixtures that a check's models and cases are declared to come from, each once."""
    found: dict[str, None] = {}
    specs: list[Any] = [check.cases]
    for name in check.roles.values():
        model = contract.models[name]
        specs += [model, model.contrast.cases if model.contrast else None]
    for spec in specs:
        if spec is not None and spec.fixture is not None:
            found[spec.fixture] = None
    return tuple(found)
