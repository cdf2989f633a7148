"""Checks against explainers that know nothing, as a contract declares them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_saliency.checks.numbers import decide_again

from .texts import Write

BEATS = """\
  - id: beats
    kind: beats_null_explainers
    method: gradcam
    top_k: 0.06
    min_advantage: {margin}
    nulls: [centre, mean_map]
    fill: mean
"""
MOSAICS = """\
  - id: mosaics
    kind: planted_evidence
    method: [gradcam, centre]
    min_share: 0.5
    scale: input
"""
FORGETS = """\
  - id: forgets
    kind: model_dependent
    method: edges
    max_excess: 0.1
    images: 16
    stages: 1
    top_fraction: 0.06
"""


def records_of(path: Path) -> dict[str, dict[str, object]]:
    found = {record["node"].rpartition("::")[2]: record for record in json.loads(path.read_text())["records"]}
    for record in found.values():
        assert json.loads(json.dumps(decide_again(record).to_dict())) == record["decision"]
    return found


def test_controls_are_beaten_or_not(pytester: pytest.Pytester, write: Write) -> None:
    write(BEATS.format(margin=0.1), BEATS.format(margin=50.0).replace("id: beats", "id: by-far"))
    result = pytester.runpytest_inprocess("--saliency-json", "run.json")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*knows nothing of the image does as well*margin 50.00*"])
    found = records_of(pytester.path / "run.json")
    assert found["beats"]["verdict"] == "PASS"
    assert found["by-far"]["execution"]["planned_images"] == 60 * 3  # type: ignore[index]


def test_mosaics(pytester: pytest.Pytester, write: Write) -> None:
    write(MOSAICS)
    result = pytester.runpytest_inprocess("--saliency-json", "run.json", "--saliency-html", "report.html")
    result.assert_outcomes(passed=1, failed=1)
    found = records_of(pytester.path / "run.json")
    assert found["mosaics[gradcam]"]["verdict"] == "PASS"
    assert found["mosaics[centre]"]["verdict"] == "FAIL"
    page = (pytester.path / "report.html").read_text(encoding="utf-8")
    assert "Share of the map in the cell of its class" in page
    assert "in row 1, column 2" in page


def test_randomised_models(pytester: pytest.Pytester, write: Write) -> None:
    write(FORGETS)
    result = pytester.runpytest_inprocess("--saliency-json", "run.json")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*the maps hardly depend on what the model has learned*"])
    found = records_of(pytester.path / "run.json")
    assert found["forgets"]["verdict"] == "FAIL"
    assert [stage["modules"] for stage in found["forgets"]["inputs"]["cascade"]] == [1, 3]


def test_wrong_keys_are_told_together(pytester: pytest.Pytester, write: Write) -> None:
    write(
        BEATS.format(margin=0.1).replace("mean_map", "median"),
        BEATS.format(margin=0.1).replace("    min_advantage: 0.1\n", "").replace("id: beats", "id: second"),
        MOSAICS.replace("0.5", "0.2"),
        FORGETS + "    seeds: 5\n",
    )
    result = pytester.runpytest_inprocess("--collect-only")
    assert result.ret != 0
    said = result.stdout.str()
    for words in ("nulls", "min_advantage", "by chance with 4 cells", "seeds"):
        assert words in said
