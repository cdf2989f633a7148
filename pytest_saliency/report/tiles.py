"""One tile of a contact sheet: an image, or a map laid over it, as RGB pixels of a readable size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pytest_saliency.report.colour import colours

Floats = NDArray[np.float64]

TILE = 224
"""Longest side of a tile in pixels: larger images are reduced to it, smaller ones enlarged by whole numbers."""

STRENGTH = 0.90
"""Opacity of a map's colour at its maximum; it falls with the map's value, so that the image shows through."""

SUBDUED = (0.12, 0.80)
"""Black and white of the image beneath a map: less contrast, so that the same value looks alike everywhere."""

LOST, GAINED = (0.99, 0.75, 0.20), (0.10, 0.16, 0.62)
"""Where the first of two maps was stronger, and where the second is; one light, one dark."""


@dataclass(frozen=True)
class Tile:
    """``pixels``: RGB picture. ``word``: what is written across it ("" for nothing). ``slice``: "" for 2-D."""

    pixels: Image.Image
    word: str
    slice: str


def shown_size(height: int, width: int) -> tuple[int, int]:
    """Return (height, width) in pixels at which an image of that size is shown, keeping its proportions."""
    longest = max(height, width)
    if longest <= TILE:
        factor = TILE // longest
        return height * factor, width * factor
    return max(1, round(height * TILE / longest)), max(1, round(width * TILE / longest))


def greyscale(image: Floats) -> Floats:
    """Return the luma (*S) of an image (C, *S); other than 3 channels are averaged."""
    if image.shape[0] == 3:
        return np.tensordot(np.array([0.299, 0.587, 0.114]), image, axes=1)
    mean: Floats = image.mean(axis=0)
    return mean


def linear(values: Floats, size: tuple[int, ...]) -> Floats:
    """Resize ``values`` linearly to ``size`` along every axis, as the measures do (pixel centres aligned)."""
    for axis, target in enumerate(size):
        source = values.shape[axis]
        if source == target:
            continue
        centre = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0.0, source - 1.0)
        matrix = np.maximum(0.0, 1.0 - np.abs(centre[:, None] - np.arange(source)[None, :]))
        values = np.moveaxis(np.tensordot(matrix, values, axes=(1, axis)), 0, axis)
    return values


def picture(pixels: Floats) -> Image.Image:
    """Return ``pixels`` (H, W, 3) in [0, 1] as a picture of ``shown_size``: whole pixels, or reduced smoothly."""
    height, width = shown_size(pixels.shape[0], pixels.shape[1])
    drawn = Image.fromarray(np.rint(np.clip(pixels, 0.0, 1.0) * 255.0).astype(np.uint8))
    larger = height >= pixels.shape[0]
    return drawn.resize((width, height), Image.Resampling.NEAREST if larger else Image.Resampling.LANCZOS)


def clean(image: NDArray[Any]) -> Floats:
    """Return ``image`` (C, *S) in float64 within [0, 1]; pixels that are not finite become 0."""
    return np.clip(np.nan_to_num(np.asarray(image, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0), 0.0, 1.0)


def rectified(values: NDArray[Any] | None) -> tuple[Floats | None, str]:
    """Return the positive part of a map divided by its maximum, or None and the word that says why there is none."""
    if values is None:
        return None, "no map"
    signed = np.asarray(values, dtype=np.float64)
    if not np.isfinite(signed).all():
        return None, "not finite"
    top = float(signed.max(initial=0.0))
    if top <= 0.0:
        return None, "blank"
    return np.maximum(signed, 0.0) / top, ""


def fullest_slice(values: Floats | None, depth: int) -> int:
    """Return the slice of ``depth`` along the first axis that holds most of a map; the middle one without a map."""
    if values is None:
        return depth // 2
    mass: Floats = linear(values.sum(axis=tuple(range(1, values.ndim))), (depth,))
    return int(mass.argmax())


def _named(index: int, depth: int) -> str:
    return f"slice {index + 1} of {depth}"


def _topped(values: Floats) -> Floats:
    """Return a resized map scaled to its new maximum: interpolation seldom hits the very peak."""
    top = float(values.max())
    return values / top if top > 0.0 else values


def image_tile(image: NDArray[Any], first_map: NDArray[Any] | None) -> Tile:
    """Return the image itself; of a volume (C, D, H, W) the slice that holds most of ``first_map``."""
    pixels = clean(image)
    name = ""
    if pixels.ndim == 4:
        index = fullest_slice(rectified(first_map)[0], pixels.shape[1])
        name = _named(index, pixels.shape[1])
        pixels = pixels[:, index]
    shown = np.moveaxis(pixels, 0, -1) if pixels.shape[0] == 3 else np.repeat(greyscale(pixels)[..., None], 3, -1)
    return Tile(picture(shown), "", name)


def map_tile(image: NDArray[Any], values: NDArray[Any] | None) -> Tile:
    """Return a map over its greyscale image: coloured by its share of its own maximum, clear where it is zero."""
    grey = greyscale(clean(image))
    scaled, word = rectified(values)
    name = ""
    if grey.ndim == 3:
        index = fullest_slice(scaled, grey.shape[0])
        name = _named(index, grey.shape[0])
        if scaled is not None:
            scaled = _topped(linear(scaled, grey.shape))[index]
        grey = grey[index]
    if scaled is None:
        return Tile(picture(np.repeat(grey[..., None], 3, axis=-1)), word, name)
    share = scaled if name else _topped(linear(scaled, grey.shape))
    base = np.repeat(SUBDUED[0] + (SUBDUED[1] - SUBDUED[0]) * grey[..., None], 3, axis=-1)
    opacity = STRENGTH * np.sqrt(share)[..., None]
    return Tile(picture(base * (1.0 - opacity) + colours(share) * opacity), "", name)


def difference_tile(image: NDArray[Any], before: NDArray[Any] | None, after: NDArray[Any] | None) -> Tile:
    """Return what two maps do not share, each scaled by its own maximum: orange where the first is stronger, blue
    where the second is; the colours differ in lightness too, so that they can be told apart in greyscale."""
    grey = greyscale(clean(image))
    (first, word), (second, other) = rectified(before), rectified(after)
    if first is None or second is None:
        return Tile(map_tile(image, None).pixels, f"{word or other} map", "")
    name = ""
    if grey.ndim == 3:
        index = fullest_slice(first, grey.shape[0])
        name = _named(index, grey.shape[0])
        first, second = (_topped(linear(one, grey.shape))[index] for one in (first, second))
        grey = grey[index]
    else:
        first, second = (_topped(linear(one, grey.shape)) for one in (first, second))
    change = (second - first)[..., None]
    base = np.repeat(SUBDUED[0] + (SUBDUED[1] - SUBDUED[0]) * grey[..., None], 3, axis=-1)
    colour = np.where(change < 0.0, np.asarray(LOST), np.asarray(GAINED))
    opacity = STRENGTH * np.sqrt(np.abs(change))
    return Tile(picture(base * (1.0 - opacity) + colour * opacity), "", name)
