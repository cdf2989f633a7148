"""Contact sheets: per row one image and its maps, with a caption, a colour bar and a scale, as one PNG."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pytest_saliency.errors import SaliencyError
from pytest_saliency.report.colour import colours
from pytest_saliency.report.lettering import Lettering
from pytest_saliency.report.tiles import TILE, Tile, image_tile, map_tile, outlined

PAPER = (255, 255, 255)
INK = (26, 26, 26)
FAINT = (96, 96, 96)
LINE = (214, 214, 214)

MARGIN = 24
GAP = 14
CAPTION = 240
BAR = (320, 14)
SCALE = "Colour: share of each map's own maximum. Negative values are not shown."


@dataclass(frozen=True)
class PictureRow:
    """One case of a sheet.

    ``image`` (C, H, W) or (C, D, H, W), pixels in [0, 1]. ``maps``: signed maps (h, w) or (d, h, w) at any
    resolution; None where there is none. ``caption``: lines such as the id, the label, the measured numbers.
    ``also``: further images, beside the first. ``outline``: a region (H, W) that a line is drawn around.
    """

    image: NDArray[Any]
    maps: tuple[NDArray[Any] | None, ...]
    caption: tuple[str, ...]
    also: tuple[NDArray[Any], ...] = ()
    outline: NDArray[Any] | None = None


@dataclass(frozen=True)
class _Laid:
    """One row, ready to be placed."""

    caption: tuple[tuple[str, ...], ...]
    tiles: tuple[Tile, ...]
    height: int


@dataclass(frozen=True)
class _Fonts:
    heading: Lettering
    title: Lettering
    body: Lettering
    small: Lettering


def safe_name(name: str) -> str:
    """Return ``name`` as a file name for every system: letters, digits, ``.``, ``_`` and ``-``, 120 at most.

    A name that had to be altered gets eight hex digits of its SHA-256, so that two names never become one.
    """
    stem, dot, ending = name.rpartition(".")
    if not stem or not re.fullmatch(r"[A-Za-z0-9]{1,8}", ending):
        stem, dot, ending = name, "", ""
    bare = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-.")
    if bare != stem or len(bare) > 100:
        digest = hashlib.sha256(name.encode(errors="backslashreplace")).hexdigest()[:8]
        bare = f"{bare[:100].rstrip('-.')}-{digest}".lstrip("-")
    return f"{bare}{dot}{ending}"


def write_sheet(path: Path, rows: Sequence[PictureRow], titles: tuple[str, ...], heading: str) -> Path:
    """Write a contact sheet as PNG and return where it lies (the file name is made safe, see ``safe_name``).

    ``titles``: one a column, the image's first. ``heading`` stands above the sheet and is wrapped to its width.
    Maps are rectified and scaled by their own maximum; without any there is no colour bar. The file
    appears whole or not at all; folders are made.
    Raises ``SaliencyError`` where a row and the titles differ in number or the shapes do not fit.
    """
    for row in rows:
        _check(row, titles)
    sheet = draw_sheet(rows, titles, heading)
    path = Path(path)
    target = path.with_name(safe_name(path.name))
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as stream:
            sheet.save(stream, format="PNG")
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return target


def draw_sheet(rows: Sequence[PictureRow], titles: tuple[str, ...], heading: str) -> Image.Image:
    """Return the sheet that ``write_sheet`` writes, as an RGB picture."""
    fonts = _Fonts(Lettering.of(20), Lettering.of(15), Lettering.of(15), Lettering.of(13))
    laid = [_lay(row, fonts) for row in rows]
    width = 2 * MARGIN + CAPTION + len(titles) * (GAP + TILE)
    inner = width - 2 * MARGIN
    heads = fonts.heading.wrap(heading, inner)
    names = [fonts.title.wrap(title, TILE) for title in titles]
    coloured = not rows or any(row.maps for row in rows)
    scale = fonts.small.wrap(SCALE, inner)
    top = MARGIN + len(heads) * fonts.heading.line + GAP
    title_height = max((len(name) for name in names), default=0) * fonts.title.line
    body = sum(row.height + 2 * GAP for row in laid) if laid else fonts.body.line + 2 * GAP
    foot = BAR[1] + 6 + fonts.small.line * (1 + len(scale)) if coloured else 0
    sheet = Image.new("RGB", (width, top + title_height + GAP + body + foot + MARGIN), PAPER)
    canvas = ImageDraw.Draw(sheet)

    y = fonts.heading.draw(canvas, MARGIN, MARGIN, heads, INK) + GAP
    for column, name in enumerate(names):
        # Titles of one line stand on the tiles, next to longer ones.
        down = title_height - len(name) * fonts.title.line
        fonts.title.draw(canvas, _column(column), y + down, name, INK)
    y += title_height + GAP
    for row in laid:
        canvas.line((MARGIN, y - GAP // 2, width - MARGIN, y - GAP // 2), fill=LINE)
        _draw_row(sheet, canvas, row, y, fonts)
        y += row.height + 2 * GAP
    if not laid:
        y = fonts.body.draw(canvas, MARGIN, y, ("No cases to show.",), FAINT) + 2 * GAP
    if coloured:
        _draw_scale(sheet, canvas, y, scale, fonts)
    return sheet


def _check(row: PictureRow, titles: tuple[str, ...]) -> None:
    images = 1 + len(row.also)
    if len(titles) != images + len(row.maps):
        raise SaliencyError(
            f"A picture row with {'an image' if images == 1 else f'{images} images'} and {len(row.maps)} maps needs"
            f" {images + len(row.maps)} column titles, not {len(titles)}; give one title a column, the image's first."
        )
    spatial = row.image.ndim - 1
    if spatial not in (2, 3) or any(values is not None and values.ndim != spatial for values in row.maps):
        shapes = ", ".join("none" if values is None else str(values.shape) for values in row.maps)
        raise SaliencyError(
            f"An image of shape {row.image.shape} cannot be shown with maps of shape {shapes}; images are"
            " (channels, height, width) or (channels, depth, height, width), and maps have the same axes less"
            " the channels."
        )


def _column(index: int) -> int:
    return MARGIN + CAPTION + GAP + index * (TILE + GAP)


def _lay(row: PictureRow, fonts: _Fonts) -> _Laid:
    first = next((values for values in row.maps if values is not None), None)
    images = (image_tile(one, first) for one in (row.image, *row.also))
    bare = (*images, *(map_tile(row.image, values) for values in row.maps))
    tiles = tuple(outlined(tile, row.outline) for tile in bare)
    caption = tuple(fonts.body.wrap(text, CAPTION) for text in row.caption)
    lines = sum(len(text) for text in caption)
    below = fonts.small.line + 2 if any(tile.slice for tile in tiles) else 0
    height = max(lines * fonts.body.line, max(tile.pixels.height for tile in tiles) + below)
    return _Laid(caption, tiles, height)


def _draw_row(sheet: Image.Image, canvas: ImageDraw.ImageDraw, row: _Laid, y: int, fonts: _Fonts) -> None:
    below = y
    for index, text in enumerate(row.caption):
        below = fonts.body.draw(canvas, MARGIN, below, text, INK if index == 0 else FAINT)
    for column, tile in enumerate(row.tiles):
        x = _column(column)
        sheet.paste(tile.pixels, (x, y))
        if tile.word:
            _stamp(canvas, tile, x, y, fonts.title)
        if tile.slice:
            fonts.small.draw(canvas, x, y + tile.pixels.height + 2, (tile.slice,), FAINT)


def _stamp(canvas: ImageDraw.ImageDraw, tile: Tile, x: int, y: int, face: Lettering) -> None:
    """Write a tile's word on a plate across its middle: legible on light and on dark images."""
    wide, high = face.width(tile.word) + 20, face.line + 8
    left = x + (tile.pixels.width - wide) // 2
    upper = y + (tile.pixels.height - high) // 2
    canvas.rectangle((left, upper, left + wide, upper + high), fill=PAPER, outline=INK)
    face.draw(canvas, left + 10, upper + 5, (tile.word,), INK)


def _draw_scale(sheet: Image.Image, canvas: ImageDraw.ImageDraw, y: int, lines: tuple[str, ...], fonts: _Fonts) -> None:
    wide, high = BAR
    ramp = np.rint(colours(np.linspace(0.0, 1.0, wide)) * 255.0).astype(np.uint8)
    sheet.paste(Image.fromarray(np.repeat(ramp[None], high, axis=0)), (MARGIN, y))
    for share, mark in ((0.0, "0"), (0.25, "0.25"), (0.5, "0.5"), (0.75, "0.75"), (1.0, "1")):
        x = MARGIN + round(share * (wide - 1))
        canvas.line((x, y + high, x, y + high + 3), fill=INK)
        # The outermost marks are kept within the bar's width, so that none leaves the margin.
        shift = round(share * fonts.small.width(mark)) if share in (0.0, 1.0) else fonts.small.width(mark) // 2
        fonts.small.draw(canvas, x - shift, y + high + 4, (mark,), INK)
    fonts.small.draw(canvas, MARGIN, y + high + 6 + fonts.small.line, lines, FAINT)
