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

LOST, GAINED = (1.00, 0.80, 0.30), (0.06, 0.10, 0.50)
"""Where the first of two maps was stronger, and where the second is; one light, one dark."""

PALE = (0.38, 0.62)
"""Black and white of the image beneath a difference: between the two colours in lightness, whatever the image."""

COARSE = 64
"""Rows and columns at which the slices of two volumes are compared."""

FADE, OUTLINED, SAME = 0.75, 0.5, 0.005
"""Opacity is the difference to this power; from one share of a maximum on it is outlined, up to the other it is none.
"""


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


def _shares(scaled: Floats, size: tuple[int, ...], index: int | None) -> Floats:
    """Return a map at ``size`` scaled to its new maximum; of a volume (``index``) that slice alone.

    A volume is never resized as a whole, which would take gigabytes: only slices that could hold the maximum are.
    """
    if index is None:
        return _topped(linear(scaled, size))
    deep = linear(scaled, size[:1])
    peaks = deep.max(axis=(1, 2))
    top = 0.0
    for place in np.argsort(-peaks, kind="stable"):
        if peaks[place] <= top:
            break
        top = max(top, float(linear(deep[place], size[1:]).max()))
    shown = linear(deep[index], size[1:])
    return shown / top if top > 0.0 else shown


def image_tile(image: NDArray[Any], first_map: NDArray[Any] | None) -> Tile:
    """Return the image itself; of a volume (C, D, H, W) the slice that holds most of ``first_map``."""
    name = ""
    if image.ndim == 4:
        index = fullest_slice(rectified(first_map)[0], image.shape[1])
        name = _named(index, image.shape[1])
        image = image[:, index]
    pixels = clean(image)
    shown = np.moveaxis(pixels, 0, -1) if pixels.shape[0] == 3 else np.repeat(greyscale(pixels)[..., None], 3, -1)
    return Tile(picture(shown), "", name)


def map_tile(image: NDArray[Any], values: NDArray[Any] | None) -> Tile:
    """Return a map over its greyscale image: coloured by its share of its own maximum, clear where it is zero."""
    scaled, word = rectified(values)
    size, index, name = image.shape[1:], None, ""
    if image.ndim == 4:
        index = fullest_slice(scaled, size[0])
        name = _named(index, size[0])
        image = image[:, index]
    grey = greyscale(clean(image))
    if scaled is None:
        return Tile(picture(np.repeat(grey[..., None], 3, axis=-1)), word, name)
    share = _shares(scaled, size, index)
    base = np.repeat(SUBDUED[0] + (SUBDUED[1] - SUBDUED[0]) * grey[..., None], 3, axis=-1)
    opacity = STRENGTH * np.sqrt(share)[..., None]
    return Tile(picture(base * (1.0 - opacity) + colours(share) * opacity), "", name)


def outlined(tile: Tile, inside: NDArray[np.bool_] | None) -> Tile:
    """Return the tile with a line around the region ``inside`` (H, W): white outside of black, to show on any ground.

    Nothing is drawn without a region, nor on a slice of a volume.
    """
    if inside is None or inside.ndim != 2:
        return tile
    drawn = np.array(tile.pixels)
    rows, columns = (np.arange(have) * want // have for have, want in zip(drawn.shape[:2], inside.shape, strict=True))
    shown = np.asarray(inside, dtype=np.bool_)[rows[:, None], columns[None, :]]
    rim = _rim(shown)
    drawn[_rim(shown & ~rim)] = 0
    drawn[rim] = 255
    return Tile(Image.fromarray(drawn), tile.word, tile.slice)


def difference_tile(image: NDArray[Any], before: NDArray[Any] | None, after: NDArray[Any] | None) -> Tile:
    """Return what two maps do not share, each scaled by its own maximum, over a pale image.

    Light orange where the first is stronger, dark blue where the second is: the colours lie on either side of the
    image's greys, so that greyscale tells them apart. A line runs around what differs by half of a maximum or more:
    black around the first's, white around the second's. Of a volume: the slice that differs most.
    """
    (first, why), (second, other) = rectified(before), rectified(after)
    if first is None or second is None:
        bare = map_tile(image, None)
        return Tile(bare.pixels, _no_difference(why, other), bare.slice)
    size, index, name = image.shape[1:], None, ""
    if image.ndim == 4:
        coarse = (size[0], *(min(side, COARSE) for side in size[1:]))
        rough = np.abs(_topped(linear(second, coarse)) - _topped(linear(first, coarse)))
        index = int(rough.sum(axis=(1, 2)).argmax())
        name = _named(index, size[0])
        image = image[:, index]
    grey = greyscale(clean(image))
    change = _shares(second, size, index) - _shares(first, size, index)
    base = np.repeat(PALE[0] + (PALE[1] - PALE[0]) * grey[..., None], 3, axis=-1)
    colour = np.where(change[..., None] < 0.0, np.asarray(LOST), np.asarray(GAINED))
    opacity = STRENGTH * np.abs(change)[..., None] ** FADE
    drawn = np.array(picture(base * (1.0 - opacity) + colour * opacity))
    shown = linear(change, drawn.shape[:2])
    word = "" if float(np.abs(change).max()) > SAME else "no difference"
    for inside, ink in ((shown <= -OUTLINED, 0), (shown >= OUTLINED, 255)):
        drawn[_rim(inside)] = ink
    return Tile(Image.fromarray(drawn), word, name)


def _no_difference(*why: str) -> str:
    """Return what is written across the tile of two maps of which one or both cannot be compared."""
    words = {"no map": "missing", "blank": "blank", "not finite": "not finite"}
    found = [words[one] for one in why if one]
    if len(found) == 1:
        return f"one map is {found[0]}"
    return f"both maps are {found[0]}" if found[0] == found[1] else f"one map is {found[0]}, one {found[1]}"


def _rim(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the outermost pixels of a region; the picture's own edge counts as outside."""
    padded = np.pad(inside, 1)
    core = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    rim: NDArray[np.bool_] = inside & ~core
    return rim
