"""The assertions as a test author meets them: results, errors, sentences."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fixtures.planted import MatchedFilters, planted_images
from pytest_saliency import (
    Cases,
    Explained,
    ExplanationAssertionError,
    Result,
    SaliencyError,
    Subject,
    Verdict,
    assert_class_sensitive,
    assert_faithful,
    assert_no_semantic_drift,
    explain,
)
from pytest_saliency.checks.registry import KINDS


def test_a_list_of_methods_is_a_conjunction(sound: Explained) -> None:
    results = assert_class_sensitive(sound, ["case", "gradcam"])
    assert [result.method for result in results] == ["case[logits:1]", "gradcam"]
    with pytest.raises(ExplanationAssertionError) as caught:
        assert_class_sensitive(sound, ["case", "centre"])
    assert caught.value.result.method == "centre"


def test_the_record_is_json_and_the_picture_is_drawn(sound: Explained, tuned: Explained, tmp_path: Path) -> None:
    for result in (
        assert_class_sensitive(sound),
        assert_faithful(sound, "gradcam", top_k=0.04, min_advantage=0.0, against="layercam", max_disadvantage=5.0),
        assert_no_semantic_drift(sound, tuned, method="gradcam", max_iou_drop=0.4),
    ):
        assert isinstance(result, Result)
        record = json.loads(json.dumps(result.to_record(), allow_nan=False))
        assert record["verdict"] == "PASS"
        assert len(record["per_image"]["id"]) == record["cases"]["kept"] == len(sound.cases)
        assert record["criterion"]["alpha"] == 0.05
        assert all(len(one["state_sha256"]) == 64 for one in record["subjects"].values())
        assert result.gallery is not None
        path = result.gallery.sheet(tmp_path / f"{result.kind}.png")
        assert path is not None
        assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_swap_rows_recompute_the_advantage(sound: Explained) -> None:
    """The stored rows of D are enough to get the estimate again."""
    result = assert_faithful(sound, "gradcam", top_k=0.04, min_advantage=0.0, fill="mean")
    blocks: dict[int, list[int]] = {}
    for i, block in enumerate(result.per_image["block"]):
        if block >= 0:
            blocks.setdefault(block, []).append(i)
    advantages = []
    for _, row in sorted((i, result.per_image["drops[mean]"][i]) for members in blocks.values() for i in members):
        assert row is not None
        advantages.append(len(row))
    assert set(advantages) <= {2, 3, 4, 5}
    assert result.execution["scored_images"] == sum(advantages)
    assert result.execution["scored_images"] <= 5 * len(sound.cases)


def test_drops_are_what_the_model_says(sound: Explained) -> None:
    """One row of D against a direct calculation: mean fill, log-odds of the predicted class."""
    from pytest_saliency.measure.regions import top_region

    result = assert_faithful(sound, "gradcam", top_k=0.04, min_advantage=0.0, fill="mean")
    block = result.per_image["block"][0]
    row = result.per_image["drops[mean]"][0]
    image = sound.pixels(0)
    assert result.per_image["id"][0] == sound.cases.ids[0]
    region = top_region(sound.maps("gradcam").values[:1], 0.04, sound.input_size).weights.reshape(1, 32, 32)
    removed = image * (1 - region) + image.mean() * region
    with torch.no_grad():
        before, after = (sound.subject.model(x[None])[0].double() for x in (image, removed))
    k = int(sound.predicted[0])

    def odds(logits: torch.Tensor) -> float:
        p = logits.softmax(0)[k]
        return float(torch.log(p / (1 - p)))

    assert block >= 0
    assert any(abs(value - (odds(before) - odds(after))) < 1e-5 for value in row)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"top_k": 0.0}, "top_k"),
        ({"top_k": "5%"}, "top_k"),
        ({"max_agreement": 1.5}, "max_agreement"),
        ({"alpha": 0.7}, "alpha"),
        ({"rule": "publishd"}, "rule"),
        ({"method": "gradcm"}, "gradcam"),
        ({"method": []}, "empty"),
    ],
)
def test_bad_arguments_are_sentences(sound: Explained, options: dict[str, Any], words: str) -> None:
    with pytest.raises(SaliencyError, match=words):
        assert_class_sensitive(sound, **options)


def test_no_limit_is_refused(sound: Explained, tuned: Explained) -> None:
    with pytest.raises(SaliencyError, match="declares no limit"):
        assert_no_semantic_drift(sound, tuned, method="gradcam")


def test_a_model_in_place_of_its_explanations_is_refused(sound: Explained) -> None:
    with pytest.raises(SaliencyError, match=r"explain\(subject, cases\)"):
        assert_class_sensitive(sound.subject.model)  # type: ignore[call-overload]


def test_too_few_images_name_the_number_needed() -> None:
    few = planted_images(4, seed=0)
    explained = explain(Subject(MatchedFilters(), layer="features"), Cases.from_arrays(few.images, few.labels))
    with pytest.raises(SaliencyError, match="5"):
        assert_class_sensitive(explained)


def test_one_class_of_cases_is_refused(sound: Explained) -> None:
    one = sound.cases.subset([i for i, label in enumerate(sound.cases.labels) if label == 0])
    with pytest.raises(SaliencyError, match="one class"):
        assert_class_sensitive(explain(sound.subject, one))


def test_other_cases_cannot_be_compared(sound: Explained) -> None:
    other = explain(sound.subject, sound.cases.subset(range(40)))
    with pytest.raises(SaliencyError, match="different cases"):
        assert_no_semantic_drift(sound, other, method="gradcam", max_iou_drop=0.4)


def test_another_number_of_classes_cannot_be_compared(sound: Explained) -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 7))
    with pytest.raises(SaliencyError, match="7"):
        assert_no_semantic_drift(sound, explain(Subject(model), sound.cases), method="gradcam", max_iou_drop=0.4)


def test_two_class_case_is_refused_where_it_is_degenerate() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1))
    images = planted_images(24, seed=0)
    explained = explain(Subject(model), Cases.from_arrays(images.images, images.labels % 2))
    with pytest.raises(SaliencyError, match="degenerate"):
        assert_class_sensitive(explained, keep="all")


def test_clusters_are_the_unit(sound: Explained) -> None:
    cases = sound.cases
    clustered = Cases.from_arrays(
        torch.stack([cases.image(i) for i in range(len(cases))]),
        cases.labels,
        clusters=[f"patient-{i // 2}" for i in range(len(cases))],
    )
    explained = explain(sound.subject, clustered)
    assert assert_class_sensitive(explained).decision.n == len(cases) // 2
    result = assert_faithful(explained, "gradcam", top_k=0.04, min_advantage=0.0)
    assert result.decision.n == len(cases) // 2
    assert result.cases["dropped"] == {"another image of the same cluster": len(cases) // 2}


def test_against_finds_a_worse_method(sound: Explained) -> None:
    result = assert_faithful(sound, "gradcam", top_k=0.04, min_advantage=0.0, against="centre", fill="mean")
    assert result.verdict is Verdict.PASS
    with pytest.raises(ExplanationAssertionError):
        assert_faithful(sound, "gradcam", top_k=0.04, min_advantage=0.0, against="hirescam", fill="mean")


def test_messages_say_measured_and_limit_together(sound: Explained, cheating: Explained) -> None:
    with pytest.raises(ExplanationAssertionError) as caught:
        assert_no_semantic_drift(sound, cheating, method="gradcam", max_displacement=0.10)
    text = str(caught.value)
    measured = caught.value.result.measures["displacement"].estimate
    assert f"{measured:.2f}" in text
    assert "0.10" in text
    assert not np.isnan(measured)


def test_images_without_a_contrast_class_are_noted(cases: Cases) -> None:
    """CASE without a contrast is Grad-CAM, and a reader of its verdict has to know."""
    contrast = {"select": "explicit", "classes": {0: [1]}}
    one = explain(Subject(MatchedFilters(), layer="features", contrast=contrast), cases, device="cpu")
    result = KINDS["class_sensitive"].run({"model": one}, KINDS["class_sensitive"].parameters(method="case"))
    without = int((one.predicted != 0).sum())
    assert any(
        note.startswith(f"case[explicit] has no contrast class for {without} of {len(cases)} top1 maps")
        for note in result.decision.notes
    )


def test_the_record_says_which_precision_the_model_has(cases: Cases) -> None:
    one = explain(Subject(MatchedFilters().double(), layer="features"), cases, device="cpu")
    assert assert_class_sensitive(one).execution["precision"] == "float64"
