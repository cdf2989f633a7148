"""``pytest-saliency report``: from a run's JSON file to the report, with files that lie where they should and not."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fixtures.records import sample_document, sample_record, with_gallery
from pytest_saliency.cli import main

from .html_page import read


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    return sample_record("no_semantic_drift", "FAIL")


@pytest.fixture
def run(tmp_path: Path, record: dict[str, Any]) -> Path:
    """A run's JSON file in a folder of its own, its pictures below ``root``."""
    document = sample_document([with_gallery(record, tmp_path / "root")])
    path = tmp_path / "run.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def report(*words: object) -> Result:
    return CliRunner().invoke(main, ["report", *map(str, words)])


def test_the_report_is_written_with_its_pictures(run: Path, tmp_path: Path) -> None:
    made = report(run, "-o", tmp_path / "deep" / "r.html", "--pictures", tmp_path / "root")
    assert made.exit_code == 0, made.output
    assert made.output == f"wrote {tmp_path / 'deep' / 'r.html'}\n"
    page = read((tmp_path / "deep" / "r.html").read_text(encoding="utf-8"))
    assert page.all("img")
    assert not page.all("p", cls="missing")


def test_pictures_elsewhere_are_missing_and_not_looked_for(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    assert report(run).exit_code == 0
    page = read((tmp_path / "empty" / "report.html").read_text(encoding="utf-8"))
    assert not page.all("img")
    assert all("there is no such file" in one.text for one in page.all("p", cls="missing"))
    assert page.all("p", cls="missing")


def test_images_none_leaves_no_pixel(run: Path, tmp_path: Path) -> None:
    made = report(run, "-o", tmp_path / "r.html", "--pictures", tmp_path / "root", "--images", "none")
    assert made.exit_code == 0, made.output
    assert "data:image" not in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_a_title_of_ones_own(run: Path, tmp_path: Path) -> None:
    assert report(run, "-o", tmp_path / "r.html", "--title", "Pilot <1>").exit_code == 0
    assert read((tmp_path / "r.html").read_text(encoding="utf-8")).one("h1").text == "Pilot <1>"


def test_waivers_of_today_are_held_against_the_run(run: Path, tmp_path: Path, record: dict[str, Any]) -> None:
    now = datetime.now(UTC)
    measures = record["decision"]["measures"].items()
    unmet = {key: one["estimate"] + 0.1 for key, one in measures if one["verdict"] not in (None, "PASS")}
    lines = {
        "id": "w-1",
        "check": "chest/evidence-kept[layercam]",
        "model": record["subjects"]["after"]["weights_sha256"],
        "bound": json.dumps(unmet),
        "reason": "accepted for the pilot site",
        "risk": "RISK-7",
        "requested_by": "A. Engineer",
        "approved_by": "Q. Manager",
        "created": f"'{now - timedelta(days=2):%Y-%m-%dT%H:%M:%SZ}'",
        "expires": f"'{now + timedelta(days=2):%Y-%m-%dT%H:%M:%SZ}'",
    }
    waivers = tmp_path / "w.yaml"
    entry = "\n    ".join(f"{key}: {value}" for key, value in lines.items())
    waivers.write_text(f"format: 1\nwaivers:\n  - {entry}\n", encoding="utf-8")

    def decision(*words: object) -> str:
        made = report(run, "-o", tmp_path / "r.html", *words)
        assert made.exit_code == 0, made.output
        return read((tmp_path / "r.html").read_text(encoding="utf-8")).one("p", cls="decision").one("strong").text

    assert decision() == "No release"
    assert decision("--waivers", waivers) == "Release with waivers"
    waivers.write_text(f"format: 1\nwaivers:\n  - {entry.replace('Q. Manager', 'A. Engineer')}\n", encoding="utf-8")
    assert decision("--waivers", waivers) == "No release"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is not the JSON of a run"),
        ("[]", "is not a run's records"),
        ('{"format": 1, "run": {}, "records": []}', "has format 1"),
        ('{"format": 2, "run": {}, "records": [{"verdict": "FAIL", "decision": 3, "node": "a::b"}]}', "as the record"),
        ('{"format": 2, "run": {}, "records": [], "waivers": 7}', "as the run is not as this release"),
    ],
)
def test_what_is_no_run_gives_a_sentence_and_keeps_what_was_there(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "run.json").write_text(content, encoding="utf-8")
    (tmp_path / "r.html").write_text("the report of yesterday", encoding="utf-8")
    made = report(tmp_path / "run.json", "-o", tmp_path / "r.html")
    assert made.exit_code == 1
    assert made.output.startswith("Error: ")
    assert said in made.output
    assert "Traceback" not in made.output
    assert (tmp_path / "r.html").read_text(encoding="utf-8") == "the report of yesterday"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.html", "run.json"]


def test_what_cannot_be_written_gives_a_sentence(run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    made = report(run, "-o", tmp_path / "file" / "r.html")
    assert made.exit_code == 1
    assert "cannot be written" in made.output


def test_it_needs_no_torch(run: Path, tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "class Gone:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'torchvision'):\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Gone())\n"
        "from pytest_saliency.cli import main\n"
        "main()\n"
    )
    words = ["report", str(run), "-o", str(tmp_path / "r.html"), "--pictures", str(tmp_path / "root")]
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", program, *words], check=True, cwd=root)
    assert (tmp_path / "r.html").exists()
