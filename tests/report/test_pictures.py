from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pytest_saliency.errors import SaliencyError
from pytest_saliency.report.colour import ANCHORS, colours
from pytest_saliency.report.lettering import Lettering, spelt
from pytest_saliency.report.pictures import (
    CAPTION,
    FAINT,
    GAP,
    INK,
    MARGIN,
    PictureRow,
    draw_sheet,
    safe_name,
    write_sheet,
)
from pytest_saliency.report.tiles import TILE, fullest_slice, image_tile, map_tile, shown_size

TITLES = ("image", "before", "after")


def row(size: tuple[int, ...] = (32, 32), grid: tuple[int, ...] = (4, 4), **changes: object) -> PictureRow:
    rng = np.random.default_rng(0)
    given_ = {
        "image": rng.random((1, *size)).astype(np.float32),
        "maps": (rng.normal(size=grid), rng.normal(size=grid)),
        "caption": ("case-1", "label 3", "IoU drop 0.71"),
    }
    return PictureRow(**(given_ | changes))  # type: ignore[arg-type]


def pixels(picture: Image.Image) -> np.ndarray:
    found: np.ndarray = np.asarray(picture.convert("RGB")).astype(int)
    return found


def luminance(rgb: np.ndarray) -> np.ndarray:
    """Relative luminance by the sRGB standard (IEC 61966-2-1)."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    y: np.ndarray = linear @ np.array([0.2126, 0.7152, 0.0722])
    return y


def test_colours_rise_in_lightness_evenly() -> None:
    y = luminance(colours(np.linspace(0, 1, 101)))
    lightness = np.where(y > 0.008856, 116 * np.cbrt(y) - 16, 903.3 * y)
    steps = np.diff(lightness)
    assert (steps > 0).all()
    assert steps.max() < 2.5 * steps.min()


def test_colours_meet_their_anchors_and_stay_within_them() -> None:
    np.testing.assert_allclose(colours(np.linspace(0, 1, len(ANCHORS))) * 255, ANCHORS)
    assert np.array_equal(colours(np.array([-3.0, 5.0])), colours(np.array([0.0, 1.0])))
    assert colours(np.zeros((2, 3, 4))).shape == (2, 3, 4, 3)


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ((8, 8), (224, 224)),
        ((28, 28), (224, 224)),
        ((32, 20), (224, 140)),
        ((224, 224), (224, 224)),
        ((1000, 500), (224, 112)),
    ],
)
def test_images_are_shown_at_a_readable_size(size: tuple[int, int], shown: tuple[int, int]) -> None:
    assert shown_size(*size) == shown
    assert image_tile(np.zeros((1, *size)), None).pixels.size == shown[::-1]


def test_small_images_are_enlarged_in_whole_pixels() -> None:
    image = np.random.default_rng(0).random((1, 8, 8))
    found = pixels(image_tile(image, None).pixels)
    expected = np.kron(np.rint(image[0] * 255), np.ones((28, 28)))
    assert np.array_equal(found, np.repeat(expected[..., None], 3, axis=-1))


def test_colour_images_keep_their_colours() -> None:
    image = np.zeros((3, 16, 16))
    image[0] = 1.0
    assert (pixels(image_tile(image, None).pixels) == [255, 0, 0]).all()


def test_a_map_is_brightest_where_it_is_largest_and_clear_where_it_is_not_positive() -> None:
    values = np.full((8, 8), -5.0)
    values[2, 5] = 0.001
    found = pixels(map_tile(np.full((1, 8, 8), 0.5), values).pixels)
    top = found[2 * 28 + 14, 5 * 28 + 14]
    assert np.abs(top - np.array(ANCHORS[-1])).max() < 40
    elsewhere = found[6 * 28, 28]
    assert elsewhere[0] == elsewhere[1] == elsewhere[2]
    chroma = found.max(axis=-1) - found.min(axis=-1)
    assert np.array_equal(np.unique(np.argwhere(chroma > 0) // 28, axis=0), [[2, 5]])


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_the_scale_of_a_map_does_not_show(scale: float) -> None:
    image, values = np.full((1, 32, 32), 0.5), np.random.default_rng(1).normal(size=(7, 7))
    assert np.array_equal(pixels(map_tile(image, values * scale).pixels), pixels(map_tile(image, values).pixels))


@pytest.mark.parametrize(
    ("values", "word"),
    [
        (np.zeros((4, 4)), "blank"),
        (-np.ones((4, 4)), "blank"),
        (np.full((4, 4), np.nan), "not finite"),
        (np.full((4, 4), np.inf), "not finite"),
        (None, "no map"),
        (np.ones((1, 1)), ""),
    ],
)
def test_a_map_without_evidence_says_so_on_the_plain_image(values: np.ndarray | None, word: str) -> None:
    image = np.random.default_rng(2).random((3, 16, 16))
    tile = map_tile(image, values)
    assert tile.word == word
    if word:
        shown = pixels(tile.pixels)
        assert (shown.max(axis=-1) == shown.min(axis=-1)).all()
        with_word, with_map = (
            pixels(draw_sheet([row(maps=(values, other), image=image)], TITLES, "x"))
            for other in (values, np.ones((4, 4)))
        )
        assert not np.array_equal(with_word, with_map)


def test_a_volume_shows_its_fullest_slice() -> None:
    volume = np.zeros((1, 12, 8, 8))
    volume[0, 7] = 0.6
    values = np.zeros((12, 8, 8))
    values[7, 3, 3] = 2.0
    values[2] = -9.0
    for tile in (image_tile(volume, values), map_tile(volume, values)):
        assert tile.slice == "slice 8 of 12"
    assert (pixels(image_tile(volume, values).pixels) == round(0.6 * 255)).all()
    assert map_tile(volume, None).slice == "slice 7 of 12"
    assert fullest_slice(np.ones((2, 2, 2)) * np.array([0.0, 1.0])[:, None, None], 10) >= 7


@pytest.mark.parametrize("size", [(8, 8), (28, 28), (300, 200), (60, 500), (4, 9, 9)])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_any_image_makes_a_sheet(size: tuple[int, ...], channels: int) -> None:
    grid = (3,) * len(size)
    image = np.full((channels, *size), 0.4, dtype=np.float32)
    image.reshape(-1)[:3] = [np.nan, 7.0, -1.0]
    rows = [row(size, grid), row(size, grid, maps=(None, np.zeros(grid)), image=image)]
    assert draw_sheet(rows, TITLES, "heading").width == 2 * MARGIN + CAPTION + 3 * (GAP + TILE)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=80), st.integers(40, 300))
def test_wrapped_text_fits_and_loses_nothing(text: str, width: int) -> None:
    face = Lettering.of(15)
    lines = face.wrap(text, width)
    assert all(face.width(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(spelt(text).split())


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=30))
def test_every_letter_written_is_in_the_font(text: str) -> None:
    face = Lettering.of(15).face
    missing = bytes(face.getmask("\uffff"))
    for char in set(spelt(text)) - {"\n", " "}:
        assert bytes(face.getmask(char)) != missing


def test_letters_the_font_lacks_are_respelt() -> None:
    assert spelt("Röntgen ≤ 0.4 ± 2 → é") == "Rontgen <= 0.4 +/- 2 -> e"
    assert spelt("扫描") == r"\u626b\u63cf"


def test_no_text_reaches_the_edge_of_the_sheet() -> None:
    long = "a/very/long/path/" * 9 + "W" * 90
    rows = [row(caption=(long, *("number 0.123456" for _ in range(14))))] * 2
    found = pixels(draw_sheet(rows, tuple(f"title {long}" for _ in range(3)), f"{long} {long}"))
    edge = MARGIN - 2
    for strip in (found[:edge], found[-edge // 2 :], found[:, :edge], found[:, -edge:]):
        assert (strip == 255).all()
    # Captions keep to their own column: the gap before the first tile is empty but for the rules between rows.
    gap = found[:, MARGIN + CAPTION + 1 : MARGIN + CAPTION + GAP - 1]
    heading_and_scale = Lettering.of(20).line * 9
    inked = (gap[heading_and_scale:-120] < 200).any(axis=(1, 2))
    assert not inked.any()


def test_captions_of_two_rows_never_meet() -> None:
    tall = row((8, 300), caption=tuple(f"line {i}" for i in range(20)))
    one = draw_sheet([tall], TITLES, "x").height
    two = draw_sheet([tall, tall], TITLES, "x").height
    assert two - one >= 20 * Lettering.of(15).line


def test_a_sheet_is_written_whole_and_alike_every_time(tmp_path: Path) -> None:
    first = write_sheet(tmp_path / "new" / "a.png", [row()], TITLES, "heading")
    second = write_sheet(tmp_path / "b.png", [row()], TITLES, "heading")
    assert first == tmp_path / "new" / "a.png"
    assert first.read_bytes() == second.read_bytes()
    with Image.open(first) as picture:
        assert picture.format == "PNG"
        assert np.array_equal(pixels(picture), pixels(draw_sheet([row()], TITLES, "heading")))
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == ["a.png", "b.png"]


def test_a_failed_write_keeps_the_old_sheet_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = write_sheet(tmp_path / "a.png", [row()], TITLES, "old").read_bytes()

    def full(self: Image.Image, stream: object, format: str) -> None:
        stream.write(b"half a picture")  # type: ignore[attr-defined]
        raise OSError("No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match="No space"):
        write_sheet(tmp_path / "a.png", [row()], TITLES, "new")
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == old


@pytest.mark.parametrize("name", ["drift-1.png", "a.b_c.png", "plain"])
def test_harmless_names_stay(name: str) -> None:
    assert safe_name(name) == name


@settings(max_examples=100, deadline=None)
@given(st.text(min_size=1, max_size=300), st.text(min_size=1, max_size=300))
def test_names_become_safe_and_stay_different(one: str, other: str) -> None:
    names = [safe_name(f"{text}.png") for text in (one, other)]
    for name in names:
        assert name.endswith(".png")
        assert len(name) <= 120
        assert all(c.isascii() and (c.isalnum() or c in "._-") for c in name)
        assert not name.startswith((".", "-"))
    assert (names[0] == names[1]) == (one == other)


def test_the_written_path_is_the_safe_one(tmp_path: Path) -> None:
    written = write_sheet(tmp_path / "chest.saliency.yaml::faithful[case].png", [row()], TITLES, "x")
    assert written.parent == tmp_path
    assert written.exists()
    assert not set(written.name) & set(":[] ")


def test_a_sheet_without_cases_says_so() -> None:
    found = pixels(draw_sheet([], TITLES, "heading"))
    assert {INK, FAINT} <= {tuple(p) for p in np.unique(found.reshape(-1, 3), axis=0)}


@pytest.mark.parametrize(
    ("bad", "titles", "word"),
    [
        (row(), ("image", "before"), "needs 3 column titles"),
        (row(image=np.zeros((8, 8))), TITLES, "cannot be shown"),
        (row(maps=(np.zeros((2, 4, 4)), None)), TITLES, "cannot be shown"),
    ],
)
def test_rows_that_cannot_be_shown_are_refused(
    tmp_path: Path, bad: PictureRow, titles: tuple[str, ...], word: str
) -> None:
    with pytest.raises(SaliencyError, match=word):
        write_sheet(tmp_path / "a.png", [bad], titles, "x")
    assert not list(tmp_path.iterdir())
