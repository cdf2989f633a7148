"""``--saliency-ray`` used wrongly ends the session with one sentence."""

from __future__ import annotations

import pytest

from .texts import SENSITIVE, Write

# Imported here and kept: imported inside a run in this process it is dropped afterwards, and the process dies of the
# next import of its compiled part.
pytest.importorskip("ray")


def test_not_with_workers_of_xdist(pytester: pytest.Pytester, write: Write) -> None:
    write(SENSITIVE)
    result = pytester.runpytest_inprocess("-n2", "--saliency-ray=local")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --saliency-ray and workers of pytest-xdist (-n) would both spread the work*"])


def test_a_file_is_no_address(pytester: pytest.Pytester, write: Write) -> None:
    write(SENSITIVE)
    result = pytester.runpytest_inprocess("--saliency-ray", "toy.saliency.yaml")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --saliency-ray took 'toy.saliency.yaml' for the address of a cluster; write*"])


def test_a_cluster_that_does_not_answer_fails_the_checks(pytester: pytest.Pytester, write: Write) -> None:
    write(SENSITIVE)
    pytester.makeini("[pytest]\nsaliency_ray = 127.0.0.1:1")
    result = pytester.runpytest_inprocess("--saliency-no-cache")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*no Ray cluster answers at '127.0.0.1:1' (*"])
    result.stdout.no_fnmatch_line("*Traceback*")
