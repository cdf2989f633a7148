"""``pytest-saliency merge`` and ``summary`` at the user's boundary: files in, files out, one sentence where not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fixtures.records import hostile_document, sample_document, sample_record, sample_records
from pytest_saliency.cli import main
from pytest_saliency.evidence.bundle import write_bundle
from pytest_saliency.records.runfile import read_run, write_run
from pytest_saliency.report.github import annotation_lines
from pytest_saliency.report.markdown import render_markdown
from pytest_saliency.report.merge import merge
from pytest_saliency.report.text import render_text

RECORDS = [record for record in sample_records() if record["verdict"] != "NOT_RUN"]
WITHOUT_TORCH = """
import sys
class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchvision"):
            raise ImportError(name)
sys.meta_path.insert(0, Refused())
from pytest_saliency.cli import main
main()
"""


def call(*words: object) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    return result


def halves() -> list[dict[str, Any]]:
    return [
        sample_document(RECORDS[:4], id="a" * 32, started="2026-03-02T08:00:00+00:00"),
        sample_document(RECORDS[4:], id="b" * 32, started="2026-03-02T08:01:00+00:00"),
    ]


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "one.json", tmp_path / "two.json"]
    for path, document in zip(paths, halves(), strict=True):
        write_run(path, document)
    return paths


def test_merge_writes_the_document(files: list[Path], tmp_path: Path) -> None:
    result = call("merge", *files, "-o", tmp_path / "merged.json")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    verdicts = [record["verdict"] for record in RECORDS]
    counts = [f"{verdicts.count(word)} {word}" for word in ("FAIL", "ERROR", "INCONCLUSIVE", "PASS")]
    assert lines[0] == f"2 runs merged: {', '.join(counts)}"
    assert lines[-1] == f"wrote {tmp_path / 'merged.json'}"
    assert read_run(tmp_path / "merged.json") == merge(halves())
    call("merge", *reversed(files), "-o", tmp_path / "other.json")
    assert (tmp_path / "other.json").read_bytes() == (tmp_path / "merged.json").read_bytes()


def test_deviations_are_printed(files: list[Path], tmp_path: Path) -> None:
    document = json.loads(files[1].read_text())
    document["run"]["versions"]["torch"] = "9.9.9"
    write_run(files[1], document)
    result = call("merge", *files, "-o", tmp_path / "merged.json")
    assert (
        "deviation: The version of torch differs between the runs: 2.6.0 in run aaaaaaaa; 9.9.9 in run bbbbbbbb.\n"
        in (result.stdout)
    )


def test_bundles_can_be_merged(files: list[Path], tmp_path: Path) -> None:
    bundles = [write_bundle(tmp_path / "bundles", document, root=tmp_path).path for document in halves()]
    result = call("merge", *bundles, "-o", tmp_path / "merged.json")
    assert result.exit_code == 0, result.output
    merged, plain = read_run(tmp_path / "merged.json"), merge(halves())
    assert [(r["node"], r["verdict"], r["per_image"]) for r in merged["records"] if r["decision"]] == [
        (r["node"], r["verdict"], r["per_image"]) for r in plain["records"] if r["decision"]
    ]
    mixed = call("merge", files[0], bundles[1], "-o", tmp_path / "mixed.json")
    assert mixed.exit_code == 0, mixed.output
    broken = bundles[0] / "results.json"
    broken.write_text("{")
    refused = call("merge", *bundles, "-o", tmp_path / "no.json")
    assert refused.exit_code == 1
    assert refused.stderr.startswith(f"Error: {bundles[0]} cannot be read as a bundle: results.json")
    assert not (tmp_path / "no.json").exists()


def test_report_and_bundle_of_the_merged_run(files: list[Path], tmp_path: Path) -> None:
    from pytest_saliency.evidence.verify import verify

    words = ("--html", tmp_path / "r.html", "--bundle", tmp_path / "out", "--root", tmp_path, "--pictures", tmp_path)
    result = call("merge", *files, "-o", tmp_path / "merged.json", *words)
    assert result.exit_code == 0, result.output
    assert "<html" in (tmp_path / "r.html").read_text(encoding="utf-8")
    (bundle,) = (tmp_path / "out").iterdir()
    assert f"wrote bundle {bundle}, id " in result.stdout
    found = verify(bundle, 0)
    assert found.whole, found.findings
    assert len(found.verdicts) == len(RECORDS)
    assert json.loads((bundle / "run.json").read_bytes())["run"]["merged"][0]["id"] == "a" * 32


def test_waivers_are_assessed_anew(files: list[Path], tmp_path: Path) -> None:
    waivers = tmp_path / "w.yaml"
    waivers.write_text("format: 1\nwaivers: []\n")
    result = call("merge", *files, "-o", tmp_path / "merged.json", "--waivers", waivers)
    assert result.exit_code == 0, result.output
    assert read_run(tmp_path / "merged.json")["waivers"] == []
    waivers.write_text("no: list\n")
    refused = call("merge", *files, "-o", tmp_path / "m.json", "--waivers", waivers)
    assert refused.exit_code == 1
    assert "cannot be used as a file of waivers" in refused.stderr


def test_a_conflict_writes_nothing(tmp_path: Path) -> None:
    for name, verdict in (("a", "PASS"), ("b", "FAIL")):
        record = sample_record("no_semantic_drift", verdict)
        write_run(tmp_path / f"{name}.json", sample_document([record], id=name * 32))
    target = tmp_path / "merged.json"
    target.write_text("from before")
    result = call("merge", tmp_path / "a.json", tmp_path / "b.json", "-o", target)
    assert result.exit_code == 1
    assert "two runs decided it, and not alike: FAIL in run bbbbbbbb" in result.stderr
    assert target.read_text() == "from before"


def test_the_command_used_wrongly(files: list[Path], tmp_path: Path) -> None:
    assert call("merge").exit_code == 2
    assert call("merge", *files).exit_code == 2  # no output
    assert call("merge", tmp_path / "no.json", "-o", tmp_path / "m.json").exit_code == 2
    assert call("summary").exit_code == 2
    assert call("summary", files[0], "--format", "html").exit_code == 2


BROKEN: list[Any] = [
    [],
    {"format": 2, "run": {}, "records": []},
    {"format": 2, "run": {"id": "a"}, "records": []},
    {"format": 1, "run": {"id": "a"}, "records": []},
    {"format": 2, "run": {"id": "a", "versions": 3}, "records": []},
    {"format": 2, "run": {"merged": 3}, "records": []},
    {"format": 2, "run": {"merged": ["x"]}, "records": []},
    {"format": 2, "run": {}, "records": [{"verdict": "PASS", "node": "a", "subjects": [1]}]},
    {"format": 2, "run": {}, "records": [{"verdict": {}, "node": {}}]},
    {"format": 2, "run": {}, "records": [{"verdict": "FAIL", "node": "a", "decision": {"measures": {"a": 1}}}]},
    {"format": 2, "run": {}, "records": [], "waivers": 3},
    {"format": 2, "run": {}, "records": [], "deviations": 3},
]


@pytest.mark.parametrize("place", range(len(BROKEN)))
def test_what_no_run_wrote_is_refused_in_a_sentence(place: int, files: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "broken.json"
    path.write_text(json.dumps(BROKEN[place]))
    result = call("merge", path, files[0], "-o", tmp_path / "merged.json")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert len(result.stderr.splitlines()) == 1
    call("summary", path)
    call("summary", path, "--format", "markdown")
    call("summary", path, "--format", "github")


def test_summary(files: list[Path]) -> None:
    document = halves()[0]
    assert call("summary", files[0]).stdout == render_text(document)
    assert call("summary", files[0], "--format", "markdown").stdout == render_markdown(document)
    lines = call("summary", files[0], "--format", "github").stdout.splitlines()
    assert lines == annotation_lines(document)
    assert all(line.startswith(("::error ", "::warning ")) for line in lines)
    prefixed = call("summary", files[0], "--format", "github", "--prefix", "/models/chest/").stdout
    assert "file=models/chest/contracts/chest.saliency.yaml" in prefixed


def test_summary_of_a_bundle(tmp_path: Path) -> None:
    written = write_bundle(tmp_path, halves()[0], root=tmp_path)
    assert "Explanation checks: 2 of 4 did not pass" in call("summary", written.path).stdout


def test_summary_of_a_hostile_run(tmp_path: Path) -> None:
    write_run(tmp_path / "h.json", hostile_document())
    for line in call("summary", tmp_path / "h.json", "--format", "github").stdout.split("\n")[:-1]:
        assert line.startswith(("::error ", "::warning "))
    assert "<script" not in call("summary", tmp_path / "h.json", "--format", "markdown").stdout


def test_neither_needs_torch(files: list[Path], tmp_path: Path) -> None:
    merged = tmp_path / "merged.json"
    for words in (
        ("merge", *files, "-o", merged, "--html", tmp_path / "r.html", "--bundle", tmp_path / "b"),
        ("summary", merged),
        ("summary", merged, "--format", "markdown"),
        ("summary", merged, "--format", "github"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT_TORCH, *map(str, words)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout


def waived(folder: Path) -> tuple[list[Path], Path]:
    """Write two runs below ``folder`` that cite a waiver which applies, and the file of waivers."""
    from datetime import UTC, datetime

    from evidence.bundles import document_of, repository
    from evidence.waiving import file_of, waiver

    from pytest_saliency.evidence.waivers import assess, load_waivers

    root = repository(folder / "repository")
    document = document_of(root, {"sensitive": "PASS", "faithful": "PASS", "kept": "FAIL"})
    (kept,) = (one for one in document["records"] if one["check"] == "kept")
    path = root / "saliency-waivers.yaml"
    path.write_bytes(
        file_of(
            waiver(
                check="chest/kept",
                model=f'"{kept["subjects"]["after"]["weights_sha256"]}"',
                bound="{iou_drop: 1.0}",
                created="2026-01-01T00:00:00Z",
                expires="2026-12-31T00:00:00Z",
            )
        )
    )
    paths = []
    for name, here in (("a", document["records"][:1]), ("b", document["records"][1:])):
        part = {**document, "records": here, "run": {**document["run"], "id": name * 32}}
        part["waivers"] = assess(load_waivers(path), here, datetime(2026, 3, 2, 8, 4, 30, tzinfo=UTC))
        paths.append(folder / f"{name}.json")
        write_run(paths[-1], part)
    return paths, path


def test_a_bundle_of_runs_with_waivers_is_one_that_verification_calls_whole(tmp_path: Path) -> None:
    from pytest_saliency.evidence.verify import verify

    runs, waivers = waived(tmp_path)
    for number, words in enumerate((("--root", waivers.parent), ("--root", waivers.parent, "--waivers", waivers))):
        result = call("merge", *runs, "-o", tmp_path / "m.json", "--bundle", tmp_path / f"out-{number}", *words)
        assert result.exit_code == 0, result.output
        assert f"waivers: {waivers}" in result.stdout
        (bundle,) = (tmp_path / f"out-{number}").iterdir()
        report = verify(bundle, 1)
        assert report.findings == ()
        assert report.document is not None
        assert [one["state"] for one in report.document["waivers"]] == ["applies"]


def test_what_cannot_be_a_whole_bundle_writes_nothing_at_all(tmp_path: Path) -> None:
    runs, waivers = waived(tmp_path)
    waivers.rename(tmp_path / "elsewhere.yaml")
    words = ("-o", tmp_path / "m.json", "--html", tmp_path / "m.html", "--bundle", tmp_path / "out")
    before = sorted(tmp_path.rglob("*"))
    refused = call("merge", *runs, *words, "--root", waivers.parent)
    assert refused.exit_code == 1
    assert "these runs cite waivers" in refused.stderr
    assert "--waivers FILE" in refused.stderr
    assert sorted(tmp_path.rglob("*")) == before
    given = ("--root", waivers.parent, "--waivers", tmp_path / "elsewhere.yaml")
    assert call("merge", *runs, *words, *given).exit_code == 0
    for path in (tmp_path / "m.json", tmp_path / "m.html"):
        path.unlink()
    before = sorted(tmp_path.rglob("*"))
    again = call("merge", *runs, *words, *given)  # the bundle is there already
    assert again.exit_code == 1
    assert "is there already" in again.stderr
    assert sorted(tmp_path.rglob("*")) == before
