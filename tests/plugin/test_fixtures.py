"""Contracts use the fixtures of the repository, and obey its marks and hooks, as every other test does."""

from __future__ import annotations

import pytest

from .texts import DRIFT, SENSITIVE, Write

HEAD = """\
saliency: 1
contract: toy
models:
  clean: {fixture: clean_model, layer: features}
  cheat: {fixture: cheat_subject}
cases: {fixture: toy_cases}
defaults: {model: clean, preprocess: {resize: 16}}
"""

FIXTURES = """
import pytest, toy
from pytest_saliency import Subject

@pytest.fixture(scope="module")
def clean_model(request):
    print("MADE", request.node.nodeid)
    yield toy.build()
    print("DONE")

@pytest.fixture
def cheat_subject():
    return Subject(toy.build_cheat(), layer="features", name="cheat")

@pytest.fixture(scope="session")
def toy_cases():
    return toy.cases()

@pytest.fixture(autouse=True)
def around(request):
    print("AROUND", request.node.name)
"""


def test_models_and_cases_come_from_fixtures_of_any_scope(pytester: pytest.Pytester, write: Write) -> None:
    write(SENSITIVE, DRIFT, SENSITIVE.replace("id: sensitive", "id: again"), head=HEAD)
    pytester.makeconftest(FIXTURES)
    result = pytester.runpytest_inprocess("-s")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*MADE toy.saliency.yaml",
            "AROUND sensitive",
            "*AROUND kept",
            "*AROUND again",
            "*DONE",
            "  before clean *after cheat *",
        ]
    )
    assert result.stdout.str().count("MADE") == 1


def test_a_fixture_that_is_not_there_is_told_with_its_line(pytester: pytest.Pytester, write: Write) -> None:
    write(SENSITIVE, head=HEAD)
    pytester.makeconftest(FIXTURES.replace("def clean_model", "def other_model"))
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["sensitive: the contract names the fixture 'clean_model', which no conftest.py*", "toy.saliency.yaml:4"]
    )
    result.stdout.fnmatch_lines(["saliency: 1 check: 1 ERROR"])


def test_a_fixture_that_skips_leaves_a_record_that_nothing_ran(pytester: pytest.Pytester, write: Write) -> None:
    write(SENSITIVE, head=HEAD)
    pytester.makeconftest(FIXTURES.replace("yield toy.build()", "pytest.skip('no GPU today')"))
    result = pytester.runpytest_inprocess("-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["saliency: 1 check: 1 NOT_RUN", "SKIPPED*toy.saliency.yaml:9: no GPU today"])


def test_hooks_can_mark_checks(pytester: pytest.Pytester, write: Write) -> None:
    write(SENSITIVE, DRIFT, SENSITIVE.replace("id: sensitive", "id: surprise"), head=HEAD)
    pytester.makeini("[pytest]\nxfail_strict = true")
    pytester.makeconftest(
        FIXTURES
        + "\ndef pytest_collection_modifyitems(items):\n"
        + "    marks = dict(sensitive=pytest.mark.skip('later'), kept=pytest.mark.xfail, surprise=pytest.mark.xfail)\n"
        + "    for item in items: item.add_marker(marks[item.name])\n"
    )
    pytester.runpytest_inprocess().assert_outcomes(skipped=1, xfailed=1, failed=1)


def test_what_a_fixture_gives_is_checked(pytester: pytest.Pytester, write: Write) -> None:
    write(SENSITIVE, head=HEAD)
    pytester.makeconftest(FIXTURES.replace("yield toy.build()", "yield 'resnet'"))
    result = pytester.runpytest_inprocess()
    result.stdout.fnmatch_lines(["sensitive: model 'clean': fixture clean_model gave a str; a torch.nn.Module or*"])
    pytester.makeconftest(FIXTURES.replace("return toy.cases()", "return [1, 2]"))
    result = pytester.runpytest_inprocess()
    result.stdout.fnmatch_lines(["sensitive: cases from fixture toy_cases are a list; Cases are needed*"])


def test_a_subject_brings_its_own_reading(pytester: pytest.Pytester, write: Write) -> None:
    write(DRIFT, head=HEAD.replace("{fixture: cheat_subject}", "{fixture: cheat_subject, layer: head}"))
    pytester.makeconftest(FIXTURES)
    result = pytester.runpytest_inprocess()
    result.stdout.fnmatch_lines(
        [
            "kept: model 'cheat': fixture cheat_subject returns a Subject, which brings its own reading, but*layer*",
            "toy.saliency.yaml:5",
        ]
    )
