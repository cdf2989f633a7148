"""The tutorial, followed to the letter in an empty folder."""

from __future__ import annotations

import contextlib
import io
import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from pytest_saliency.cli import main
from tests.doc_blocks import blocks_of

ROOT = Path(__file__).parents[1]
TUTORIAL = ROOT / "docs" / "tutorial.md"


def shape(line: str) -> str:
    """Return a line without its figures, unless it counts checks, and without what makes columns straight."""
    if re.search(r"\b(checks?:|items?\b)", line):
        return " ".join(line.split())
    return " ".join(re.sub(r"\d+(\.\d+)?", "N", line).split())


def not_printed(shown: str, printed: str) -> list[str]:
    """Return the lines of ``shown`` with which, figures aside, no line of ``printed`` begins."""
    lines = [shape(line) for line in printed.splitlines()]
    return [line for line in shown.splitlines() if not any(known.startswith(shape(line)) for known in lines)]


def in_process(words: list[str]) -> str:
    """Run a script of the current folder as ``python SCRIPT ...`` does, sharing torch with the other steps."""
    said, argv, path, modules = io.StringIO(), sys.argv, list(sys.path), set(sys.modules)
    sys.argv, sys.path[:0] = words[1:], [str(Path.cwd())]
    try:
        with contextlib.redirect_stdout(said):
            runpy.run_path(words[1], run_name="__main__")
    finally:
        sys.argv, sys.path[:] = argv, path
        for name in set(sys.modules) - modules:
            if getattr(sys.modules[name], "__file__", None) == str(Path.cwd() / f"{name}.py"):
                del sys.modules[name]
    return said.getvalue()


def ran(words: list[str]) -> tuple[int, str]:
    if words[0] == "python":
        return 0, in_process(words)
    if words[0] == "pytest-saliency":
        result = CliRunner().invoke(main, words[1:])
        return result.exit_code, result.output
    assert words[0] == "pytest", words
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTEST_ADDOPTS", "CI")}
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "300"}
    done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, env=environment)
    return done.returncode, done.stdout + done.stderr


def test_the_tutorial_does_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    printed, codes, shown = "", {}, 0
    try:
        for block in blocks_of(TUTORIAL.read_text(encoding="utf-8")):
            if block.title is not None:
                Path(block.title).write_text(block.text, encoding="utf-8")
            elif block.language == "sh":
                (line,) = block.text.splitlines()
                if line.startswith("pip "):
                    continue
                code, printed = ran(shlex.split(line))
                codes[line] = code
                assert code == 0 or line.startswith("pytest "), printed
            else:
                assert block.language == "output", block.line
                assert not_printed(block.text, printed) == [], f"line {block.line} of the page; printed:\n{printed}"
                shown += 1
    finally:
        torch.set_num_threads(threads)
    runs = [code for line, code in codes.items() if line.startswith("pytest ")]
    assert runs == [0, 1], "first the contract holds, then it does not"
    assert shown == 7
    assert Path("report.html").stat().st_size > 10_000


def test_what_is_not_printed_is_found() -> None:
    printed = "saliency: 3 checks: 1 PASS, 2 FAIL\nx: mean 0.38, limit 0.30, n = 12; more\n  IoU drop   0.5   FAIL\n"
    assert not_printed("saliency: 3 checks: 1 PASS, 2 FAIL\nx: mean 0.41, limit 0.30, n = 9\n", printed) == []
    assert not_printed("  IoU drop     0.61    FAIL\n", printed) == []
    assert not_printed("IoU drop 0.5 PASS\n", printed) == ["IoU drop 0.5 PASS"]
    assert not_printed("saliency: 3 checks: 3 PASS\n", printed) == ["saliency: 3 checks: 3 PASS"]
