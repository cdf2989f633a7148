"""A repository with baselines: a contract that compares with them, and a model that can be made worse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pytest_saliency.cli import main

from .texts import Write

SENSITIVE = """\
  - id: sensitive
    kind: class_sensitive
    method: [gradcam, layercam]
"""

NO_WORSE = """\
  - id: no-worse
    kind: not_worse_than_baseline
    of: sensitive
    max_worsening: {agreement: 0.1}
"""

FAITHFUL = """\
  - id: faithful
    kind: faithful
    method: gradcam
    top_k: 0.06
    min_advantage: 0.0
"""

EVIDENCE = """\
  - id: evidence
    kind: not_worse_than_baseline
    of: faithful
    max_worsening: {advantage: 0.05}
"""

ITEMS = ("toy/faithful", "toy/sensitive[gradcam]", "toy/sensitive[layercam]")


class Repository:
    """A scratch repository; ``run`` runs pytest in it, ``command`` the command line tool."""

    def __init__(self, pytester: pytest.Pytester, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pytester, self.path = pytester, pytester.path
        self.folder = self.path / "saliency-baselines"
        self._write = write
        write(NO_WORSE, SENSITIVE)
        monkeypatch.delenv("CI", raising=False)
        monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
        monkeypatch.setenv("GIT_CONFIG_KEY_0", "user.name")
        monkeypatch.setenv("GIT_CONFIG_VALUE_0", "Ann Tester")
        pytester.syspathinsert()

    def checks(self, *checks: str) -> None:
        """Write the contract anew; the model stays as it is."""
        model = self.path / "toy.py"
        code = model.read_text()
        self._write(*checks)
        model.write_text(code)

    def run(self, *options: str) -> pytest.RunResult:
        return self.pytester.runpytest_inprocess(*options)

    def records(self, *options: str) -> list[dict[str, Any]]:
        self.run("--saliency-json=run.json", *options)
        found: list[dict[str, Any]] = json.loads((self.path / "run.json").read_text())["records"]
        return found

    def command(self, *words: str) -> Result:
        return CliRunner().invoke(main, ["baseline", *words])

    def approve(self, *selectors: str, reason: str = "release 1.0") -> None:
        done = self.command("approve", *selectors, "--reason", reason)
        assert done.exit_code == 0, done.output

    def approved(self) -> None:
        """Make a baseline of every item and approve it."""
        self.run("--saliency-baseline=new")
        self.approve(*self.selectors())

    def entries(self) -> list[Path]:
        return sorted(self.folder.rglob("*.json"))

    def selectors(self) -> list[str]:
        keys = [json.loads(path.read_text())["key"] for path in self.entries()]
        return sorted({f"{key['contract'] or 'python'}/{key['check']}" for key in keys})

    def model(self, old: str, new: str) -> None:
        """Change the code of the toy model."""
        path = self.path / "toy.py"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    def cheat(self) -> None:
        """Make the model look at the corner that gives the class away."""
        self.model("def build(cheat: bool = False)", "def build(cheat: bool = True)")

    def files(self) -> dict[str, bytes]:
        return {
            path.relative_to(self.folder).as_posix(): path.read_bytes()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file()
        }


@pytest.fixture
def repository(pytester: pytest.Pytester, write: Write, monkeypatch: pytest.MonkeyPatch) -> Repository:
    return Repository(pytester, write, monkeypatch)
