"""What keeps a comparison from being made is told in one sentence, at the contract's line, before a model runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .baselining import FAITHFUL, NO_WORSE, SENSITIVE, Repository, repository

__all__ = ["repository"]

ONE = SENSITIVE.replace("[gradcam, layercam]", "gradcam")


@pytest.fixture
def ready(repository: Repository) -> Repository:
    repository.checks(NO_WORSE, ONE)
    repository.approved()
    return repository


def entry(repository: Repository) -> Path:
    return repository.folder / "toy" / "sensitive.json"


def edit(repository: Repository, **changes: Any) -> None:
    data = json.loads(entry(repository).read_text())
    for name, value in changes.items():
        data[name] = value(data[name]) if callable(value) else value
    entry(repository).write_text(json.dumps(data))


def other_criterion(repository: Repository) -> None:
    repository.checks(NO_WORSE, ONE + "    top_k: 0.1\n    grid: layer\n    max_agreement: 0.9\n")


def other_cases(repository: Repository) -> None:
    repository.model("def cases(n: int = 60)", "def cases(n: int = 57)")


def other_pixels(repository: Repository) -> None:
    repository.model("PCG64(7)", "PCG64(8)")


def newer(repository: Repository) -> None:
    edit(repository, format=7)


def damaged_entry(repository: Repository) -> None:
    entry(repository).write_bytes(entry(repository).read_bytes()[:-20])


def other_kind(repository: Repository) -> None:
    repository.checks(
        NO_WORSE.replace("agreement: 0.1", "advantage: 0.1"), FAITHFUL.replace("faithful\n", "sensitive\n", 1)
    )


def gone(repository: Repository) -> None:
    entry(repository).unlink()


BEFORE: list[tuple[Callable[[Repository], None], str]] = [
    (gone, "no-worse: there is no baseline of toy/sensitive yet;*"),
    (
        other_criterion,
        "no-worse: the baseline toy/sensitive was measured by another criterion, so its numbers mean something else:"
        " grid input -> layer; top_k 0.05 -> 0.10. Measure as it did, or*",
    ),
    (
        newer,
        "no-worse: the baseline saliency-baselines/toy/sensitive.json has format 7, and this release reads up to 1*",
    ),
    (damaged_entry, "no-worse: the baseline saliency-baselines/toy/sensitive.json is damaged:*Restore it from git*"),
    (
        other_kind,
        "no-worse: the baseline toy/sensitive was measured by another criterion*kind class_sensitive -> faithful*",
    ),
    (other_cases, "no-worse: the baseline toy/sensitive is of other cases: 60 cases of*then (digest*57 cases of*now*"),
    (other_pixels, "no-worse: the baseline toy/sensitive is of other cases: 60 cases of*then (digest*60 cases of*now*"),
]


@pytest.mark.parametrize(("change", "line"), BEFORE, ids=lambda value: getattr(value, "__name__", ""))
def test_told_before_a_model_runs(ready: Repository, change: Callable[[Repository], None], line: str) -> None:
    change(ready)
    ready.model("    return Toy(cheat)", "    raise RuntimeError('a model was built')")
    done = ready.run("-k", "no-worse", "--saliency-json=run.json")
    done.assert_outcomes(failed=1, deselected=1)
    done.stdout.fnmatch_lines([line, "toy.saliency.yaml:12"])
    done.stdout.no_fnmatch_line("*Traceback*")
    records = {r["check"]: r for r in json.loads((ready.path / "run.json").read_text())["records"]}
    assert records["no-worse"]["verdict"] == "ERROR"
    assert str(ready.path) not in records["no-worse"]["headline"]


def damaged_arrays(repository: Repository) -> None:
    (path,) = repository.folder.rglob("*.npz")
    path.write_bytes(path.read_bytes()[:-1] + b"x")


def no_arrays(repository: Repository) -> None:
    (path,) = repository.folder.rglob("*.npz")
    path.unlink()


def other_version(repository: Repository) -> None:
    edit(repository, method=lambda method: {**method, "version": 0})


def wrong_shape(repository: Repository) -> None:
    edit(repository, images=lambda images: {**images, "n": 59})


def other_columns(repository: Repository) -> None:
    from pytest_saliency.records.arrays import read_arrays, write_arrays

    (path,) = repository.folder.rglob("*.npz")
    arrays = read_arrays(path)
    del arrays["column/agreement"]
    written = write_arrays(path, arrays)
    path.rename(path.with_name(f"{written['sha256']}.npz"))
    edit(repository, arrays={**written, "path": f"{written['sha256']}.npz"})


AFTER: list[tuple[Callable[[Repository], None], str]] = [
    (damaged_arrays, "no-worse: the baseline toy/sensitive cannot be used: saliency-baselines/toy/*SHA-256 differs*"),
    (no_arrays, "no-worse: the baseline toy/sensitive cannot be used: *No such file*"),
    (other_version, "no-worse: the baseline toy/sensitive was made with method gradcam version 0, and this run uses*"),
    (wrong_shape, "no-worse: the baseline toy/sensitive cannot be used: *sensitive.json is of 59 images and * of 60;*"),
    (other_columns, "no-worse: the baseline toy/sensitive cannot be used: *does not hold what a check of kind*"),
]


@pytest.mark.parametrize(("change", "line"), AFTER, ids=lambda value: getattr(value, "__name__", ""))
def test_told_instead_of_a_verdict(ready: Repository, change: Callable[[Repository], None], line: str) -> None:
    change(ready)
    done = ready.run("-k", "no-worse", "--saliency-json=run.json")
    done.assert_outcomes(failed=1, deselected=1)
    done.stdout.fnmatch_lines([line, "toy.saliency.yaml:12"])
    done.stdout.no_fnmatch_line("*Traceback*")
    records = {r["check"]: r for r in json.loads((ready.path / "run.json").read_text())["records"]}
    assert records["no-worse"]["verdict"] == "ERROR"
    assert records["no-worse"]["decision"] is None
    assert str(ready.path) not in records["no-worse"]["headline"]


def test_a_limit_that_moved_keeps_the_numbers_comparable(ready: Repository) -> None:
    ready.checks(NO_WORSE, ONE + "    max_agreement: 0.9\n    alpha: 0.01\n    rule: published\n")
    ready.run("-k", "no-worse").assert_outcomes(passed=1, deselected=1)


def test_a_baseline_that_cannot_be_written_fails_the_run_and_not_the_checks(repository: Repository) -> None:
    repository.checks(ONE)
    repository.folder.write_text("in the way")
    done = repository.run("--saliency-baseline=new")
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    done.assert_outcomes(passed=1)
    done.stdout.fnmatch_lines(["saliency: ERROR: *cannot be written*"])
