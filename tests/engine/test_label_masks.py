"""Masks of single labels: each unit of an image is held against the mask of its own label, and no other.

The network of ``test_multi_label``: the map of a label is its own channel, so that what lies in which patch is known.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pytest_saliency import Cases, assert_avoids, assert_localized, explain
from pytest_saliency.checks.avoids import AvoidsParameters
from pytest_saliency.checks.localized import LocalizedParameters
from pytest_saliency.checks.registry import KINDS
from pytest_saliency.engine.label_masks import NoMask, unmasked_labels
from pytest_saliency.engine.masks import ArrayMask
from pytest_saliency.errors import CasesError

from .test_multi_label import CORNERS, LABELS, NAMES, PAIRS, SETS, SIDE, UNITS, images, made, subject

COUNT = len(SETS)


def patches(sets: np.ndarray = SETS) -> np.ndarray:
    """Return masks (N, L, H, W): where an image shows what speaks for a label; of the sets' absent labels nothing."""
    found = np.zeros((len(sets), LABELS, SIDE, SIDE), dtype=bool)
    for i, u in np.argwhere(sets):
        y, x = CORNERS[(i + u) % 5]
        found[i, u, y : y + 4, x : x + 4] = True
    return found


def digest_of_units(masks: list[np.ndarray]) -> str:
    """SHA-256 of units as it has been defined since there are any, with the masks of ``masks`` in their place."""
    others, whole = {1: 2, 2: 1, 3: 2}, hashlib.sha256()
    for (i, u), mask in zip(UNITS, masks, strict=True):
        pixels = images()[i]
        content = hashlib.sha256(f"{pixels.dtype.str}{pixels.shape}".encode() + pixels.tobytes()).hexdigest()
        inside = hashlib.sha256(f"mask{mask.shape}".encode() + np.packbits(mask).tobytes()).hexdigest()
        present = " ".join(str(one) for one in np.flatnonzero(SETS[i]))
        row = (f"p{i}#{NAMES[u]}", str(u), NAMES[u], f"p{i}", content, inside, "unit", str(others[u]), present)
        whole.update("\x1f".join((*row, (0.5).hex())).encode() + b"\x1e")
    return whole.hexdigest()


def test_a_unit_has_the_mask_of_its_label() -> None:
    cases = made(masks=patches())
    assert cases.label_masks
    for k, (i, u) in enumerate(UNITS):
        np.testing.assert_array_equal(cases.mask(k).numpy(), patches()[i, u])
    assert cases.digest == digest_of_units([patches()[i, u] for i, u in UNITS])
    turned = cases.subset([4, 0])
    assert turned.label_masks
    assert turned.mask(1).equal(cases.mask(0))
    assert made(masks=torch.from_numpy(patches().astype(np.float32))).digest == cases.digest
    assert made(masks=[list(one) for one in patches()]).digest == cases.digest


def test_one_mask_an_image_is_what_it_was() -> None:
    whole = patches().any(1)
    cases = made(masks=whole)
    assert not cases.label_masks
    assert cases.digest == digest_of_units([whole[i] for i, _ in UNITS])


def test_masks_of_absent_labels_are_not_looked_at() -> None:
    cases = made(masks=patches())
    drawn = patches().astype(np.float64)
    drawn[SETS == 0] = 7.0
    assert made(masks=drawn).digest == cases.digest
    drawn[0, 1, 0, 0] = 7.0
    with pytest.raises(CasesError, match="the mask of image 'p0#effusion' is not binary: it holds 7"):
        made(masks=drawn)


def test_a_mapping_names_the_labels_that_have_masks() -> None:
    given: dict[Any, Any] = {
        name: [mask if there else None for mask, there in zip(patches()[:, u], SETS[:, u], strict=True)]
        for u, name in enumerate(NAMES)
    }
    cases = made(masks=given)
    assert cases.digest == made(masks=patches()).digest
    by_index = {u: patches()[:, u] for u in (1, 2, 3)}
    assert made(masks=by_index).digest == cases.digest
    some = made(masks={"effusion": patches()[:, 1]})
    masks = some.masks or ()
    assert [isinstance(one, ArrayMask) for one in masks] == [u == 1 for _, u in UNITS]
    assert unmasked_labels(some) == ("mass", "nodule")
    assert some.digest not in (cases.digest, made().digest)
    with pytest.raises(CasesError, match="'p0#mass' has no mask: 'masks' names other labels, but not 'mass'"):
        some.mask(1)


def test_files(tmp_path: Path) -> None:
    pixels = np.random.Generator(np.random.PCG64(6)).integers(0, 255, (COUNT, SIDE, SIDE, 3), dtype=np.uint8)
    for i in range(COUNT):
        Image.fromarray(pixels[i]).save(tmp_path / f"{i}.png")
        for u in np.flatnonzero(SETS[i]):
            Image.fromarray(patches()[i, u].astype(np.uint8) * 255).save(tmp_path / f"{i}_{NAMES[u]}.png")
    given: dict[Any, Any] = {
        name: [f"{i}_{name}.png" if SETS[i, u] else None for i in range(COUNT)] for u, name in enumerate(NAMES)
    }
    names: dict[str, Any] = {"class_names": NAMES, "pairs": PAIRS, "root": tmp_path}
    paths = [f"{i}.png" for i in range(COUNT)]
    cases = Cases.from_files(paths, SETS, masks=given, **names)
    for k, (i, u) in enumerate(UNITS):
        np.testing.assert_array_equal(cases.mask(k).numpy(), patches()[i, u])
    file = Image.new("L", (SIDE + 1, SIDE), 255)
    file.save(tmp_path / "2_mass.png")
    with pytest.raises(CasesError, match=r"the mask of image '2\.png#mass' is 12x13, but the image is 12x12"):
        Cases.from_files(paths, SETS, masks=given, **names).mask(3)
    given["mass"][2] = None
    with pytest.raises(CasesError, match=r"'2\.png#mass' has no mask, but 'masks' names its label 'mass'"):
        Cases.from_files(paths, SETS, masks=given, **names)
    given["mass"][2] = float("nan")
    with pytest.raises(
        CasesError, match=r"'masks' of .* holds nan for the label 'mass'; give the path of a file, or None"
    ):
        Cases.from_files(paths, SETS, masks=given, **names)
    given["mass"][2] = None
    held = Cases.from_files(paths, SETS, masks=given, **(names | {"pairs": {}}))
    assert held.masks is None, "held-out images are counted on, not looked at"


@pytest.mark.parametrize(
    ("masks", "sentence"),
    [
        (patches()[:, :3], "image 'p0' has 3 masks, but there are 5 labels; give one mask a label"),
        (patches()[:4], "has 7 ids but 4 masks; give one each"),
        (patches()[..., :5], "the mask of image 'p0#effusion' is 12x5, but the image is 12x12"),
        ([*patches()[:-1], 0.0], "image 'p6' has 1 masks, but there are 5 labels"),
        ({"efusion": patches()[:, 1]}, "'masks' of arrays names the label 'efusion'.*did you mean 'effusion'"),
        ({"mass": patches()[:, 2], 2: patches()[:, 2]}, "'masks' of arrays names the label 'mass' twice"),
        ({"mass": patches()[:3, 2]}, "has 7 images but 3 masks of the label 'mass'"),
        ({"mass": "mass.png"}, "must hold, for the label 'mass', a list with one mask an image"),
        ({"mass": None}, "must hold, for the label 'mass', a list with one mask an image"),
        ({"mass": [None] * COUNT}, "'p0#mass' has no mask, but 'masks' names its label 'mass'"),
    ],
)
def test_bad_masks_are_one_sentence(masks: Any, sentence: str) -> None:
    with pytest.raises(CasesError, match=sentence) as caught:
        made(masks=masks)
    assert "\n" not in str(caught.value)


def test_masks_a_label_need_labels() -> None:
    with pytest.raises(CasesError, match="belong to images with several labels, but arrays has one label an image"):
        Cases.from_arrays(images(), [0, 1, 2, 3, 4, 0, 1], masks={0: patches()[:, 0]})


# -- what checks make of them -----------------------------------------------------------------------------------------

SEVERAL = np.array([[0, 1, 1, 0, 0], [0, 1, 0, 1, 0], [0, 0, 1, 1, 0], [0, 1, 1, 1, 0]] * 6)
UNITS_OF_MANY = [(int(i), int(u)) for i, u in np.argwhere(SEVERAL)]


def many(masks: Any) -> Cases:
    ids = [f"p{i:02}" for i in range(len(SEVERAL))]
    pixels = images(SEVERAL)
    return Cases.from_arrays(pixels, SEVERAL, masks=masks, ids=ids, class_names=NAMES, pairs=PAIRS)


def inside(cases: Cases, kind: str = "localized", **criterion: Any) -> dict[str, Any]:
    parameters: Any = {"localized": LocalizedParameters, "avoids": AvoidsParameters}[kind]
    result = KINDS[kind].run({"model": explain(subject(), cases)}, parameters(method="gradcam", **criterion))
    record: dict[str, Any] = result.to_record()
    return record


def test_the_evidence_of_a_label_is_held_against_its_own_mask() -> None:
    drawn, pixels = patches(SEVERAL), images(SEVERAL).astype(np.float64)
    own, turned = inside(many(drawn), min_mass=0.4), inside(many(drawn[:, [0, 2, 3, 1, 4]]), min_mass=0.4)
    whole = inside(many(drawn.any(1)), min_mass=0.4)
    rows = sorted((f"p{i:02}#{NAMES[u]}", i, u) for i, u in UNITS_OF_MANY)
    assert own["per_image"]["id"] == [case for case, _, _ in rows]
    for record, region in ((own, lambda i, u: drawn[i, u]), (whole, lambda i, u: drawn[i].any(0))):
        known = [pixels[i, u][region(i, u)].sum() / pixels[i, u].sum() for _, i, u in rows]
        np.testing.assert_allclose(record["per_image"]["mass_inside"], known, rtol=1e-5)
        covered = [region(i, u).mean() for _, i, u in rows]
        np.testing.assert_allclose(record["per_image"]["region_share"], covered, rtol=1e-12)
    assert own["verdict"] == "PASS"
    assert own["cases"]["units"]["masks"] == "label"
    assert "masks" not in whole["cases"]["units"]
    # The mask of effusion is that of mass now, of mass that of nodule, and of nodule that of effusion.
    following = {1: 2, 2: 3, 3: 1}
    states = [("usable" if SEVERAL[i, following[u]] else "empty") for _, i, u in rows]
    assert turned["per_image"]["region"] == states
    assert set(turned["per_image"]["hit"]) == {None, 0.0}
    assert turned["verdict"] == "INCONCLUSIVE", "masks of labels that are not there are empty, and refute nothing"


def test_a_region_to_avoid_may_be_a_labels() -> None:
    drawn = patches(SEVERAL)
    assert inside(many(drawn), "avoids", region="masks", max_mass=0.3)["verdict"] == "FAIL"
    kept_out = ~drawn & drawn.any(1, keepdims=True)  # where the other labels are
    record = inside(many(kept_out), "avoids", region="masks", max_mass=0.3)
    assert record["verdict"] == "PASS"
    # The map for the counterpart, in the place of the label.
    other = inside(many(drawn), "avoids", region="masks", target="top2", max_mass=0.3)
    pixels, rows = images(SEVERAL).astype(np.float64), sorted((f"p{i:02}#{NAMES[u]}", i, u) for i, u in UNITS_OF_MANY)
    against = {1: 2, 2: 1, 3: 2}
    known = [pixels[i, against[u]][drawn[i, u]].sum() / pixels[i, against[u]].sum() for _, i, u in rows]
    np.testing.assert_allclose(other["per_image"]["mass_inside"], known, rtol=1e-5)


def test_labels_without_masks_are_refused_where_masks_are_needed() -> None:
    some = many({"effusion": patches(SEVERAL)[:, 1], "mass": patches(SEVERAL)[:, 2]})
    seen = explain(subject(), some)
    for call in (
        lambda: assert_localized(seen, "gradcam", min_mass=0.4),
        lambda: assert_avoids(seen, "gradcam", region="masks", max_mass=0.4),
    ):
        with pytest.raises(CasesError, match=r"needs masks, but the label 'nodule' of arrays has none.*'pairs' leave"):
            call()
    assert assert_avoids(seen, "gradcam", region={"border": 0.01}, max_mass=0.4).verdict.value == "PASS"
    assert NoMask("nodule").digest("x") == "none"
