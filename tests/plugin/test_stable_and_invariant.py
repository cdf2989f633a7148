"""``stable`` and ``invariant_execution`` from a contract: verdicts, pictures, what is kept, what a bundle proves."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_saliency.evidence.verify import verify

from .texts import Write

STABLE = """\
  - id: steady
    kind: stable
    method: random
    min_agreement: 0.40
    perturbations: [brightness, shift]
    draws: 1
    top_fraction: 0.06
"""
PASSING = STABLE.replace("steady", "sound").replace("random", "gradcam") + "    search: false\n"

INVARIANT = """\
  - id: same
    kind: invariant_execution
    method: gradcam
    max_difference: 0.001
    max_share: 0.10
    variants: [batch_one, bf16, cpu]
    on_inconclusive: warn
"""


def records_of(pytester: pytest.Pytester) -> dict[str, dict[str, Any]]:
    document = json.loads((pytester.path / "run.json").read_text(encoding="utf-8"))
    return {record["node"].partition("::")[2]: record for record in document["records"]}


def test_stable_from_a_contract(pytester: pytest.Pytester, write: Write) -> None:
    write(STABLE, PASSING)
    options = ("--saliency-json", "run.json", "--saliency-html", "report.html", "--saliency-bundle", "evidence")
    result = pytester.runpytest_inprocess("-v", *options)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "steady: the maps do not survive changes that keep the prediction: mean agreement under perturbation *",
            "  case *label   agreement   brightness   shift",
            "  note: smallest change found that moves the map of worst image 1 below 0.4 and keeps its prediction: *",
            "* <-- exceeded",
        ]
    )
    records = records_of(pytester)
    failed = records["steady"]
    examples = failed["inputs"]["counter_examples"]
    assert [entry["place"] for entry in examples] == [1, 2, 3]
    assert all(entry["family"] in ("brightness", "shift") and len(entry["seed"]) == 16 for entry in examples)
    assert failed["decision"]["readouts"]["counter_examples"] == examples
    rows = failed["gallery"]
    assert [row["why"] for row in rows[:3]] == ["smallest counter-example"] * 3
    titles = [tile["title"] for tile in rows[0]["tiles"]]
    assert titles[-1] == "changed image"
    assert "map of the changed image, laid back" in titles
    html = (pytester.path / "report.html").read_text(encoding="utf-8")
    assert "smallest counter-example" in html
    assert "Agreement by kind of change" in html
    (kept,) = pytester.path.rglob("saliency-search")
    assert any(path.is_file() for path in kept.rglob("*")), "what was found is in pytest's cache"
    (bundle,) = (pytester.path / "evidence").iterdir()
    assert verify(bundle, 1).findings == ()
    stages = records["sound"]["execution"]["work"]["model"]["stages"]
    assert stages["stable"]["images"]["changed"] >= 60 * 2
    again = pytester.runpytest_inprocess("--saliency-json", "run.json")
    again.assert_outcomes(passed=1, failed=1)
    assert records_of(pytester)["steady"]["inputs"]["counter_examples"] == examples


def test_invariant_execution_from_a_contract(pytester: pytest.Pytester, write: Write) -> None:
    write(INVARIANT, INVARIANT.replace("same", "rounding").replace("[batch_one, bf16, cpu]", "batch_one"))
    result = pytester.runpytest_inprocess("-v", "--saliency-json", "run.json", "--saliency-html", "report.html")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*::rounding PASSED share of maps that differ when computed otherwise 0.00*",
            "same: maps depend on how they are computed (bf16): *",
            "  note: bf16 changes the map of * of 60 images by more than 0.001 or their prediction: *",
        ],
        consecutive=False,
    )
    record = records_of(pytester)["same"]
    assert list(record["decision"]["readouts"]["variants"]) == [
        name for name in ("batch_one", "bf16", "cpu") if f"difference[{name}]" in record["per_image"]
    ]
    assert "Difference of the maps, by the way they were computed" in (pytester.path / "report.html").read_text()


def test_assertions_and_strategies_in_a_user_s_own_test(pytester: pytest.Pytester, write: Write) -> None:
    write(STABLE)  # for toy.py beside it
    pytester.makepyfile(
        test_own="""
        import numpy as np
        from hypothesis import given, settings
        from pytest_saliency import Subject, assert_invariant_execution, assert_stable, strategies
        import toy

        MODEL = toy.build()
        IMAGE, LABEL = (values[0] for values in toy.arrays(1))

        @given(strategies.perturbations(families=("brightness", "noise"), strength=0.5, size=(16, 16)))
        @settings(max_examples=20, deadline=None, database=None)
        def test_prediction(change):
            import torch
            scores = MODEL(torch.from_numpy(change.apply(IMAGE))[None])
            assert int(scores.argmax()) == LABEL

        def test_maps(saliency):
            one = saliency.explain(Subject(MODEL, layer="features"), toy.cases(40))
            assert_stable(one, "gradcam", min_agreement=0.4, draws=1, perturbations="brightness", search=False)
            assert_invariant_execution(one, "gradcam", max_difference=1e-3, max_share=0.2, variants=["shuffled"])
        """
    )
    pytester.runpytest_inprocess("test_own.py").assert_outcomes(passed=2)
