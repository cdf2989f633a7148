"""The stored maps of a baseline and of its candidate as one picture: before, after, difference, an image a row.

Drawn from maps alone: a baseline keeps no pixel of any image.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pytest_saliency.report.lettering import Lettering
from pytest_saliency.report.pictures import FAINT, INK, LINE, MARGIN, PAPER
from pytest_saliency.report.tiles import TILE, Tile, difference_tile, map_tile

GAP, CAPTION, GROUND = 14, 260, 0.5
TITLES = ("before (approved)", "after (candidate)", "difference")
LEGEND = (
    "Maps only, on grey: a baseline keeps no pixel of any image. Colour: share of each map's own maximum; negative"
    " values are not shown. Difference: orange where the map was stronger before, blue where it is stronger now."
)


@dataclass(frozen=True, eq=False)
class Row:
    """One image: its captions (id first) and its two maps at layer resolution."""

    caption: tuple[str, ...]
    before: NDArray[Any]
    after: NDArray[Any]


def sheet_png(rows: Sequence[Row], heading: str) -> bytes:
    """Return the picture as PNG; the same rows give the same bytes."""
    held = io.BytesIO()
    draw(rows, heading).save(held, format="PNG")
    return held.getvalue()


def draw(rows: Sequence[Row], heading: str) -> Image.Image:
    """Return the picture."""
    head, body, small = Lettering.of(20), Lettering.of(15), Lettering.of(13)
    width = 2 * MARGIN + CAPTION + len(TITLES) * (GAP + TILE)
    heads, legend = head.wrap(heading, width - 2 * MARGIN), small.wrap(LEGEND, width - 2 * MARGIN)
    laid = [(_tiles(row), [body.wrap(text, CAPTION) for text in row.caption]) for row in rows]
    heights = [_height(tiles, lines, body, small) for tiles, lines in laid]
    top = MARGIN + len(heads) * head.line + GAP + body.line + GAP
    total = top + sum(height + 2 * GAP for height in heights) + len(legend) * small.line + MARGIN
    sheet = Image.new("RGB", (width, total), PAPER)
    canvas = ImageDraw.Draw(sheet)
    y = head.draw(canvas, MARGIN, MARGIN, heads, INK) + GAP
    for place, title in enumerate(TITLES):
        body.draw(canvas, _left(place), y, body.wrap(title, TILE), INK)
    y = top
    for (tiles, lines), height in zip(laid, heights, strict=True):
        canvas.line((MARGIN, y - GAP // 2, width - MARGIN, y - GAP // 2), fill=LINE)
        below = y
        for index, text in enumerate(lines):
            below = body.draw(canvas, MARGIN, below, text, INK if index == 0 else FAINT)
        for place, tile in enumerate(tiles):
            x = _left(place)
            sheet.paste(tile.pixels, (x, y))
            note = " ".join(part for part in (tile.word, tile.slice) if part)
            if note:
                small.draw(canvas, x, y + tile.pixels.height + 2, small.wrap(note, TILE), FAINT)
        y += height + 2 * GAP
    small.draw(canvas, MARGIN, y, legend, FAINT)
    return sheet


def _left(place: int) -> int:
    return MARGIN + CAPTION + GAP + place * (TILE + GAP)


def _tiles(row: Row) -> tuple[Tile, ...]:
    ground = _ground(row.after.shape)
    return (
        map_tile(ground, row.before),
        map_tile(ground, row.after),
        difference_tile(ground, row.before, row.after),
    )


def _ground(grid: tuple[int, ...]) -> NDArray[np.float64]:
    """Return an even grey of the map's proportions, as large as a tile."""
    factor = max(1, TILE // max(grid[-2:]))
    shape = (*grid[:-2], grid[-2] * factor, grid[-1] * factor)
    return np.full((1, *shape), GROUND)


def _height(tiles: Sequence[Tile], lines: Sequence[Sequence[str]], body: Lettering, small: Lettering) -> int:
    noted = small.line + 2 if any(tile.word or tile.slice for tile in tiles) else 0
    return max(max(tile.pixels.height for tile in tiles) + noted, sum(map(len, lines)) * body.line)
