"""Columns of a record that say something of each other cannot be changed one at a time."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fixtures.records import sample_record
from pytest_saliency.checks.numbers import Numbers, decide_again
from pytest_saliency.checks.registry import KINDS
from pytest_saliency.evidence.columns import about_images
from pytest_saliency.evidence.contradictions import contradictions
from pytest_saliency.evidence.level2 import SCORED, other_statuses

Record = dict[str, Any]
KIND_NAMES = ("avoids", "channel_activity", "class_sensitive", "localized", "no_semantic_drift", "stable")


def not_vacuous(status: str = "ok", vacuous: float = 0.0, grid: tuple[int, int] = (7, 7), n: int = 80) -> Record:
    """Return as much of a record of ``not_vacuous`` as is looked at."""
    ids = [f"i{k:02d}" for k in range(n)]
    rows = {"id": ids, "label": [0] * n, "class": [0] * n, "status": [status] * n, "vacuous": [vacuous] * n}
    everyone = {"id": ids, "label": [0] * n, "fate": ["kept"] * n, "predicted": [0] * n, "correct": [True] * n}
    return {
        "kind": "not_vacuous",
        "node": "a",
        "criterion": {"method": "gradcam", "max_share": 0.1, "keep": "all"},
        "per_image": rows,
        "everyone": everyone,
        "inputs": {"grid": list(grid), "warnings": []},
        "seed": "0" * 16,
    }


def test_maps_that_show_nothing_cannot_be_said_to_show_something() -> None:
    assert about_images(not_vacuous()) == []
    assert about_images(not_vacuous("blank", 1.0)) == []
    assert about_images(not_vacuous("ok", 1.0, (1, 1))) == []
    forged = not_vacuous("blank")
    assert decide_again(forged).verdict.value == "PASS", "the decision looks at one column"
    assert [line for line in about_images(forged) if line.startswith("vacuous[0]")]
    assert about_images(not_vacuous("ok", 0.0, (1, 1)))


def test_stored_maps_say_whether_they_show_something() -> None:
    maps = np.ones((80, 2, 3), dtype=np.float32)
    maps[:, 0, 0] = 2.0
    maps[3] = 0.0
    maps[5] = 4.0
    maps[7, 1, 1] = np.nan
    lost = {3: "blank", 5: "flat", 7: "nonfinite"}
    sound = not_vacuous()
    for row, word in lost.items():
        sound["per_image"]["status"][row], sound["per_image"]["vacuous"][row] = word, 1.0
    assert np.flatnonzero(SCORED["not_vacuous"](sound, {"top1": maps})["vacuous"]).tolist() == [3, 5, 7]
    assert other_statuses(sound, {"top1": maps}) == []
    (line,) = other_statuses(not_vacuous(), {"top1": maps})
    assert "row 3 is 'ok', and its map 'blank'" in line
    sound["per_image"]["status"][0] = "degenerate"
    assert other_statuses(sound, {"top1": maps}) == [], "only the method knows that"
    assert SCORED["not_vacuous"](sound, {"top1": maps})["vacuous"][0] == 1.0


def _put(column: str, value: Any, row: int = 0) -> Callable[[Record], None]:
    def change(record: Record) -> None:
        record["per_image"][column][row] = value

    return change


def _all_blank(record: Record) -> None:
    column = {"no_semantic_drift": "status_after", "class_sensitive": "status_top2"}.get(record["kind"], "status")
    record["per_image"][column] = ["blank"] * len(record["per_image"]["id"])


@pytest.mark.parametrize(
    ("kind", "change", "said"),
    [
        ("localized", _all_blank, "mass_inside[0] is a number, and its map shows nothing"),
        ("localized", _put("region", "empty"), "region[0]"),
        ("localized", _put("region_share", 0.0), "region[0]"),
        ("avoids", _all_blank, "mass_inside[0] is a number, and its map shows nothing"),
        ("avoids", _put("region", "everything"), "mass_inside[0] is a number, and its region is not usable"),
        ("class_sensitive", _all_blank, "agreement[0] is a number, and one of its maps shows nothing"),
        ("no_semantic_drift", _all_blank, "iou_drop[0] is not 1, and its map after shows nothing"),
        ("no_semantic_drift", _put("status_before", "flat"), "iou_drop[0] is a number, and its map before shows"),
        ("channel_activity", _put("active_share", 0.1), "active_share is not"),
        ("channel_activity", _put("active_channels", None), "active_share is not"),
        ("stable", _put("changed[blur]", 7), "count more than 4"),
        ("stable", _put("compared[blur]", 0), "agreement[blur] is not undefined where nothing"),
        ("stable", _put("compared", 1), "compared is not the sum"),
        ("stable", _put("agreement", 0.999), "agreement is not the mean"),
        ("stable", _put("agreement[blur]", 0.0), "agreement is not the mean"),
        ("stable", _put("status", "blank"), "compared[brightness] counts changes of images whose map shows nothing"),
    ],
)
def test_one_column_alone_cannot_be_changed(kind: str, change: Callable[[Record], None], said: str) -> None:
    record = sample_record(kind, "PASS")
    assert about_images(record) == []
    forged = copy.deepcopy(record)
    change(forged)
    assert [line for line in about_images(forged) if said in line], about_images(forged)


@pytest.mark.parametrize("kind", KIND_NAMES)
@pytest.mark.parametrize("verdict", ["PASS", "FAIL", "INCONCLUSIVE"])
def test_records_as_they_are_made_contradict_nothing(kind: str, verdict: str) -> None:
    record = sample_record(kind, verdict, undefined=2, n=120)
    criterion = KINDS[kind].parameters(**record["criterion"]).model_dump(mode="json")
    assert contradictions(kind, criterion, Numbers.of(record)) == []
