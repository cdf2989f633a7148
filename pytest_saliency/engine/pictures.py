"""Picture files as numbers: whatever Pillow reads, and at full depth what Pillow would cut down to eight bits."""

from __future__ import annotations

import re
from typing import Any, BinaryIO

import numpy as np

from pytest_saliency.engine.reading import Stored, UnreadableError

HEAD = 64  # bytes that tell a format
DEEP = 65535.0


def read_picture(file: BinaryIO, volume: bool) -> Stored:
    """Return an image as three channels (3, H, W), or the pages of a TIFF file as a volume (C, D, H, W).

    Greyscale of a volume stays one channel. Colour of 16 bits is read whole from PNG files; of TIFF files it is
    refused, because Pillow would quietly halve its depth.

    Raises
    ------
    UnreadableError
        Pages where one image is wanted or the other way round, or a sort of numbers that cannot be read whole.
    OSError, SyntaxError, ValueError
        As Pillow raises them for files that are damaged or no images.
    """
    from PIL import Image

    head = file.read(HEAD)
    file.seek(0)
    if head[:2] in (b"P2", b"P5"):
        found = _deep_pgm(file)
        if found is not None:
            return _one(found, volume)
    if _is_deep_colour_png(head):
        return _one(_deep_png(file), volume)
    with Image.open(file) as image:
        pages = getattr(image, "n_frames", 1) if image.format == "TIFF" else 1
        if pages == 1 and not volume:
            return _page(image)
        if not volume:
            raise UnreadableError(
                f"has {pages} pages; declare 'volume: true' if they are the slices of a volume, or save one page."
            )
        if pages == 1:
            raise _no_volume()
        slices = []
        for number in range(pages):
            image.seek(number)
            slices.append(_page(image, grey=True))
    shapes = {one.numbers.shape for one in slices}
    if len(shapes) > 1 or len({(one.top, one.numbers.dtype) for one in slices}) > 1:
        raise UnreadableError("has pages of different sizes or types, which make no volume; save them alike.")
    return Stored(np.stack([one.numbers for one in slices], axis=1), slices[0].top)


def size_of_picture(file: BinaryIO) -> tuple[int, int]:
    """Return height and width from the head of the file alone; raises what Pillow raises."""
    from PIL import Image

    with Image.open(file) as image:
        width, height = image.size
    return height, width


def _one(found: Stored, volume: bool) -> Stored:
    if volume:
        raise _no_volume()
    return found


def _no_volume() -> UnreadableError:
    return UnreadableError("holds one image, but the contract declares 'volume: true'; leave that out, or give stacks.")


def _page(image: Any, grey: bool = False) -> Stored:
    """Return one page as (3, H, W); with ``grey`` one without colour as (1, H, W)."""
    if image.mode.startswith("I") or image.mode == "F":
        array = np.array(image)
        top = _top(image, array)
        if image.format == "TIFF" and image.tag_v2.get(262) == 0:  # white is zero; Pillow turns round 8 bits only
            array = top - array.astype(np.float64)
        return Stored(array[None] if grey else np.repeat(array[None], 3, axis=0), top)
    if image.format == "TIFF" and max(image.tag_v2.get(258, (8,))) > 8:
        raise UnreadableError(
            f"is a colour TIFF of {max(image.tag_v2[258])} bits, of which only 8 would be read; save it as PNG of 16"
            " bits or as .npy."
        )
    if grey and image.mode in ("1", "L"):
        return Stored(np.array(image.convert("L"))[None], 255.0)
    return Stored(np.array(image.convert("RGB")).transpose(2, 0, 1), 255.0)


def _top(image: Any, array: np.ndarray[Any, Any]) -> float:
    """Return the largest number that the type of a deep greyscale image can hold."""
    if array.dtype.kind == "f":
        return 1.0
    bits = max(image.tag_v2.get(258, (16,))) if image.format == "TIFF" else 16
    signed = image.format == "TIFF" and image.tag_v2.get(339, (1,))[0] == 2
    return float(2 ** (bits - signed) - 1)


def _is_deep_colour_png(head: bytes) -> bool:
    """Tell whether the head of a file is that of a PNG of 16 bits that has more than grey."""
    return (
        head[:8] == b"\x89PNG\r\n\x1a\n"
        and head[12:16] == b"IHDR"
        and head[24:26] in (b"\x10\x02", b"\x10\x04", b"\x10\x06")
    )


def _deep_png(file: BinaryIO) -> Stored:
    """Return the colours of a 16-bit PNG; what is transparent keeps its colour, as in files of 8 bits.

    Pillow hands out one byte of each value, which one is up to the raw mode: so it is asked for the upper bytes (big
    endian, as they are stored), then for the lower ones.
    """
    from PIL import Image

    def bytes_as(raw: str | None, mode: str | None = None) -> np.ndarray[Any, Any]:
        file.seek(0)
        with Image.open(file) as image:
            if mode is not None:
                image._mode = mode
            if raw is not None:
                image.tile = [(*tile[:3], raw) for tile in image.tile]  # type: ignore[misc]
            return np.array(image).astype(np.uint16)

    file.seek(25)
    if file.read(1) == b"\x04":  # grey and alpha: four bytes a pixel, as those of RGBA
        four = bytes_as("RGBA", "RGBA")
        return Stored(np.repeat((four[..., 0] * 256 + four[..., 1])[None], 3, axis=0), DEEP)
    upper = bytes_as(None)
    lower = bytes_as("RGB;16L" if upper.shape[2] == 3 else "RGBA;16L")
    return Stored((upper * 256 + lower)[..., :3].transpose(2, 0, 1), DEEP)


def _deep_pgm(file: BinaryIO) -> Stored | None:
    """Return a greyscale PGM of more than 8 bits with the white that it declares; None for others.

    Pillow spreads the values of such files over 16 bits, which would give ``white`` another meaning.
    """
    content = file.read()
    file.seek(0)
    head = re.match(rb"P[25](?:\s|#[^\n]*\n)+(\d+)(?:\s|#[^\n]*\n)+(\d+)(?:\s|#[^\n]*\n)+(\d+)\s", content)
    if head is None:
        return None
    width, height, top = (int(text) for text in head.groups())
    if not 255 < top <= DEEP:
        return None
    count = width * height
    if content[:2] == b"P5":
        numbers = np.frombuffer(content[head.end() : head.end() + 2 * count], dtype=">u2").astype(np.uint16)
    else:
        words = re.sub(rb"#[^\n]*", b"", content[head.end() :]).split()[:count]
        try:
            numbers = np.array([int(word) for word in words], dtype=np.int64)
        except ValueError:
            raise UnreadableError("is a PGM with words that are no numbers; write it anew.") from None
    if len(numbers) < count or count == 0:
        raise UnreadableError(f"ends too early: {width} x {height} pixels are declared; repair or remove it.")
    return Stored(np.repeat(numbers.reshape(1, height, width), 3, axis=0), float(top))
