"""Other people's environments: no cache, no xdist, a read-only folder, drawing that fails."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .texts import DRIFT, Write


@pytest.mark.parametrize(
    ("plugin", "note"), [("no:cacheprovider", "  note: no pictures kept: pytest's cache is off*"), ("no:xdist", "")]
)
def test_other_plugins_can_be_off(pytester: pytest.Pytester, write: Write, plugin: str, note: str) -> None:
    write(DRIFT)
    result = pytester.runpytest_inprocess("-p", plugin)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["kept: the model looks elsewhere*", note or "  pictures: *"])
    result.stdout.no_fnmatch_line("*Traceback*")


def test_a_cache_that_cannot_be_written_does_not_hide_the_verdict(pytester: pytest.Pytester, write: Write) -> None:
    write(DRIFT)
    (pytester.path / "in-the-way").write_text("a file")
    pytester.makeini("[pytest]\ncache_dir = in-the-way/cache")
    result = pytester.runpytest_inprocess("-W", "ignore")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["kept: the model looks elsewhere*", "  note: no pictures kept: *"])


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_read_only_folder(pytester: pytest.Pytester, write: Write) -> None:
    write(DRIFT)
    pytester.path.chmod(0o555)
    try:
        result = pytester.runpytest_inprocess("-W", "ignore", "-p", "no:pytester")
    finally:
        pytester.path.chmod(0o755)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["kept: the model looks elsewhere*", "  note: no pictures kept: *"])


def test_a_failure_while_drawing_does_not_hide_the_verdict(pytester: pytest.Pytester, write: Write) -> None:
    write(DRIFT)
    pytester.makeconftest(
        """
        import pytest
        from pytest_saliency.checks.gallery import Gallery

        @pytest.fixture(autouse=True)
        def broken(monkeypatch):
            def explode(*arguments, **options):
                raise RuntimeError("out of ink")
            monkeypatch.setattr(Gallery, "sheet", explode)
        """
    )
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["kept: the model looks elsewhere*", "  note: no pictures kept: RuntimeError: out of ink"]
    )


def test_nothing_is_written_unless_asked(pytester: pytest.Pytester, write: Write) -> None:
    write(DRIFT)
    before = {path for path in pytester.path.rglob("*") if path.is_file()}
    pytester.runpytest_inprocess()
    made = {path.relative_to(pytester.path) for path in pytester.path.rglob("*") if path.is_file()}
    made -= {path.relative_to(pytester.path) for path in before}
    assert {path.parts[0] for path in made} <= {".pytest_cache", "__pycache__"}
    assert all(path.is_relative_to(Path(".pytest_cache/d/saliency")) for path in made if path.suffix == ".png")


def test_the_users_import_path_and_random_numbers_stay_as_they_were(pytester: pytest.Pytester, write: Write) -> None:
    write(DRIFT, name="sub/toy.saliency.yaml")
    (pytester.path / "toy.py").rename(pytester.path / "sub" / "toy.py")
    pytester.makeconftest(
        """
        import random, sys
        import numpy, torch

        def state():
            return random.getstate(), numpy.random.get_state()[1].tolist(), torch.get_rng_state().tolist()

        def pytest_runtest_setup(item):
            item.config.before = state()

        def pytest_runtest_teardown(item):
            print("SAME" if state() == item.config.before else "DIFFERENT")
        """
    )
    import sys

    before = list(sys.path)
    result = pytester.runpytest_inprocess("-s")
    assert [entry for entry in sys.path if "sub" in Path(entry).parts] == [
        entry for entry in before if "sub" in Path(entry).parts
    ]
    result.stdout.fnmatch_lines(["*SAME*"])
