"""The report's pictures: one small file for each cell, so that the report can lay them out and describe them."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from numpy.typing import NDArray
from PIL import Image

from pytest_saliency.report.tiles import Tile, difference_tile, image_tile, map_tile, outlined

DIFFERENCE = "difference"
CELL = re.compile(r"\d{2,}-\d+\.(png|jpg)")
QUALITY = 88  # of JPEG, which is taken where it is smaller: photographs, not drawings


@dataclass(frozen=True)
class GalleryRow:
    """One image of a check: who it is, why it is shown, and what is drawn.

    ``image`` (C, *S), pixels in [0, 1]; ``maps`` signed (*s) at any resolution, None where there is none; ``outline``
    (*S), a region that a line is drawn around; ``pictures``: further images by title, (C, *S), drawn behind the rest.
    """

    id: str
    label: str
    why: str
    caption: tuple[str, ...]
    image: NDArray[Any]
    maps: tuple[NDArray[Any] | None, ...]
    outline: NDArray[Any] | None = None
    pictures: tuple[tuple[str, NDArray[Any]], ...] = ()


def write_gallery(folder: Path, rows: Sequence[GalleryRow], titles: tuple[str, ...]) -> list[dict[str, Any]]:
    """Write every cell into ``folder`` and return the rows as JSON, each tile with path, SHA-256 and alternative text.

    ``titles``: one for each map. Where there are two maps, their difference is added as a last cell. Cells that an
    earlier run left in ``folder`` and this one does not have are removed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made: list[dict[str, Any]] = []
    for number, row in enumerate(rows):
        cells = [("image", image_tile(row.image, next((one for one in row.maps if one is not None), None)))]
        cells += [(title, map_tile(row.image, one)) for title, one in zip(titles, row.maps, strict=True)]
        if len(row.maps) == 2:
            cells.append((DIFFERENCE, difference_tile(row.image, row.maps[0], row.maps[1])))
        cells += [(title, image_tile(pixels, None)) for title, pixels in row.pictures]
        made.append(
            {
                "id": row.id,
                "label": row.label,
                "why": row.why,
                "caption": list(row.caption),
                "tiles": [
                    _written(folder / f"{number:02d}-{place}", title, outlined(tile, row.outline), row, titles)
                    for place, (title, tile) in enumerate(cells)
                ],
            }
        )
    ours = {Path(tile["path"]).name for row in made for tile in row["tiles"]}
    for path in folder.iterdir():
        if CELL.fullmatch(path.name) and path.name not in ours:
            path.unlink(missing_ok=True)
    return made


def _written(stem: Path, title: str, tile: Tile, row: GalleryRow, titles: tuple[str, ...]) -> dict[str, Any]:
    media, content = _encoded(tile.pixels)
    path = stem.with_suffix(".png" if media == "image/png" else ".jpg")
    temporary = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    plain = title == "image" or any(title == one for one, _ in row.pictures)
    what = title if plain else f"{title} over the image"
    if title == DIFFERENCE:
        what = f"{what}, light where the {titles[0]} is stronger, dark where the {titles[1]} is"
    if row.outline is not None:
        what = f"{what}, with the region outlined"
    extra = ", ".join(word for word in (tile.word, tile.slice) if word)
    return {
        "title": title,
        "path": str(path),
        "sha256": hashlib.sha256(content).hexdigest(),
        "media": media,
        "width": tile.pixels.width,
        "height": tile.pixels.height,
        "word": tile.word,
        "slice": tile.slice,
        "alt": f"{row.id}: {what}" + (f" ({extra})" if extra else ""),
    }


def _encoded(pixels: Image.Image) -> tuple[str, bytes]:
    drawn, photographed = io.BytesIO(), io.BytesIO()
    pixels.save(drawn, format="PNG", optimize=True)
    pixels.save(photographed, format="JPEG", quality=QUALITY, subsampling=0)
    if len(drawn.getvalue()) <= len(photographed.getvalue()):
        return "image/png", drawn.getvalue()
    return "image/jpeg", photographed.getvalue()
