"""Python assertions inside tests: the fixture, what is recorded, what is shown."""

from __future__ import annotations

import json

import pytest

from .texts import SENSITIVE, Write

TESTS = """
import pytest, toy
from pytest_saliency import Subject, assert_class_sensitive, assert_no_semantic_drift

@pytest.fixture(scope="module")
def both(saliency):
    cases = toy.cases()
    subjects = [Subject(toy.build(cheat), layer="features") for cheat in (False, True)]
    return [saliency.explain(subject, cases) for subject in subjects]

def test_holds(both):
    result = assert_class_sensitive(both[0], method="gradcam")
    assert result.verdict == "PASS"

def test_drifts(both):
    assert_class_sensitive(both[0], method="gradcam")
    assert_no_semantic_drift(*both, method="gradcam", max_iou_drop=0.4)

def test_is_expected(both):
    with pytest.raises(AssertionError, match="the model looks elsewhere"):
        assert_no_semantic_drift(*both, method="gradcam", max_iou_drop=0.4)
"""


@pytest.fixture
def repository(pytester: pytest.Pytester, write: Write) -> pytest.Pytester:
    write(SENSITIVE).unlink()
    pytester.makepyfile(test_release=TESTS)
    pytester.syspathinsert()
    return pytester


def test_results_are_recorded_on_the_running_test(repository: pytest.Pytester) -> None:
    result = repository.runpytest_inprocess("-v", "--saliency-json=run.json", "--junitxml=junit.xml")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*::test_holds PASSED median agreement*(bound *", "*::test_drifts FAILED*"])
    result.stdout.fnmatch_lines(["saliency: 4 checks: 2 PASS, 2 FAIL"])
    records = json.loads((repository.path / "run.json").read_text())["records"]
    assert [(r["node"].split("::")[1], r["kind"], r["verdict"]) for r in records] == [
        ("test_drifts", "class_sensitive", "PASS"),
        ("test_drifts#2", "no_semantic_drift", "FAIL"),
        ("test_holds", "class_sensitive", "PASS"),
        ("test_is_expected", "no_semantic_drift", "FAIL"),
    ]
    lines = (repository.path / "test_release.py").read_text().splitlines()
    for record in records:
        assert record["contract"] is None
        assert record["source"]["file"] == "test_release.py"
        assert f"assert_{record['kind']}(" in lines[record["source"]["line"] - 1]
    assert "saliency.verdict" in (repository.path / "junit.xml").read_text()


def test_a_failing_assertion_shows_what_was_measured(repository: pytest.Pytester) -> None:
    result = repository.runpytest_inprocess("-k", "drifts")
    result.stdout.fnmatch_lines(
        [
            "E *ExplanationAssertionError: no_semantic_drift: the model looks elsewhere: mean IoU drop 0.80*",
            "E *IoU drop * 0.80 * 0.75 *<= 0.40*FAIL",
        ]
    )


def test_a_subject_is_explained_once_until_it_is_trained(pytester: pytest.Pytester, write: Write) -> None:
    write(SENSITIVE).unlink()
    pytester.syspathinsert()
    pytester.makepyfile(
        """
        import torch, toy
        from pytest_saliency import Subject

        def test_memo(saliency, saliency_device):
            cases, subject = toy.cases(12), Subject(toy.build(), layer="features")
            first = saliency.explain(subject, cases)
            assert first.device == saliency.device == saliency_device == "cpu"
            first.logits
            assert saliency.explain(subject, cases) is first, "reading does not change a model"
            assert saliency.explain(subject, toy.cases(12)) is not first
            with torch.no_grad():
                subject.model.head.weight.mul_(2.0)
            second = saliency.explain(subject, cases)
            assert second is not first
            assert torch.equal(second.logits, 2.0 * first.logits)
        """
    )
    pytester.runpytest_inprocess("--saliency-device=cpu").assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("arguments", "ini", "sentence"),
    [
        (["--saliency-device=cuda:77"], "", "pytest-saliency: device 'cuda:77' is not there: *"),
        (["--saliency-device=tpu"], "", "pytest-saliency: device 'tpu' is not known; use auto, cpu*"),
        (["--saliency-batch=0"], "", "pytest-saliency: --saliency-batch * must be auto or a whole number from 1*"),
        ([], "saliency_batch = many", "pytest-saliency: --saliency-batch * must be auto or a whole number*many*"),
        ([], "saliency_images = some", "pytest-saliency: ini saliency_images must be one of *; got 'some'."),
    ],
)
def test_a_wrong_setting_is_one_sentence(
    pytester: pytest.Pytester, write: Write, arguments: list[str], ini: str, sentence: str
) -> None:
    write(SENSITIVE)
    pytester.makeini(f"[pytest]\n{ini}")
    pytester.makepyfile("def test_device(saliency_device): pass")
    result = pytester.runpytest_inprocess(*arguments)
    result.assert_outcomes(errors=1, failed=1)
    bare = sentence.removeprefix("pytest-saliency: ")
    result.stdout.fnmatch_lines([sentence, "sensitive: " + bare, "toy.saliency.yaml:10"])
    result.stdout.no_fnmatch_line("*Traceback*")
