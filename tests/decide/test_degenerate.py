"""Whatever is degenerate gets a verdict and a sentence, or is refused in a sentence: never NaN, never a traceback.

All numbers equal, one image, two images, nothing defined, one group empty, infinite numbers; for every decision of
``decide`` by hand, and for every kind through the numbers of a record.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fixtures.records import CRITERIA, sample_record
from pytest_saliency.checks.numbers import Numbers
from pytest_saliency.checks.registry import KINDS
from pytest_saliency.decide import (
    class_sensitive,
    drift,
    drift_reference,
    faithful,
    limits,
    null_explainers,
    pasting,
    subgroups,
    trainings,
    vacuous,
    worsening,
)
from pytest_saliency.decide.decision import Decision
from pytest_saliency.decide.faithful import SwapBlock, make_blocks
from pytest_saliency.decide.verdict import Verdict
from pytest_saliency.errors import SaliencyError

Array = np.ndarray[Any, np.dtype[np.float64]]
Numbered = Callable[[int], Array]

# Numbers of n images; all of them valid for measures between 0 and 1 as well as for those without a range.
ODD: dict[str, Numbered] = {
    "all equal": lambda n: np.full(n, 0.3),
    "all zero": np.zeros,
    "all one": np.ones,
    "all undefined": lambda n: np.full(n, np.nan),
    "all but one undefined": lambda n: np.r_[0.3, np.full(n - 1, np.nan)],
    "one far off": lambda n: np.r_[1.0, np.full(n - 1, 1e-12)],
    "infinite": lambda n: np.full(n, np.inf),
    "one infinite": lambda n: np.r_[-np.inf, np.full(n - 1, 0.3)],
}
SIZES = (1, 2, 40)


def _sensitive(x: Array) -> Decision:
    return class_sensitive.decide(x, x, max_agreement=0.5, other_image_agreement=x, seed=1)


def _drift(x: Array) -> Decision:
    return drift.decide(
        {"iou_drop": x, "correlation": x},
        limits={"max_iou_drop": 0.5, "min_correlation": 0.2},
        max_drifted_share=0.5,
        kept=len(x),
        total=len(x),
        seed=1,
    )


def _share(x: Array) -> Decision:
    counted = np.where(np.isfinite(x), np.round(x), x)
    return limits.decide(
        vacuous.QUESTION, {"vacuous": counted}, limits={"max_share": 0.5}, kept=len(x), total=len(x), seed=1
    )


def _faithful(x: Array) -> Decision:
    n = len(x)
    blocks = []
    for rows in make_blocks(np.zeros(n, dtype=int), seed=1):
        drops = np.zeros((len(rows), len(rows)))
        np.fill_diagonal(drops, x[list(rows)])
        blocks.append(SwapBlock(rows, drops, np.isnan(x[list(rows)])))
    return faithful.decide({"blur": blocks}, min_advantage=0.1, seed=1)


def _against(x: Array) -> Decision:
    n = max(8, len(x))
    blocks = [
        SwapBlock(rows, np.eye(len(rows)), np.zeros(len(rows), dtype=bool))
        for rows in make_blocks(np.zeros(n, dtype=int), seed=1)
    ]
    return faithful.decide(
        {"blur": blocks}, min_advantage=0.1, against={"other": {"blur": (x, np.zeros(len(x)))}}, seed=1
    )


def _nulls(x: Array) -> Decision:
    return null_explainers.decide({"blur": x}, {"centre": {"blur": np.zeros(len(x))}}, min_advantage=0.1, seed=1)


def _worsening(kind: str, column: str, limit: float) -> Callable[[Array], Decision]:
    def decide(x: Array) -> Decision:
        name = column.partition("[")[0]
        then = np.full(len(x), 0.3)
        return worsening.decide(kind, {column: x}, {column: then}, limits={name: limit}, baseline=len(x), seed=1)

    return decide


def _gap(kind: str, column: str) -> Callable[[Array], Decision]:
    def decide(x: Array) -> Decision:
        groups = ["a" if i % 2 else "b" for i in range(len(x))]
        return subgroups.decide(
            kind,
            {column: x},
            groups,
            limits={column.partition("[")[0]: 0.1},
            min_group=5,
            declared={"a": len(x), "b": len(x), "empty": 0},
            seed=1,
        )

    return decide


def _trainings(x: Array) -> Decision:
    """Several trainings, of which each was decided on the same odd numbers."""
    one = _sensitive(x)
    return trainings.decide("sensitive", [trainings.Training(f"t{k}", one) for k in range(3)], seed=1)


DECISIONS: dict[str, Callable[[Array], Decision]] = {
    "class_sensitive": _sensitive,
    "means and their shares": _drift,
    "share": _share,
    "faithful": _faithful,
    "faithful against another method": _against,
    "beats_null_explainers": _nulls,
    "worsening with a range": _worsening("class_sensitive", "agreement", 0.2),
    "worsening without a range": _worsening("faithful", "advantage[blur]", 0.2),
    "gap with a range": _gap("class_sensitive", "agreement"),
    "gap without a range": _gap("faithful", "advantage[blur]"),
    "trainings": _trainings,
}


def said(decide: Callable[[], Decision]) -> Decision | None:
    """Return the decision after looking for what must not be in it; None where it was refused in a sentence."""
    try:
        made = decide()
    except SaliencyError as error:
        sentence(str(error))
        return None
    assert made.verdict in set(Verdict)
    sentence(made.headline, end="")
    for note in made.notes:
        assert not re.search(r"\bnan\b", note), note
    for leg in made.legs:
        assert 0.0 <= leg.p <= 1.0, leg
    for measure in made.measures.values():
        for p in (measure.p_pass, measure.p_fail):
            assert p is None or 0.0 <= p <= 1.0, measure
        assert not math.isnan(measure.interval.low), measure
        assert not math.isnan(measure.interval.high), measure
    return made


def sentence(text: str, end: str = ".") -> None:
    assert len(text.split()) >= 4, text
    assert text.endswith(end), text
    assert not re.search(r"\bnan\b", text), text


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", DECISIONS)
def test_every_decision_answers_odd_numbers_with_a_verdict_or_a_sentence(name: str) -> None:
    verdicts = {}
    for odd, numbers in ODD.items():
        for n in SIZES:
            values = numbers(n)
            made = said(lambda values=values: DECISIONS[name](values))  # type: ignore[misc]
            verdicts[odd, n] = None if made is None else made.verdict
    assert verdicts["infinite", 40] is None, "infinite numbers are an error, not evidence"
    assert verdicts["one infinite", 40] is None
    if name != "trainings":
        assert verdicts["all undefined", 40] in (None, Verdict.INCONCLUSIVE), "nothing seen shows nothing"
    if name != "gap with a range":
        assert any(verdict is not None for verdict in verdicts.values())


def test_all_equal_numbers_are_decided_where_they_are_clear() -> None:
    assert _sensitive(np.full(40, 0.9)).verdict is Verdict.FAIL
    assert _drift(np.full(60, 0.3)).verdict is Verdict.PASS
    assert _share(np.zeros(40)).verdict is Verdict.PASS
    assert _faithful(np.full(40, 0.3)).verdict is Verdict.PASS
    assert _faithful(np.full(40, -0.3)).verdict is Verdict.FAIL
    assert _nulls(np.full(40, 0.3)).verdict is Verdict.PASS
    assert DECISIONS["worsening without a range"](np.full(40, 0.3)).verdict is Verdict.PASS
    assert DECISIONS["worsening without a range"](np.full(40, -0.3)).verdict is Verdict.FAIL


def test_nulls_that_are_all_equal_or_have_no_number() -> None:
    same = drift_reference.rank(0.3, [0.3] * 19, "<=", 0.05)
    assert same.p_rank == 1.0
    assert drift_reference.further_p({"x": same}, normal=True) == {"x": 1.0}
    assert drift_reference.rank(math.nan, [0.3] * 19, "<=", 0.05).p_rank == 1.0
    with pytest.raises(SaliencyError) as caught:
        drift_reference.rank(0.3, [0.3, math.nan], "<=", 0.05)
    sentence(str(caught.value))


def test_pasting_without_an_image_confirms_nothing() -> None:
    for columns in ([], [math.nan] * 3, [0.0] * 3, [1.0] * 3):
        found = pasting.judge(columns, columns, None, 0.05)
        assert not found.confirmed
        assert found.p == 1.0


def spoilt(values: Any, odd: str) -> Any:
    """Return a column of a record, or a row of score drops in it, with every number replaced."""
    if isinstance(values, list):
        return [spoilt(value, odd) for value in values]
    if isinstance(values, bool) or not isinstance(values, float):
        return values
    return {"all equal": 0.25, "undefined": None, "infinite": math.inf, "zero": 0.0, "one": 1.0}[odd]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", sorted(CRITERIA))
def test_every_kind_answers_an_odd_record_with_a_verdict_or_a_sentence(kind: str) -> None:
    numbers = Numbers.of(sample_record(kind, "PASS", n=90))
    parameters = KINDS[kind].parameters(**CRITERIA[kind])
    verdicts = []
    for odd in ("all equal", "undefined", "infinite", "zero", "one"):
        for n in (0, 1, 2, len(numbers.per_image["id"])):
            table = {name: spoilt(list(column[:n]), odd) for name, column in numbers.per_image.items()}
            changed = Numbers(table, numbers.everyone, numbers.inputs, numbers.seed)
            made = said(lambda changed=changed: KINDS[kind].decide(parameters, changed))  # type: ignore[misc]
            verdicts.append(None if made is None else made.verdict)
    assert any(verdict is not None for verdict in verdicts), "something is decided"
