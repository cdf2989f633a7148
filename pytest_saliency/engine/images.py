"""Reading one image: from memory, or from a file as float32 pixels in [0, 1]."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from pytest_saliency.errors import CasesError, first_line, raised

EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".pgm", ".ppm", ".tif", ".tiff", ".webp")


class ImageSource(Protocol):
    """Hands out one image as float32 (C, *S) in [0, 1], and a digest of its content."""

    def load(self, case: str) -> Tensor:
        """Return the pixels; raises CasesError naming ``case``."""

    def digest(self, case: str) -> str:
        """Return the SHA-256 of the content in hex."""


@dataclass(frozen=True)
class ArrayImage:
    """An image held in memory."""

    pixels: Tensor

    def load(self, case: str) -> Tensor:
        return as_pixels(self.pixels, case)

    def digest(self, case: str) -> str:
        array = np.ascontiguousarray(self.pixels.detach().cpu().numpy())
        head = f"{array.dtype.str}{array.shape}".encode()
        return hashlib.sha256(head + array.tobytes()).hexdigest()


@dataclass(frozen=True)
class FileImage:
    """An image file, read by Pillow and handed out as three channels (16-bit greyscale keeps its depth)."""

    path: Path

    def load(self, case: str) -> Tensor:
        from PIL import Image, UnidentifiedImageError

        try:
            with Image.open(self.path) as image:
                if image.mode.startswith("I") or image.mode == "F":
                    return _deep_grey(np.asarray(image), case, self.path)
                array = np.array(image.convert("RGB"))
        except FileNotFoundError:
            raise self._missing(case) from None
        except (
            UnidentifiedImageError,
            OSError,
            SyntaxError,
            ValueError,
            Image.DecompressionBombError,
        ) as error:
            raise CasesError(
                f"image '{case}' cannot be read ({self.path}): {_reason(error)}. Repair or remove the file."
            ) from None
        return torch.from_numpy(array).permute(2, 0, 1).to(torch.float32).div_(255.0).contiguous()

    def size(self, case: str) -> tuple[int, int]:
        """Return height and width, from the head of the file alone; what is wrong with it is told as by ``load``."""
        from PIL import Image

        try:
            with Image.open(self.path) as image:
                width, height = image.size
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            _, height, width = self.load(case).shape
        return height, width

    def digest(self, case: str) -> str:
        try:
            with self.path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            raise self._missing(case) from None
        except OSError as error:
            raise CasesError(
                f"image '{case}' cannot be read ({self.path}): {error.strerror}. Mend its rights, or take the case out."
            ) from None

    def _missing(self, case: str) -> CasesError:
        return CasesError(
            f"image '{case}' is missing: there is no file {self.path}. Put it there, or take the case out."
        )


@dataclass(frozen=True)
class DatasetImage:
    """Item ``index`` of a map-style dataset that yields (image, label)."""

    fetch: Callable[[int], Any]
    index: int

    def load(self, case: str) -> Tensor:
        try:
            item = self.fetch(self.index)
        except Exception as error:
            raise CasesError(
                f"image '{case}' cannot be read: the dataset, asked for item {self.index}, {raised(error)}. Repair that"
                " item, or leave it out."
            ) from error
        image = item[0] if isinstance(item, tuple | list) else item
        if not isinstance(image, Tensor):
            if getattr(image, "mode", "L") in ("1", "P", "PA", "LA", "La", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"):
                image = image.convert("RGB")  # as files are read; palette indices and inks are not brightness
            array = np.asarray(image)
            if array.ndim == 3 and hasattr(image, "mode"):
                array = array.transpose(2, 0, 1)
            elif array.ndim == 2:
                array = array[None]
            image = torch.from_numpy(np.ascontiguousarray(array))
        return as_pixels(image, case)

    def digest(self, case: str) -> str:
        return ArrayImage(self.load(case)).digest(case)


def as_pixels(pixels: Tensor, case: str) -> Tensor:
    """Return float32 pixels in [0, 1]; uint8 is divided by 255, anything outside the range is refused."""
    if pixels.dtype == torch.uint8:
        return pixels.to(torch.float32) / 255.0
    if not pixels.is_floating_point():
        raise CasesError(f"image '{case}' has type {pixels.dtype}; pixels must be uint8, or floating point in [0, 1].")
    made = pixels.to(torch.float32)
    if not torch.isfinite(made).all():
        raise CasesError(f"image '{case}' holds NaN or infinite pixels. Repair or remove it.")
    low, high = float(made.min()), float(made.max())
    if low < 0.0 or high > 1.0:
        raise CasesError(
            f"image '{case}' has pixels from {low:g} to {high:g}; give them in [0, 1] and leave the normalisation"
            " to the subject's preprocess."
        )
    return made


def _deep_grey(array: np.ndarray[Any, Any], case: str, path: Path) -> Tensor:
    scaled = array.astype(np.float64)
    top = 1.0 if array.dtype.kind == "f" else 65535.0
    if scaled.size == 0 or not np.isfinite(scaled).all() or scaled.min() < 0 or scaled.max() > top:
        raise CasesError(f"image '{case}' ({path}) is deep greyscale outside 0 .. {top:g}; convert it to 8 or 16 bits.")
    grey = torch.from_numpy((scaled / top).astype(np.float32))
    return grey.unsqueeze(0).repeat(3, 1, 1)


def _reason(error: Exception) -> str:
    if type(error).__name__ == "UnidentifiedImageError":  # Pillow's own words only repeat the path
        return "it is not an image of a format that Pillow knows"
    return first_line(error)
