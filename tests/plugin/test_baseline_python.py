"""Baselines in tests: named by the fixture, written from the result that is asserted, compared when approved."""

from __future__ import annotations

import json

import pytest

from pytest_saliency.checks.numbers import decide_again
from pytest_saliency.records.hashing import to_json

from .baselining import Repository, repository

__all__ = ["repository"]

TESTS = """
import pytest, toy
from pytest_saliency import Subject, assert_class_sensitive, assert_faithful, assert_not_worse_than_baseline

@pytest.fixture(scope="module")
def explained(saliency):
    return saliency.explain(Subject(toy.build(), layer="features", name="toy"), toy.cases())

@pytest.fixture(scope="module")
def early(explained):
    return assert_class_sensitive(explained, method="layercam")

def test_release(explained, saliency_baseline):
    result = assert_class_sensitive(explained, method="gradcam")
    same = assert_not_worse_than_baseline(
        result, saliency_baseline("release"), max_worsening={"agreement": 0.1}
    )
    evidence = assert_faithful(explained, method="gradcam", top_k=0.06, min_advantage=-1.0)
    more = assert_not_worse_than_baseline(evidence, saliency_baseline("Evidence.1"), max_worsening={"advantage": 0.1})
    assert (same is None) == (more is None)

def test_of_a_fixture(early, saliency_baseline):
    assert_not_worse_than_baseline(early, saliency_baseline("early"), max_worsening={"agreement": 0.1})

def test_without(explained):
    assert_class_sensitive(explained, method="gradcam", max_agreement=0.6)
"""

LOOSER = 'method="gradcam", max_agreement=0.7)\n    same'


@pytest.fixture
def tests(repository: Repository) -> Repository:
    (repository.path / "toy.saliency.yaml").unlink()
    repository.pytester.makepyfile(test_release=TESTS)
    return repository


def test_new_approved_green_red(tests: Repository) -> None:
    none = tests.run("-k", "test_release and not without")
    none.stdout.fnmatch_lines(["*there is no baseline of python/release yet; run the check once*"])
    tests.run("--saliency-baseline=new").assert_outcomes(passed=3)
    names = [path.relative_to(tests.folder / "python").as_posix() for path in tests.entries()]
    assert len(names) == 3
    assert {name.partition("-")[0].partition(".")[0] for name in names} == {"release", "early", "Evidence"}
    tests.approve("python/release", "python/early", "python/Evidence.1")
    green = tests.run("--saliency-json=run.json")
    green.assert_outcomes(passed=3)
    records = json.loads((tests.path / "run.json").read_text())["records"]
    compared = [record for record in records if record["kind"] == "not_worse_than_baseline"]
    assert sorted(record["check"] for record in compared) == ["Evidence.1", "early", "release"]
    for record in compared:
        assert json.loads(to_json(decide_again(record).to_dict())) == record["decision"]
        assert record["verdict"] == "PASS"
    before = tests.files()
    tests.pytester.makepyfile(test_release=TESTS.replace('method="gradcam")\n    same', LOOSER))
    told = tests.run("-k", "test_release and not without")
    told.stdout.fnmatch_lines(["saliency: loosened since Ann Tester*: python/release: max_agreement 0.50 -> 0.70*"])
    tests.cheat()
    red = tests.run("-k", "test_release and not without")
    red.stdout.fnmatch_lines(
        ["*release: worse than the approved baseline: mean worsening of agreement 0.25, limit 0.10*"]
    )
    assert tests.files() == before


def test_update_writes_the_new_numbers_and_compares_with_the_old(tests: Repository) -> None:
    tests.run("--saliency-baseline=new")
    tests.approve("python/early")
    tests.cheat()
    tests.run("--saliency-baseline=update", "-k", "of_a_fixture").assert_outcomes(failed=1, deselected=2)
    assert "python/early.candidate.json" in tests.files()
    assert "0.00   0.25" in tests.command("diff", "python/early").output


WRONG = """
import pytest, toy
from pytest_saliency import SaliencyError, Subject, assert_class_sensitive, assert_not_worse_than_baseline

def test_wrong(saliency, saliency_baseline):
    explained = saliency.explain(Subject(toy.build(), layer="features"), toy.cases())
    results = assert_class_sensitive(explained, method=["gradcam", "layercam"])
    limit = {"agreement": 0.1}
    for arguments, said in (
        ((results, saliency_baseline("a"), limit), "what an assertion of one method returns, not tuple"),
        ((results[0], "a", limit), "of the fixture saliency_baseline, not str"),
        ((results[0], saliency_baseline("a"), {"agreemnt": 0.1}), "limits 'agreemnt'"),
        ((results[0], saliency_baseline("a"), {"agreement": 0.0}), "max_worsening.agreement: .*greater than 0"),
        ((results[0], saliency_baseline("a"), {}), "max_worsening"),
    ):
        with pytest.raises(SaliencyError, match=said):
            assert_not_worse_than_baseline(*arguments[:2], max_worsening=arguments[2])
    with pytest.raises(SaliencyError, match="the name of a baseline must be"):
        saliency_baseline("a/b")

def test_one(saliency, saliency_baseline):
    explained = saliency.explain(Subject(toy.build(), layer="features"), toy.cases())
    result = assert_class_sensitive(explained, method="gradcam")
    assert_not_worse_than_baseline(result, saliency_baseline("same"), max_worsening={"agreement": 0.1})

test_two = test_one
"""


def test_wrong_arguments_and_a_name_used_twice(tests: Repository) -> None:
    tests.pytester.makepyfile(test_release=WRONG)
    done = tests.run("--saliency-baseline=new")
    done.assert_outcomes(passed=3)
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    done.stdout.fnmatch_lines(
        [
            "saliency: ERROR: *the baseline python/same would be of two checks, test_release.py::test_one and"
            " test_release.py::test_two; give each its own name."
        ]
    )
