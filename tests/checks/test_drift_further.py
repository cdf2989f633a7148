"""Drift with reference, checkpoints and pasted regions, on networks whose answers are known by construction."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pytest_saliency import Cases, Subject, explain
from pytest_saliency.assertions.no_semantic_drift import assert_no_semantic_drift
from pytest_saliency.checks.drift_pasting import _pairs, moved_away
from pytest_saliency.checks.numbers import decide_again
from pytest_saliency.checks.result import Result
from pytest_saliency.decide.decision import NotAttainable
from pytest_saliency.decide.randomness import Stream
from pytest_saliency.decide.verdict import Verdict
from pytest_saliency.engine.explained import Explained
from pytest_saliency.errors import CriterionError, ExplanationAssertionError, SubjectError

SIDE = 16


class Net(nn.Module):
    """Colours of the whole image (``everywhere``), of the corner (``corner``), and of a line that says nothing.

    What the line adds is the same for all classes: it is on every map and changes no prediction.
    """

    def __init__(self, everywhere: float = 1.0, corner: float = 0.0, line: float = 0.0, wobble: float = 0.0) -> None:
        super().__init__()
        mask = torch.full((SIDE, SIDE), everywhere)
        mask[:3, :3] += corner
        mask += wobble * torch.sin(torch.arange(SIDE * SIDE).reshape(SIDE, SIDE) * 1.7)
        mask[-2:] = 0.0
        bottom = torch.zeros(SIDE, SIDE)
        bottom[-2:] = line
        self.mask, self.bottom = nn.Parameter(mask, False), nn.Parameter(bottom, False)
        self.mix = nn.Identity()
        self.head = nn.Linear(4, 3, bias=False)
        with torch.no_grad():
            self.head.weight.copy_(torch.cat([torch.eye(3), torch.ones(3, 1)], 1) * 40.0)

    def forward(self, pixels: Tensor) -> Tensor:
        seen = torch.cat([pixels * self.mask, pixels.mean(1, keepdim=True) * self.bottom], 1)
        made: Tensor = self.head(self.mix(seen).mean((2, 3)))
        return made


def cases(n: int = 60) -> Cases:
    """Return images with a patch and a corner marker in the colour of their class, and a white line at the bottom."""
    draw = np.random.Generator(np.random.PCG64(11))
    images = np.zeros((n, 3, SIDE, SIDE), dtype=np.float32)
    labels = np.arange(n) % 3
    for image, label in zip(images, labels, strict=True):
        y, x = draw.integers(4, 9, 2)
        image[label, y : y + 4, x : x + 4] = 0.7 + 0.2 * draw.random()
        image[label, :2, :2] = 0.3
        image[:, -2:] = 0.6
    return Cases.from_arrays(images, labels, class_names=["red", "green", "blue"])


CASES = cases()


def seen(name: str = "net", **parts: float) -> Explained:
    return explain(Subject(Net(**parts), layer="mix", name=name), CASES, device="cpu")


def result(before: Explained, after: Explained, **options: Any) -> Result:
    try:
        made = assert_no_semantic_drift(before, after, method="gradcam", **{"max_iou_drop": 0.3, **options})
    except ExplanationAssertionError as error:
        made = error.result
    assert isinstance(made, Result)
    assert decide_again(made.to_record()).to_dict() == made.decision.to_dict()
    return made


def test_a_planted_shortcut_is_confirmed() -> None:
    found = result(seen(), seen("cheat", everywhere=0.0, corner=1.0))
    assert found.verdict is Verdict.FAIL
    told = found.decision.readouts["pasted_regions"]
    assert told["confirmed"] is True  # type: ignore[index]
    assert told["region"]["share"] > 0.95
    assert told["control"]["share"] < 0.05
    assert told["model_before"]["share"] < 0.05  # type: ignore[index]
    assert "shortcut confirmed: 100 % follow the pasted region, control 0 %" in found.headline
    cause = str(found.decision.readouts["cause"])
    assert cause.startswith("the newly used region drives the prediction"), "what kind of region it is, no test shows"
    assert "shortcut" not in cause
    # An image lends once and receives once at most, and never to its own class.
    into = [one for one in found.per_image["pasted_into"] if one is not None]
    assert len(into) == len(set(into)) == told["n"]  # type: ignore[index]
    labels = found.per_image["label"]
    assert all(
        one is None or labels[one] != label for one, label in zip(found.per_image["pasted_into"], labels, strict=True)
    )


class Places(nn.Module):
    """A white square says the class by where it stands; ``patch`` listens to the colour of a patch instead."""

    def __init__(self, patch: float, square: float) -> None:
        super().__init__()
        where = torch.zeros(3, SIDE, SIDE)
        for k in range(3):
            where[k, :2, 5 * k : 5 * k + 2] = square
        self.where, self.patch = nn.Parameter(where, False), nn.Parameter(torch.tensor(patch), False)
        self.mix = nn.Identity()
        self.head = nn.Linear(3, 3, bias=False)
        with torch.no_grad():
            self.head.weight.copy_(torch.eye(3) * 40.0)

    def forward(self, pixels: Tensor) -> Tensor:
        colour = pixels - pixels.amin(1, keepdim=True)
        seen = self.patch * colour + pixels.amin(1, keepdim=True) * self.where
        made: Tensor = self.head(self.mix(seen).mean((2, 3)))
        return made


def test_a_marker_that_stands_elsewhere_in_each_class_is_confirmed() -> None:
    """The receiver's own marker would go on naming its class; it is overwritten with region and control alike."""
    images, labels = (np.stack([CASES.image(i).numpy() for i in range(60)]), np.asarray(CASES.labels))
    images = images.copy()
    images[:, :, :3] = 0.0
    for image, label in zip(images, labels, strict=True):
        image[:, :2, 5 * label : 5 * label + 2] = 0.5
    made = Cases.from_arrays(images, labels, class_names=["red", "green", "blue"])
    one, two = (
        explain(Subject(Places(*parts), layer="mix", name=name), made, device="cpu")
        for name, parts in (("tl", (1.0, 0.0)), ("ft", (0.0, 1.0)))
    )
    found = result(one, two)
    told = found.decision.readouts["pasted_regions"]
    assert told["region"]["share"] > 0.95, "a second marker beside the first would leave a tie"  # type: ignore[index]
    assert told["control"]["share"] < 0.4  # type: ignore[index]
    assert told["confirmed"] is True  # type: ignore[index]


def test_neither_lenders_nor_receivers_share_a_patient() -> None:
    """Three images a patient: pairs are tested as independent, so each patient lends once and receives once."""
    names = [f"patient {i // 3}" for i in range(60)]
    one = explain(Subject(Net(), layer="mix", name="net"), replace(CASES, clusters=tuple(names)), device="cpu")
    rows = np.arange(60)
    found = _pairs(one, rows, rows, rows, np.asarray(CASES.labels), seed=3)
    assert len(found) > 10
    for side in (0, 1):
        used = [names[pair[side]] for pair in found]
        assert len(set(used)) == len(used)


def test_a_drift_that_changes_no_prediction_is_not_confirmed() -> None:
    found = result(seen(), seen("line", line=30.0))
    assert found.verdict is Verdict.FAIL
    told = found.decision.readouts["pasted_regions"]
    assert told["confirmed"] is False  # type: ignore[index]
    assert told["region"]["share"] < 0.05  # type: ignore[index]
    assert "shortcut not confirmed, which is no all-clear: 0 % follow" in found.headline


def test_confirmation_is_left_out_where_it_is_not_wanted_or_nothing_failed() -> None:
    without = result(seen(), seen("cheat", everywhere=0.0, corner=1.0), confirm=False)
    assert without.verdict is Verdict.FAIL
    assert "pasted_regions" not in without.decision.readouts
    assert "pasted_into" not in without.per_image
    assert "pasted_regions" not in result(seen(), seen("same")).decision.readouts


def test_a_control_region_has_the_same_size_and_keeps_clear() -> None:
    region = torch.zeros(12, 12)
    region[:3, :4] = 1.0
    region[0, 4] = 0.5
    moved = moved_away(region, region, Stream(1, "control"))
    assert float(moved.sum()) == float(region.sum())
    assert float((moved * region).sum()) == 0.0
    assert torch.equal(moved, moved_away(region, region, Stream(1, "control")))


def test_checkpoints_name_where_a_shortcut_came_in() -> None:
    """The share of the corner rises; the map's top region leaves the patch when it outweighs it, at the third."""
    path = [seen(f"e{k}", everywhere=0.0 if k >= 3 else 1.0, corner=1.0 if k >= 3 else 0.0) for k in (1, 2, 3, 4)]
    found = result(seen(), seen("cheat", everywhere=0.0, corner=1.0), checkpoints=path)
    told = found.decision.readouts["trajectory"]
    assert told["moved_at"] == "e3"  # type: ignore[index]
    assert "the evidence moved at e3" in found.headline
    # "cheat" is e4 under another name, so the path ends with e4.
    assert [point["name"] for point in told["points"]] == ["e1", "e2", "e3", "e4"]  # type: ignore[index]


def test_noise_excuses_what_the_jitter_does_and_nothing_else() -> None:
    before, same, cheat = seen(), seen("same"), seen("cheat", everywhere=0.0, corner=1.0)
    kept = result(before, same, reference="noise")
    assert kept.verdict is Verdict.PASS
    excess = kept.measures["iou_drop"].estimate
    jitter = np.asarray(kept.per_image["iou_drop_reference"], dtype=float)
    assert excess == pytest.approx(-jitter.mean(), abs=1e-12), "the same map, less what the jitter moves it by"
    # On images that are black but for two patches a jitter, which lifts the black, moves the top region far.
    assert 0.4 < jitter.mean() < 0.7
    moved = result(before, cheat, reference="noise", max_iou_drop=0.05)
    assert moved.verdict is Verdict.FAIL
    drop = np.asarray(moved.per_image["iou_drop"], dtype=float)
    assert moved.measures["iou_drop"].estimate == pytest.approx((drop - jitter).mean(), abs=1e-12)


def test_nulls_that_drift_as_far_excuse_a_candidate() -> None:
    """19 other seeds that all look at the line: a candidate that does so too is one of them."""
    nulls = [seen(f"seed-{k}", line=30.0, wobble=0.01 * k) for k in range(19)]
    before = seen()
    found = result(before, seen("line", line=30.0, wobble=0.005), reference="null", nulls=nulls)
    assert found.verdict is Verdict.PASS
    assert set(found.to_record()["subjects"]) == {"before", "after", *(f"nulls.{k}" for k in range(1, 20))}
    alarm = result(
        before,
        seen("cheat", everywhere=0.0, corner=1.0),
        reference="null",
        nulls=[seen(f"s{k}", wobble=0.001 * k) for k in range(1, 20)],
    )
    assert alarm.verdict is Verdict.FAIL
    assert alarm.decision.readouts["nulls"]["iou_drop"]["p_rank"] == pytest.approx(0.05)  # type: ignore[index]


def test_a_null_that_drifts_as_far_forbids_the_alarm_and_the_note_says_so() -> None:
    """One of 19 looks at the corner too: over the images the excess is shown, among the models it is not."""
    nulls = [seen(f"s{k}", wobble=0.001 * k) for k in range(1, 19)] + [seen("as-bad", everywhere=0.0, corner=1.01)]
    found = result(seen(), seen("cheat", everywhere=0.0, corner=1.0), reference="null", nulls=nulls)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.measures["iou_drop"].interval.low > 0.3
    assert found.decision.readouts["nulls"]["iou_drop"]["p_rank"] == pytest.approx(0.1)  # type: ignore[index]
    assert any("clean fine-tunings drift as far, so this is no alarm" in note for note in found.decision.notes)


def test_few_nulls_decide_by_the_bound_of_student_where_that_is_declared() -> None:
    nulls = [seen(f"s{k}", wobble=0.02 * k) for k in range(1, 5)]
    cheat = seen("cheat", everywhere=0.0, corner=1.0)
    declared = {"reference": "null", "nulls": nulls, "null_test": "normal"}
    found = result(seen(), cheat, max_iou_drop=None, max_displacement=0.05, **declared)
    assert found.verdict is Verdict.FAIL
    # The IoU drop of these nulls is 0 without spread, from which no bound can be predicted: no alarm, and no NaN.
    assert result(seen(), cheat, **declared).verdict is Verdict.INCONCLUSIVE
    assert any("assumes that means of trainings are normal" in note for note in found.decision.notes)


def test_too_few_nulls_and_nulls_without_a_reference_are_refused_before_anything_runs() -> None:
    before, after = seen(), seen("other", corner=1.0)
    with pytest.raises(NotAttainable, match="'nulls' needs 19 at least"):
        result(before, after, reference="null", nulls=[seen("a")] * 3)
    with pytest.raises(NotAttainable, match="'nulls' needs 79 at least"):
        result(
            before,
            after,
            reference="null",
            max_displacement=0.1,
            min_correlation=-0.2,
            max_concentration_change=0.1,
        )
    with pytest.raises(CriterionError, match="names 1 nulls, but reference is absolute"):
        result(before, after, nulls=[seen("a")])
    assert not before.seconds, "nothing was explained"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"reference": "noise", "min_correlation": 0.5}, "write how far below it may lie, as -0.2"),
        ({"reference": "null", "max_drifted_share": 0.5}, "max_drifted_share counts single images"),
    ],
)
def test_limits_that_mean_nothing_under_a_reference_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(CriterionError, match=words):
        result(seen(), seen("other"), **options)


def test_a_null_counts_once_and_is_another_model_than_those_compared() -> None:
    """One clean fine-tuning named 19 times ranks the candidate among two models, not among twenty."""
    before, after, null = seen(), seen("cheat", everywhere=0.0, corner=1.0), seen("s1", wobble=0.001)
    copy = seen("s2", wobble=0.001)
    for listed, whose in (
        ([null] * 19, "'s1' has the same weights as 's1'"),
        ([null, copy], "'s2' has the same weights as 's1'"),
        ([seen("clean")], "'clean' has the same weights as the model before"),
        ([seen("again", everywhere=0.0, corner=1.0)], "'again' has the same weights as the model after"),
    ):
        nulls = [*listed, *[null] * (19 - len(listed))]
        with pytest.raises(SubjectError, match=whose):
            result(before, after, reference="null", nulls=nulls)
