from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pytest_saliency.decide import class_sensitive, drift, faithful
from pytest_saliency.decide.decision import Decision, plain
from pytest_saliency.decide.verdict import Verdict, verdict_of

share = st.one_of(st.floats(0.0, 1.0), st.just(float("nan")), st.sampled_from([0.0, 0.5, 1.0]))
per_image = arrays.arrays(np.float64, st.integers(5, 40), elements=share)


def some_decisions() -> list[Decision]:
    rng = np.random.default_rng(0)
    blank = np.full(30, np.nan)
    blocks = [
        faithful.SwapBlock(rows, rng.normal(size=(len(rows), len(rows))), np.ones(len(rows), dtype=bool))
        for rows in faithful.make_blocks(np.zeros(30, dtype=int), 1)
    ]
    return [
        class_sensitive.decide(rng.random(30), rng.random(30), max_agreement=0.5, seed=2**63 + 5),
        class_sensitive.decide(blank, None, max_agreement=0.5, seed=1, rule="published"),
        faithful.decide({"blur": blocks}, min_advantage=0.1, against={"x": {"blur": (blank, blank)}}, seed=1),
        drift.decide({"iou_drop": blank}, limits={"max_iou_drop": 0.5}, kept=30, total=30, seed=1),
    ]


@pytest.mark.parametrize("index", range(4))
def test_a_decision_survives_json(index: int) -> None:
    decision = some_decisions()[index]
    written = json.dumps(decision.to_dict(), allow_nan=False)
    again = Decision.from_dict(json.loads(written))
    assert json.dumps(again.to_dict(), allow_nan=False) == written
    assert again.verdict is decision.verdict
    assert again.seed == decision.seed
    assert [leg.name for leg in again.legs] == [leg.name for leg in decision.legs]


def test_decisions_are_byte_identical_when_repeated() -> None:
    first, second = (json.dumps([d.to_dict() for d in some_decisions()]) for _ in range(2))
    assert first == second


def test_plain_knows_what_json_knows() -> None:
    found = plain({"a": np.float64("nan"), 2: (np.int64(3), np.bool_(True), -np.inf), "c": np.arange(2)})
    assert found == {"a": None, "2": [3, True, None], "c": [0, 1]}
    with pytest.raises(TypeError, match="cannot carry a set"):
        plain({1, 2})


def test_fail_wins_over_pass() -> None:
    assert verdict_of(True, True) is Verdict.FAIL
    assert verdict_of(True, False) is Verdict.PASS
    assert verdict_of(False, False) is Verdict.INCONCLUSIVE
    assert Verdict.PASS == "PASS"


RANK = {Verdict.FAIL: 0, Verdict.INCONCLUSIVE: 1, Verdict.PASS: 2}


@given(per_image, st.floats(0.05, 1.0), st.floats(0.05, 1.0))
@settings(max_examples=60, deadline=None)
def test_a_wider_agreement_limit_never_gives_a_worse_verdict(values: np.ndarray, one: float, other: float) -> None:
    strict, wide = (
        class_sensitive.decide(values, 1.0 - values, max_agreement=limit, seed=1) for limit in sorted((one, other))
    )
    assert RANK[strict.verdict] <= RANK[wide.verdict]


@given(arrays.arrays(np.float64, st.integers(30, 50), elements=share), st.floats(0.2, 1.0), st.floats(0.2, 1.0))
@settings(max_examples=50, deadline=None)
def test_a_wider_drift_limit_never_gives_a_worse_verdict(values: np.ndarray, one: float, other: float) -> None:
    strict, wide = (
        drift.decide({"iou_drop": values}, limits={"max_iou_drop": limit}, kept=values.size, total=values.size, seed=1)
        for limit in sorted((one, other))
    )
    assert RANK[strict.verdict] <= RANK[wide.verdict]


@given(st.integers(0, 5_000), st.floats(-2.0, 2.0), st.floats(-2.0, 2.0))
@settings(max_examples=40, deadline=None)
def test_a_larger_margin_never_gives_a_better_verdict(seed: int, one: float, other: float) -> None:
    rng = np.random.default_rng(seed)
    blocks = [
        faithful.SwapBlock(rows, np.eye(len(rows)) + rng.normal(0, 0.5, (len(rows),) * 2), rng.random(len(rows)) < 0.02)
        for rows in faithful.make_blocks(np.zeros(12, dtype=int), 1)
    ]
    wide, strict = (faithful.decide({"blur": blocks}, min_advantage=margin, seed=1) for margin in sorted((one, other)))
    assert RANK[strict.verdict] <= RANK[wide.verdict]


@given(per_image, st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_the_order_in_which_images_arrive_does_not_matter(values: np.ndarray, random: object) -> None:
    """Callers sort by case id; whatever order the images came in, the same bytes come out."""
    named = [(f"case-{place:03}", float(value)) for place, value in enumerate(values)]
    shuffled = list(named)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    written = []
    for cases in (named, shuffled):
        ordered = np.array([value for _, value in sorted(cases, key=lambda case: case[0])])
        decision = drift.decide(
            {"iou_drop": ordered}, limits={"max_iou_drop": 1.0}, kept=ordered.size, total=ordered.size, seed=5
        )
        written.append(json.dumps(decision.to_dict()))
    assert written[0] == written[1]


@given(per_image, st.floats(0.01, 0.4), st.booleans())
@settings(max_examples=60, deadline=None)
def test_finite_or_undefined_numbers_never_raise_or_give_nan_p_values(
    values: np.ndarray, max_undefined: float, repeat: bool
) -> None:
    for rule in ("full", "published"):
        decision = class_sensitive.decide(
            values,
            values[::-1].copy() if repeat else None,
            max_agreement=0.5,
            max_undefined=max_undefined,
            rule=rule,  # type: ignore[arg-type]
            seed=1,
        )
        assert all(0.0 <= leg.p <= 1.0 for leg in decision.legs)
        assert decision.headline


def test_decide_needs_no_torch() -> None:
    code = (
        "import sys; import pytest_saliency.decide.class_sensitive, pytest_saliency.decide.faithful,"
        " pytest_saliency.decide.drift; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
