"""A waiver in a real run: the outcome stays, the summary and the records cite it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from pytest_saliency.evidence.schemas import schema

from .texts import DRIFT, SENSITIVE, Write

WAIVER = """\
format: 1
waivers:
  - id: pilot
    check: {check}
    model: "{model}"
    bound: {{iou_drop: {bound}}}
    reason: the shortcut is known and accepted at the pilot site
    risk: RISK-7
    requested_by: Ann
    approved_by: Bo
    created: 2020-01-01T00:00:00Z
    expires: {expires}
"""


def ran(pytester: pytest.Pytester, *options: str) -> tuple[pytest.RunResult, dict[str, Any]]:
    result = pytester.runpytest_inprocess("--saliency-json=run.json", *options)
    document = json.loads(Path("run.json").read_text(encoding="utf-8"))
    assert list(Draft202012Validator(schema("run")).iter_errors(document)) == []
    return result, document


def test_a_waiver_is_cited_and_excuses_no_outcome(pytester: pytest.Pytester, write: Write) -> None:
    write(SENSITIVE, DRIFT)
    result, document = ran(pytester)
    result.assert_outcomes(passed=1, failed=1)
    assert document["waivers"] == []
    assert "release decision" not in result.stdout.str()
    failed = next(record for record in document["records"] if record["verdict"] == "FAIL")
    given = {
        "check": "toy/kept",
        "model": failed["subjects"]["after"]["weights_sha256"] or failed["subjects"]["after"]["state_sha256"],
        "bound": 0.9,
        "expires": "9999-12-31T23:59:59Z",
    }
    file = pytester.path / "saliency-waivers.yaml"

    file.write_text(WAIVER.format(**given))
    result, document = ran(pytester)
    result.assert_outcomes(passed=1, failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert [(one["id"], one["state"]) for one in document["waivers"]] == [("pilot", "applies")]
    result.stdout.fnmatch_lines(
        [
            "saliency: 1 waiver: 1 applies",
            "saliency: waived by 'pilot', still FAIL: toy/kept",
            "saliency: release decision: release with waivers.*",
        ]
    )

    for change, state in (
        ({"bound": 0.5}, "lapsed"),
        ({"expires": "2021-01-01T00:00:00Z"}, "expired"),
        ({"expires": "2026-02-30T00:00:00Z"}, "unreadable"),
        ({"model": "0" * 64}, "other model"),
        ({"check": "toy/sensitive"}, "unused"),
    ):
        file.write_text(WAIVER.format(**{**given, **change}))
        result, document = ran(pytester)
        result.assert_outcomes(passed=1, failed=1)
        assert [one["state"] for one in document["waivers"]] == [state]
        result.stdout.fnmatch_lines(
            [f"saliency: waiver 'pilot' ({state}): *", "saliency: release decision: no release.*"]
        )


def test_a_file_that_cannot_be_read_fails_the_run_and_keeps_its_records(
    pytester: pytest.Pytester, write: Write
) -> None:
    write(SENSITIVE)
    (pytester.path / "w.yaml").write_text("format: 1\nwaivers: [")
    result, document = ran(pytester, "--saliency-waivers=w.yaml")
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        ["saliency: ERROR: *w.yaml cannot be used as a file of waivers, and nothing is excused*"]
    )
    assert document["waivers"] == []
    assert len(document["records"]) == 1
    result, _ = ran(pytester, "--saliency-waivers=nowhere.yaml")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["saliency: ERROR: the waivers cannot be read: *nowhere.yaml*"])
