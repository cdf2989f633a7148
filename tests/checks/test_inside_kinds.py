"""``localized`` and ``avoids``: known answers, odd masks, and sentences instead of NaN."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fixtures.planted import PATCH, SIDE, MatchedFilters, Planted
from pytest_saliency import (
    Cases,
    Explained,
    ExplanationAssertionError,
    Result,
    SaliencyError,
    Subject,
    Verdict,
    assert_avoids,
    assert_localized,
    explain,
)
from pytest_saliency.checks.avoids import AvoidsParameters, Border, Box, weights_of
from pytest_saliency.checks.numbers import decide_again
from pytest_saliency.errors import CriterionError
from tests.measure.oracle import enlarge

MARGIN = 2  # pixels around a pattern in which a matched filter still answers to it
CORNER = {"box": [0.0, 0.0, 18 / SIDE, 5 / SIDE]}  # where the markers of all classes are


@pytest.fixture(scope="module")
def masks(planted: Planted) -> np.ndarray:
    made = np.zeros((len(planted.labels), SIDE, SIDE), dtype=bool)
    for mask, (row, column) in zip(made, planted.corners.tolist(), strict=True):
        mask[max(0, row - MARGIN) : row + PATCH + MARGIN, max(0, column - MARGIN) : column + PATCH + MARGIN] = True
    return made


@pytest.fixture(scope="module")
def masked(planted: Planted, masks: np.ndarray) -> Cases:
    return Cases.from_arrays(planted.images, planted.labels, masks=masks)


@pytest.fixture(scope="module")
def sound_one(masked: Cases) -> Explained:
    return explain(Subject(MatchedFilters(), layer="features", name="sound"), masked, device="cpu")


@pytest.fixture(scope="module")
def cheat(masked: Cases) -> Explained:
    return explain(Subject(MatchedFilters(marker=True), layer="features", name="cheating"), masked, device="cpu")


def failing(kind: Any, *given: Any, **options: Any) -> Result:
    with pytest.raises(ExplanationAssertionError) as caught:
        kind(*given, **options)
    result = caught.value.result
    assert isinstance(result, Result)
    return result


def as_json(result: Result) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(json.dumps(result.to_record(), allow_nan=False))
    assert decide_again(record).to_dict() == record["decision"]
    return record


@pytest.mark.parametrize("method", ["gradcam", "hirescam", "layercam", "case"])
def test_a_model_that_looks_at_the_pattern_passes(sound_one: Explained, method: str) -> None:
    made = assert_localized(sound_one, method, min_mass=0.5, min_hits=0.8)
    assert made.verdict is Verdict.PASS
    as_json(made)
    assert assert_avoids(sound_one, method, max_mass=0.1, region=CORNER, max_share=0.1).verdict is Verdict.PASS


def test_pass_says_no_more_than_the_limit(cheat: Explained) -> None:
    """A generous limit passes a model that looks at nothing but the region: no sentence may say that it stays out."""
    made = assert_avoids(cheat, "gradcam", max_mass=0.99, region=CORNER)
    assert made.headline.startswith("no more of the evidence lies in the region than was allowed: ")
    inside = assert_localized(cheat, "gradcam", min_mass=0.001)
    assert inside.headline.startswith("as much of the evidence lies inside the masks as was asked for: ")


@pytest.mark.parametrize("method", ["gradcam", "hirescam", "layercam", "case"])
def test_a_model_that_looks_at_the_marker_fails(cheat: Explained, method: str) -> None:
    made = failing(assert_localized, cheat, method, min_mass=0.5, min_hits=0.8)
    assert made.verdict is Verdict.FAIL
    assert "too little of the evidence lies inside the masks" in made.headline
    as_json(made)
    other = failing(assert_avoids, cheat, method, max_mass=0.1, region=CORNER, max_share=0.1)
    assert other.verdict is Verdict.FAIL
    assert "the model looks where it must not" in other.headline
    as_json(other)


def test_numbers_follow_from_maps_and_masks(sound_one: Explained, masks: np.ndarray) -> None:
    """Mass, hit and area of single images again, in float64 and image by image."""
    made = assert_localized(sound_one, "gradcam", min_mass=0.3)
    maps = sound_one.maps("gradcam", "label").values.double().numpy()
    for i in (0, 7, 31):
        large = enlarge(maps[i], (SIDE, SIDE))
        assert made.per_image["mass_inside"][i] == pytest.approx(large[masks[i]].sum() / large.sum(), rel=1e-5)
        top = large >= large.max() * (1 - 1e-6)
        assert made.per_image["hit"][i] == float(masks[i][top].mean() > 0.5)
        assert made.per_image["region_share"][i] == masks[i].mean()
    readouts = made.decision.readouts
    assert readouts["chance"] == pytest.approx(masks.mean())
    inside = np.asarray(made.per_image["mass_inside"])
    assert readouts["mass_beyond_chance"] == pytest.approx(inside.mean() - masks.mean())


def test_masks_to_avoid_are_the_masks_of_localized(sound_one: Explained) -> None:
    looked = failing(assert_avoids, sound_one, "gradcam", max_mass=0.2, region="masks", target="label")
    inside = assert_localized(sound_one, "gradcam", min_mass=0.5)
    assert looked.per_image["mass_inside"] == inside.per_image["mass_inside"]
    assert looked.verdict is Verdict.FAIL


def test_border_and_box_say_the_same_of_the_same_place(sound_one: Explained) -> None:
    """A border is all of the image but the box inside of it."""
    border = assert_avoids(sound_one, "gradcam", max_mass=1.0 - 1e-9, region={"border": 0.13})
    box = assert_avoids(sound_one, "gradcam", max_mass=1.0 - 1e-9, region={"box": [0.13, 0.13, 0.87, 0.87]})
    both = np.asarray(border.per_image["mass_inside"]) + np.asarray(box.per_image["mass_inside"])
    np.testing.assert_allclose(both, 1.0, rtol=1e-9)


def test_a_limit_that_chance_keeps_is_noted(sound_one: Explained, masks: np.ndarray) -> None:
    low = assert_localized(sound_one, "gradcam", min_mass=round(float(masks.mean()) - 0.01, 3))
    assert any("min_mass" in note and "asks for no more than chance" in note for note in low.decision.notes)
    high = assert_localized(sound_one, "gradcam", min_mass=0.5)
    assert not any("no more than chance" in note for note in high.decision.notes)
    wide = assert_avoids(sound_one, "gradcam", max_mass=0.9, region={"border": 0.1})
    assert any("max_mass 0.9 asks for no more than chance" in note for note in wide.decision.notes)


def test_a_limit_on_hits_that_chance_keeps_is_noted(planted: Planted, masks: np.ndarray) -> None:
    wide = masks.copy()
    wide[:, : int(0.9 * SIDE)] = True
    cases = Cases.from_arrays(planted.images, planted.labels, masks=wide)
    one = explain(Subject(MatchedFilters(), layer="features"), cases, device="cpu")
    (note,) = (
        note for note in assert_localized(one, "gradcam", min_hits=0.5).decision.notes if "no more than chance" in note
    )
    assert note.startswith("min_hits 0.5 asks for no more than chance: the regions cover 0.88")
    assert "a maximum at a random place lies inside that often and would keep the limit" in note
    high = assert_localized(one, "gradcam", min_hits=0.93)
    assert not any("no more than chance" in note for note in high.decision.notes)


def test_chance_stands_beside_what_was_measured(sound_one: Explained, masks: np.ndarray) -> None:
    made = assert_localized(sound_one, "gradcam", min_mass=0.5, min_hits=0.8)
    chance = f"(chance {masks.mean():.2g})"
    assert made.measures["mass_inside"].title == f"mean share of the mass inside the mask {chance}"
    assert made.measures["hit"].title == f"share of maps whose maximum lies inside the mask {chance}"
    assert chance in made.headline
    away = assert_avoids(sound_one, "gradcam", max_mass=0.1, region={"border": 0.1}, max_share=0.3)
    assert away.measures["mass_inside"].title.endswith("(chance 0.36)")
    assert away.measures["looking_share"].title == "share of images with more than 0.1 of the mass in the region"


def test_empty_and_full_masks_are_undefined(planted: Planted, masks: np.ndarray) -> None:
    changed = masks.copy()
    changed[:10], changed[10:14] = False, True
    cases = Cases.from_arrays(planted.images, planted.labels, masks=changed)
    explained = explain(Subject(MatchedFilters(), layer="features"), cases, device="cpu")
    for made in (
        failing(assert_localized, explained, "gradcam", min_mass=0.3, min_hits=0.5),
        failing(assert_avoids, explained, "gradcam", max_mass=0.95, region="masks"),
    ):
        assert made.verdict is Verdict.INCONCLUSIVE
        record = as_json(made)
        assert record["per_image"]["region"].count("empty") == 10
        assert record["per_image"]["region"].count("everything") == 4
        assert record["per_image"]["mass_inside"].count(None) == 14
        notes = " ".join(made.decision.notes)
        assert "10 images with a mask that is empty after the model's resize and crop" in notes
        assert "4 images with a mask of the whole image" in notes
        assert "undefined" in made.headline


@pytest.mark.parametrize("fill", [False, True])
def test_masks_that_are_all_alike_give_a_verdict(planted: Planted, masks: np.ndarray, fill: bool) -> None:
    cases = Cases.from_arrays(planted.images, planted.labels, masks=np.full_like(masks, fill))
    explained = explain(Subject(MatchedFilters(), layer="features"), cases, device="cpu")
    made = failing(assert_localized, explained, "gradcam", min_mass=0.3)
    assert made.verdict is Verdict.INCONCLUSIVE
    assert "100 % of the images are undefined" in made.headline
    assert "nan" not in made.headline.lower()
    as_json(made)


def test_blank_maps_are_undefined_and_never_pass(sound_one: Explained) -> None:
    shape = sound_one.maps("gradcam").values.shape
    sound_one.add_maps("nothing", top1=torch.zeros(shape), label=torch.zeros(shape))
    for made in (
        failing(assert_localized, sound_one, "nothing", min_mass=0.1, min_hits=0.1),
        failing(assert_avoids, sound_one, "nothing", max_mass=0.9, region={"border": 0.1}, max_share=0.9),
    ):
        assert made.verdict is Verdict.INCONCLUSIVE
        as_json(made)


def test_too_few_images_are_refused(planted: Planted, masks: np.ndarray) -> None:
    few = Cases.from_arrays(planted.images[:2], planted.labels[:2], masks=masks[:2])
    explained = explain(Subject(MatchedFilters(), layer="features"), few, device="cpu")
    with pytest.raises(SaliencyError, match=r"min_mass 0\.5 needs \d+, there are 2"):
        assert_localized(explained, "gradcam", min_mass=0.5)


def test_images_that_are_all_equal_give_a_verdict(planted: Planted, masks: np.ndarray) -> None:
    rows = [i % 2 for i in range(40)]
    cases = Cases.from_arrays(planted.images[rows], planted.labels[rows], masks=masks[rows])
    explained = explain(Subject(MatchedFilters(), layer="features"), cases, device="cpu")
    made = assert_localized(explained, "gradcam", min_mass=0.3, min_hits=0.5)
    assert len(set(made.per_image["mass_inside"])) <= 4
    as_json(made)


def test_without_masks_the_sentence_says_how_to_give_them(sound: Explained) -> None:
    with pytest.raises(SaliencyError, match="localized needs masks, but the cases of arrays have none"):
        assert_localized(sound, "gradcam", min_mass=0.5)
    with pytest.raises(SaliencyError, match="avoids with region: masks needs masks"):
        assert_avoids(sound, "gradcam", max_mass=0.5, region="masks")
    assert assert_avoids(sound, "gradcam", max_mass=0.3, region=CORNER).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "declares no limit"),
        ({"min_mass": 1.5}, "min_mass"),
        ({"min_hits": float("nan")}, "min_hits"),
        ({"min_mass": 0.5, "target": "top3"}, "target"),
    ],
)
def test_bad_arguments_of_localized(sound_one: Explained, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(CriterionError, match=sentence):
        assert_localized(sound_one, "gradcam", **options)


@pytest.mark.parametrize(
    ("region", "sentence"),
    [
        ("mask", "region: must be masks, "),
        ({"border": 0.5}, "borders below 0.5"),
        ({"border": 0.0}, "must be masks"),
        ({"border": 0.1, "box": [0, 0, 0.5, 0.5]}, "must be masks"),
        ({"box": [0.1, 0.2, 0.3]}, "must be masks"),
        ({"box": [0.5, 0.2, 0.5, 0.9]}, "box without area"),
        ({"box": [0.5, 0.9, 0.8, 0.2]}, "box without area"),
        ({"box": [0, 0, 1, 1]}, "whole image"),
        ({"box": [0, 0, 32, 5]}, "must be masks"),
        (None, "must be masks"),
        (3, "must be masks"),
    ],
)
def test_a_region_that_is_none_gets_one_sentence(sound_one: Explained, region: Any, sentence: str) -> None:
    with pytest.raises(CriterionError) as caught:
        assert_avoids(sound_one, "gradcam", max_mass=0.1, region=region)
    assert sentence in str(caught.value)
    assert str(caught.value).count("region:") == 1


def test_a_region_is_the_same_after_json() -> None:
    """A lock that was read from its file must not differ from the contract that it was made of."""
    for region in ("masks", {"border": 0.1}, {"box": [0, 0.25, 0.5, 1]}):
        made = AvoidsParameters(method="gradcam", max_mass=0.1, region=region)
        assert made.model_dump()["region"] == json.loads(json.dumps(made.model_dump()))["region"] == region
        assert AvoidsParameters(**json.loads(made.model_dump_json())) == made


def test_a_box_is_for_images_only() -> None:
    with pytest.raises(CriterionError, match="3 spatial dimensions; give masks or a border"):
        weights_of(Box(box=(0.0, 0.0, 0.5, 0.5)), (4, 4, 4))
    assert weights_of(Border(border=0.25), (4, 4, 4)).sum() == 64 - 8


def test_the_mask_is_outlined_on_the_pictures(sound_one: Explained, tmp_path: Path) -> None:
    made = assert_localized(sound_one, "gradcam", min_mass=0.3)
    assert made.gallery is not None
    assert made.gallery.sheet(tmp_path / "sheet.png") is not None
    (row, *_) = made.gallery.tiles(tmp_path / "tiles")
    case = sound_one.cases.ids.index(row["id"])
    inside = sound_one.mask(case).numpy()
    for tile in row["tiles"]:
        assert "with the region outlined" in tile["alt"]
        drawn = np.asarray(Image.open(tile["path"]).convert("RGB")).astype(int)
        factor = drawn.shape[0] // SIDE
        large = np.kron(inside, np.ones((factor, factor), dtype=bool))
        rim = large & ~(np.roll(large, 1, 0) & np.roll(large, -1, 0) & np.roll(large, 1, 1) & np.roll(large, -1, 1))
        assert drawn[rim].min() > 200, tile["title"]


def test_clusters_are_the_units(planted: Planted, masks: np.ndarray) -> None:
    cases = Cases.from_arrays(
        planted.images, planted.labels, masks=masks, clusters=[f"p{i // 8}" for i in range(len(masks))]
    )
    explained = explain(Subject(MatchedFilters(), layer="features"), cases, device="cpu")
    made = assert_localized(explained, "gradcam", min_mass=0.3, min_hits=0.5)
    assert made.measures["mass_inside"].n == len(masks) // 8
    assert as_json(made)["decision"]["measures"]["hit"]["n"] == len(masks) // 8
