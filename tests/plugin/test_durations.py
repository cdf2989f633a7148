"""What a run says about its own cost: the table, notes of the work, and a line of progress on a terminal alone."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .texts import CONTRACT, DRIFT, FAITHFUL, SENSITIVE, Write

SUMMARY = re.compile(r"saliency: ([\d,]+) images? through models(?: in ([\d,]+) forward pass(?:es)?)?, ([\d,.]+) s(.*)")
SLOW = """\
import time
import toy

class Slow(toy.Toy):
    def forward(self, x):
        time.sleep(0.02 * len(x))
        return super().forward(x)

def build():
    return Slow()
"""


ASKED = ("--saliency-durations", "--saliency-html=out.html", "--saliency-bundle=evidence")


def stages_of(path: Path) -> dict[str, dict[str, Any]]:
    """The last that was told of each piece of work, by stage, added up by hand."""
    works: dict[str, dict[str, Any]] = {}
    for record in json.loads(path.read_text(encoding="utf-8"))["records"]:
        for work in ((record["execution"] or {}).get("work") or {}).values():  # none of what did not run
            if work["id"] not in works or images_of(work) > images_of(works[work["id"]]):
                works[work["id"]] = work
    made: dict[str, dict[str, Any]] = {}
    for work in works.values():
        for name, stage in work["stages"].items():
            row = made.setdefault(name, {"passes": 0, "images": 0})
            row["passes"] += stage["passes"]
            row["images"] += sum(stage["images"].values())
    return made


def images_of(work: dict[str, Any]) -> int:
    return sum(sum(stage["images"].values()) for stage in work["stages"].values())


def rows(lines: list[str]) -> dict[str, list[str]]:
    start = next(i for i, line in enumerate(lines) if line.split() == ["stage", "time", "passes", "images"])
    table = [re.split(r"\s{3,}", line.strip()) for line in lines[start + 1 :] if line.startswith("  ")]
    return {cells[0]: cells[1:] for cells in table}


def test_the_table_adds_up(pytester: pytest.Pytester, write: Write) -> None:
    write(SENSITIVE, FAITHFUL, DRIFT)
    arguments = ["-q", *ASKED, "--saliency-no-cache", "--saliency-json=out.json"]
    result = pytester.runpytest_inprocess(*arguments)
    result.assert_outcomes(passed=3, failed=1)
    adds_up(result, pytester.path / "out.json", processes=1)


def adds_up(result: pytest.RunResult, json: Path, processes: int) -> None:
    """Hold the table of a run with :data:`ASKED` to its records, whoever did the work."""
    stages = stages_of(json)
    table = rows(result.stdout.lines)
    assert set(table) == {*stages, "measure", "decide", "json", "report", "bundle"}
    for name, stage in stages.items():
        told = [
            int(number.replace(",", ""))
            for number in re.findall(r"\b([\d,]+) (?:images|for|from)", " ".join(table[name]))
        ]
        assert sum(told) == stage["images"]
    assert 60 <= stages["capture"]["images"] <= 120 * processes
    line = next(found for line in result.stdout.lines if (found := SUMMARY.fullmatch(line)))
    assert int(line[1].replace(",", "")) == sum(stage["images"] for stage in stages.values())
    assert float(line[3].replace(",", "")) > 0
    assert line[4] == ""
    seconds = [float(cells[0].removesuffix(" s").replace(",", "")) for cells in table.values()]
    assert seconds == sorted(seconds, reverse=True)
    assert sum(seconds) == pytest.approx(float(line[3].replace(",", "")), abs=0.06 + 0.005 * len(seconds))


def test_one_process_makes_each_pass_once(pytester: pytest.Pytester, write: Write) -> None:
    write(SENSITIVE, SENSITIVE.replace("id: sensitive", "id: again").replace("gradcam", "layercam"), FAITHFUL)
    pytester.runpytest_inprocess("-q", "--saliency-no-cache", "--saliency-json=out.json").assert_outcomes(passed=4)
    stages = stages_of(pytester.path / "out.json")
    assert stages["capture"] == {"passes": 2, "images": 60}
    assert stages["jitter"] == {"passes": 2, "images": 60}


def test_a_second_run_says_what_it_found(pytester: pytest.Pytester, write: Write) -> None:
    write(SENSITIVE)
    pytester.runpytest_inprocess("-q").assert_outcomes(passed=1)
    result = pytester.runpytest_inprocess("-q", "--saliency-durations")
    found = next(found for line in result.stdout.lines if (found := SUMMARY.fullmatch(line)))
    assert re.fullmatch(r"; \d results from the cache", found[4])
    assert "capture" not in rows(result.stdout.lines)
    assert int(found[1]) < 60


def test_nothing_is_said_unless_asked_and_the_ini_file_can_ask(pytester: pytest.Pytester, write: Write) -> None:
    write(SENSITIVE)
    quiet = pytester.runpytest_inprocess("-q")
    assert [line for line in quiet.stdout.lines if line.startswith("saliency:")] == ["saliency: 1 check: 1 PASS"]
    pytester.makeini("[pytest]\nsaliency_durations = true\n")
    pytester.runpytest_inprocess("-q").stdout.fnmatch_lines(["saliency: * through models*", "  stage *"])


def test_a_run_in_which_no_model_ran(pytester: pytest.Pytester, write: Write) -> None:
    write(SENSITIVE, head=CONTRACT.replace("toy:build", "toy:nobody", 1))
    result = pytester.runpytest_inprocess("-q", "--saliency-durations")
    result.stdout.fnmatch_lines(["saliency: 1 check: 1 ERROR", "saliency: no model ran"])
    result.stdout.no_fnmatch_line("  stage*")


def test_assertions_in_tests_are_counted_too(pytester: pytest.Pytester, write: Write) -> None:
    write(SENSITIVE)
    pytester.makepyfile(
        """
        import toy
        from pytest_saliency import Subject, assert_class_sensitive

        def test_holds(saliency):
            found = saliency.explain(Subject(toy.build(), layer="features"), toy.cases())
            assert_class_sensitive(found, ["gradcam", "layercam"])
        """
    )
    result = pytester.runpytest_inprocess("-q", "--saliency-durations", "--saliency-no-cache")
    result.assert_outcomes(passed=2)
    assert "120 images" in rows(result.stdout.lines)["capture"]


def test_a_note_of_the_work_is_told_once_and_as_one_sentence(pytester: pytest.Pytester, write: Write) -> None:
    """Ablation-CAM says why it runs the whole model, whichever of the checks asked for it first."""
    (pytester.path / "loose.py").write_text(
        "import toy\nfrom torch import nn\n\n"
        "class Front(nn.Module):\n"
        "    def forward(self, x):\n"
        "        self.mean = x.mean((2, 3))\n"
        "        return x\n\n"
        "class Loose(toy.Toy):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.front = Front()\n\n"
        "    def forward(self, x):\n"
        "        seen = self.features(self.front(x) * self.mask)\n"
        "        return self.head(seen.mean((2, 3)) + 0.1 * self.front.mean)\n\n"
        "def build():\n    return Loose()\n"
    )
    head = CONTRACT.replace("toy:build", "loose:build", 1)
    write(
        SENSITIVE.replace("method: gradcam", "method: ablationcam"),
        FAITHFUL.replace("layercam", "ablationcam"),
        head=head,
    )
    for arguments in ([], ["--saliency-no-cache"], []):
        result = pytester.runpytest_inprocess("-q", *arguments)
        result.assert_outcomes(passed=3)
        notes = [line for line in result.stdout.lines if "Ablation-CAM" in line]
        assert len(notes) == 1
        assert notes[0].startswith("saliency: Ablation-CAM runs the whole model 'clean' for each channel, because ")
        assert re.search(r"[^.]\.$", notes[0]), "one full stop"


# -- progress -------------------------------------------------------------------------------------------------------


def slow(pytester: pytest.Pytester, write: Write) -> list[str]:
    write(
        SENSITIVE.replace("method: gradcam", "method: scorecam\n    rule: published"),
        head=CONTRACT.replace("toy:build", "slow:build", 1).replace('"toy:cases"', '"toy:cases", args: {n: 48}'),
    )
    (pytester.path / "slow.py").write_text(SLOW)
    return ["-p", "no:cacheprovider", "--saliency-no-cache", "--saliency-batch=4"]


def test_long_work_shows_itself_on_a_terminal(pytester: pytest.Pytester, write: Write) -> None:
    pty = pytest.importorskip("pty")
    command = [sys.executable, "-m", "pytest", *slow(pytester, write)]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command, stdout=theirs, stderr=theirs, stdin=theirs, cwd=pytester.path, env={**os.environ, "COLUMNS": "100"}
    )
    os.close(theirs)
    parts = []
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # Linux, once nobody writes any more
            break
        if not part:
            break
        parts.append(part)
    os.close(ours)
    assert process.wait() == 0
    shown = b"".join(parts).decode()
    bars = re.findall(r"clean: scorecam \[#*\.*\] (\d+)/48, [\d.]+(?:/s| s each), [\d.]+ s left", shown)
    assert len(bars) >= 3
    assert [int(done) for done in bars] == sorted(map(int, bars))
    last = shown.rfind("left")
    assert re.match(r"left *\r +\r", shown[last:]), "the line is wiped when the pass is done"


def test_there_is_nothing_of_it_in_a_pipe(pytester: pytest.Pytester, write: Write) -> None:
    done = pytester.runpytest_inprocess(*slow(pytester, write))
    done.assert_outcomes(passed=1)
    said = done.stdout.str() + done.stderr.str()
    assert "left" not in said
    assert "\r" not in said
    assert done.stderr.str() == ""
