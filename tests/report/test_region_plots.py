"""Plots of the kinds that look at regions and channels, and what their failures say in one line."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from fixtures.records import sample_record
from pytest_saliency.report.measured import key_of, measured_text, measures_of
from pytest_saliency.report.plots.registry import plots_of
from pytest_saliency.report.terminal import violated_line

KINDS = ("avoids", "channel_activity", "localized")


def named(record: dict[str, Any]) -> dict[str, str]:
    return {plot.name: plot.alt for plot in plots_of(record)}


def test_the_mass_is_drawn_with_its_limit_and_what_chance_gives() -> None:
    record = sample_record("localized", "FAIL", undefined=1)
    mass = [value for value in record["per_image"]["mass_inside"] if value is not None]
    (alt,) = named(record).values()
    assert f"over {len(mass)} images" in alt
    assert f"mean {np.mean(mass):.2f}" in alt
    assert "limit ≥ 0.40" in alt
    assert f"mean {np.mean(record['per_image']['region_share']):.2f} over {len(mass) + 1} images" in alt
    assert f"{sum(value < 0.4 for value in mass)} of {len(mass)} images beyond the limit" in alt
    assert "limit ≤ 0.20" in named(sample_record("avoids", "PASS"))["mass-inside"]


def test_channels_are_drawn_by_class_and_for_each_limit() -> None:
    both = named(sample_record("channel_activity", "PASS"))
    assert set(both) == {"channel-activity", "active-share-max", "active-share-min"}
    assert "limit ≤ 0.60" in both["active-share-max"]
    assert "limit ≥ 0.20" in both["active-share-min"]
    one = sample_record("channel_activity", "PASS", criterion={"min_active_share": None})
    assert set(named(one)) == {"channel-activity", "active-share-max"}
    column, labels = one["per_image"]["active_share"], one["per_image"]["label"]
    mine = [value for value, label in zip(column, labels, strict=True) if label == 0]
    assert f"atelectasis: mean {100 * np.mean(mine):.1f} %" in both["channel-activity"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", [None, [], "text", [None] * 60, ["x"] * 60, [math.inf] * 60, {"a": 1}])
def test_damaged_columns_draw_nothing_or_less_and_never_break(kind: str, damage: Any) -> None:
    record = sample_record(kind, "PASS")
    for name in ("mass_inside", "region_share", "active_share", "active_channels", "label"):
        if name in record["per_image"]:
            spoilt = {**record, "per_image": {**record["per_image"], name: damage}}
            assert len(plots_of(spoilt)) <= len(plots_of(record))


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("localized", {"mass_inside": "min_mass", "hit": "min_hits"}),
        ("avoids", {"mass_inside": "max_mass", "looking_share": "max_share"}),
        ("channel_activity", {"active_share": "max_active_share", "active_share[least]": "min_active_share"}),
        ("faithful", {"advantage[blur]": "min_advantage", "advantage[mean]": "min_advantage"}),
        ("no_semantic_drift", {"iou_drop": "max_iou_drop", "drifted_share": "max_drifted_share"}),
    ],
)
@pytest.mark.parametrize("verdict", ["PASS", "FAIL"])
def test_every_limited_measure_leads_to_the_key_that_limits_it(kind: str, keys: dict[str, str], verdict: str) -> None:
    record = sample_record(kind, verdict)
    found = {name: key_of(measure, record) for name, measure in measures_of(record).items()}
    assert {name: found[name] for name in keys} == keys
    assert all(str(measures_of(record)[name]["title"]) in measured_text(record) for name in keys)


def test_the_line_of_a_failure_is_that_of_its_limit() -> None:
    record = sample_record("localized", "FAIL", criterion={"min_hits": None})
    record["source"] = {**record["source"], "lines": {"id": 12, "min_mass": 17}}
    assert violated_line(record) == 17
