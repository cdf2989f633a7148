"""Bad input as a user meets it: one sentence with its line, a failing exit code, no traceback, no record lost.

All contracts that are wrong while running run in one pytest run, between two that hold.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import pytest_saliency

from .bad_contracts import CASES, MODELS, REFUSED, RUNS, SENSITIVE, Bad, contract, net
from .bad_files import write_files

BAD: dict[str, Bad] = {
    f"{room}: {name}": bad
    for room, table in (("models", MODELS), ("runs", RUNS), ("cases", CASES))
    for name, bad in table.items()
}
HEAD = re.compile(r"^_+ (?:ERROR at setup of )?check in (\S+)\.saliency\.yaml _+$")
FOREIGN = re.compile(r"Traceback|^\s*File \"|^E  |^>  |During handling|site-packages|^\S*\.py:\d+: ")


@dataclass(frozen=True)
class Ran:
    """One run of pytest over all bad contracts."""

    status: int
    blocks: dict[str, list[str]]
    records: dict[str, dict[str, Any]]


def run_pytest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    root = Path(pytest_saliency.__file__).resolve().parents[1]
    kept = {key: value for key, value in os.environ.items() if key != "PYTEST_ADDOPTS"}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--color=no", *arguments],
        cwd=folder,
        env={**kept, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def slug(name: str) -> str:
    return re.sub(r"\W+", "-", name)


def records_in(path: Path) -> dict[str, dict[str, Any]]:
    return {record["node"]: record for record in json.loads(path.read_text(encoding="utf-8"))["records"]}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("bad")
    write_files(folder)
    (folder / "pytest.ini").write_text("[pytest]\n")
    for name in ("a-good", "z-good"):
        (folder / f"{name}.saliency.yaml").write_text(contract(name=name))
    for name, bad in BAD.items():
        (folder / f"{slug(name)}.saliency.yaml").write_text(bad.text)
    done = run_pytest(folder, "-q", "--saliency-json", "run.json")
    blocks: dict[str, list[str]] = {}
    lines = blocks.setdefault("", [])
    for line in done.stdout.splitlines():
        found = HEAD.match(line)
        if found:
            lines = blocks.setdefault(found[1], [])
        elif line.startswith("=="):
            lines = blocks[""]
        else:
            lines.append(line)
    assert "run.json" in done.stdout, done.stdout[-3000:] + done.stderr[-3000:]
    return Ran(done.returncode, blocks, records_in(folder / "run.json"))


@pytest.mark.parametrize("name", BAD)
def test_one_sentence_with_its_line(ran: Ran, name: str) -> None:
    bad, file = BAD[name], slug(name)
    block = ran.blocks[file]
    assert bad.pattern.match(block[0]), block[0]
    assert f"{file}.saliency.yaml:{bad.line}" in [line.split(": ")[0] for line in block], block
    assert not [line for line in block if FOREIGN.search(line)]
    record = ran.records[f"{file}.saliency.yaml::check"]
    assert record["verdict"] == bad.verdict
    assert bad.pattern.match("check: " + record["headline"].removeprefix("check: "))


def test_the_run_fails_and_what_holds_is_recorded(ran: Ran) -> None:
    assert ran.status == pytest.ExitCode.TESTS_FAILED
    assert len(ran.records) == len(BAD) + 2
    assert [ran.records[f"{name}.saliency.yaml::check"]["verdict"] for name in ("a-good", "z-good")] == ["PASS", "PASS"]
    assert ran.records["z-good.saliency.yaml::check"]["per_image"]["id"][0] == "case-0000"


@pytest.mark.parametrize("name", REFUSED)
def test_a_contract_that_is_refused_as_text(pytester: pytest.Pytester, name: str) -> None:
    text, line, sentence = REFUSED[name]
    (pytester.path / "bad.saliency.yaml").write_text(text)
    result = pytester.runpytest_inprocess("--saliency-json", "run.json")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    pattern = rf"  {line}:\d+ +" + ".*".join(re.escape(part) for part in sentence.split(" ... "))
    result.stdout.re_match_lines(["1 problem in this contract; nothing was run.", pattern])
    assert not [row for row in result.outlines if FOREIGN.search(row)]
    assert records_in(pytester.path / "run.json") == {}


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("device", "cuda:77", "device 'cuda:77' is not there: torch * sees *; use auto or cpu."),
        ("device", "foo", "device 'foo' is not known; use auto, cpu, cuda, cuda:<number> or mps."),
        ("batch", "0", "--saliency-batch (or ini saliency_batch) must be auto or a whole number from 1; got '0'."),
    ],
)
def test_an_option_that_cannot_be(pytester: pytest.Pytester, option: str, value: str, sentence: str) -> None:
    (pytester.path / "bad.saliency.yaml").write_text(contract())
    result = pytester.runpytest_inprocess(f"--saliency-{option}", value, "--saliency-json", "run.json")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines([f"check: {sentence}", "bad.saliency.yaml:9"])
    assert not [row for row in result.outlines if FOREIGN.search(row)]
    assert records_in(pytester.path / "run.json")["bad.saliency.yaml::check"]["verdict"] == "ERROR"


def test_an_interrupt_leaves_the_records_of_what_was_done(pytester: pytest.Pytester) -> None:
    write_files(pytester.path)
    (pytester.path / "a.saliency.yaml").write_text(contract(name="a"))
    (pytester.path / "b.saliency.yaml").write_text(contract(net("interrupt"), name="b"))
    (pytester.path / "c.saliency.yaml").write_text(contract(name="c"))
    result = pytester.runpytest_inprocess("--saliency-json", "run.json", no_reraise_ctrlc=True)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    records = records_in(pytester.path / "run.json")
    assert {node: record["verdict"] for node, record in records.items()} == {"a.saliency.yaml::check": "PASS"}


def test_a_fixture_that_raises_shows_its_own_lines_only(pytester: pytest.Pytester) -> None:
    write_files(pytester.path)
    (pytester.path / "bad.saliency.yaml").write_text(contract("{fixture: no_disk}"))
    result = pytester.runpytest_inprocess("--saliency-json", "run.json")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["E   OSError: no disk", "conftest.py:5: OSError"])
    assert not [row for row in result.outlines if "contracts/" in row or "_pytest" in row]
    assert records_in(pytester.path / "run.json")["bad.saliency.yaml::check"]["headline"] == "no disk"


def test_full_trace_shows_what_the_sentence_stands_for(pytester: pytest.Pytester) -> None:
    write_files(pytester.path)
    (pytester.path / "bad.saliency.yaml").write_text(contract('{python: "wrong:raises"}', check=SENSITIVE))
    result = pytester.runpytest_inprocess("--full-trace")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(['>       raise ValueError("the registry has no model of that name")'])
