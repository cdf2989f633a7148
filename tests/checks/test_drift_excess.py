"""What a reference leaves of a drift, from records without a model: images that cannot tell anything are undefined."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fixtures.drifting import KIND, drift_record
from pytest_saliency.checks.numbers import Numbers
from pytest_saliency.decide.decision import Decision
from pytest_saliency.decide.drift_reference import telling
from pytest_saliency.decide.verdict import Verdict

N = 100
GONE = {"iou_drop": 1.0, "displacement": 1.0, "correlation": 0.0, "concentration_change": -0.5}
UNMOVED = {"iou_drop": 0.0, "displacement": 0.0, "correlation": 1.0, "concentration_change": 0.0}


BASE = {
    "noise": drift_record("PASS", n=N, noise=0.1),
    "null": drift_record("PASS", n=N, nulls=tuple(0.1 + 0.001 * k for k in range(59))),
}


def decided(
    reference: str,
    limits: dict[str, float],
    moved: dict[str, float],
    by_itself: dict[str, Any],
    *,
    status_after: str = "ok",
    concentration: float = 0.5,
    unusable: int = 0,
) -> Decision:
    """Return the decision where every image moved alike, and the reference did (one number, or one an image)."""
    record = BASE[reference]
    n = len(record["per_image"]["id"])
    columns = dict(record["per_image"])
    for name, value in moved.items():
        columns[name] = [value] * n
        columns[f"{name}_reference"] = np.broadcast_to(np.asarray(by_itself[name], dtype=float), n).tolist()
        columns[name][:unusable] = [None] * unusable
    columns |= {"concentration_before": [concentration] * n, "status_after": [status_after] * n}
    columns["status_before"] = ["blank"] * unusable + ["ok"] * (n - unusable)
    criterion = {"reference": reference, "min_kept": 0.0, "method": record["criterion"]["method"], **limits}
    numbers = Numbers.made(columns, record["everyone"], record["inputs"], 7)
    return KIND.decide(KIND.parameters(**criterion), numbers)


@pytest.mark.parametrize("reference", ["noise", "null"])
@pytest.mark.parametrize(
    ("limits", "itself"),
    [
        ({"max_iou_drop": 0.2}, {"iou_drop": 0.9}),
        ({"max_displacement": 0.2}, {"displacement": 0.85}),
        ({"min_correlation": -0.2}, {"correlation": 0.1}),
        ({"max_concentration_change": 0.2}, {"concentration_change": -0.4}),
    ],
)
def test_maps_that_are_all_lost_never_pass_as_unsteady(
    reference: str, limits: dict[str, float], itself: dict[str, float]
) -> None:
    found = decided(reference, limits, GONE, UNMOVED | itself, status_after="blank")
    assert found.verdict is not Verdict.PASS
    assert found.undefined_share == 1.0
    assert "the loss of the whole map would keep the limit" in found.headline
    assert "blank, flat or not finite" not in found.headline


@pytest.mark.parametrize(
    ("limits", "itself"),
    [
        ({"max_iou_drop": 0.2}, {"iou_drop": 0.7}),
        ({"max_displacement": 0.2}, {"displacement": 0.7}),
        ({"min_correlation": -0.2}, {"correlation": 0.3}),
        ({"max_concentration_change": 0.2}, {"concentration_change": -0.2}),
    ],
)
def test_where_a_lost_map_would_be_seen_the_images_are_judged(
    limits: dict[str, float], itself: dict[str, float]
) -> None:
    # Means over the images alone decide here: against nulls an alarm needs the models too.
    assert decided("noise", limits, GONE, UNMOVED | itself, status_after="blank").undefined_share == 0.0
    kept = decided("noise", limits, UNMOVED | itself, UNMOVED | itself)
    assert (kept.verdict, kept.undefined_share) == (Verdict.PASS, 0.0)


def test_only_limited_measures_and_only_the_reference_make_an_image_undefined() -> None:
    """A reference of the displacement that leaves no room is nothing to a limit of the IoU drop."""
    found = decided("noise", {"max_iou_drop": 0.2}, UNMOVED, UNMOVED | {"displacement": 1.0})
    assert (found.verdict, found.undefined_share) == (Verdict.PASS, 0.0)
    for moved in (GONE, UNMOVED):
        assert decided("noise", {"max_iou_drop": 0.2}, moved, UNMOVED | {"iou_drop": 0.8}).undefined_share == 1.0


def test_the_reasons_of_undefined_images_are_the_real_ones() -> None:
    n = len(BASE["noise"]["per_image"]["id"])
    jitter = np.full(n, 0.1)
    jitter[10:14] = np.nan
    jitter[20] = 0.9
    found = decided("noise", {"max_iou_drop": 0.3}, UNMOVED, UNMOVED | {"iou_drop": jitter}, unusable=3)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.counts["undefined"] == 8
    assert "of 3 images the map before is blank, flat or not finite" in found.headline
    assert "4 images have no reference, because the jitter (0.9 times the contrast) changes" in found.headline
    assert "1 image has a reference so far off that" in found.headline
    alone = decided(
        "noise", {"max_iou_drop": 0.3}, UNMOVED, UNMOVED | {"iou_drop": np.where(jitter > 0.5, 0.1, jitter)}
    )
    assert "not finite" not in "".join(alone.notes)


@pytest.mark.parametrize(
    ("side", "limit", "gone", "undefined"),
    [
        ("<=", 0.2, 1.0 - 0.8, True),  # 0.19999999999999996
        ("<=", 0.2, 0.21, False),
        (">=", -0.2, 0.0 - 0.2, True),
        (">=", -0.2, -0.21, False),
        ("abs<=", 0.2, -0.1, True),
        ("abs<=", 0.2, -0.3, False),
        ("<=", 0.2, float("nan"), False),
    ],
)
def test_room_is_what_a_lost_map_would_leave_beyond_the_limit(
    side: str, limit: float, gone: float, undefined: bool
) -> None:
    assert bool(np.isnan(telling(np.asarray([0.05]), np.asarray([gone]), limit, side))[0]) is undefined


def test_the_cases_show_what_the_limit_binds() -> None:
    record = BASE["noise"]
    columns = dict(record["per_image"])
    columns["iou_drop_reference"] = [None, *columns["iou_drop_reference"][1:]]
    parameters = KIND.parameters(reference="noise", max_iou_drop=0.3, method="gradcam")
    found = KIND.ranked(parameters, Numbers.made(columns, record["everyone"], record["inputs"], 7))
    left = found.shown["IoU drop less the jitter's"]
    assert np.isnan(left[0])
    assert left[1] == columns["iou_drop"][1] - columns["iou_drop_reference"][1]
    assert [title for title in found.shown if "less" in title] == ["IoU drop less the jitter's"]
