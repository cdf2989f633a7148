"""The report's pictures: what lies in the folder is what the rows say, and a difference can be read by everybody."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pytest_saliency.checks.gallery import told
from pytest_saliency.report.gallery import GalleryRow, write_gallery
from pytest_saliency.report.tiles import TILE, _shares, difference_tile, linear, shown_size

Array = np.ndarray[Any, np.dtype[Any]]

DICHROMATS = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
"""How linear RGB looks to dichromats (Machado, Oliveira and Fernandes, IEEE TVCG 15(6), 2009, severity 1)."""


def spot(row: int, column: int, size: int = 8) -> Array:
    made = np.zeros((size, size))
    made[row, column] = 1.0
    return made


def gallery_row(**changes: Any) -> GalleryRow:
    rng = np.random.default_rng(0)
    made = {
        "id": "cx-1",
        "label": "effusion",
        "why": "worst 1",
        "caption": ("cx-1", "IoU 0.20"),
        "image": rng.random((1, 32, 24)),
        "maps": (spot(1, 1), spot(5, 5, 6)),
    }
    return GalleryRow(**(made | changes))


def luma(picture: Image.Image) -> Array:
    """Return the lightness that a black-and-white print keeps, in [0, 1]."""
    return np.asarray(picture.convert("L")).astype(float) / 255


def linear_light(rgb: Array) -> Array:
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lightness(linear: Array) -> float:
    """CIE L* of linear RGB."""
    y = float(np.clip(linear, 0, 1) @ np.array([0.2126, 0.7152, 0.0722]))
    return float(116 * np.cbrt(y) - 16 if y > 0.008856 else 903.3 * y)


def test_rows_say_what_lies_in_the_folder(tmp_path: Path) -> None:
    rows = write_gallery(tmp_path / "g", [gallery_row(), gallery_row(id="cx-2")], ("map before", "map after"))
    assert [(row["id"], row["label"], row["why"], row["caption"]) for row in rows] == [
        ("cx-1", "effusion", "worst 1", ["cx-1", "IoU 0.20"]),
        ("cx-2", "effusion", "worst 1", ["cx-1", "IoU 0.20"]),
    ]
    tiles = [tile for row in rows for tile in row["tiles"]]
    assert [tile["title"] for tile in tiles] == 2 * ["image", "map before", "map after", "difference"]
    assert {Path(tile["path"]) for tile in tiles} == set((tmp_path / "g").iterdir())
    for tile in tiles:
        content = Path(tile["path"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == tile["sha256"]
        with Image.open(tile["path"]) as picture:
            assert picture.size == (tile["width"], tile["height"]) == shown_size(32, 24)[::-1]
            assert Image.MIME[str(picture.format)] == tile["media"]
            assert set(picture.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}, "no metadata"
    assert [tile["alt"] for tile in rows[1]["tiles"]] == [
        "cx-2: image",
        "cx-2: map before over the image",
        "cx-2: map after over the image",
        "cx-2: difference over the image, light where the map before is stronger, dark where the map after is",
    ]


def test_the_same_pictures_have_the_same_bytes(tmp_path: Path) -> None:
    one, two = (write_gallery(tmp_path / name, [gallery_row()], ("a", "b")) for name in "xy")
    assert [tile["sha256"] for tile in one[0]["tiles"]] == [tile["sha256"] for tile in two[0]["tiles"]]


def test_one_map_has_no_difference_and_a_missing_one_is_told(tmp_path: Path) -> None:
    (row,) = write_gallery(tmp_path, [gallery_row(maps=(None,))], ("map",))
    assert [tile["title"] for tile in row["tiles"]] == ["image", "map"]
    assert row["tiles"][1]["word"] == "no map"
    assert row["tiles"][1]["alt"] == "cx-1: map over the image (no map)"


def test_cells_of_an_earlier_run_are_removed_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    write_gallery(tmp_path, [gallery_row() for _ in range(3)], ("a", "b"))
    rows = write_gallery(tmp_path, [gallery_row(maps=(spot(1, 1),))], ("a",))
    ours = {Path(tile["path"]).name for row in rows for tile in row["tiles"]}
    assert {path.name for path in tmp_path.iterdir()} == ours | {"notes.txt"}


def test_names_of_cases_are_not_names_of_files(tmp_path: Path) -> None:
    folder = tmp_path / "g"
    row = gallery_row(id="../../../etc/passwd", label="\x00/..", why="../x", caption=("<script>",))
    write_gallery(folder, [row], ("../a", "/b"))
    assert {path.parent for path in tmp_path.rglob("*") if path.is_file()} == {folder}


def test_photographs_are_small(tmp_path: Path) -> None:
    y, x = np.mgrid[0:600, 0:500] / 500
    photo = np.stack([0.5 + 0.4 * np.sin(7 * x + 3 * y + i) for i in range(3)])
    photo = np.clip(photo + np.random.default_rng(0).normal(0, 0.02, photo.shape), 0, 1)
    (row,) = write_gallery(tmp_path, [gallery_row(image=photo)], ("a", "b"))
    assert row["tiles"][0]["media"] == "image/jpeg"
    assert max(row["tiles"][0]["width"], row["tiles"][0]["height"]) == TILE
    assert all(Path(tile["path"]).stat().st_size < 60_000 for tile in row["tiles"])


@settings(max_examples=30, deadline=None)
@given(st.floats(0.0, 1.0), st.integers(1, 3), st.booleans())
def test_lost_is_lighter_and_gained_darker_than_any_image(value: float, channels: int, noise: bool) -> None:
    image = np.full((channels, 64, 64), value)
    if noise:
        image = np.random.default_rng(0).random((channels, 64, 64))
    tile = difference_tile(image, spot(1, 1), spot(6, 6))
    light = luma(tile.pixels)
    step = tile.pixels.width // 8
    lost, gained = light[step + step // 2, step + step // 2], light[-step - step // 2, -step - step // 2]
    elsewhere = light[: 2 * step, -2 * step :]
    assert lost > elsewhere.max() + 0.08
    assert gained < elsewhere.min() - 0.15


def test_dichromats_tell_the_two_apart_and_from_the_image() -> None:
    image = np.linspace(0, 1, 64)[None, None, :] * np.ones((1, 64, 1))
    pixels = np.asarray(difference_tile(image, spot(1, 1), spot(6, 6)).pixels).astype(float) / 255
    step = len(pixels) // 8
    places = {
        "lost": (1.5 * step, 1.5 * step),
        "gained": (6.5 * step, 6.5 * step),
        "black": (3 * step, 2),
        "white": (3 * step, -3),
    }
    for matrix in DICHROMATS.values():
        seen = {
            name: lightness(np.asarray(matrix) @ linear_light(pixels[int(y), int(x)]))
            for name, (y, x) in places.items()
        }
        assert seen["gained"] + 15 < seen["black"] < seen["white"] < seen["lost"] - 8


def test_what_differs_by_half_is_outlined_black_or_white() -> None:
    before, after = np.zeros((8, 8)), np.zeros((8, 8))
    before[:4, :4], after[4:, 4:] = 1.0, 1.0
    pixels = np.asarray(difference_tile(np.full((1, 64, 64), 0.5), before, after).pixels)
    black, white = (pixels == 0).all(axis=2), (pixels == 255).all(axis=2)
    half = len(pixels) // 2
    assert black[:half, :half].sum() == black.sum() > 0
    assert white[half:, half:].sum() == white.sum() > 0
    assert black.sum() < 0.05 * black.size
    weak = np.zeros((8, 8))
    weak[2:6, 2:6], weak[0, 0] = 0.4, 1.0
    strong = weak.copy()
    strong[2:6, 2:6] = 0.0
    pixels = np.asarray(difference_tile(np.full((1, 64, 64), 0.5), weak, strong).pixels)
    assert not (pixels == 0).all(axis=2).any()
    assert not (pixels == 255).all(axis=2).any()


def test_equal_maps_leave_the_pale_image_at_any_scale() -> None:
    image = np.random.default_rng(0).random((1, 64, 64))
    tile = difference_tile(image, spot(2, 2), 1000.0 * spot(2, 2))
    assert tile.word == "no difference"
    drawn = np.asarray(tile.pixels).astype(float) / 255
    assert (drawn[..., 0] == drawn[..., 2]).all(), "no colour at all"
    assert drawn.min() >= 0.37
    assert drawn.max() <= 0.63
    assert np.corrcoef(drawn[::3, ::3, 0].ravel(), image[0].ravel())[0, 1] > 0.99


def test_maps_of_different_resolution_meet_at_the_same_place() -> None:
    coarse, fine = np.zeros((4, 4)), np.zeros((16, 16))
    coarse[1, 2], fine[4:8, 8:12] = 1.0, 1.0
    here = difference_tile(np.full((1, 64, 64), 0.5), coarse, fine)
    there = difference_tile(np.full((1, 64, 64), 0.5), coarse, np.rot90(fine, 2))
    change = [np.abs(luma(tile.pixels) - 0.5).mean() for tile in (here, there)]
    assert change[0] < 0.6 * change[1]


def test_a_volume_shows_the_slice_that_differs_most() -> None:
    before, after = np.zeros((4, 8, 8)), np.zeros((8, 8, 8))
    before[1, 2, 2] = after[2, 2, 2] = after[3, 2, 2] = 1.0
    after[6, 4:, 4:] = 0.8
    tile = difference_tile(np.full((1, 16, 32, 32), 0.5), before, after)
    assert tile.slice in ("slice 13 of 16", "slice 14 of 16")
    assert tile.pixels.size == (TILE, TILE)
    light = luma(tile.pixels)
    assert light[-40, -40] < 0.3 < light[40, 40]


def test_a_slice_of_a_map_is_that_of_the_whole_resized_volume() -> None:
    rng = np.random.default_rng(0)
    for grid in ((3, 5, 4), (7, 2, 2), (12, 20, 31)):
        values = rng.random(grid)
        whole = linear(values, (9, 24, 31))
        for index in (0, 4, 8):
            np.testing.assert_allclose(_shares(values, (9, 24, 31), index), whole[index] / whole.max(), atol=1e-12)


@pytest.mark.parametrize(
    ("before", "after", "word"),
    [
        (None, spot(1, 1), "one map is missing"),
        (spot(1, 1), np.zeros((8, 8)), "one map is blank"),
        (np.full((8, 8), np.nan), spot(1, 1), "one map is not finite"),
        (-spot(1, 1), np.zeros((4, 4)), "both maps are blank"),
        (None, np.full((8, 8), np.inf), "one map is missing, one not finite"),
        (None, None, "both maps are missing"),
    ],
)
def test_maps_that_cannot_be_compared_say_why(before: Array | None, after: Array | None, word: str) -> None:
    image = np.random.default_rng(0).random((1, 32, 32))
    tile = difference_tile(image, before, after)
    assert tile.word == word
    drawn = np.asarray(tile.pixels)
    assert (drawn[..., 0] == drawn[..., 2]).all()
    volume = difference_tile(np.ones((1, 6, 8, 8)), None, None)
    assert (volume.word, volume.slice) == ("both maps are missing", "slice 4 of 6")


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([(1, 1), (1, 9), (7, 7), (300, 40), (3, 5, 5)]),
    st.sampled_from([(1, 1), (2, 3), (7, 7), (2, 3, 3)]),
    st.sampled_from([0.0, 1e-320, 1.0, 1e300, -1.0, np.nan, np.inf]),
)
def test_any_image_and_map_give_a_picture(size: tuple[int, ...], grid: tuple[int, ...], value: float) -> None:
    if len(size) != len(grid):
        grid = grid[:1] * len(size)
    one = np.random.default_rng(0).normal(size=grid)
    other = np.full(grid, value)
    image = np.full((2, *size), value if value in (0.0, 1.0) else np.nan)
    for maps in ((one, other), (other, one)):
        pixels = np.asarray(difference_tile(image, *maps).pixels)
        assert pixels.shape == (*shown_size(*size[-2:]), 3)


def test_a_caption_says_undefined_where_there_is_no_number() -> None:
    assert told("agreement", 0.256) == "agreement 0.26"
    assert told("agreement", float("nan")) == "agreement undefined"
