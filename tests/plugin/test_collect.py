"""Collecting contracts: node ids from the text alone, selection as for every other test, problems as text."""

from __future__ import annotations

import pytest

from .texts import CONTRACT, DRIFT, FAITHFUL, SENSITIVE, Write

NODES = [
    "contracts/toy.saliency.yaml::sensitive",
    "contracts/toy.saliency.yaml::kept",
    "contracts/toy.saliency.yaml::faithful[gradcam]",
    "contracts/toy.saliency.yaml::faithful[layercam]",
]


@pytest.fixture
def contract(write: Write) -> None:
    write(SENSITIVE, DRIFT, FAITHFUL, name="contracts/toy.saliency.yaml")


@pytest.mark.usefixtures("contract")
def test_collect_only_shows_exactly_the_items(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_inprocess("--collect-only", "-q")
    lines = [line for line in result.stdout.lines if line]
    assert lines[:-1] == NODES
    assert lines[-1].startswith("4 tests collected in ")


@pytest.mark.usefixtures("contract")
def test_collecting_imports_neither_torch_nor_the_users_code(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        "import sys\n"
        "def pytest_unconfigure(config):\n"
        "    print('IMPORTED', sorted({'torch', 'torchvision', 'toy'} & set(sys.modules)))\n"
    )
    result = pytester.runpytest_subprocess("--collect-only", "-q")
    result.stdout.fnmatch_lines([NODES[0], "IMPORTED []"])


@pytest.mark.usefixtures("contract")
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["-k", "faithful"], NODES[2:]),
        (["-k", "faithful and layercam"], NODES[3:]),
        (["-k", "not faithful"], NODES[:2]),
        (["-m", "saliency"], NODES),
        (["-m", "saliency(kind='no_semantic_drift')"], NODES[1:2]),
        (["-m", "saliency(check='sensitive', contract='toy')"], NODES[:1]),
        ([NODES[2]], NODES[2:3]),
        (["contracts/toy.saliency.yaml"], NODES),
        (["contracts"], NODES),
    ],
)
def test_selection(pytester: pytest.Pytester, arguments: list[str], expected: list[str]) -> None:
    result = pytester.runpytest_inprocess("--collect-only", "-q", *arguments)
    assert [line for line in result.stdout.lines if "::" in line] == expected


@pytest.mark.usefixtures("contract")
@pytest.mark.parametrize("arguments", [["-k", "nothing"], ["-m", "slow_ones"], ["contracts/toy.saliency.yaml::gone"]])
def test_a_selection_that_matches_nothing_is_not_green(pytester: pytest.Pytester, arguments: list[str]) -> None:
    pytester.makeini("[pytest]\nmarkers = slow_ones")
    assert pytester.runpytest_inprocess(*arguments).ret in (
        pytest.ExitCode.NO_TESTS_COLLECTED,
        pytest.ExitCode.USAGE_ERROR,
    )


def test_last_failed_runs_the_failed_check_alone(pytester: pytest.Pytester, write: Write) -> None:
    write(SENSITIVE, DRIFT)
    pytester.runpytest_inprocess().assert_outcomes(passed=1, failed=1)
    again = pytester.runpytest_inprocess("--lf", "-v")
    again.assert_outcomes(failed=1)
    again.stdout.fnmatch_lines(["toy.saliency.yaml::kept FAILED*"])


def test_other_yaml_files_are_left_alone_and_file_names_are_an_ini(pytester: pytest.Pytester, write: Write) -> None:
    write(SENSITIVE, name="evidence.contract")
    (pytester.path / "docker-compose.yaml").write_text("services: {}\n")
    assert pytester.runpytest_inprocess("--collect-only").ret == pytest.ExitCode.NO_TESTS_COLLECTED
    pytester.makeini("[pytest]\nsaliency_files = *.contract")
    pytester.runpytest_inprocess("--collect-only", "-q").stdout.fnmatch_lines(["evidence.contract::sensitive"])


def test_all_problems_of_a_contract_are_one_collection_error(pytester: pytest.Pytester, write: Write) -> None:
    write(SENSITIVE.replace("gradcam", "gradcan"), DRIFT.replace("max_iou_drop: 0.40", "max_iou_dropp: 0.40"))
    result = pytester.runpytest_inprocess()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    lines = result.stdout.lines
    start = next(i for i, line in enumerate(lines) if "ERROR collecting toy.saliency.yaml" in line)
    assert lines[start + 1] == "3 problems in this contract; nothing was run."
    assert lines[start + 2].startswith(
        "  12:13   unknown method 'gradcan' in check 'sensitive'; did you mean 'gradcam'"
    )
    assert any("unknown key 'max_iou_dropp'" in line for line in lines[start + 3 : start + 5])
    assert not any("Traceback" in line or "site-packages" in line for line in lines)
    result.stdout.fnmatch_lines(["ERROR toy.saliency.yaml - 3 problems in this contract*", "*1 error*"])


@pytest.mark.parametrize(
    "text",
    ["", "checks: []\n", CONTRACT + "checks: []\n", CONTRACT, "a: [1\n", "\x00", CONTRACT + "checks: {}\n"],
    ids=["empty", "no head", "no checks", "no section", "bad yaml", "control character", "mapping"],
)
def test_a_contract_that_would_check_nothing_is_an_error(pytester: pytest.Pytester, text: str) -> None:
    (pytester.path / "empty.saliency.yaml").write_text(text)
    result = pytester.runpytest_inprocess()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["* in this contract; nothing was run."])
    result.stdout.no_fnmatch_line("*Traceback*")
