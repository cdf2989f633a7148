"""Numbers in headlines can be told from their limits, and a blocked PASS names its own cause."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_saliency.decide import class_sensitive, drift, ranks, words
from pytest_saliency.decide.decision import Decision
from pytest_saliency.decide.verdict import Verdict


@given(st.floats(-2.0, 2.0), st.floats(-2.0, 2.0), st.floats(-2.0, 2.0))
def test_what_differs_from_the_limit_reads_differently(value: float, limit: float, bound: float) -> None:
    shown = words.figures(value, limit, bound)
    for entry, text in ((value, shown[0]), (bound, shown[2])):
        if abs(entry - limit) > ranks.SAME:
            assert text != shown[1]
            assert (float(text) < float(shown[1])) is (entry < limit)


def test_as_many_digits_as_needed_and_no_more() -> None:
    assert words.figures(0.123, 0.4, 0.2) == ("0.12", "0.40", "0.20")
    assert words.figures(0.4000003, 0.4, 0.2) == ("0.4000003", "0.4000000", "0.2000000")
    assert words.figures(0.4 + 1e-12, 0.4, 0.2) == ("0.40", "0.40", "0.20"), "decisions take this for the limit"
    assert words.figures(float("nan"), 0.4, float("inf")) == ("undefined", "0.40", "unbounded")
    assert words.SAME == ranks.SAME


def test_shares_read_differently_too() -> None:
    assert words.percents(0.067, 0.05) == ("6.7 %", "5 %")
    assert words.percents(0.0504, 0.05) == ("5.04 %", "5 %")
    assert words.percents(0.05, 0.05) == ("5 %", "5 %")


def test_limits_read_as_declared() -> None:
    assert (words.declared(0.5), words.declared(0.125), words.declared(1.0)) == ("0.50", "0.125", "1.00")
    decision = class_sensitive.decide(np.zeros(20), np.ones(20), max_agreement=0.125, seed=1)
    assert "agree less than 0.125" in decision.legs[0].statement


def test_a_headline_never_shows_two_unequal_numbers_alike() -> None:
    values = np.random.default_rng(2).beta(2, 8, 200)
    limit = float(values.mean()) - 4e-6
    decision = drift.decide({"iou_drop": values}, limits={"max_iou_drop": limit}, kept=200, total=200, seed=1)
    assert decision.verdict is Verdict.INCONCLUSIVE
    estimate, shown = words.figures(decision.measures["iou_drop"].estimate, limit)[:2]
    assert estimate != shown
    assert f"mean IoU drop {estimate}, limit {shown} (" in decision.headline


def jitter(changed: int, blank: int, n: int = 60) -> Decision:
    rng = np.random.default_rng(0)
    cross, repeat = rng.beta(2, 8, n), rng.beta(18, 2, n)
    flags = np.zeros(n, dtype=bool)
    flags[:changed] = True
    repeat[:changed] = np.nan
    cross[n - blank : n] = repeat[n - blank : n] = np.nan
    return class_sensitive.decide(cross, repeat, max_agreement=0.5, prediction_changed=flags, seed=1)


def test_changed_predictions_are_not_called_blank_maps() -> None:
    decision = jitter(12, 0)
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert "20 % of the images are undefined, 5 % are allowed" in decision.headline
    assert "a contrast of x 0.9 changes their predicted class" in decision.headline
    assert "blank" not in decision.headline
    assert any(note.startswith("12 images changed their predicted class") for note in decision.notes)
    assert not any("counted as full agreement" in note for note in decision.notes)
    assert decision.counts["prediction changed by jitter"] == 12


def test_blank_maps_are_still_called_blank_and_both_causes_are_named() -> None:
    blank = jitter(0, 12)
    assert "their maps are blank, flat or not finite" in blank.headline
    assert "contrast" not in blank.headline
    both = jitter(8, 4).headline
    assert "of 8 images the predicted class changes with a contrast of x 0.9, and of 4 the maps are blank" in both


def test_an_image_without_a_map_counts_as_that_whatever_the_jitter_did() -> None:
    n = 30
    flags = np.ones(n, dtype=bool)
    cross = np.full(n, 0.1)
    cross[:10] = np.nan
    decision = class_sensitive.decide(cross, np.full(n, np.nan), max_agreement=0.5, prediction_changed=flags, seed=1)
    assert decision.counts["prediction changed by jitter"] == 20
    assert decision.counts["undefined"] == n


def test_few_changed_predictions_block_nothing() -> None:
    decision = jitter(2, 0)
    assert decision.verdict is Verdict.PASS
    assert any(note.startswith("2 images changed") for note in decision.notes)
    assert any(note.startswith("1 image changed its") for note in jitter(1, 0).notes)


def test_words_need_no_numpy() -> None:
    import subprocess

    code = "import sys, pytest_saliency.decide.words; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_prediction_changed_is_one_per_image() -> None:
    from pytest_saliency.errors import CriterionError

    with pytest.raises(CriterionError, match="prediction_changed holds 3 numbers and agreement 20"):
        class_sensitive.decide(np.zeros(20), np.ones(20), max_agreement=0.5, prediction_changed=np.zeros(3), seed=1)
