"""``--saliency-github`` in a run: the summary's file, annotations at the start of their lines, and no other command."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_saliency.report.github_file import VARIABLE, WORKSPACE

from .texts import CONTRACT, DRIFT, SENSITIVE, Write


@pytest.fixture(autouse=True)
def _outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (VARIABLE, WORKSPACE):
        monkeypatch.delenv(name, raising=False)


def commands(lines: list[str]) -> list[str]:
    """Return what a runner may take for commands: lines that begin with colons, and the old form anywhere."""
    return [line for line in lines if line.lstrip().startswith("::") or "##[" in line]


def test_summary_and_annotations(
    pytester: pytest.Pytester, write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    target = tmp_path / "summary.md"
    monkeypatch.setenv(VARIABLE, str(target))
    monkeypatch.setenv(WORKSPACE, str(pytester.path.parent))
    contract = write(SENSITIVE, DRIFT)
    result = pytester.runpytest_inprocess("--saliency-github")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines([f"saliency: job summary appended to {target}"])
    (line,) = commands(result.outlines)
    number = contract.read_text().splitlines().index("    max_iou_drop: 0.40") + 1
    start = f"::error file={pytester.path.name}/toy.saliency.yaml,line={number},title=toy/kept%3A FAIL::kept: the model"
    assert line.startswith(start)
    assert "Explanation checks: 1 of 2 did not pass" in target.read_text(encoding="utf-8")
    pytester.runpytest_inprocess("--saliency-github")
    assert target.read_text(encoding="utf-8").count("Explanation checks: ") == 2


def test_outside_of_github_it_says_so(pytester: pytest.Pytester, write: Write) -> None:
    write(SENSITIVE)
    result = pytester.runpytest_inprocess("--saliency-github")
    assert result.ret == 0
    result.stdout.fnmatch_lines([f"saliency: no job summary: the environment variable {VARIABLE} is not set*"])


def test_a_summary_that_cannot_be_written_fails_the_run(
    pytester: pytest.Pytester, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(pytester.path))
    write(SENSITIVE)
    result = pytester.runpytest_inprocess("--saliency-github")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["saliency: ERROR: the job summary cannot be written to *: Is a directory."])


def test_without_the_option_nothing_is_written(
    pytester: pytest.Pytester, write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "summary.md"))
    write(SENSITIVE, DRIFT)
    assert commands(pytester.runpytest_inprocess().outlines) == []
    assert not (tmp_path / "summary.md").exists()


def test_names_of_classes_and_cases_give_no_commands(pytester: pytest.Pytester, write: Write) -> None:
    names = ["red\n::error file=x::y", "green\r\n::stop-commands::z", "blue ##[error]w"]
    pytester.makepyfile(
        hostile=f"""
        import toy
        from pytest_saliency import Cases
        def cases():
            images, labels = toy.arrays(60)
            ids = [f"{{i:02d}}\\n::add-mask::{{i}}" for i in range(60)]
            return Cases.from_arrays(images, labels, ids=ids, class_names={names!r})
        """
    )
    write(DRIFT, head=CONTRACT.replace("toy:cases", "hostile:cases"))
    result = pytester.runpytest_inprocess("--saliency-github", "-v")
    result.assert_outcomes(failed=1)
    found = commands(result.outlines)
    assert [line.partition(" ")[0] for line in found] == ["::error"], found
    assert "title=toy/kept" in found[0]
