"""``--saliency-html`` in a run of pytest: the report of what was just run, with pictures or without any."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from pytest_saliency.cli import main

from .texts import DRIFT, SENSITIVE, Write


def run(pytester: pytest.Pytester, *words: str) -> pytest.RunResult:
    return pytester.runpytest_inprocess("-q", *words)


def test_the_report_of_a_run(pytester: pytest.Pytester, write: Write) -> None:
    write(DRIFT, SENSITIVE)
    made = run(pytester, "--saliency-html", "out/report.html", "--saliency-json", "run.json")
    made.stdout.fnmatch_lines(["*HTML report written to *report.html*"])
    html = (pytester.path / "out" / "report.html").read_text(encoding="utf-8")
    assert "No release" in html
    assert "data:image/" in html, "pictures of what failed are kept by default"
    assert 'class="missing"' not in html
    words = ["report", "run.json", "-o", "again.html", "--images", "all"]
    assert CliRunner().invoke(main, words).exit_code == 0
    assert (pytester.path / "again.html").read_text(encoding="utf-8") == html, "the records alone give the same bytes"


def test_no_pixel_where_none_is_wanted_whatever_earlier_runs_left(pytester: pytest.Pytester, write: Write) -> None:
    write(DRIFT)
    run(pytester, "--saliency-images", "all")
    assert list(pytester.path.glob(".pytest_cache/**/*.png")) or list(pytester.path.glob(".pytest_cache/**/*.jpg"))
    pytester.makeini("[pytest]\nsaliency_html = report.html\n")
    run(pytester, "--saliency-images", "none")
    html = (pytester.path / "report.html").read_text(encoding="utf-8")
    assert "data:image" not in html
    assert "no pixel of any image" in html


def test_pictures_are_found_where_the_cache_lies_elsewhere(
    pytester: pytest.Pytester, write: Write, tmp_path_factory: pytest.TempPathFactory
) -> None:
    write(DRIFT)
    cache: Path = tmp_path_factory.mktemp("elsewhere")
    run(pytester, "-o", f"cache_dir={cache}", "--saliency-html", "report.html")
    html = (pytester.path / "report.html").read_text(encoding="utf-8")
    assert "data:image/" in html
    assert 'class="missing"' not in html


def test_a_report_that_cannot_be_written_is_an_error_and_the_verdicts_stand(
    pytester: pytest.Pytester, write: Write
) -> None:
    write(SENSITIVE)
    (pytester.path / "file").write_text("")
    made = run(pytester, "--saliency-html", "file/report.html")
    assert made.ret == pytest.ExitCode.TESTS_FAILED
    made.stdout.fnmatch_lines(["*1 PASS*", "*cannot be written*"])
