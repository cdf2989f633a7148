"""``not_vacuous``: maps that show nothing are counted, whatever the reason, and too many of them fail."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import beta
from torch import Tensor

from fixtures.planted import MatchedFilters, Planted
from pytest_saliency import (
    Cases,
    Explained,
    ExplanationAssertionError,
    Result,
    SaliencyError,
    Subject,
    Verdict,
    assert_not_vacuous,
    explain,
)
from pytest_saliency.checks.numbers import decide_again
from pytest_saliency.decide import limits
from pytest_saliency.decide.decision import Decision, NotAttainable
from pytest_saliency.decide.vacuous import QUESTION
from pytest_saliency.errors import CriterionError


def shown(result: Result) -> Result:
    record = json.loads(json.dumps(result.to_record(), allow_nan=False))
    assert decide_again(record).to_dict() == record["decision"]
    return result


def failing(*given: Any, **options: Any) -> Result:
    with pytest.raises(ExplanationAssertionError) as caught:
        assert_not_vacuous(*given, **options)
    result = caught.value.result
    assert isinstance(result, Result)
    return shown(result)


def with_maps(planted: Planted, name: str, change: Any) -> Explained:
    cases = Cases.from_arrays(planted.images, planted.labels)
    explained = explain(Subject(MatchedFilters(), layer="features"), cases, device="cpu")
    maps = explained.maps("gradcam").values.clone()
    change(maps)
    explained.add_maps(name, top1=maps)
    return explained


@pytest.mark.parametrize("method", ["gradcam", "layercam", "case", "centre", "random"])
def test_maps_that_show_something_pass(sound: Explained, method: str) -> None:
    made = assert_not_vacuous(sound, method, max_share=0.05)
    assert isinstance(made, Result)
    assert shown(made).verdict is Verdict.PASS
    assert made.measures["vacuous"].estimate == 0.0
    assert made.measures["vacuous"].interval.high == pytest.approx(1.0 - 0.05 ** (1.0 / len(sound.cases)))


def blank(maps: Tensor) -> None:
    maps.clamp_(max=0.0)


def flat(maps: Tensor) -> None:
    maps.fill_(2.0)


def nan(maps: Tensor) -> None:
    maps[:, 0, 0] = torch.nan


def infinite(maps: Tensor) -> None:
    maps[:, -1, -1] = torch.inf


@pytest.mark.parametrize(
    ("change", "status"), [(blank, "blank"), (flat, "flat"), (nan, "nonfinite"), (infinite, "nonfinite")]
)
def test_maps_that_show_nothing_fail(planted: Planted, change: Any, status: str) -> None:
    made = failing(with_maps(planted, "changed", change), "changed", max_share=0.05)
    assert made.verdict is Verdict.FAIL
    assert made.decision.readouts["statuses"] == {status: len(planted.labels)}
    assert made.measures["vacuous"].estimate == 1.0
    assert "too many maps show nothing" in made.headline
    assert made.decision.undefined_share == 0.0, "whether a map shows something is always known"


def test_a_share_of_them_is_held_against_the_limit_by_clopper_and_pearson(planted: Planted) -> None:
    n, lost = len(planted.labels), 8

    def some(maps: Tensor) -> None:
        maps[:lost] = 0.0

    explained = with_maps(planted, "some", some)
    upper, lower = beta.ppf(0.95, lost + 1, n - lost), beta.ppf(0.05, lost, n - lost + 1)
    for limit, verdict in (
        (upper + 1e-6, "PASS"),
        (upper - 1e-6, "INCONCLUSIVE"),
        (lower + 1e-6, "INCONCLUSIVE"),
        (lower - 1e-6, "FAIL"),
    ):
        if verdict == "PASS":
            made = assert_not_vacuous(explained, "some", max_share=float(limit))
        else:
            made = failing(explained, "some", max_share=float(limit))
        assert isinstance(made, Result)
        assert made.verdict.value == verdict, limit
    assert made.measures["vacuous"].interval.high == pytest.approx(upper)
    worst = {row["id"] for row in made.worst}
    assert worst == {explained.cases.ids[i] for i in range(lost)}


def test_a_map_of_a_single_position_shows_nothing(planted: Planted) -> None:
    cases = Cases.from_arrays(planted.images, planted.labels)
    explained = explain(Subject(MatchedFilters(), layer="features"), cases, device="cpu")
    explained.add_maps("dots", top1=torch.rand(len(cases), 1, 1) + 0.1)
    assert failing(explained, "dots", max_share=0.1).verdict is Verdict.FAIL


def test_too_few_images_and_bad_limits_get_a_sentence(planted: Planted, sound: Explained) -> None:
    few = Cases.from_arrays(planted.images[:2], planted.labels[:2])
    with pytest.raises(SaliencyError, match=r"max_share 0\.05 needs 59, there are 2"):
        assert_not_vacuous(
            explain(Subject(MatchedFilters(), layer="features"), few, device="cpu"), "gradcam", max_share=0.05
        )
    for bad in (0.0, 1.5, float("nan"), "0.1"):
        with pytest.raises(CriterionError, match="max_share"):
            assert_not_vacuous(sound, "gradcam", max_share=bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_samples_that_are_all_equal_give_a_verdict_or_a_sentence(value: float) -> None:
    def made(n: int) -> Decision:
        same = np.full(n, value)
        return limits.decide(QUESTION, {"vacuous": same}, limits={"max_share": 0.5}, kept=n, total=n, seed=0)

    for n in (5, 60):
        assert made(n).verdict is (Verdict.PASS if value == 0.0 else Verdict.FAIL)
        assert "nan" not in json.dumps(made(n).to_dict()).lower()
    for n in (1, 4):
        with pytest.raises(NotAttainable, match=f"needs 5, there are {n}"):
            made(n)
