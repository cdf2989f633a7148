"""Masks of cases: which pixels of an image count as inside, one mask an image, from memory or from a file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import torch
from torch import Tensor

from pytest_saliency.engine.images import PICTURES, files_below
from pytest_saliency.errors import CasesError, first_line, raised

NEEDED = (
    "Give one an image: masks= of Cases.from_arrays or Cases.from_imagefolder, 'masks' beside 'imagefolder' in a"
    " contract, 'mask' among the 'columns' of a csv, or an array 'masks' in an npz file."
)
LOSSY = ("JPEG", "WEBP")
ENDINGS = (*PICTURES, ".npy")


class MaskSource(Protocol):
    """Hands out one mask as bool (*S), and a digest of its content."""

    def load(self, case: str) -> Tensor:
        """Return True where a pixel is inside; raises CasesError naming ``case``."""

    def digest(self, case: str) -> str:
        """Return the SHA-256 of the content in hex."""


@dataclass(frozen=True)
class ArrayMask:
    """A mask held in memory, bool (*S)."""

    inside: Tensor

    def load(self, case: str) -> Tensor:
        return self.inside

    def digest(self, case: str) -> str:
        array = np.ascontiguousarray(self.inside.cpu().numpy())
        return hashlib.sha256(f"mask{array.shape}".encode() + np.packbits(array).tobytes()).hexdigest()


@dataclass(frozen=True)
class FileMask:
    """A mask in an image or .npy file: what is not black is inside, and what is transparent is outside."""

    path: Path

    def load(self, case: str) -> Tensor:
        try:
            with self.path.open("rb") as file:
                return _inside(file, self.path.suffix, case, str(self.path))
        except FileNotFoundError:
            raise CasesError(
                f"the mask of image '{case}' is missing: there is no file {self.path}. Put it there, or take the case"
                " out."
            ) from None
        except OSError as error:
            raise CasesError(
                f"the mask of image '{case}' cannot be read ({self.path}): {error.strerror}. Mend its rights, or take"
                " the case out."
            ) from None

    def digest(self, case: str) -> str:
        try:
            with self.path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise CasesError(
                f"the mask of image '{case}' cannot be read ({self.path}): {error.strerror}. Put it there, mend its"
                " rights, or take the case out."
            ) from None


@dataclass(frozen=True)
class BytesMask:
    """A mask as the content of an image file, handed out by ``fetch(index)`` whenever it is needed."""

    fetch: Callable[[int], bytes]
    index: int

    def load(self, case: str) -> Tensor:
        return _inside(BytesIO(self._content(case)), "", case, f"row {self.index}")

    def digest(self, case: str) -> str:
        return hashlib.sha256(self._content(case)).hexdigest()

    def _content(self, case: str) -> bytes:
        try:
            return self.fetch(self.index)
        except Exception as error:
            raise CasesError(
                f"the mask of image '{case}' cannot be read: the dataset, asked for row {self.index}, {raised(error)}."
                " Repair that row, or leave it out."
            ) from error


def _inside(file: BinaryIO, suffix: str, case: str, place: str) -> Tensor:
    """Return where a mask file is neither black nor transparent; ``case`` and ``place`` name it in errors."""
    from PIL import Image, UnidentifiedImageError

    kept = ""
    try:
        if suffix.lower() == ".npy":
            shades, opaque = _array(file), np.ones((), dtype=np.bool_)
        else:
            with Image.open(file) as image:
                kept = image.format or ""
                if image.mode.startswith(("I", "F")):
                    shades = np.asarray(image, dtype=np.float64)
                    opaque = np.ones(shades.shape, dtype=np.bool_)
                else:
                    pixels = np.asarray(image.convert("RGBA"))
                    shades, opaque = pixels[..., :3].max(axis=2).astype(np.float64), pixels[..., 3] > 0
    except Exception as error:  # a parser that meets damaged bytes may raise anything
        unknown = isinstance(error, UnidentifiedImageError)
        reason = "it is not an image of a format that Pillow knows" if unknown else first_line(error)
        raise CasesError(
            f"the mask of image '{case}' cannot be read ({place}): {reason}. Repair or remove the file."
        ) from None
    if not np.isfinite(shades).all():
        raise CasesError(f"the mask of image '{case}' ({place}) holds NaN or infinite pixels; write it anew.")
    # Lossy compression leaves faint grey around every edge, which would all count as inside.
    if kept in LOSSY and len(np.unique(shades)) > 2:
        raise CasesError(
            f"the mask of image '{case}' ({place}) is not binary: it is a {kept} file with shades of grey, as"
            " its compression leaves them; save masks as PNG, black outside and white inside."
        )
    return torch.from_numpy((shades != 0.0) & opaque)


def _array(file: BinaryIO) -> np.ndarray[Any, Any]:
    found = np.load(file, allow_pickle=False)
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "biuf":
        raise ValueError("it is not one array of numbers")
    return found.astype(np.float64)


def array_masks(masks: Any, ids: Sequence[str], sizes: Sequence[tuple[int, ...]], source: str) -> tuple[ArrayMask, ...]:
    """Return masks from arrays (*S) of bool or of zeros and ones; ``sizes`` are the spatial sizes of the images.

    Raises
    ------
    CasesError
        Not one mask an image, another size than the image, or other values than 0 and 1.
    """
    try:
        given = [mask if isinstance(mask, Tensor) else torch.as_tensor(np.array(mask)) for mask in masks]
    except (TypeError, ValueError) as error:
        raise CasesError(
            f"masks of {source} are no arrays of numbers ({first_line(error)}); give one array of 0 and 1 an image."
        ) from None
    if len(given) != len(ids):
        raise CasesError(f"{source} has {len(ids)} ids but {len(given)} masks; give one each.")
    made = []
    for case, size, mask in zip(ids, sizes, given, strict=True):
        same_size(case, tuple(mask.shape), size)
        inside = mask.detach().to(torch.bool)
        if mask.dtype != torch.bool and not torch.equal(inside.to(mask.dtype), mask):
            other = mask[mask != inside.to(mask.dtype)].flatten()[0].item()
            raise CasesError(
                f"the mask of image '{case}' is not binary: it holds {other:g}; masks are bool, or 0 outside and 1"
                " inside."
            )
        made.append(ArrayMask(inside.clone()))
    return tuple(made)


def folder_masks(folder: Path, paths: Sequence[Path], ids: Sequence[str]) -> tuple[FileMask, ...]:
    """Return masks from the files below ``folder`` with the relative paths of the images, whatever their extension.

    Raises
    ------
    CasesError
        There is no such folder, an image has no mask, or more than one file could be its mask.
    """
    if not folder.is_dir():
        raise CasesError(f"folder of masks {folder} does not exist or is not a folder; check the path.")
    by_stem: dict[Path, list[Path]] = {}
    for path in files_below(folder):
        if path.suffix.lower() in ENDINGS:
            by_stem.setdefault(path.relative_to(folder).with_suffix(""), []).append(path)
    images: dict[Path, int] = {}
    for path in paths:
        images[path.with_suffix("")] = images.get(path.with_suffix(""), 0) + 1
    missing = [case for case, path in zip(ids, paths, strict=True) if path.with_suffix("") not in by_stem]
    if missing:
        more = f" (nor have {len(missing) - 1} more images)" if len(missing) > 1 else ""
        raise CasesError(
            f"image '{missing[0]}' has no mask in {folder}{more}; expected a file with the image's own relative path,"
            " of any image format."
        )
    made = []
    for case, path in zip(ids, paths, strict=True):
        found = by_stem[path.with_suffix("")]
        exact = [one for one in found if one == folder / path]
        if not exact and (len(found) > 1 or images[path.with_suffix("")] > 1):
            names = ", ".join(one.relative_to(folder).as_posix() for one in found)
            raise CasesError(
                f"it is not clear which file in {folder} is the mask of image '{case}': {names} could be; give the mask"
                " the image's own file name."
            )
        made.append(FileMask((exact or found)[0]))
    return tuple(made)


def same_size(case: str, mask: tuple[int, ...], image: tuple[int, ...]) -> None:
    """Raise CasesError unless a mask has the spatial size of its image."""
    if mask != image:
        got, wanted = ("x".join(map(str, size)) or "a single number" for size in (mask, image))
        raise CasesError(
            f"the mask of image '{case}' is {got}, but the image is {wanted}; masks have the size of their image,"
            " before the subject's resize and crop."
        )
