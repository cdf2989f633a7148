"""Limits from pilots lie beyond every bound that was measured, and their text is read by the parser."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from pytest_saliency.checks.registry import KINDS
from pytest_saliency.contracts.contract import expand, parse_contract
from pytest_saliency.contracts.drafting import Head, contract_text
from pytest_saliency.contracts.proposal import (
    ALARMS,
    DRAFTS,
    DRIFT,
    FEW,
    SEVERAL,
    USUAL,
    Asked,
    Proposed,
    limit_of,
    needed,
    propose,
    usual,
)
from pytest_saliency.decide import drift, power
from pytest_saliency.decide.decision import Decision

ABOVE = Asked("max_iou_drop", "iou_drop", "<=", 1.0)
BELOW = Asked("min_correlation", "correlation", ">=", -1.0, perfect=1.0)
MARGIN = Asked("min_advantage", "advantage", ">=", -1e6, perfect=math.inf, kept=0.5)
HEAD = Head(
    path=Path("repo/contracts/x.saliency.yaml"),
    slug="x",
    before=Path("repo/weights/before: one.pt"),
    after=Path("repo/weights/after.pt"),
    data=Path("repo/data # val"),
    model="torchvision:resnet18",
    classes=3,
    layer="auto",
    preprocess={"resize": 256, "mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]},
    assumed=True,
    images=500,
    sample=300,
    seed=7,
    day="2026-11-21",
)


def drifted(mean: float, n: int = 200, seed: int = 0) -> Decision:
    draw = np.random.Generator(np.random.PCG64(seed))
    values = {
        "iou_drop": np.clip(mean + 0.05 * draw.standard_normal(n), 0.0, 1.0),
        "displacement": np.clip(0.1 * mean + 0.01 * draw.standard_normal(n), 0.0, 1.0),
        "correlation": np.clip(1.0 - mean + 0.05 * draw.standard_normal(n), -1.0, 1.0),
        "concentration_change": 0.02 * draw.standard_normal(n),
        "accuracy_drop": np.zeros(n),
    }
    limits = {one.limit: one.loosest for one in DRIFT}
    return drift.decide(values, limits=limits, kept=n, total=n, seed=1)


def test_the_default_contract_is_made_of_kinds_that_are_there() -> None:
    for draft in (*DRAFTS, FEW):
        asked = draft.loosest if draft is not FEW else {**draft.loosest, "max_iou_drop": 0.5}
        KINDS[draft.kind].parameters(**asked)
        assert set(draft.roles) == set(KINDS[draft.kind].roles)
        assert draft.why


@pytest.mark.parametrize("bound", [0.0, 0.013, 0.2, 0.61])
def test_one_pilot_leaves_room_beyond_its_bound(bound: float) -> None:
    found = limit_of(ABOVE, [bound], 8)
    assert found is not None
    assert found[0] == pytest.approx(bound + max(0.05, bound / 4), abs=0.0101)
    assert found[0] >= bound + max(0.05, bound / 4) - 1e-9  # rounded outwards
    below = limit_of(BELOW, [1.0 - bound], 8)
    assert below is not None
    assert below[0] <= 1.0 - bound - max(0.05, bound / 4) + 1e-9


def test_a_margin_is_a_share_of_what_the_pilot_shows_and_nothing_without_any() -> None:
    found = limit_of(MARGIN, [1.3], 8)
    assert found is not None
    assert found[0] == 0.65
    assert limit_of(MARGIN, [0.0], 8) is None
    assert limit_of(MARGIN, [-0.2], 8) is None
    assert limit_of(MARGIN, [1.0] * SEVERAL + [-0.1], 8) is None


def test_several_pilots_give_students_prediction_bound() -> None:
    bounds = [0.20, 0.24, 0.22, 0.27, 0.21, 0.23, 0.25, 0.22]
    found = limit_of(ABOVE, bounds, 10)
    assert found is not None
    level = 1.0 - ALARMS / 10
    t = stats.t.ppf(level, len(bounds) - 1)
    wanted = statistics.fmean(bounds) + t * statistics.stdev(bounds) * math.sqrt(1 + 1 / len(bounds))
    assert found[0] == pytest.approx(wanted, abs=0.0101)
    assert found[0] >= wanted
    low = limit_of(MARGIN, [2.0 + one for one in bounds], 10)
    assert low is not None
    assert low[0] <= 2.0 + 2 * statistics.fmean(bounds) - wanted + 1e-9  # the same distance on the other side


def test_an_advantage_that_pilots_barely_have_is_not_asked_for() -> None:
    # All have one, but the next clean model need not: a check that alarms without reason is soon ignored.
    assert limit_of(MARGIN, [0.1, 3.0, 0.2, 2.5, 0.1, 0.3], 10) is None
    found = limit_of(MARGIN, [1.5, 1.6, 1.55, 1.7, 1.62, 1.58], 10)
    assert found is not None
    assert 0.0 < found[0] < 1.5


@pytest.mark.parametrize("count", [1, SEVERAL + 1])
def test_proposed_limits_hold_for_every_pilot(count: int) -> None:
    pilots = [drifted(0.15 + 0.01 * i, seed=i) for i in range(count)]
    draft = next(one for one in DRAFTS if one.kind == "no_semantic_drift")
    made = propose(draft, pilots, 8)
    assert made is not None
    assert {one.limit for one in DRIFT} <= set(made.parameters)
    for pilot in pilots:
        for asked in DRIFT:
            limit = made.parameters[asked.limit]
            assert asked.bound(pilot) < limit if asked.side == "<=" else asked.bound(pilot) > limit
    assert set(made.comments) == {one.limit for one in DRIFT}


def test_a_limit_that_would_refuse_nothing_is_left_out_in_words() -> None:
    draft = next(one for one in DRAFTS if one.kind == "no_semantic_drift")
    made = propose(draft, [drifted(0.99)], 8)
    assert made is not None
    missing = {one.limit for one in DRIFT} - set(made.parameters)
    assert "max_iou_drop" in missing
    assert set(made.unlimited) == missing
    comment = " ".join(line.strip(" #") for line in contract_text(HEAD, [made], {}).splitlines())
    assert f"Without {', '.join(made.unlimited)}: a limit as wide as the pilot asks for" in comment
    whole = propose(draft, [drifted(0.2)], 8)
    assert whole is not None
    assert whole.unlimited == ()


@pytest.mark.parametrize(("share", "wanted"), [(0.0, None), (0.08, 0.135), (0.4, "left out")])
def test_images_without_a_usable_map_are_allowed_as_the_pilot_has_them(
    share: float, wanted: float | str | None
) -> None:
    pilot = replace(drifted(0.2), undefined_share=share)
    made = propose(next(one for one in DRAFTS if one.kind == "no_semantic_drift"), [pilot], 8)
    if wanted == "left out":
        assert made is None
        return
    assert made is not None
    assert (made.parameters.get("max_undefined") is None) == (wanted is None)
    if isinstance(wanted, float):
        bound = float(stats.beta.ppf(0.95, 16 + 1, 200 - 16))  # 16 of 200
        assert bound < wanted <= made.parameters["max_undefined"] <= bound + 0.05


def test_what_is_usual_for_an_image_leaves_out_the_declared_share() -> None:
    draw = np.random.Generator(np.random.PCG64(3))
    columns = [{"iou_drop": draw.random(400).tolist(), "displacement": [None, *draw.random(399).tolist()]}]
    made = usual(columns)
    for limit, column in (("max_iou_drop", "iou_drop"), ("max_displacement", "displacement")):
        values = [one for one in columns[0][column] if one is not None]
        beyond = sum(one > made[limit] for one in values) / len(values)
        assert beyond <= (1.0 - USUAL) / 2
        assert beyond > (1.0 - USUAL) / 2 - 0.02


def test_images_needed_are_those_at_which_the_measured_gap_is_detected() -> None:
    pilot = drifted(0.2)
    draft = replace(DRAFTS[2], asked=(ABOVE,))
    measure = replace(pilot.measures["iou_drop"], limit=0.25)
    found = replace(pilot, measures={"iou_drop": measure})
    said = needed(Proposed(draft, {}), found)
    number = int(said.split("about ")[1].split()[0])
    gap = 0.25 - measure.estimate
    assert (
        power.betting_gap(number, measure.sd, 1.0, 0.05)
        <= gap
        < power.betting_gap(number * 8 // 10, measure.sd, 1.0, 0.05)
    )


def test_the_text_is_read_by_the_parser_as_it_was_meant() -> None:
    pilots = [drifted(0.2)]
    checks = [made for one in DRAFTS if one.kind == "no_semantic_drift" and (made := propose(one, pilots, 8))]
    text = contract_text(HEAD, checks, {"faithful": "not demonstrated: no\nadvantage: # 0"}, {"evidence-kept": "n."})
    contract = parse_contract(text.encode(), HEAD.path)
    assert contract.models["before"].weights == "../weights/before: one.pt"
    assert contract.models["after"].num_classes == 3
    assert contract.cases is not None
    assert contract.cases.imagefolder == "../data # val"
    assert contract.cases.sample is not None
    assert contract.cases.sample.n == 300
    (item,) = expand(contract)
    for key, value in checks[0].parameters.items():
        assert item.parameters[key] == value
    assert item.roles == {"before": "before", "after": "after"}
    assert "Assumed" in text
    assert all(len(line) <= 180 for line in text.splitlines())
