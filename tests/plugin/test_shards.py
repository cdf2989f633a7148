"""Shards: every check in exactly one of them, all of them together the whole run, and whoever forgets one is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pytest_saliency.cli import main
from pytest_saliency.contracts.dealing import shard_of_file
from pytest_saliency.evidence.release import release

from .texts import CONTRACT, DRIFT, FAITHFUL, SENSITIVE, Write

TESTS = """
import toy
from pytest_saliency import Subject, assert_class_sensitive

def test_release(saliency):
    assert_class_sensitive(saliency.explain(Subject(toy.build(), layer="features"), toy.cases()), method="gradcam")

def test_ordinary():
    pass
"""


def run_of(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def verdicts(document: dict[str, Any]) -> dict[str, str]:
    return {record["node"]: record["verdict"] for record in document["records"]}


def numbers(document: dict[str, Any]) -> dict[str, Any]:
    return {record["node"]: (record["decision"], record.get("per_image")) for record in document["records"]}


def merge(*words: object) -> Result:
    result = CliRunner().invoke(main, ["merge", *map(str, words)])
    assert "Traceback" not in result.output
    return result


@pytest.fixture
def repository(pytester: pytest.Pytester, write: Write) -> Path:
    """Two contracts with three and one checks, and a file of tests."""
    write(SENSITIVE, FAITHFUL)
    write(DRIFT, head=CONTRACT.replace("contract: toy", "contract: other"), name="other.saliency.yaml")
    pytester.makepyfile(test_release=TESTS)
    return pytester.path


def test_shards_run_everything_once_and_merge_into_the_whole_run(repository: Path, pytester: pytest.Pytester) -> None:
    pytester.runpytest_inprocess("--saliency-json=whole.json").assert_outcomes(passed=5, failed=1)
    whole = run_of(repository / "whole.json")
    ran: list[str] = []
    for index in (1, 2, 3):
        result = pytester.runpytest_inprocess(f"--saliency-shard={index}/3", f"--saliency-json=s{index}.json")
        document = run_of(repository / f"s{index}.json")
        mine = [node for node, verdict in verdicts(document).items() if verdict != "NOT_RUN"]
        ran += mine
        result.stdout.fnmatch_lines([f"saliency: shard {index} of 3: {len(mine)} of 5 belong here"])
        assert sum(result.parseoutcomes().get(word, 0) for word in ("passed", "failed")) == len(mine) + 1
        assert document["run"]["shard"]["index"] == index
        assert document["run"]["shard"]["count"] == 3
        assert document["run"]["shard"]["contracts"].keys() == {"toy.saliency.yaml", "other.saliency.yaml"}
        assert any(said.startswith(f"This run is shard {index} of 3;") for said in document["deviations"])
    assert sorted(ran) == sorted(verdicts(whole))
    result = merge(*(repository / f"s{index}.json" for index in (3, 1, 2)), "-o", repository / "merged.json")
    assert result.exit_code == 0, result.output
    merged = run_of(repository / "merged.json")
    assert numbers(merged) == numbers(whole)
    assert "shard" not in merged["run"]
    assert not [said for said in merged["deviations"] if "hard " in said or "did not run:" in said]


def test_what_is_selected_moves_nothing(repository: Path, pytester: pytest.Pytester) -> None:
    def nodes(*words: str) -> list[set[str]]:
        found = []
        for index in (1, 2):
            result = pytester.runpytest_inprocess("--collect-only", "-q", f"--saliency-shard={index}/2", *words)
            found.append({line for line in result.outlines if ".saliency.yaml::" in line})
        assert not found[0] & found[1]
        return found

    everything = nodes()
    assert len(everything[0] | everything[1]) == 4
    assert nodes("other.saliency.yaml", "test_release.py", "toy.saliency.yaml") == everything
    for words in (("-k", "faithful"), ("toy.saliency.yaml::sensitive", "other.saliency.yaml"), ("-m", "saliency")):
        selected = nodes(*words)
        assert any(selected)
        assert all(part <= whole for part, whole in zip(selected, everything, strict=True))


def test_a_missing_shard_is_one_sentence_or_a_deviation(repository: Path, pytester: pytest.Pytester) -> None:
    for index in (1, 2, 4):  # of four
        pytester.runpytest_inprocess(
            "toy.saliency.yaml", f"--saliency-shard={index}/4", f"--saliency-json=s{index}.json"
        )
    files = [repository / f"s{index}.json" for index in (1, 2, 4)]
    refused = merge(*files[:2], "-o", repository / "merged.json")
    assert refused.exit_code == 1
    said = "Shards 3 and 4 of 4 over toy.saliency.yaml are not among the merged runs."
    assert refused.stderr.startswith(f"Error: {said} Give the missing files too;")
    assert not (repository / "merged.json").exists()
    assert merge(files[0], "-o", repository / "merged.json").exit_code == 1
    allowed = merge(*files[:2], "--partial", "-o", repository / "merged.json")
    assert allowed.exit_code == 0, allowed.output
    assert f"deviation: {said}" in allowed.stdout.splitlines()
    merged = run_of(repository / "merged.json")
    assert said in merged["deviations"]
    assert set(verdicts(merged).values()) == {"PASS", "NOT_RUN"}
    # What a later merge brings is no longer told to be missing.
    later = merge(repository / "merged.json", files[2], "--partial", "-o", repository / "later.json")
    assert "deviation: Shard 3 of 4 over toy.saliency.yaml is not among the merged runs." in later.stdout.splitlines()
    assert said not in later.stdout


def test_an_empty_shard_is_green_and_says_so(repository: Path, pytester: pytest.Pytester) -> None:
    empty = []
    for index in range(1, 6):
        result = pytester.runpytest_inprocess(
            "other.saliency.yaml", f"--saliency-shard={index}/5", f"--saliency-json=s{index}.json"
        )
        document = run_of(repository / f"s{index}.json")
        if result.ret == pytest.ExitCode.OK:
            empty.append(index)
            result.stdout.fnmatch_lines([f"saliency: shard {index} of 5 is empty: all 1 belong to others"])
            assert (verdicts(document), document["run"]["exit_status"]) == ({"other.saliency.yaml::kept": "NOT_RUN"}, 0)
    assert len(empty) == 4
    result = merge(*(repository / f"s{index}.json" for index in range(1, 6)), "-o", repository / "merged.json")
    assert result.exit_code == 0, result.output
    assert verdicts(run_of(repository / "merged.json")) == {"other.saliency.yaml::kept": "FAIL"}
    # Nothing found at all, or nothing left by -k, is still pytest's own "no tests".
    (repository / "empty").mkdir()
    assert pytester.runpytest_inprocess("empty", "--saliency-shard=1/5").ret == pytest.ExitCode.NO_TESTS_COLLECTED
    nothing = pytester.runpytest_inprocess("test_release.py", "-k", "nothing", "--saliency-shard=1/1")
    assert nothing.ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_workers_tell_the_controller_what_they_collected(repository: Path, pytester: pytest.Pytester) -> None:
    words = ("other.saliency.yaml", "--saliency-shard=2/2")  # an empty shard, so that no worker imports torch
    alone = pytester.runpytest_inprocess(*words, "--saliency-json=alone.json")
    shared = pytester.runpytest_subprocess(*words, "-n1", "--saliency-json=shared.json")
    assert alone.ret == shared.ret == pytest.ExitCode.OK
    shared.stdout.fnmatch_lines(["saliency: shard 2 of 2 is empty: all 1 belong to others"])
    one, two = run_of(repository / "alone.json"), run_of(repository / "shared.json")
    assert one["run"]["shard"] == two["run"]["shard"]
    assert one["run"]["shard"]["contracts"].keys() == {"other.saliency.yaml"}
    assert one["deviations"] == two["deviations"]


def test_a_shard_is_never_the_whole_run(repository: Path, pytester: pytest.Pytester) -> None:
    """Neither a shard that holds a whole contract (or the tests in Python), nor a merge without the other one."""
    (repository / "toy.saliency.yaml").unlink()
    (repository / "other.saliency.yaml").write_text(
        (repository / "other.saliency.yaml").read_text().replace("0.40", "0.99")
    )
    (repository / "test_release.py").rename(repository / "test_c.py")
    assert shard_of_file("test_c.py", 2) == 2  # and the only contract goes to the first
    bundles = repository / "bundles"
    for index in (1, 2):
        pytester.runpytest_inprocess(f"--saliency-shard={index}/2", f"--saliency-json=s{index}.json")
        alone = run_of(repository / f"s{index}.json")
        assert set(verdicts(alone).values()) <= {"PASS", "NOT_RUN"}
        assert release(alone)["decision"] == "no release"
    # The other contract's checks stand in the shard that ran none of them.
    assert verdicts(run_of(repository / "s2.json"))["other.saliency.yaml::kept"] == "NOT_RUN"
    without = merge(repository / "s1.json", "--partial", "-o", repository / "partial.json", "--bundle", bundles)
    assert without.exit_code == 0, without.output
    partial = run_of(repository / "partial.json")
    assert set(verdicts(partial).values()) == {"PASS"}
    assert release(partial)["why"] == "This is shard 1 of 2 alone, not the whole run; merge all of them."
    (bundle,) = bundles.iterdir()
    told = CliRunner().invoke(main, ["verify", str(bundle)])
    assert told.exit_code == 3, told.output
    assert "WHOLE up to level 1, but it is not of one whole run" in told.output
    assert merge(*(repository / f"s{n}.json" for n in (1, 2)), "-o", repository / "merged.json").exit_code == 0
    assert release(run_of(repository / "merged.json"))["decision"] == "release"


def test_last_failures_are_not_dealt_out(repository: Path, pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_inprocess("--saliency-shard=1/2", "--lf")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --lf collects failed tests only*Leave --saliency-shard out*"])


@pytest.mark.parametrize("text", ["0/4", "5/4", "a/b"])
def test_a_value_that_is_no_shard_ends_the_session(repository: Path, pytester: pytest.Pytester, text: str) -> None:
    result = pytester.runpytest_inprocess(f"--saliency-shard={text}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: --saliency-shard (or ini saliency_shard) must be i/n *; got '{text}'."])
    pytester.makeini(f"[pytest]\nsaliency_shard = {text}")
    assert pytester.runpytest_inprocess().ret == pytest.ExitCode.USAGE_ERROR
