"""Deep pictures, stacks and arrays in files: every value comes through, and what is not read is said."""

from __future__ import annotations

import hashlib
import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pytest_saliency import Cases
from pytest_saliency.engine.images import BytesImage, FileImage, image_file
from pytest_saliency.engine.reading import FileReading
from pytest_saliency.errors import CasesError
from tests.engine.reading_files import pixels, said


def values(shape: tuple[int, ...], kind: str = "u2", high: int = 65536) -> np.ndarray:
    return np.random.Generator(np.random.PCG64(3)).integers(0, high, shape).astype(kind)


def png(path: Path, array: np.ndarray, colour: int) -> Path:
    """Write a PNG of 16 bits by hand: Pillow writes no colour of that depth. Rows are filtered by "up" and "left"."""
    height, width = array.shape[:2]
    rows = array.astype(">u2").reshape(height, -1).view(np.uint8).reshape(height, -1)
    step = rows.shape[1] // width
    left = np.hstack([np.zeros_like(rows[:, :step]), rows[:, :-step]])
    above = np.vstack([np.zeros_like(rows[:1]), rows[:-1]])
    filtered = [(b"\x02", row - up) for row, up in zip(rows, above, strict=True)]
    filtered[1::2] = [(b"\x01", row - one) for row, one in zip(rows[1::2], left[1::2], strict=True)]
    lines = b"".join(kind + row.tobytes() for kind, row in filtered)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b""))
    return path


def tiff(path: Path, array: np.ndarray, photometric: int, channels: int = 1) -> Path:
    """Write a plain TIFF by hand, with any photometric interpretation: 0 is white at zero, 1 black at zero, 2 RGB."""
    height, width = array.shape[:2]
    bits = 8 * array.dtype.itemsize
    body = array.astype(array.dtype.newbyteorder("<")).tobytes()
    tags = [
        (256, 4, width), (257, 4, height), (258, 3, bits), (259, 3, 1), (262, 3, photometric), (273, 4, 200),
        (277, 3, channels), (278, 4, height), (279, 4, len(body)), (339, 3, 3 if array.dtype.kind == "f" else 1),
    ]  # fmt: skip
    if channels > 1:  # three counts do not fit into the entry: they stand behind the directory
        tags[2] = (258, -3, 190)
    entries = b"".join(
        struct.pack("<HHII", tag, 3, 3, value) if kind < 0 else struct.pack("<HHII", tag, kind, 1, value)
        for tag, kind, value in tags
    )
    head = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
    content = head.ljust(190, b"\0") + struct.pack("<HHH", bits, bits, bits)
    path.write_bytes(content.ljust(200, b"\0") + body)
    return path


# -- depth -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("colour", "channels"), [(2, 3), (6, 4), (4, 2)])
def test_colour_png_of_16_bits_keeps_its_depth(tmp_path: Path, colour: int, channels: int) -> None:
    stored = values((5, 7, channels))
    found = pixels(png(tmp_path / "a.png", stored, colour))
    seen = stored[..., :3] if channels > 2 else np.repeat(stored[..., :1], 3, axis=2)
    np.testing.assert_array_equal(np.round(found * 65535), seen.transpose(2, 0, 1))
    assert image_file(tmp_path / "a.png").size("case") == (5, 7)
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:90])
    assert "cannot be read" in said(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm", "a.npy"])
@pytest.mark.parametrize("white", [None, 4095.0])
def test_grey_of_16_bits(tmp_path: Path, name: str, white: float | None) -> None:
    """12 bits in files of 16: dark where nothing is said, and whole with the declared white."""
    stored = values((5, 7), high=4096)
    stored[0, 0] = 4095
    path = tmp_path / name
    if name == "a.npy":
        np.save(path, stored)
    elif name == "a.pgm":
        path.write_bytes(b"P5 7 5 65535\n" + stored.astype(">u2").tobytes())
    else:
        Image.fromarray(stored).save(path)
    found = pixels(path, white=white)
    np.testing.assert_array_equal(found, np.stack([(stored / (white or 65535.0)).astype(np.float32)] * 3))
    assert ("is 4094 and black is 0" in said(path, white=4094.0)) == (4095 > 4094)


@pytest.mark.parametrize("plain", [False, True])
def test_a_pgm_says_its_own_white(tmp_path: Path, plain: bool) -> None:
    stored = values((3, 4), high=1024)
    path = tmp_path / "a.pgm"
    words = " ".join(map(str, stored.ravel())).encode()
    body = b"P2\n# made by hand\n4 3\n1023\n" + words if plain else b"P5 4 3 1023\n" + stored.astype(">u2").tobytes()
    path.write_bytes(body)
    np.testing.assert_allclose(pixels(path)[1], stored / 1023, atol=1e-7)
    np.testing.assert_allclose(pixels(path, white=2000.0)[1], stored / 2000, atol=1e-7)
    path.write_bytes(body[:-4])
    assert "ends too early" in said(path)


@pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
@pytest.mark.parametrize("photometric", [0, 1])
def test_tiff_of_every_depth_and_both_whites(tmp_path: Path, kind: str, photometric: int) -> None:
    top = {"u1": 255, "u2": 65535, "f4": 1.0}[kind]
    stored = (values((5, 7), "f8") / 65535 * top).astype(kind)
    found = pixels(tiff(tmp_path / "a.tif", stored, photometric))
    expected = stored / top if photometric else 1 - stored / top
    np.testing.assert_allclose(found, np.stack([expected] * 3), atol=1e-6)


def test_numbers_beyond_what_is_read(tmp_path: Path) -> None:
    path = tiff(tmp_path / "a.tif", values((5, 7, 3)), 2, channels=3)
    assert "is a colour TIFF of 16 bits, of which only 8 would be read; save it as PNG of 16" in said(path)
    for wrong in (-0.5, 1.5):
        tiff(path, np.full((3, 4), wrong, "f4"), 1)
        assert f"holds values from {wrong:g} to {wrong:g}, but its type's white is 1" in said(path)
    assert pixels(tiff(path, np.full((3, 4), 1.5, "f4"), 1), white=3.0).max() == 0.5
    tiff(path, np.full((3, 4), np.nan, "f4"), 1)
    assert "holds NaN or infinite pixels" in said(path)
    Image.fromarray(values((3, 4), "u1", 256)).save(tmp_path / "b.png")
    assert "but 'white' is 10" in said(tmp_path / "b.png", white=10.0)


def test_eight_bits_are_what_they_were(tmp_path: Path) -> None:
    stored = values((5, 7, 3), "u1", 256)
    Image.fromarray(stored).save(tmp_path / "a.png")
    np.testing.assert_array_equal(pixels(tmp_path / "a.png"), stored.transpose(2, 0, 1).astype("f4") / np.float32(255))
    content = (tmp_path / "a.png").read_bytes()
    assert FileImage(tmp_path / "a.png").digest("x") == hashlib.sha256(content).hexdigest()
    one = FileReading(white=4095.0)
    assert FileImage(tmp_path / "a.png", one).digest("x") == BytesImage([content].__getitem__, 0, one).digest("x")
    assert FileImage(tmp_path / "a.png", one).digest("x") != FileImage(tmp_path / "a.png").digest("x")


# -- stacks and arrays -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["u1", "u2"])
def test_a_stack_is_refused_or_a_volume(tmp_path: Path, kind: str) -> None:
    top = 2 ** (8 * int(kind[1])) - 1
    stored = values((4, 5, 7), kind, top + 1)
    first, *others = map(Image.fromarray, stored)
    path = tmp_path / "a.tiff"
    first.save(path, save_all=True, append_images=others)
    assert "has 4 pages; declare 'volume: true'" in said(path)
    found = pixels(path, volume=True)
    assert found.shape == (1, 4, 5, 7)
    np.testing.assert_allclose(found[0], stored / top, atol=1e-7)
    assert image_file(path, FileReading(volume=True)).size("case") == (4, 5, 7)
    first.save(path, save_all=True, append_images=[others[0].resize((3, 3))])
    assert "has pages of different sizes" in said(path, volume=True)
    first.save(path)
    assert "holds one image, but the contract declares 'volume: true'" in said(path, volume=True)


@pytest.mark.parametrize(
    ("shape", "volume", "seen"),
    [
        ((5, 7), False, (3, 5, 7)),
        ((3, 5, 7), False, (3, 5, 7)),
        ((1, 5, 7), False, (1, 5, 7)),
        ((9, 5, 7), True, (1, 9, 5, 7)),
        ((1, 9, 5, 7), True, (1, 9, 5, 7)),
    ],
)
@pytest.mark.parametrize("kind", ["u1", "u2", "f4", "f8", "?"])
def test_arrays(tmp_path: Path, shape: tuple[int, ...], volume: bool, seen: tuple[int, ...], kind: str) -> None:
    top = {"u1": 255, "u2": 65535, "f4": 1, "f8": 1, "?": 1}[kind]
    stored = (values(shape, "f8") / 65535 * top).round(0 if kind in ("u1", "u2", "?") else 6).astype(kind)
    np.save(tmp_path / "a.npy", stored)
    found = pixels(tmp_path / "a.npy", volume=volume)
    assert found.shape == seen
    np.testing.assert_allclose(found, np.broadcast_to(stored / top, seen), atol=1e-6)
    assert image_file(tmp_path / "a.npy", FileReading(volume=volume)).size("x") == seen[1:]


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (np.zeros((5, 7, 3), "u1"), "has shape (5, 7, 3); an image is (H, W) or, channels first"),
        (np.zeros((20, 5, 7), "u1"), "declare 'volume: true' if it is a volume"),
        (np.zeros(5, "u1"), "has shape (5,)"),
        (np.zeros((5, 7), "i8"), "has the type int64; pixels must be"),
        (np.full((5, 7), 2.0), "holds values from 2 to 2, but its type's white is 1"),
        (np.zeros((0, 7), "u1"), "holds no pixels"),
        (np.array([[{}]]), "holds Python objects, which are not read"),
    ],
)
def test_arrays_that_are_no_images(tmp_path: Path, array: np.ndarray, sentence: str) -> None:
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    assert sentence in said(tmp_path / "a.npy")


def test_files_of_another_sort_than_their_name(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((5, 7), "u1"))
    content = path.read_bytes()
    for length in range(0, len(content) - 1, 3):
        path.write_bytes(content[:length])
        said(path)
    held = io.BytesIO()
    np.savez(held, images=np.zeros(3))
    path.write_bytes(held.getvalue())
    assert "is an archive of arrays (.npz)" in said(path)
    for name in ("a.png", "a.tif", "a.pgm", "a"):
        (tmp_path / name).write_bytes(b"P5 no picture" if name == "a.pgm" else b"text")
        said(tmp_path / name)
    (tmp_path / "b").write_bytes(content)
    assert pixels(tmp_path / "b").shape == (3, 5, 7), "without an ending the content tells"


def test_folders_hold_all_sorts(tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        (tmp_path / "images" / label).mkdir(parents=True)
        np.save(tmp_path / "images" / label / "a.npy", values((5, 7)))
        png(tmp_path / "images" / label / "b.png", values((5, 7, 3)), 2)
        (tmp_path / "masks" / label).mkdir(parents=True)
        np.save(tmp_path / "masks" / label / "a.npy", values((5, 7)) > 30000)
        Image.new("L", (7, 5), 255).save(tmp_path / "masks" / label / "b.png")
    made = Cases.from_imagefolder(tmp_path / "images", masks=tmp_path / "masks", read_as=FileReading(white=65535.0))
    assert made.ids == ("cat/a.npy", "cat/b.png", "dog/a.npy", "dog/b.png")
    np.testing.assert_allclose(made.image(0)[0].numpy(), values((5, 7)) / 65535, atol=1e-6)
    np.testing.assert_array_equal(made.mask(0).numpy(), values((5, 7)) > 30000)
    np.save(tmp_path / "masks" / "cat" / "a.npy", np.ones((4, 7)))
    with pytest.raises(CasesError, match=r"mask of image 'cat/a\.npy' is 4x7, but the image is 5x7"):
        made.mask(0)
    np.save(tmp_path / "masks" / "cat" / "a.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(CasesError, match=r"mask of image 'cat/a\.npy' cannot be read"):
        made.mask(0)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm", "a.npy", "stack.tif"])
def test_damaged_bytes_give_pixels_or_a_sentence(tmp_path: Path, name: str) -> None:
    path, reading = tmp_path / name, FileReading(volume=name.startswith("stack"))
    if name == "a.png":
        png(path, values((5, 7, 3)), 2)
    elif name == "a.npy":
        np.save(path, values((5, 7)))
    elif name == "a.pgm":
        path.write_bytes(b"P5 7 5 4095\n" + values((5, 7), high=4096).astype(">u2").tobytes())
    elif name == "a.tif":
        tiff(path, values((5, 7)), 0)
    else:
        first, *others = map(Image.fromarray, values((4, 5, 7), "u1", 256))
        first.save(path, save_all=True, append_images=others, compression="tiff_lzw")
    content, draw, said_of = path.read_bytes(), np.random.Generator(np.random.PCG64(8)), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's about metadata
        for _ in range(150):
            damaged = bytearray(content)
            for _ in range(3):
                damaged[int(draw.integers(len(damaged)))] = int(draw.integers(256))
            path.write_bytes(damaged)
            try:
                found = image_file(path, reading).load("case")
                assert 0.0 <= float(found.min()) <= float(found.max()) <= 1.0
                assert image_file(path, reading).size("case") == tuple(found.shape[1:])
            except CasesError as error:
                said_of.append(str(error))
    assert said_of
    assert not any("\n" in text for text in said_of)


def test_a_white_beyond_the_depth_of_a_file(tmp_path: Path) -> None:
    Image.new("RGB", (5, 4), (200, 0, 0)).save(tmp_path / "a.png")
    with pytest.raises(CasesError, match="holds values up to 255 at most, so that 4095 as 'white' would make it dark"):
        image_file(tmp_path / "a.png", FileReading(white=4095.0)).load("case")


def test_items_of_a_dataset_that_are_no_numbers() -> None:
    with pytest.raises(CasesError, match="image 'case-0000' is an array of <U1; pixels are numbers"):
        Cases.from_dataset([(np.array([["a"]]), 0)]).image(0)
