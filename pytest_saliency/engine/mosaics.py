"""Images put together from several: cells in rows and columns, each of them one of the cases.

A mosaic is put together when it is read, while the model works on the batch before; images are kept only as long as
the mosaics beside it need them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import isqrt
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from pytest_saliency.engine.beside import prepared
from pytest_saliency.engine.cases import Cases
from pytest_saliency.engine.preprocess import Preprocess
from pytest_saliency.measure.planted import cell_spans

HELD = 96
"""Images that are kept for the mosaics beside the one in work."""

Scale = Literal["double", "input"]


@dataclass(frozen=True)
class Mosaic:
    """What a mosaic is made of: positions in the cases, cell by cell; ``own``: the cell of the image that it is for."""

    tiles: tuple[int, ...]
    own: int

    @property
    def target(self) -> int:
        """The position in the cases of the image that the mosaic is for."""
        return self.tiles[self.own]


@dataclass(frozen=True)
class MosaicImage:
    """A mosaic as an image source. ``tile`` returns an image after geometry, ``digests`` are those of the tiles."""

    mosaic: Mosaic
    scale: Scale
    tile: Callable[[int], Tensor]
    digests: tuple[str, ...]

    def load(self, case: str) -> Tensor:
        return joined([self.tile(index) for index in self.mosaic.tiles], self.scale)

    def digest(self, case: str) -> str:
        told = json.dumps(["mosaic", self.scale, *self.digests])
        return hashlib.sha256(told.encode()).hexdigest()


def mosaic_cases(cases: Cases, preprocess: Preprocess, mosaics: Sequence[Mosaic], scale: Scale) -> Cases:
    """Return the mosaics as cases for a subject ``after_geometry``: ids and labels are those of their targets.

    ``double``: each cell is a whole image, so that the mosaic is as many times as high and wide as there are cells
    in a column and row. ``input``: images are made smaller, so that the mosaic has the size of one.
    """
    ready = prepared(cases, preprocess)
    tile = lru_cache(maxsize=HELD)(ready.image)
    digests = ready.case_digests
    images = tuple(MosaicImage(one, scale, tile, tuple(digests[i] for i in one.tiles)) for one in mosaics)
    targets = [one.target for one in mosaics]
    made = replace(cases, masks=None, groups=None, clusters=None).subset(targets)
    return replace(made, images=images, source=f"mosaics of {cases.source}")


def joined(tiles: Sequence[Tensor], scale: Scale) -> Tensor:
    """Return images (C, *S) of one size as one mosaic, row by row along the last two axes."""
    side = isqrt(len(tiles))
    if scale == "input":
        rows, columns = (cell_spans(length, side) for length in tiles[0].shape[-2:])
        places = [(row, column) for row in rows for column in columns]
        tiles = [
            _smaller(tile, (row.stop - row.start, column.stop - column.start))
            for tile, (row, column) in zip(tiles, places, strict=True)
        ]
    return torch.cat([torch.cat(list(tiles[start : start + side]), -1) for start in range(0, len(tiles), side)], -2)


def without_own(mosaics: Tensor, cells: Sequence[int], count: int) -> Tensor:
    """Return ``mosaics`` (N, C, *S) of ``count`` cells, each with the image of one cell replaced by that of the next.

    A whole image of another class takes its place, because a plain colour could still speak for the class.
    """
    side = isqrt(count)
    rows, columns = (cell_spans(length, side) for length in mosaics.shape[-2:])
    places = [(..., row, column) for row in rows for column in columns]
    made = mosaics.clone()
    for image, original, cell in zip(made, mosaics, cells, strict=True):
        other = original[places[(cell + 1) % count]]
        size = (int(image[places[cell]].shape[-2]), int(image[places[cell]].shape[-1]))
        image[places[cell]] = other if tuple(other.shape[-2:]) == size else _smaller(other, size)
    return made


def _smaller(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Return ``image`` (C, *S) with its last two axes resized to ``size``, averaging what is left out."""
    flat = image.reshape(1, -1, *image.shape[-2:])
    made = F.interpolate(flat, size=size, mode="bilinear", align_corners=False, antialias=True)
    return made.reshape(*image.shape[:-2], *size).clamp(0.0, 1.0)
