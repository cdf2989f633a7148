"""``pytest-saliency baseline``: what is shown, approved and removed, without torch and without a run."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from fixtures.records import sample_record
from pytest_saliency.cli import main
from pytest_saliency.records.baseline_key import Key
from pytest_saliency.records.baselines import approved_entry, candidate_path, find
from pytest_saliency.report.baseline_sheet import Row, sheet_png
from tests.records.baseline_files import approved, candidate, later

CONTRACT = """\
saliency: 1
contract: chest
models: {ft: {fixture: model}}
cases: {fixture: images}
defaults: {model: ft}
checks:
  - {id: class-sensitive, kind: class_sensitive, method: [case], top_k: 0.05, max_agreement: 0.5}
  - {id: other, kind: class_sensitive, method: gradcam}
  - {id: no-worse, kind: not_worse_than_baseline, of: class-sensitive, max_worsening: {agreement: 0.1}}
"""
NAME = "chest/class-sensitive[case]"


class Project:
    def __init__(self, path: Path) -> None:
        self.path, self.folder = path, path / "saliency-baselines"
        self.folder.mkdir()
        (path / "chest.saliency.yaml").write_text(CONTRACT)

    def __call__(self, *words: str) -> Result:
        return CliRunner().invoke(main, ["baseline", *words])

    def text(self, *words: str, code: int = 0) -> str:
        done = self(*words)
        assert done.exit_code == code, done.output
        assert done.exception is None or isinstance(done.exception, SystemExit)
        return done.output


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.chdir(tmp_path)
    return Project(tmp_path)


RECORD = sample_record()
WORSE = sample_record("class_sensitive", "FAIL", check="class-sensitive", draw=2)


def test_status_tells_every_state(project: Project) -> None:
    assert project.text("status").splitlines() == [
        f"{NAME}  no baseline",
        "chest/other                  no baseline",
        "2 missing",
    ]
    candidate(project.folder, RECORD)
    assert "not approved: a candidate waits (made 2026-11-21, PASS)" in project.text("status")
    approved(project.folder, RECORD)
    approved(project.folder, sample_record("faithful"))
    approved(project.folder, {**sample_record("faithful"), "contract": "gone"})
    assert project.text("status").splitlines() == [
        f"{NAME}  approved by Ann on 2026-11-21: release 1.0",
        "chest/faithful[gradcam]      orphan, no contract here declares it; approved by Ann on 2026-11-21: release 1.0",
        "chest/other                  no baseline",
        "gone/faithful[gradcam]       orphan, no contract here declares it; approved by Ann on 2026-11-21: release 1.0",
        "1 approved, 2 orphan, 1 missing",
    ]
    candidate(project.folder, later(RECORD))
    assert "release 1.0; a candidate waits for approval (made 2026-11-21, PASS)" in project.text("status")
    assert "gone" not in project.text("status", "chest.saliency.yaml")


def test_status_shows_what_was_loosened(project: Project) -> None:
    approved(project.folder, RECORD)
    path = project.path / "chest.saliency.yaml"
    path.write_text(CONTRACT.replace("max_agreement: 0.5", "max_agreement: 0.7, alpha: 0.01"))
    text = project.text("status")
    assert "    max_agreement 0.50 -> 0.70 (looser)\n" in text
    assert "    alpha 0.05 -> 0.01 (tighter)\n" in text


def test_what_cannot_be_read_is_told_and_the_rest_is_shown(project: Project) -> None:
    entry = approved(project.folder, RECORD)
    other = approved(project.folder, sample_record("faithful"))
    other.path.write_text("{")
    (project.path / "bad.saliency.yaml").write_text("saliency: 2\n")
    text = project.text("status", code=1)
    assert "approved by Ann" in text
    assert "saliency-baselines/chest/faithful[method=gradcam].json is damaged" in text
    assert "bad.saliency.yaml: " in text
    assert "2 files cannot be used" in text
    before = entry.path.read_bytes()
    assert "so what is left over is not known, and nothing was removed" in project.text("prune", "--yes", code=1)
    assert entry.path.read_bytes() == before


def test_diff_of_a_first_candidate_and_of_a_later_one(project: Project) -> None:
    candidate(project.folder, RECORD)
    first = project.text("diff", NAME)
    assert f"{NAME}: nothing approved yet; the candidate of 2026-11-21T10:00:00+00:00 at commit aaaaaaaaaaaa" in first
    assert f"verdict    PASS: {RECORD['headline']}" in first
    approved(project.folder, RECORD)
    assert "nothing waits for approval" in project.text("diff", NAME)
    same_cases = {**WORSE, "cases": {**WORSE["cases"], "unordered_digest": RECORD["cases"]["unordered_digest"]}}
    candidate(project.folder, same_cases)
    text = project.text("diff", "chest/class-sensitive", "-o", "out")
    then, now = (dict(zip(r["per_image"]["id"], r["per_image"]["agreement"], strict=True)) for r in (RECORD, WORSE))
    both = sorted(then.keys() & now.keys())
    means = [sum(side[one] for one in both) / len(both) for side in (then, now)]
    row = next(line.split() for line in text.splitlines() if line.split()[:1] == ["agreement"])
    assert row[1:4] == [f"{means[0]:.2f}", f"{means[1]:.2f}", f"{means[1] - means[0]:+.2f}"]
    low, high = float(row[4]), float(row[6])
    assert low < means[1] - means[0] < high
    worst = max(both, key=lambda one: now[one] - then[one])
    lines = text.splitlines()
    after = lines[next(i for i, line in enumerate(lines) if line.split()[:1] == ["worst"]) + 1].split()
    assert after[0] == worst
    assert after[-2:] == [f"{then[worst]:.2f}", f"{now[worst]:.2f}"]
    assert f"verdict    PASS -> FAIL: {WORSE['headline']}" in text
    assert f"{len(both)} in both, {len(then) - len(both)} left, {len(now.keys() - then.keys())} new" in text
    with Image.open("out/chest-class-sensitive[method=case].png") as picture:
        assert picture.size[1] > 8 * 200


def test_diff_says_why_numbers_cannot_be_compared(project: Project) -> None:
    approved(project.folder, RECORD)
    candidate(project.folder, WORSE)
    assert "The numbers cannot be compared: is of other cases" in project.text("diff", NAME)
    changed = {**RECORD, "criterion": {**RECORD["criterion"], "top_k": 0.2}}
    candidate(project.folder, changed)
    text = project.text("diff", NAME)
    assert "criterion  top_k 0.05 -> 0.20 (changed)" in text
    assert "The numbers cannot be compared: was measured by another criterion" in text


def test_selectors(project: Project) -> None:
    candidate(project.folder, RECORD)
    assert "there is no baseline 'chest/clas-sensitive'" in project.text("diff", "chest/clas-sensitive", code=1)
    assert f"did you mean '{NAME}'?" in project.text("diff", "chest/clas-sensitive[case]", code=1)


def test_approve_needs_a_reason_a_name_and_no_ci(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    key = candidate(project.folder, RECORD)
    before = candidate_path(project.folder, key).read_bytes()
    assert "Missing option '--reason'" in project.text("approve", NAME, code=2)
    assert "--reason is empty" in project.text("approve", NAME, "--reason", "  ", code=1)
    monkeypatch.setenv("CI", "true")
    assert "the environment variable CI is set" in project.text("approve", NAME, "--reason", "x", "--by", "B", code=1)
    monkeypatch.setenv("CI", "false")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(project.path.parent))
    assert "who approves?" in project.text("approve", NAME, "--reason", "x", code=1)
    assert candidate_path(project.folder, key).read_bytes() == before
    text = project.text("approve", NAME, "--reason", " looked at all of them ", "--by", "Ben")
    assert text.startswith(f"approved {NAME} by Ben (PASS, ")
    approval = approved_entry(project.folder, key).approval
    assert approval is not None
    assert (approval["by"], approval["reason"]) == ("Ben", "looked at all of them")
    assert "nothing waits for approval" in project.text("approve", NAME, "--reason", "x", "--by", "Ben", code=1)


def test_a_damaged_candidate_keeps_all_of_them_from_being_approved(project: Project) -> None:
    good, bad = candidate(project.folder, RECORD), candidate(project.folder, sample_record("faithful"))
    waiting = find(project.folder, bad).waiting
    assert waiting is not None
    waiting.arrays_path.write_bytes(b"x")
    text = project.text("approve", good.selector, bad.selector, "--reason", "x", "--by", "B", code=1)
    assert "SHA-256 differs" in text
    assert find(project.folder, good).approved is None


def test_prune_lists_and_removes_only_what_is_left_over(project: Project) -> None:
    kept = approved(project.folder, RECORD)
    orphan = approved(project.folder, sample_record("faithful"))
    stray = kept.path.parent / ("0" * 64 + ".npz")
    stray.write_bytes(b"x")
    (project.folder / "python").mkdir()
    (kept.path.parent / "README").write_text("mine")
    doomed = {orphan.path, orphan.arrays_path, stray}
    listed = project.text("prune")
    assert {Path(line.removeprefix("left over: ")) for line in listed.splitlines()[:-1]} == doomed
    assert all(path.exists() for path in doomed)
    project.text("prune", "--yes")
    assert not any(path.exists() for path in doomed)
    assert kept.load() is not None
    assert (kept.path.parent / "README").exists()
    assert project.text("prune") == "nothing is left over\n"


def test_prune_where_there_is_no_contract_removes_nothing(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = approved(project.folder, RECORD)
    (project.path / "chest.saliency.yaml").unlink()
    assert "there is no contract here" in project.text("prune", "--yes", code=1)
    assert entry.path.exists()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pytest.ini", "[pytest]\nsaliency_baselines = kept/here\n"),
        ("pyproject.toml", '[tool.pytest.ini_options]\nsaliency_baselines = "kept/here"\n'),
        ("setup.cfg", "[tool:pytest]\nsaliency_baselines = kept/here\n"),
        ("tox.ini", "[pytest]\nsaliency_baselines = kept/here\n"),
    ],
)
def test_the_folder_is_the_one_that_pytest_is_told(
    project: Project, monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    (project.path / name).write_text(text)
    approved(project.path / "kept" / "here", RECORD)
    assert "approved by Ann" in project.text("status")
    (project.path / "deep" / "er").mkdir(parents=True)
    monkeypatch.chdir(project.path / "deep" / "er")
    assert "nothing waits" in project.text("diff", NAME)
    assert "there is no baseline" in project.text("diff", NAME, "--baselines", str(project.folder), code=1)


def test_hostile_names_stay_text_and_inside(project: Project) -> None:
    record: dict[str, Any] = {**RECORD, "check": "../../evil", "axes": {"method": "\x1b[31m../../../x"}}
    key = candidate(project.folder, record)
    assert candidate_path(project.folder, key).resolve().is_relative_to(project.folder.resolve())
    assert {path.parent.parent for path in project.path.rglob("*.npz")} == {project.folder}


def test_pictures_are_drawn_from_maps_alone_and_are_the_same_each_time() -> None:
    before = np.zeros((4, 6), dtype=np.float32)
    after = before.copy()
    before[0, 0], after[3, 5] = 1.0, 1.0
    png = sheet_png([Row(("case-1", "red"), before, after), Row(("case-2",), before, -after)], "toy/x")
    assert png == sheet_png([Row(("case-1", "red"), before, after), Row(("case-2",), before, -after)], "toy/x")
    with Image.open(io.BytesIO(png)) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    colourful = (pixels.max(2) - pixels.min(2)) > 60
    assert colourful.any()
    # A volume shows the slice that holds most of the map.
    volume = sheet_png([Row(("case",), np.ones((3, 4, 4)), np.ones((3, 4, 4)))], "volume")
    assert volume.startswith(b"\x89PNG")


def test_no_command_needs_torch(project: Project) -> None:
    approved(project.folder, RECORD)
    candidate(project.folder, {**WORSE, "cases": RECORD["cases"]})
    code = (
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('torch', 'torchvision'):\n"
        "            raise ImportError('no torch here')\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "from pytest_saliency.cli import main\n"
        "for words in (['status'], ['diff', 'chest/class-sensitive', '-o', 'out'],\n"
        "              ['approve', 'chest/class-sensitive', '--reason', 'x', '--by', 'B'], ['prune', '--yes']):\n"
        "    main(['baseline', *words], standalone_mode=False)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=project.path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    approval = approved_entry(project.folder, Key.of(RECORD)).approval
    assert approval is not None
    assert approval["by"] == "B"
