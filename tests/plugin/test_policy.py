"""Severity, on_inconclusive and known failures: what a verdict does to the test, and that nothing is hidden."""

from __future__ import annotations

import json

import pytest

from .texts import DRIFT, SENSITIVE, UNDECIDED, Write

EXCUSED = DRIFT + "    known_failure: {reason: retrained in May, expires: 2999-12-31}\n"
EXPIRED = EXCUSED.replace("2999-12-31", "2020-01-31")


def test_a_known_failure_is_an_expected_failure(pytester: pytest.Pytester, write: Write) -> None:
    write(EXCUSED)
    result = pytester.runpytest_inprocess("-rx", "--saliency-json=run.json")
    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(xfailed=1)
    result.stdout.fnmatch_lines(
        [
            "saliency: 1 check: 1 FAIL",
            "saliency: known failure until 2999-12-31: retrained in May: toy.saliency.yaml::kept is FAIL",
            "XFAIL toy.saliency.yaml::kept - retrained in May (until 2999-12-31)*",
        ]
    )
    (record,) = json.loads((pytester.path / "run.json").read_text())["records"]
    assert record["verdict"] == "FAIL", "an exception never changes the verdict"
    assert record["policy"]["known_failure"] == {
        "reason": "retrained in May",
        "expires": "2999-12-31",
        "expired": False,
    }


def test_a_known_failure_that_passes_is_a_failure(pytester: pytest.Pytester, write: Write) -> None:
    write(SENSITIVE + "    known_failure: {reason: retrained in May, expires: 2999-12-31}\n")
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*XPASS(strict)*retrained in May*"])


def test_a_known_failure_does_not_excuse_an_error(pytester: pytest.Pytester, write: Write) -> None:
    write(EXCUSED.replace("after: cheat", "after: gone"), head=_head_with("gone: {python: 'toy:gone'}"))
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["kept: python: toy:gone: module 'toy' has no attribute 'gone'; name a function that it defines."]
    )


def test_an_expired_exception_counts_again_and_says_so(pytester: pytest.Pytester, write: Write) -> None:
    write(EXPIRED)
    result = pytester.runpytest_inprocess()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [
            "kept: the model looks elsewhere*",
            "  note: the exception declared as known_failure expired on 2020-01-31 (retrained in May);*",
            "saliency: expired known failure until 2020-01-31: retrained in May: toy.saliency.yaml::kept is FAIL",
        ]
    )


@pytest.mark.parametrize("strict", [False, True])
def test_severity_warn_passes_with_a_warning_and_says_so(pytester: pytest.Pytester, write: Write, strict: bool) -> None:
    write(DRIFT + "    severity: warn\n")
    result = pytester.runpytest_inprocess("-v", *(["-W", "error"] if strict else []), "--saliency-json=run.json")
    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(
        [
            "*::kept FAIL (warn) mean IoU drop 0.80 *",
            "*SaliencyWarning: FAIL: kept: the model looks elsewhere*",
            "saliency: severity warn, did not fail the run: toy.saliency.yaml::kept: kept: the model looks*",
        ]
    )
    (record,) = json.loads((pytester.path / "run.json").read_text())["records"]
    assert (record["verdict"], record["policy"]["severity"]) == ("FAIL", "warn")


@pytest.mark.parametrize(
    ("extra", "outcome", "line"),
    [
        ("", {"failed": 1}, "toy.saliency.yaml:15: undecided: mean IoU drop 0.80 (bound 0.82) not shown <= 0.79"),
        (
            "    on_inconclusive: warn\n",
            {"passed": 1, "warnings": 1},
            "saliency: warned, did not fail the run: toy.saliency.yaml::undecided: *",
        ),
        (
            "    on_inconclusive: skip\n",
            {"skipped": 1},
            "saliency: on_inconclusive skip: toy.saliency.yaml::undecided: *",
        ),
        (
            "    severity: warn\n",
            {"passed": 1, "warnings": 1},
            "saliency: warned, did not fail the run: toy.saliency.yaml::undecided: *",
        ),
    ],
    ids=["fail", "warn", "skip", "severity"],
)
def test_inconclusive_does_what_is_declared(
    pytester: pytest.Pytester, write: Write, extra: str, outcome: dict[str, int], line: str
) -> None:
    write(UNDECIDED + extra)
    result = pytester.runpytest_inprocess("-rs")
    result.assert_outcomes(**outcome)
    assert (result.ret == pytest.ExitCode.OK) == ("failed" not in outcome)
    result.stdout.fnmatch_lines([line])
    if "skipped" in outcome:
        result.stdout.fnmatch_lines(["SKIPPED [[]1] toy.saliency.yaml:10: undecided: *"])


def _head_with(model: str) -> str:
    from .texts import CONTRACT

    return CONTRACT.replace("models:\n", f"models:\n  {model}\n")


@pytest.mark.parametrize(
    ("check", "verdict"),
    [
        (EXCUSED, "FAIL"),
        (DRIFT + "    severity: warn\n", "FAIL"),
        (UNDECIDED + "    on_inconclusive: warn\n", "INCONCLUSIVE"),
        (UNDECIDED + "    on_inconclusive: skip\n", "INCONCLUSIVE"),
    ],
)
def test_a_strict_run_excuses_nothing(pytester: pytest.Pytester, write: Write, check: str, verdict: str) -> None:
    write(check)
    result = pytester.runpytest_inprocess("--saliency-strict", "--saliency-json=run.json")
    result.assert_outcomes(failed=1)
    result.stdout.no_fnmatch_line("saliency: *did not fail the run*")
    (record,) = json.loads((pytester.path / "run.json").read_text())["records"]
    assert record["verdict"] == verdict
