"""``channel_activity``: the share of channels that an image sets off, counted by hand, against limits on both sides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pytest_saliency import (
    Cases,
    Explained,
    ExplanationAssertionError,
    Result,
    SaliencyError,
    Subject,
    Verdict,
    assert_channel_activity,
    explain,
)
from pytest_saliency.checks.numbers import decide_again
from pytest_saliency.errors import CriterionError
from pytest_saliency.records.hashing import plain_json
from pytest_saliency.report.terminal import render_failure

CHANNELS, COUNT = 8, 60


class Lamps(nn.Module):
    """Channel k of ``features`` is the brightness of column k; the class is whether the first columns outshine."""

    def __init__(self, scale: float = 1.0, broken: bool = False) -> None:
        super().__init__()
        self.features = nn.Identity()
        self.scale = scale
        self.broken = broken  # one more channel, which overflows and which nothing reads

    def forward(self, pixels: Tensor) -> Tensor:
        columns = pixels[:, 0]  # (N, H, K)
        grid = columns.permute(0, 2, 1)[..., None].repeat(1, 1, 1, 3) * self.scale
        seen = self.features(torch.cat([grid, torch.full_like(grid[:, :1], torch.inf)], 1) if self.broken else grid)
        logits = seen[:, :CHANNELS].mean((2, 3))
        return torch.stack([logits[:, : CHANNELS // 2].mean(1), logits[:, CHANNELS // 2 :].mean(1)], dim=1)


def lit(n: int = COUNT) -> np.ndarray:
    """How many columns of each image are lit: one to three for class 0, four to six for class 1."""
    return np.asarray([1 + i % 3 if i % 2 == 0 else 4 + i % 3 for i in range(n)])


def images(n: int = COUNT) -> tuple[np.ndarray, np.ndarray]:
    pixels = np.zeros((n, 1, 4, CHANNELS), dtype=np.float32)
    labels = np.arange(n) % 2
    for image, label, count in zip(pixels, labels, lit(n), strict=True):
        columns = np.arange(CHANNELS) if label == 0 else np.arange(CHANNELS)[::-1]
        image[:, :, columns[:count]] = 0.5
    return pixels, labels


def explained(scale: float = 1.0, n: int = COUNT, **columns: Any) -> Explained:
    pixels, labels = images(n)
    cases = Cases.from_arrays(pixels, labels, **columns)
    return explain(Subject(Lamps(scale), layer="features"), cases, device="cpu")


@pytest.fixture(scope="module")
def lamps() -> Explained:
    return explained()


def shown(result: Result) -> Result:
    record = json.loads(json.dumps(result.to_record(), allow_nan=False))
    assert decide_again(record).to_dict() == record["decision"]
    return result


def failing(one: Explained, **options: Any) -> Result:
    with pytest.raises(ExplanationAssertionError) as caught:
        assert_channel_activity(one, **options)
    result = caught.value.result
    assert isinstance(result, Result)
    return shown(result)


def test_the_count_is_the_number_of_lit_columns(lamps: Explained) -> None:
    made = shown(assert_channel_activity(lamps, max_active_share=0.6, min_active_share=0.2))
    assert made.verdict is Verdict.PASS
    assert made.per_image["active_channels"] == lit().tolist()
    assert made.measures["active_share"].estimate == pytest.approx(lit().mean() / CHANNELS)
    by_class = made.decision.readouts["by_class"]
    for label in (0, 1):
        mine = lit()[label::2]
        assert by_class[str(label)] == {  # type: ignore[index]
            "images": len(mine), "undefined": 0, "count": mine.mean(), "share": mine.mean() / CHANNELS
        }  # fmt: skip


def test_either_side_can_fail_alone(lamps: Explained) -> None:
    above = failing(lamps, max_active_share=0.2)
    assert above.verdict is Verdict.FAIL
    assert "too many channels are active" in above.headline
    below = failing(lamps, min_active_share=0.7)
    assert below.verdict is Verdict.FAIL
    assert "too few channels are active" in below.headline
    assert set(below.measures) == {"active_share[least]"}
    both = failing(lamps, max_active_share=0.9, min_active_share=0.7)
    assert (both.verdict, both.headline.partition(":")[0]) == (Verdict.FAIL, "too few channels are active")


def test_the_worst_images_are_those_on_the_wrong_side(lamps: Explained) -> None:
    counts = dict(zip(lamps.cases.ids, lit().tolist(), strict=True))
    above = failing(lamps, max_active_share=0.2)
    assert {counts[row["id"]] for row in above.worst} == {6}
    below = failing(lamps, min_active_share=0.7)
    assert {counts[row["id"]] for row in below.worst} == {1}
    assert above.gallery is not None
    assert above.gallery.maps == ()


def test_channels_are_counted_in_whole_numbers(lamps: Explained) -> None:
    text = render_failure(plain_json(failing(lamps, max_active_share=0.2).to_record()))
    assert f"active of {CHANNELS} channels" in text
    row = next(line for line in text.splitlines() if "case-" in line)
    assert row.split()[-1] == "6"


def test_images_that_are_all_alike_have_no_worst_among_them(tmp_path: Path) -> None:
    pixels, labels = images()
    pixels[:] = 0.0
    pixels[labels == 0, :, :, :2] = 0.5
    pixels[labels == 1, :, :, -2:] = 0.5
    one = explain(Subject(Lamps(), layer="features"), Cases.from_arrays(pixels, labels), device="cpu")
    made = failing(one, max_active_share=0.1)
    assert made.verdict is Verdict.FAIL
    assert made.worst == []
    assert made.gallery is not None
    assert made.gallery.sheet(tmp_path / "sheet.png") is None


def test_pictures_without_a_map_have_no_colour_bar(lamps: Explained, tmp_path: Path) -> None:
    from PIL import Image

    made = failing(lamps, max_active_share=0.2)
    assert made.gallery is not None
    path = made.gallery.sheet(tmp_path / "sheet.png")
    assert path is not None
    drawn = np.asarray(Image.open(path).convert("RGB")).astype(int)
    coloured = np.ptp(drawn, axis=2) > 40  # images and letters are grey, the bar is not
    assert not coloured.any()


def test_another_threshold_counts_other_channels(lamps: Explained) -> None:
    dim = assert_channel_activity(explained(scale=1e-3), max_active_share=0.1)
    assert set(dim.per_image["active_channels"]) == {0.0}
    again = assert_channel_activity(explained(scale=1e-3), max_active_share=0.9, threshold=1e-4)
    assert again.per_image["active_channels"] == lit().tolist()
    assert again.parameters["threshold"] == 1e-4


def test_activations_that_are_not_finite_are_undefined() -> None:
    pixels, labels = images()
    one = explain(Subject(Lamps(broken=True), layer="features"), Cases.from_arrays(pixels, labels), device="cpu")
    made = failing(one, max_active_share=0.9)
    assert made.verdict is Verdict.INCONCLUSIVE
    assert "100 % of the images are undefined" in made.headline
    assert made.measures["active_share"].undefined == COUNT


def test_images_that_are_all_alike_and_clusters_give_a_verdict() -> None:
    pixels, labels = images(2)
    rows = [i % 2 for i in range(40)]
    cases = Cases.from_arrays(pixels[rows], labels[rows], clusters=[f"p{i // 2}" for i in range(40)])
    made = assert_channel_activity(
        explain(Subject(Lamps(), layer="features"), cases, device="cpu"), max_active_share=0.9, min_active_share=0.1
    )
    assert shown(made).measures["active_share"].n == 20
    assert len(set(made.per_image["active_share"])) == 2


def test_only_correct_images_count_by_class() -> None:
    pixels, labels = images()
    labels = labels.copy()
    labels[:6] = 1 - labels[:6]
    one = explain(Subject(Lamps(), layer="features"), Cases.from_arrays(pixels, labels), device="cpu")
    made = shown(assert_channel_activity(one, max_active_share=0.9, keep="all"))
    assert len(made.per_image["id"]) == COUNT
    by_class = made.decision.readouts["by_class"]
    assert [by_class[str(label)]["images"] for label in (0, 1)] == [27, 27]  # type: ignore[index]
    fewer = assert_channel_activity(one, max_active_share=0.9)
    assert len(fewer.per_image["id"]) == COUNT - 6


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "declares no limit"),
        ({"max_active_share": 0.2, "min_active_share": 0.2}, "leaves no room"),
        ({"max_active_share": 1.2}, "max_active_share"),
        ({"max_active_share": 0.5, "threshold": -1.0}, "threshold"),
        ({"max_active_share": 0.5, "threshold": float("nan")}, "threshold"),
    ],
)
def test_bad_arguments(lamps: Explained, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(CriterionError, match=sentence):
        assert_channel_activity(lamps, **options)


def test_too_few_images_are_refused() -> None:
    with pytest.raises(SaliencyError, match=r"max_active_share 0\.5 needs \d+, there are 2"):
        assert_channel_activity(explained(n=2), max_active_share=0.5)
    with pytest.raises(SaliencyError, match=r"however many images there are"):
        assert_channel_activity(explained(n=20), max_active_share=0.0)
