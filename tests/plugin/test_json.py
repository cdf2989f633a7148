"""The JSON file of a run: everything measured, the same with and without workers, and never the tests' problem."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from .test_durations import ASKED, adds_up
from .texts import DRIFT, FAITHFUL, SENSITIVE, Write


def read(path: Path) -> dict[str, Any]:
    def refuse(word: str) -> float:
        raise AssertionError(f"{word} is not JSON")

    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    return found


def comparable(document: dict[str, Any]) -> dict[str, Any]:
    """Drop what may differ between two runs: times, how passes were shared, and the command line."""
    for record in document["records"]:
        if record["verdict"] == "NOT_RUN":
            continue
        del record["execution"]["check_seconds"], record["execution"]["work"], record["execution"]["threads"]
    for key in ("id", "started", "finished", "command"):
        del document["run"][key]
    return document


def test_the_file_is_the_same_without_and_with_workers(pytester: pytest.Pytester, write: Write) -> None:
    """Also what one of them left out, what could not be collected, and the table of what the work cost."""
    write(SENSITIVE, DRIFT, FAITHFUL, SENSITIVE.replace("id: sensitive", "id: elsewhere"))
    pytester.makefile(".saliency.yaml", broken="saliency: 1\nchecks: 3\n")
    pytester.makepyfile("def test_other(): pass")
    words = ("-k", "not elsewhere", "--continue-on-collection-errors", "--saliency-no-cache")
    alone = pytester.runpytest_inprocess("--saliency-json=alone.json", "-n0", *words)
    alone.assert_outcomes(passed=4, failed=1, errors=1, deselected=1)
    shared = pytester.runpytest_subprocess("--saliency-json=shared.json", "-n2", "-v", *words, *ASKED)
    shared.assert_outcomes(passed=4, failed=1, errors=2)  # each worker tells of the broken file
    shared.stdout.fnmatch_lines(["*PASSED mean advantage with blur*", "kept: the model looks elsewhere*"])
    shared.stdout.fnmatch_lines(["saliency: 4 checks: 3 PASS, 1 FAIL", "FAILED toy.saliency.yaml::kept - kept: the*"])
    adds_up(shared, pytester.path / "shared.json", processes=2)
    one, two = (comparable(read(pytester.path / f"{name}.json")) for name in ("alone", "shared"))
    assert one == two
    assert two["run"]["uncollected"] == ["broken.saliency.yaml"]
    assert [record["check"] for record in two["records"] if record["verdict"] == "NOT_RUN"] == ["elsewhere"]


def test_a_record_says_what_was_declared_measured_and_run(pytester: pytest.Pytester, write: Write) -> None:
    contract = write(DRIFT)
    pytester.runpytest_inprocess("--saliency-json", "deep/er/run.json").stdout.fnmatch_lines(
        [f"saliency: records written to {pytester.path / 'deep/er/run.json'}"]
    )
    document = read(pytester.path / "deep/er/run.json")
    assert document["format"] == 2
    assert document["run"]["exit_status"] == pytest.ExitCode.TESTS_FAILED
    assert document["run"]["command"] == "pytest --saliency-json deep/er/run.json"
    assert document["run"]["started"] <= document["run"]["finished"]
    assert {"python", "torch", "numpy", "pytest"} <= set(document["run"]["versions"])
    assert document["run"]["git"] is None
    (record,) = document["records"]
    assert record["contract"] == "toy"
    assert record["check"] == "kept"
    assert record["node"] == "toy.saliency.yaml::kept"
    assert record["requirement"] == "REQ-1"
    assert record["verdict"] == record["decision"]["verdict"] == "FAIL"
    assert record["criterion"]["max_iou_drop"] == 0.40
    assert record["criterion"]["top_fraction"] == 0.20, "a value that nobody wrote is in the record too"
    assert record["policy"] == {"severity": "fail", "on_inconclusive": "fail", "known_failure": None}
    lines = contract.read_text().splitlines()
    assert lines[record["source"]["lines"]["max_iou_drop"] - 1].strip() == "max_iou_drop: 0.40"
    assert len(record["per_image"]["id"]) == 60
    assert (pytester.path / record["pictures"][0]).is_file()
    assert set(record["subjects"]) == {"before", "after"}


def test_the_path_can_come_from_the_ini_file_and_the_command_line_wins(pytester: pytest.Pytester, write: Write) -> None:
    write(SENSITIVE, name="sub/toy.saliency.yaml")
    pytester.makeini("[pytest]\nsaliency_json = out/ini.json")
    os.chdir(pytester.path / "sub")
    pytester.runpytest_inprocess()
    assert (pytester.path / "out/ini.json").is_file(), "relative to the root, wherever pytest is started"
    pytester.runpytest_inprocess("--saliency-json=mine.json")
    assert (pytester.path / "sub/mine.json").is_file()


def test_a_run_without_checks_says_so(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_other(): pass")
    result = pytester.runpytest_inprocess("--saliency-json=run.json")
    result.stdout.fnmatch_lines(["saliency: 0 checks: none ran"])
    assert read(pytester.path / "run.json")["records"] == []


@pytest.mark.parametrize("checks", [(SENSITIVE,), (SENSITIVE, DRIFT)], ids=["green", "red"])
def test_a_path_that_cannot_be_written_fails_the_run_and_hides_nothing(
    pytester: pytest.Pytester, write: Write, checks: tuple[str, ...]
) -> None:
    write(*checks)
    (pytester.path / "file").write_text("in the way")
    result = pytester.runpytest_inprocess("--saliency-json=file/run.json")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=1, failed=len(checks) - 1)
    result.stdout.fnmatch_lines(["saliency: ERROR: JSON report: *file/run.json cannot be written: *"])
    result.stdout.no_fnmatch_line("*Traceback*")


def test_a_check_that_could_not_be_decided_is_an_error_record(pytester: pytest.Pytester, write: Write) -> None:
    write(SENSITIVE, DRIFT)
    with (pytester.path / "toy.py").open("a") as file:
        file.write("\n\ndef build_cheat():\n    raise MemoryError('no room')\n")
    pytester.runpytest_inprocess("--saliency-json=run.json").assert_outcomes(passed=1, failed=1)
    kept, sensitive = read(pytester.path / "run.json")["records"]
    assert (kept["verdict"], kept["decision"]) == ("ERROR", None)
    assert kept["headline"].startswith("python: toy:build_cheat raised MemoryError at toy.py:")
    assert "no room" in kept["headline"]
    assert sensitive["verdict"] == "PASS"


def test_a_worker_that_dies_loses_only_its_check(pytester: pytest.Pytester, write: Write) -> None:
    write(SENSITIVE, DRIFT)
    with (pytester.path / "toy.py").open("a") as file:
        file.write("\n\ndef build_cheat():\n    import os\n    os._exit(3)\n")
    result = pytester.runpytest_subprocess("--saliency-json=run.json", "-n1")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    verdicts = {record["node"]: record["verdict"] for record in read(pytester.path / "run.json")["records"]}
    assert verdicts == {"toy.saliency.yaml::sensitive": "PASS", "toy.saliency.yaml::kept": "ERROR"}


def test_looking_for_tests_leaves_the_file_of_a_run(pytester: pytest.Pytester, write: Write) -> None:
    write(SENSITIVE)
    path = pytester.path / "run.json"
    path.write_text("as a run left it")
    pytester.runpytest_inprocess("--collect-only", "--saliency-json=run.json").assert_outcomes()
    assert path.read_text() == "as a run left it"
