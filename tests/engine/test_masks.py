"""Masks of cases: where they come from, what they do to digests, how they follow the subject's resize and crop."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from pytest_saliency import Cases, Subject, explain
from pytest_saliency.engine.preprocess import Preprocess
from pytest_saliency.errors import CasesError

HEIGHT, WIDTH = 6, 8


def pixels(n: int = 4) -> np.ndarray:
    return np.random.Generator(np.random.PCG64(2)).random((n, 3, HEIGHT, WIDTH), dtype=np.float32)


def masks(n: int = 4) -> np.ndarray:
    made = np.zeros((n, HEIGHT, WIDTH), dtype=bool)
    for i in range(n):
        made[i, 1 : 3 + i % 2, 2:5] = True
    return made


def cases(given: object = None) -> Cases:
    return Cases.from_arrays(pixels(), [0, 1, 0, 1], masks=given)


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int64, np.float32])
def test_arrays_of_any_binary_type_are_the_same_masks(kind: type) -> None:
    made = cases(masks().astype(kind))
    for i, mask in enumerate(masks()):
        assert made.mask(i).dtype == torch.bool
        np.testing.assert_array_equal(made.mask(i).numpy(), mask)
    assert made.digest == cases(torch.from_numpy(masks())).digest
    assert made.subset([3, 1]).mask(0).equal(made.mask(3))
    assert made.sample(2, seed=0).masks is not None


def test_masks_are_copied() -> None:
    given = masks()
    made = cases(given)
    before = made.digest
    given[:] = True
    assert not made.mask(0).all()
    assert cases(given).digest != before


def digest_before_masks() -> str:
    """SHA-256 of ids, labels and contents as it was defined before there were masks."""
    made = hashlib.sha256()
    for i, image in enumerate(pixels()):
        content = hashlib.sha256(f"{image.dtype.str}{image.shape}".encode() + image.tobytes()).hexdigest()
        made.update("\x1f".join((f"case-{i:04d}", str(i % 2), "", "", content)).encode() + b"\x1e")
    return made.hexdigest()


def test_masks_are_part_of_the_digest_only_where_there_are_some() -> None:
    without = cases()
    assert without.digest == digest_before_masks(), "another digest would unsettle every baseline"
    one, other = cases(masks()), cases(masks()[::-1].copy())
    assert len({without.digest, one.digest, other.digest}) == 3
    assert len({without.unordered_digest, one.unordered_digest, other.unordered_digest}) == 3
    assert replace(one, masks=None).digest == without.digest
    order = [2, 0, 3, 1]
    assert one.subset(order).unordered_digest == one.unordered_digest


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (masks()[:3], "has 4 ids but 3 masks; give one each"),
        (masks()[:, :5], "mask of image 'case-0000' is 5x8, but the image is 6x8; masks have the size"),
        (masks()[:, None], "mask of image 'case-0000' is 1x6x8, but the image is 6x8"),
        (masks().astype(int) * 255, "not binary: it holds 255; masks are bool, or 0 outside and 1"),
        (np.where(masks(), 0.5, 0.0), "not binary: it holds 0.5"),
        (np.where(masks(), np.nan, 0.0), "not binary: it holds nan"),
        (-masks().astype(int), "not binary: it holds -1"),
        ([["a"]] * 4, "no arrays of numbers"),
        (7, "no arrays of numbers"),
        (np.zeros(4), "is a single number, but the image is 6x8"),
    ],
)
def test_masks_that_do_not_fit_get_one_sentence(given: object, sentence: str) -> None:
    with pytest.raises(CasesError) as caught:
        cases(given)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_cases_without_masks_say_how_to_give_them() -> None:
    with pytest.raises(CasesError, match=r"have none\. Give one an image: masks= of Cases\.from_arrays"):
        cases().mask(0)


# -- files -------------------------------------------------------------------------------------------------------------


def folders(root: Path, mask_ending: str = ".png") -> tuple[Path, Path]:
    for i, (name, image, mask) in enumerate(zip(("a", "b", "a", "b"), pixels(), masks(), strict=True)):
        path = root / "images" / name / "deep" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image.transpose(1, 2, 0) * 255).astype(np.uint8)).save(path)
        there = root / "masks" / name / "deep" / f"{i}{mask_ending}"
        there.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask.astype(np.uint8) * 255).save(there)
    return root / "images", root / "masks"


@pytest.mark.parametrize("ending", [".png", ".bmp", ".tif", ".pgm"])
def test_a_folder_of_masks_mirrors_the_images(tmp_path: Path, ending: str) -> None:
    root, there = folders(tmp_path, ending)
    made = Cases.from_imagefolder(root, masks=there)
    for i, case in enumerate(made.ids):
        np.testing.assert_array_equal(made.mask(i).numpy(), masks()[int(Path(case).stem)])
    assert made.digest != Cases.from_imagefolder(root).digest
    assert made.subset([1]).mask(0).equal(made.mask(1))


def test_whatever_is_not_black_and_not_transparent_is_inside(tmp_path: Path) -> None:
    root, there = folders(tmp_path)
    (path,) = (there / "a").rglob("0.png")
    inside = masks()[0]
    grey = np.where(inside, 3, 0).astype(np.uint8)
    indexed = Image.fromarray(np.where(inside, 2, 0).astype(np.uint8))
    indexed.putpalette([0, 0, 0, 9, 9, 9, 0, 200, 0])
    seen = np.zeros((HEIGHT, WIDTH, 4), dtype=np.uint8)
    seen[..., 0] = 200
    seen[..., 3] = np.where(inside, 255, 0)
    blue = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    blue[inside, 2] = 1
    for image in (
        Image.fromarray(grey),
        Image.fromarray(inside),
        indexed,
        Image.fromarray(seen),
        Image.fromarray(blue),
        Image.fromarray(np.where(inside, 40000, 0).astype(np.uint16)),
        Image.fromarray(np.where(inside, 70000, 0).astype(np.int32)),
        Image.fromarray(np.where(inside, 0.25, 0.0).astype(np.float32)),
    ):
        image.save(path, format="TIFF" if image.mode in "IF" else "PNG")
        np.testing.assert_array_equal(Cases.from_imagefolder(root, masks=there).mask(0).numpy(), inside)


def test_what_is_wrong_with_a_file_gets_one_sentence(tmp_path: Path) -> None:
    root, there = folders(tmp_path)
    case = "a/deep/0.png"
    path = there / case

    def said(read: bool) -> str:
        def read_first() -> None:
            made = Cases.from_imagefolder(root, masks=there)
            if read:
                made.mask(0)

        with pytest.raises(CasesError) as caught:
            read_first()
        text = str(caught.value)
        assert "\n" not in text
        assert f"'{case}'" in text
        return text

    path.write_bytes(b"no image")
    assert "cannot be read" in said(True)
    assert "not an image of a format" in said(True)
    Image.new("L", (WIDTH + 1, HEIGHT)).save(path)
    assert "is 6x9, but the image is 6x8" in said(True)
    path.unlink()
    assert "has no mask in" in said(False)
    blurred = Image.fromarray(np.kron(masks()[0], np.ones((3, 3))).astype(np.uint8) * 255)
    blurred.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR).save(path.with_suffix(".jpg"))
    assert "not binary: it is a JPEG file" in said(True)
    Image.new("L", (WIDTH, HEIGHT)).save(path.with_suffix(".bmp"))
    assert "not clear which file" in said(False)
    for one in there.rglob("*.*"):
        if one.is_file():
            one.unlink()
    assert "(nor have 3 more images)" in said(False)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    root, there = folders(tmp_path)
    with pytest.raises(CasesError, match=r"folder of masks .* does not exist"):
        Cases.from_imagefolder(root, masks=there / "no")


def test_a_mask_that_vanishes_after_the_cases_were_made(tmp_path: Path) -> None:
    root, there = folders(tmp_path)
    made = Cases.from_imagefolder(root, masks=there)
    (there / "a/deep/0.png").unlink()
    for ask in (lambda: made.mask(0), lambda: made.digest):
        with pytest.raises(CasesError, match=r"the mask of image 'a/deep/0\.png'"):
            ask()


# -- geometry ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"resize": 12},
        {"resize": [9, 20]},
        {"resize": [3, 4]},
        {"center_crop": [4, 5]},
        {"resize": 11, "center_crop": 7},
        {"resize": 3},
        {"resize": 12, "channels": 1},
    ],
)
def test_masks_go_where_the_pixels_go(given: dict[str, object]) -> None:
    """A white blob on black, carried through the image's own resize and crop, is where its mask is."""
    preprocess = Preprocess.of(given)
    inside = torch.zeros(24, 32, dtype=torch.bool)
    inside[8:16, 12:24] = True
    image = inside.float().expand(3, -1, -1)
    after = preprocess.geometry(image, "x")
    mask = preprocess.geometry_of_mask(inside, "x")
    assert mask.dtype == torch.bool
    assert mask.shape == after.shape[1:]
    sure = (after[0] < 0.25) | (after[0] > 0.75)
    assert torch.equal(mask[sure], (after[0] > 0.5)[sure])
    assert bool(sure.float().mean() > 0.6)


def test_explained_hands_out_masks_as_the_model_sees_them() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    subject = Subject(model, layer="0", preprocess={"resize": [12, 16], "center_crop": 10})
    explained = explain(subject, cases(masks()), device="cpu")
    for i in range(4):
        assert explained.mask(i).shape == explained.pixels(i).shape[1:] == explained.input_size
        wide = np.kron(masks()[i], np.ones((2, 2), dtype=bool))
        np.testing.assert_array_equal(explained.mask(i).numpy(), wide[1:11, 3:13])


def test_masks_of_volumes() -> None:
    volumes = np.random.Generator(np.random.PCG64(0)).random((2, 1, 4, 5, 6), dtype=np.float32)
    inside = np.zeros((2, 4, 5, 6), dtype=bool)
    inside[:, 1:3, 1:3, 2:4] = True
    made = Cases.from_arrays(volumes, [0, 1], masks=inside)
    assert int(made.mask(0).sum()) == 8
    larger = Preprocess.of({"resize": [8, 10, 12]}).geometry_of_mask(made.mask(0), "x")
    assert int(larger.sum()) == 64
