"""What a user sees of a verdict: the failure block, values on PASS, short summary, --tb, JUnit, exit code."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from .texts import DRIFT, FAITHFUL, SENSITIVE, UNDECIDED, Write

HEADLINE = (
    "kept: the model looks elsewhere: mean IoU drop 0.80, limit 0.40 (95 % bound 0.75 .. 0.82), n = 60;"
    " shortcut confirmed: 100 % follow the pasted region, control 0 %"
)


def test_a_failing_check_says_what_where_and_what_to_do(pytester: pytest.Pytester, write: Write) -> None:
    write(SENSITIVE, DRIFT, name="contracts/toy.saliency.yaml")
    result = pytester.runpytest_inprocess()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=1, failed=1)
    lines = result.stdout.lines
    start = lines.index(HEADLINE)
    assert lines[start - 1].strip("_ ") == "kept in contracts/toy.saliency.yaml"
    end = next(i for i in range(start, len(lines)) if lines[i].startswith("contracts/toy"))
    block = lines[start : end + 1]
    assert block[1].split() == ["measure", "mean", "bound", "limit"]
    assert block[2].split() == ["IoU", "drop", "0.80", "0.75", "<=", "0.40", "FAIL"]
    assert block[3].split() == ["case", "label", "IoU", "displacement", "correlation"]
    assert sum(line.startswith("  case-") for line in block) == 5
    assert "  60 of 60 cases kept (both correct)" in block
    assert any(line.startswith("  before clean  state sha256 ") and "layer features" in line for line in block)
    assert any(line.startswith("  method gradcam 1   device cpu float32   seed ") for line in block)
    assert "    13 |   - id: kept" in block
    assert any(line.startswith("    18 |     max_iou_drop: 0.40") and line.endswith("<-- exceeded") for line in block)
    assert block[-1] == "contracts/toy.saliency.yaml:18: kept: mean IoU drop 0.80 > 0.40"
    assert not any("Traceback" in line or "pytest_saliency" in line for line in block)


def test_a_picture_of_the_worst_cases_is_kept_and_named(pytester: pytest.Pytester, write: Write) -> None:
    write(SENSITIVE, DRIFT)
    result = pytester.runpytest_inprocess()
    named = [line.split(": ")[1] for line in result.stdout.lines if line.startswith("  pictures: ")]
    kept = [path.relative_to(pytester.path).as_posix() for path in pytester.path.rglob("*.png")]
    assert named == kept
    assert len(kept) == 1
    assert (pytester.path / kept[0]).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("images", "count"), [("all", 2), ("none", 0)])
def test_pictures_are_an_option(pytester: pytest.Pytester, write: Write, images: str, count: int) -> None:
    write(SENSITIVE, DRIFT)
    pytester.runpytest_inprocess("--saliency-images", images)
    assert len(list(pytester.path.rglob("*.png"))) == count


def test_one_line_styles_show_the_headline(pytester: pytest.Pytester, write: Write) -> None:
    write(DRIFT)
    result = pytester.runpytest_inprocess("--tb=line")
    assert f"toy.saliency.yaml:15: {HEADLINE}" in result.stdout.lines
    assert not any("worst" in line or line.startswith("  case") for line in result.stdout.lines)
    result.stdout.fnmatch_lines(["FAILED toy.saliency.yaml::kept - kept: the model looks*"])
    none = pytester.runpytest_inprocess("--tb=no")
    none.stdout.fnmatch_lines(["FAILED toy.saliency.yaml::kept - kept: the model looks*"])


def test_verbose_shows_measured_values_on_pass_too(pytester: pytest.Pytester, write: Write) -> None:
    write(FAITHFUL, UNDECIDED, DRIFT.replace("after: cheat", "after: twin"), head=_twin_head())
    result = pytester.runpytest_inprocess("-v")
    result.stdout.fnmatch_lines(
        [
            "*::faithful[[]gradcam] PASSED mean advantage with blur (log-odds) *(bound *) > 0.00, *",
            "*::undecided INCONCLUSIVE*",
            "*::kept PASSED mean IoU drop 0.00 (bound *) <= 0.40*",
            "saliency: 4 checks: 3 PASS, 1 INCONCLUSIVE",
            "INCONCLUSIVE *::undecided - undecided: *",
        ]
    )
    result.assert_outcomes(passed=3, failed=1)


def _twin_head() -> str:
    from .texts import CONTRACT

    return CONTRACT.replace("  cheat:", '  twin: {python: "toy:build", layer: features}\n  cheat:')


def test_junit_carries_headline_values_limits_and_digests(pytester: pytest.Pytester, write: Write) -> None:
    write(DRIFT)
    pytester.runpytest_inprocess("--junitxml=junit.xml")
    (case,) = ElementTree.parse(pytester.path / "junit.xml").iter("testcase")
    found = {entry.attrib["name"]: entry.attrib["value"] for entry in case.iter("property")}
    assert found["saliency.contract"] == "toy"
    assert found["saliency.check"] == "kept"
    assert found["saliency.kind"] == "no_semantic_drift"
    assert found["saliency.verdict"] == "FAIL"
    assert found["saliency.requirement"] == "REQ-1"
    assert found["saliency.limit.iou_drop"] == "<= 0.4"
    assert float(found["saliency.measured.iou_drop"]) == pytest.approx(0.8, abs=0.01)
    assert found["saliency.source"] == "toy.saliency.yaml:10"
    digests = {found[f"saliency.model_sha256.{role}"] for role in ("before", "after")}
    assert len(digests) == 2
    assert all(len(digest) == 64 for digest in digests)
    (failure,) = case.iter("failure")
    assert failure.attrib["message"] == HEADLINE
    assert failure.text is not None
    assert failure.text.startswith(HEADLINE)


def test_checks_of_one_contract_share_passes(pytester: pytest.Pytester, write: Write) -> None:
    write(SENSITIVE, FAITHFUL, DRIFT)
    with (pytester.path / "toy.py").open("a") as file:
        file.write(
            "\n\ncalls = []\nplain = build\n\ndef build(cheat=False):\n"
            "    calls.append(cheat)\n    return plain(cheat)\n"
        )
    pytester.makeconftest("import sys\ndef pytest_unconfigure(config):\n    print('BUILT', sys.modules['toy'].calls)\n")
    pytester.runpytest_inprocess().stdout.fnmatch_lines(["BUILT [[]False]"])


@pytest.mark.parametrize("style", ["long", "short", "native", "auto"])
def test_an_exception_of_our_own_keeps_its_traceback(
    pytester: pytest.Pytester, write: Write, monkeypatch: pytest.MonkeyPatch, style: str
) -> None:
    def broken(*args: object) -> object:
        return {}["no such key"]

    monkeypatch.setattr("pytest_saliency.contracts.running.make_subject", broken)
    write(SENSITIVE)
    result = pytester.runpytest_inprocess(f"--tb={style}")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*test_outcome.py*", "*KeyError: 'no such key'*"])
    result.stdout.fnmatch_lines(["saliency: 1 check: 1 ERROR"])


def test_an_exception_of_the_users_code_is_a_sentence_and_a_traceback_on_request(
    pytester: pytest.Pytester, write: Write
) -> None:
    write(SENSITIVE, head=_exploding_head())
    (pytester.path / "exploding.py").write_text("def build():\n    return {}['no such key']\n")
    result = pytester.runpytest_inprocess()
    result.stdout.fnmatch_lines(["sensitive: python: exploding:build raised KeyError at exploding.py:2:*"])
    result.stdout.no_fnmatch_line("*return {}*")
    whole = pytester.runpytest_inprocess("--full-trace")
    whole.stdout.fnmatch_lines(["*return {}*", "*KeyError: 'no such key'*"])


def _exploding_head() -> str:
    from .texts import CONTRACT

    return CONTRACT.replace("toy:build", "exploding:build", 1)
