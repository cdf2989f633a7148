"""The release decision cites waivers and never bends a verdict; the command tells what each waiver is worth."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fixtures.records import sample_document
from pytest_saliency.cli import main
from pytest_saliency.evidence.release import release, summary_lines
from pytest_saliency.evidence.waivers import assess, read_waivers

from .waiving import NOW, file_of, record, waiver

FAR = {"created": "2020-01-01T00:00:00Z", "expires": "9999-12-31T23:59:59Z"}


def document(*records: dict[str, Any], waivers: bytes | None = None) -> dict[str, Any]:
    assessed = [] if waivers is None else assess(read_waivers(waivers, "w.yaml"), records, NOW)
    return {"format": 2, "run": {}, "records": list(records), "waivers": assessed}


def named(name: str, verdict: str) -> dict[str, Any]:
    return record(verdict, check=name, node=f"chest.saliency.yaml::{name}[gradcam]")


def test_all_pass_is_a_release_and_an_empty_run_is_none() -> None:
    assert release(document(record("PASS")))["decision"] == "release"
    assert release(document())["decision"] == "no release"


def _part(index: int, **said: Any) -> dict[str, Any]:
    return {"id": f"{index}" * 32, "nodes": [], "exit_status": 0, "git": {"commit": "a" * 40}, **said}


@pytest.mark.parametrize(
    ("run", "why"),
    [
        ({"exit_status": 2}, "The run was interrupted: what it had not reached yet is not in it."),
        (
            {"exit_status": 3},
            "The run ended in an internal error of pytest: what it had not reached yet is not in it.",
        ),
        (
            {"uncollected": [f"{n}.saliency.yaml" for n in "abcdefg"]},
            "The run could not collect a.saliency.yaml, b.saliency.yaml, c.saliency.yaml, d.saliency.yaml,"
            " e.saliency.yaml and 2 more: what they hold did not run.",
        ),
        (
            {"merged": [_part(1), _part(2, exit_status=2)]},
            "Run 22222222 was interrupted: what it had not reached yet is not in it.",
        ),
        (
            {"merged": [_part(1), _part(2, git={"commit": "b" * 40})]},
            "The merged runs tested different commits, and one release is of one commit.",
        ),
        (
            {"merged": [_part(1), _part(2, git=None)]},
            "The merged runs tested different commits, and one release is of one commit.",
        ),
    ],
)
def test_a_run_that_is_not_whole_releases_nothing(run: dict[str, Any], why: str) -> None:
    made = release({**document(record("PASS")), "run": run})
    assert (made["decision"], made["why"]) == ("no release", why)


def test_runs_of_one_commit_release() -> None:
    parts = {"merged": [_part(1), _part(2, exit_status=1)]}  # another test failed in the second
    assert release({**document(record("PASS")), "run": parts})["decision"] == "release"
    assert release({**document(record("PASS")), "run": {"exit_status": 5}})["decision"] == "release"


@pytest.mark.parametrize("verdict", ["FAIL", "INCONCLUSIVE", "ERROR", "NOT_RUN"])
def test_anything_but_pass_is_no_release(verdict: str) -> None:
    made = release(document(record("PASS"), named("other", verdict)))
    assert made["decision"] == "no release"
    assert [(one["check"], one["verdict"]) for one in made["unwaived"]] == [("chest/other[gradcam]", verdict)]


@pytest.mark.parametrize(
    "policy",
    [
        {"severity": "warn", "on_inconclusive": "warn", "known_failure": None},
        {"severity": "fail", "on_inconclusive": "skip", "known_failure": {"reason": "known", "expires": "2099-01-01"}},
    ],
)
def test_what_a_contract_lets_pass_in_ci_is_still_no_release(policy: dict[str, Any]) -> None:
    for verdict in ("FAIL", "INCONCLUSIVE"):
        assert release(document(record(verdict, policy=policy)))["decision"] == "no release"


def test_a_waiver_that_applies_makes_a_release_with_waivers_and_changes_no_record() -> None:
    before = record()
    made = document(before, named("other", "PASS"), waivers=file_of(waiver()))
    decided = release(made)
    assert decided["decision"] == "release with waivers"
    assert [(one["check"], one["verdict"], one["waiver"]) for one in decided["waived"]] == [
        ("chest/evidence-kept[gradcam]", "FAIL", "pilot-site")
    ]
    assert made["records"][0] == record()
    assert before == record()


def test_one_waiver_does_not_excuse_another_check() -> None:
    decided = release(document(record(), named("other", "FAIL"), waivers=file_of(waiver())))
    assert decided["decision"] == "no release"
    assert [one["check"] for one in decided["unwaived"]] == ["chest/other[gradcam]"]


@pytest.mark.parametrize(
    "changes",
    [
        {"expires": "2026-05-31T00:00:00Z"},
        {"expires": "soon"},
        {"bound": "{iou_drop: 0.41}"},
        {"model": '"' + "0" * 64 + '"'},
        {"approved_by": "ann lee"},
    ],
)
def test_a_waiver_in_any_other_state_excuses_nothing(changes: dict[str, str]) -> None:
    made = document(record(), waivers=file_of(waiver(**changes)))
    assert made["waivers"][0]["state"] != "applies"
    assert release(made)["decision"] == "no release"
    lines = summary_lines(made)
    assert lines[0].startswith("1 waiver: 1 ")
    assert f"waiver 'pilot-site' ({made['waivers'][0]['state']})" in lines[1]
    assert lines[-1].startswith("release decision: no release.")


def test_waivers_are_counted_and_printed_and_nothing_is_said_without_them() -> None:
    made = document(
        record(), waivers=file_of(waiver(), waiver(id="old", expires="2026-05-02T00:00:00Z"), waiver(id="b"))
    )
    lines = summary_lines(made)
    assert lines[0] == "3 waivers: 2 applies, 1 expired"
    assert "still FAIL: chest/evidence-kept[gradcam]" in lines[1]
    assert lines[-1] == (
        "release decision: release with waivers. 1 check is not PASS and excused by a waiver each; all others PASS."
    )
    assert summary_lines(document(record())) == []


def test_a_full_sample_run_with_errors_is_no_release() -> None:
    made = sample_document()
    decided = release(made)
    assert decided["decision"] == "no release"
    listed = {one["node"] for one in (*decided["waived"], *decided["unwaived"])}
    assert listed == {one["node"] for one in made["records"] if one["verdict"] != "PASS"}


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.chdir(tmp_path)
    return CliRunner()


def test_the_command_reads_the_default_file_and_fails_on_what_excuses_nothing(runner: CliRunner) -> None:
    Path("saliency-waivers.yaml").write_bytes(file_of(waiver(**FAR)))
    good = runner.invoke(main, ["waivers", "check"])
    assert good.exit_code == 0, good.output
    assert "saliency-waivers.yaml:3: pilot-site for chest/evidence-kept[gradcam]: in force" in good.output
    Path("saliency-waivers.yaml").write_bytes(file_of(waiver(**FAR, sverity="1"), waiver(id="b", **FAR)))
    bad = runner.invoke(main, ["waivers", "check"])
    assert bad.exit_code == 1
    assert "saliency-waivers.yaml:13:5 unknown key 'sverity' in waiver 'pilot-site'" in bad.output
    assert "1 of 2 excuse nothing" in bad.output


def test_the_command_holds_waivers_against_a_run(runner: CliRunner) -> None:
    Path("w.yaml").write_bytes(file_of(waiver(**FAR)))
    Path("run.json").write_text(json.dumps(document(record())))
    done = runner.invoke(main, ["waivers", "check", "w.yaml", "--run", "run.json"])
    assert done.exit_code == 0, done.output
    assert "pilot-site for chest/evidence-kept[gradcam]: applies" in done.output
    assert "release decision: release with waivers." in done.output
    other = copy.deepcopy(record())
    other["subjects"]["after"]["weights_sha256"] = "0" * 64
    Path("run.json").write_text(json.dumps(document(other)))
    done = runner.invoke(main, ["waivers", "check", "w.yaml", "--run", "run.json"])
    assert done.exit_code == 1
    assert "FAIL, not excused: chest/evidence-kept[gradcam]" in done.output


@pytest.mark.parametrize(
    "run",
    [
        "[]",
        "{",
        '{"format": 2, "run": {}, "records": [1]}',
        '{"format": 2, "run": {}, "records": [{"verdict": "FAIL", "contract": "chest", "check": "evidence-kept",'
        ' "axes": {"method": "gradcam"}, "subjects": 7, "decision": 3}]}',
    ],
)
def test_a_run_that_is_none_is_one_sentence(runner: CliRunner, run: str) -> None:
    Path("w.yaml").write_bytes(file_of(waiver(**FAR)))
    Path("run.json").write_text(run)
    done = runner.invoke(main, ["waivers", "check", "w.yaml", "--run", "run.json"])
    assert done.exit_code == 1
    assert "run.json" in done.output
    assert done.exception is None or isinstance(done.exception, SystemExit)


def test_no_file_is_one_sentence(runner: CliRunner) -> None:
    done = runner.invoke(main, ["waivers", "check"])
    assert done.exit_code == 1
    assert done.output.strip() == (
        "Error: the waivers cannot be read: saliency-waivers.yaml: No such file or directory."
    )


@pytest.mark.parametrize("verdict", ["ERROR", "NOT_RUN"])
def test_a_check_without_a_result_is_not_released_whatever_a_document_says_of_waivers(verdict: str) -> None:
    made = document(record(), waivers=file_of(waiver()))
    assert made["waivers"][0]["state"] == "applies"
    made["records"] = [record(verdict, decision=None)]
    assert release(made)["decision"] == "no release"
