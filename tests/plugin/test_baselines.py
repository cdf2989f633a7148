"""From no baseline to an approved one, a green run, and a red one when the model looks elsewhere."""

from __future__ import annotations

import json
import re

import pytest

from pytest_saliency.checks.numbers import decide_again, seed_again
from pytest_saliency.evidence.canonical import canonical
from pytest_saliency.records.baselines import find, stray
from pytest_saliency.records.hashing import to_json

from .baselining import EVIDENCE, FAITHFUL, NO_WORSE, SENSITIVE, Repository, repository
from .texts import DRIFT

__all__ = ["repository"]

STILL = """\
  - id: still
    kind: not_worse_than_baseline
    of: kept
    max_worsening: {iou_drop: 0.15, displacement: 0.15, correlation: 0.3, concentration_change: 0.3}
"""


def test_from_nothing_to_green_to_red(repository: Repository) -> None:
    first = repository.run("-v")
    first.assert_outcomes(passed=2, failed=2)
    first.stdout.fnmatch_lines(
        [
            "no-worse: there is no baseline of toy/sensitive?gradcam? yet; run the check once with"
            " --saliency-baseline new, approve*",
            "toy.saliency.yaml:12",
        ]
    )
    made = repository.run("--saliency-baseline=new", "-rs")
    made.assert_outcomes(passed=2, skipped=2)
    made.stdout.fnmatch_lines(
        [
            "saliency: 2 baselines written to saliency-baselines, waiting for approval: toy/sensitive?gradcam?,*",
            "SKIPPED*no-worse: the baseline of toy/sensitive* is not approved yet; this run writes it*",
        ]
    )
    unapproved = repository.run("-v")
    unapproved.assert_outcomes(passed=2, failed=2)
    unapproved.stdout.fnmatch_lines(["no-worse: the baseline of toy/sensitive?gradcam? is not approved,*"])
    repository.approve("toy/sensitive")
    green = repository.run("-v")
    green.assert_outcomes(passed=4)
    green.stdout.fnmatch_lines(["*::no-worse?gradcam? PASSED mean worsening of agreement 0.00 (bound 0.0*) <= 0.10*"])
    repository.cheat()
    red = repository.run("-v")
    red.assert_outcomes(passed=2, failed=2)
    red.stdout.fnmatch_lines(
        [
            "no-worse: worse than the approved baseline: mean worsening of agreement 0.25, limit 0.10"
            " (95 % bound 0.1? .. 0.3?), n = 60",
            "*worsening of agreement*0.25*0.1?*<= 0.10*FAIL",
            "*case * label *agreement then*agreement now",
            "*case-0000*red*0.00*0.25",
            "*pictures: .pytest_cache/*.png",
            "*60 of 60 cases kept*",
            "*note: baseline toy/sensitive?gradcam? (sha256 *), approved by Ann Tester on 20*: release 1.0",
            "*max_worsening: {agreement: 0.1}*<-- exceeded",
            "*run with --saliency-baseline update and see: pytest-saliency baseline diff 'toy/sensitive?gradcam?'",
            "toy.saliency.yaml:13: no-worse: mean worsening of agreement 0.25 > 0.10",
        ]
    )
    red.stdout.no_fnmatch_line("*not shown: mean worsening*")


def test_every_kind_compares_and_its_record_can_be_decided_again(repository: Repository) -> None:
    repository.checks(FAITHFUL, EVIDENCE, SENSITIVE, NO_WORSE, DRIFT.replace("0.40", "0.95"), STILL)
    repository.approved()
    for cheats in (False, True):
        if cheats:
            # Then both look at the corner, so that nothing drifts any more.
            repository.cheat()
        records = repository.records()
        found = {record["check"]: record for record in records}
        for record in records:
            # As a canonical file has it: sorted keys, and 0 for 0.0.
            stored = json.loads(canonical(record))
            assert json.loads(to_json(decide_again(stored).to_dict())) == record["decision"]
            assert f"{seed_again(stored):016x}" == record["seed"]
        expected = "FAIL" if cheats else "PASS"
        assert {name: found[name]["verdict"] for name in ("no-worse", "evidence", "still")} == {
            "no-worse": expected,
            "evidence": expected,
            "still": "PASS",
        }
    still = found["still"]["decision"]["measures"]
    assert still["worsening[iou_drop]"]["estimate"] == pytest.approx(-0.8, abs=0.1)
    assert still["worsening[correlation]"]["estimate"] < -0.3
    evidence = found["evidence"]
    assert evidence["inputs"]["baseline"]["approved"]["by"] == "Ann Tester"
    assert re.fullmatch("[0-9a-f]{64}", evidence["inputs"]["baseline"]["sha256"])
    names = [f"{then}advantage[{fill}]" for fill in ("blur", "mean") for then in ("", "then_")]
    assert set(names) <= set(evidence["per_image"])
    # The change of an image by hand, and of all of them.
    columns = evidence["per_image"]
    for fill in ("blur", "mean"):
        pairs = zip(columns[f"then_advantage[{fill}]"], columns[f"advantage[{fill}]"], strict=True)
        changes = [then - now for then, now in pairs]
        measure = evidence["decision"]["measures"][f"worsening[advantage[{fill}]]"]
        assert sum(changes) / len(changes) == pytest.approx(measure["estimate"])


def test_the_comparison_measures_as_the_check_does_that_it_names(repository: Repository) -> None:
    """Alone (-k) and together the same numbers; and those are the numbers of the check itself."""
    repository.checks(FAITHFUL, EVIDENCE)
    repository.approved()
    both = {record["check"]: record for record in repository.records()}
    alone = {record["check"]: record for record in repository.records("-k", "evidence")}
    assert alone["faithful"]["verdict"] == "NOT_RUN"
    assert alone["evidence"]["per_image"] == both["evidence"]["per_image"]
    assert alone["evidence"]["decision"] == both["evidence"]["decision"]
    from pytest_saliency.checks.compared import compared_columns

    for name, values in compared_columns("faithful", both["faithful"]["per_image"]).items():
        assert both["evidence"]["per_image"][name] == values.tolist()


def test_check_writes_nothing_and_new_only_what_is_missing(repository: Repository) -> None:
    repository.run("-v")
    assert not repository.folder.exists()
    repository.run("--saliency-baseline=new", "-k", "sensitive and gradcam")
    assert [path.name for path in repository.entries()] == ["sensitive[method=gradcam].candidate.json"]
    before = repository.files()
    repository.approve("toy/sensitive[gradcam]")
    approved = repository.files()
    repository.cheat()
    said = repository.run("--saliency-baseline=new")
    said.stdout.fnmatch_lines(
        [
            "saliency: 1 baseline written to saliency-baselines, waiting for approval: toy/sensitive?layercam?;*",
            "saliency: 1 baseline there already, left as they are (--saliency-baseline update)",
        ]
    )
    after = repository.files()
    assert {name: after[name] for name in approved} == approved
    assert before.keys() != after.keys()
    repository.run("-v")
    assert repository.files() == after


def test_update_leaves_what_is_approved_in_force(repository: Repository) -> None:
    repository.approved()
    approved = repository.files()
    repository.cheat()
    repository.run("--saliency-baseline=update", "-k", "gradcam").assert_outcomes(passed=1, failed=1)
    after = repository.files()
    assert {name: after[name] for name in approved} == approved
    assert "toy/sensitive[method=gradcam].candidate.json" in after
    assert "toy/sensitive[method=layercam].candidate.json" not in after
    repository.run().assert_outcomes(passed=2, failed=2)
    repository.approve("toy/sensitive", reason="the corner is what we want")
    repository.run("-k", "gradcam").assert_outcomes(passed=2)


@pytest.mark.parametrize("value", ["true", "1", "yes"])
def test_nothing_is_written_under_ci_and_nothing_runs(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("CI", value)
    for mode in ("new", "update"):
        done = repository.run(f"--saliency-baseline={mode}")
        assert done.ret == pytest.ExitCode.USAGE_ERROR
        done.stderr.fnmatch_lines([f"ERROR: --saliency-baseline {mode} is refused here, because*CI is set*"])
    assert not repository.folder.exists()
    repository.run("--saliency-baseline=check", "-k", "sensitive").assert_outcomes(passed=2)


@pytest.mark.parametrize("value", ["", "0", "false", "False"])
def test_ci_that_says_no_is_no_ci(repository: Repository, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("CI", value)
    repository.run("--saliency-baseline=new", "-k", "sensitive and gradcam").assert_outcomes(passed=1)
    assert len(repository.entries()) == 1


def test_mode_and_folder_from_the_ini_file(repository: Repository) -> None:
    repository.pytester.makeini("[pytest]\nsaliency_baseline = new\nsaliency_baselines = quality/approved\n")
    repository.run("-k", "sensitive and gradcam").assert_outcomes(passed=1)
    assert len(list((repository.path / "quality/approved/toy").glob("*.json"))) == 1
    repository.approve("toy/sensitive")  # found through the ini file
    repository.run("--saliency-baseline=check", "-k", "gradcam").assert_outcomes(passed=2)
    repository.pytester.makeini("[pytest]\nsaliency_baseline = always\n")
    done = repository.run()
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(["ERROR: ini saliency_baseline must be one of check, new, update; got 'always'."])


def test_workers_write_what_one_process_writes(repository: Repository) -> None:
    repository.checks(FAITHFUL, EVIDENCE, SENSITIVE, NO_WORSE)
    made = []
    for run in (repository.pytester.runpytest_inprocess, repository.pytester.runpytest_subprocess):
        workers = "-n2" if made else "-n0"
        done = run("-q", workers, "--saliency-baseline=new", "-p", "no:randomly")
        assert done.ret == 0
        done.stdout.fnmatch_lines(["*3 baselines written to saliency-baselines*"])
        found = repository.files()
        for name in list(found):
            if name.endswith(".json"):
                data = json.loads(found[name])
                data["made"] = None
                found[name] = json.dumps(data).encode()
        made.append(found)
        for path in repository.folder.rglob("*.*"):
            path.unlink()
    assert made[0] == made[1]


def test_maps_are_kept_and_no_pixel(repository: Repository) -> None:
    repository.checks(SENSITIVE)
    repository.approved()
    from pytest_saliency.records.baseline_key import Key

    entry = find(repository.folder, Key.made("toy", "sensitive", {"method": "gradcam"})).approved
    assert entry is not None
    stored = entry.load()
    assert {name: maps.shape for name, maps in stored.maps.items()} == dict.fromkeys(
        ("top1", "top2", "again"), (60, 16, 16)
    )
    # A map here is the colour of its class; an image has three.
    assert all(values.size < 60 * 3 * 16 * 16 for values in stored.maps.values())
    assert stray(repository.folder) == []


def test_easier_limits_are_told_in_the_run_in_the_record_and_in_status(repository: Repository) -> None:
    repository.checks(SENSITIVE + "    max_agreement: 0.4\n", NO_WORSE)
    repository.approved()
    quiet = repository.run()
    quiet.stdout.no_fnmatch_line("*loosened*")
    repository.checks(SENSITIVE + "    max_agreement: 0.6\n    alpha: 0.01\n", NO_WORSE.replace("0.1}", "0.2}"))
    said = repository.run("--saliency-json=run.json")
    said.stdout.fnmatch_lines(
        [
            "saliency: loosened since Ann Tester approved the baseline on 20*: toy/sensitive?gradcam?:"
            " max_agreement 0.40 -> 0.60 (looser)",
            "saliency: loosened since*: toy/sensitive?gradcam?: no-worse: max_worsening.agreement 0.10 -> 0.20*",
        ]
    )
    said.stdout.no_fnmatch_line("*loosened*alpha*")
    records = {r["node"]: r for r in json.loads((repository.path / "run.json").read_text())["records"]}
    held = records["toy.saliency.yaml::sensitive[gradcam]"]["baseline"]
    assert (held["selector"], held["state"]) == ("toy/sensitive[gradcam]", "approved")
    assert {(row["parameter"], row["way"]) for row in held["changes"]} == {
        ("max_agreement", "looser"),
        ("alpha", "tighter"),
        ("no-worse: max_worsening.agreement", "looser"),
    }
    status = repository.command("status").output
    assert "max_agreement 0.40 -> 0.60 (looser)" in status
    assert "no-worse: max_worsening.agreement 0.10 -> 0.20 (looser)" in status
    assert "alpha 0.05 -> 0.01 (tighter)" in status


def test_images_that_left_are_counted_and_block_pass(repository: Repository) -> None:
    repository.checks(SENSITIVE.replace("[gradcam, layercam]", "gradcam"), NO_WORSE.replace("0.1}", "0.3}"))
    repository.approved()
    # Blue is never said any more: 20 of the 60 images are wrong now.
    repository.model("torch.eye(3) * 40.0", "torch.diag(torch.tensor([40.0, 40.0, 0.001]))")
    records = {record["check"]: record for record in repository.records()}
    record = records["no-worse"]
    assert record["verdict"] == "PASS"
    assert record["headline"].endswith("n = 40, 20 of the baseline's 60 images are no longer kept")
    assert record["decision"]["counts"]["left"] == 20
    assert record["cases"]["kept"] == 40
    assert record["cases"]["dropped"] == {"not correct": 20}
    repository.checks(
        SENSITIVE.replace("[gradcam, layercam]", "gradcam"), NO_WORSE.replace("0.1}", "0.3}\n    min_kept: 0.7")
    )
    blocked = repository.run("-k", "no-worse")
    blocked.stdout.fnmatch_lines(
        ["no-worse: not demonstrated: only 40 of the baseline's 60 images are kept now, 70 % are needed;*"]
    )


def test_too_few_images_for_the_limit_are_an_error_with_the_number_needed(repository: Repository) -> None:
    repository.checks(SENSITIVE, NO_WORSE.replace("0.1}", "0.01}"))
    repository.approved()
    done = repository.run("-k", "no-worse and gradcam")
    done.stdout.re_match_lines(
        [r"no-worse: not_worse_than_baseline could not PASS with its 60 images even if nothing .* needs \d+;"]
    )
