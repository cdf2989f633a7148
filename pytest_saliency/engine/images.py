"""Reading one image: from memory, or from a file as float32 pixels in [0, 1]."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import torch
from torch import Tensor

from pytest_saliency.engine.dicom import looks_like_dicom, read_dicom, size_of_dicom, value_of
from pytest_saliency.engine.numpy_file import read_numpy
from pytest_saliency.engine.pictures import read_picture, size_of_picture
from pytest_saliency.engine.reading import FileReading, UnreadableError
from pytest_saliency.errors import CasesError, SaliencyError, first_line, raised

PICTURES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".pgm", ".ppm", ".tif", ".tiff", ".webp")
DICOM_ENDINGS = (".dcm", ".dicom")
EXTENSIONS = (*PICTURES, *DICOM_ENDINGS, ".npy")
HEAD = 132  # bytes by which a file without a known ending is told
READ_AS_IT_IS = FileReading()


def files_below(folder: Path) -> list[Path]:
    """Return all files below a folder in order; links to folders are followed, unless they lead back up."""
    found: list[Path] = []
    seen: dict[str, tuple[str, ...]] = {str(folder): (os.path.realpath(folder),)}
    for top, folders, names in os.walk(folder, followlinks=True):
        above = seen.pop(top)
        real = {name: os.path.realpath(os.path.join(top, name)) for name in folders}  # noqa: PTH118
        folders[:] = [
            name for name in folders if not any(f"{one}{os.sep}".startswith(f"{real[name]}{os.sep}") for one in above)
        ]
        seen |= {os.path.join(top, name): (*above, real[name]) for name in folders}  # noqa: PTH118
        found += [Path(top, name) for name in names]
    return sorted(path for path in found if path.is_file())


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
    """An image file, read anew whenever it is needed; what stands in ``reading`` is part of its content."""

    path: Path
    reading: FileReading = READ_AS_IT_IS

    def load(self, case: str) -> Tensor:
        with self._open(case) as file:
            return decoded(file, self.path.suffix, self.reading, case, str(self.path))

    def size(self, case: str) -> tuple[int, ...]:
        """Return the size (H, W) or (D, H, W), where possible from the head alone; errors are those of ``load``."""
        with self._open(case) as file:
            sort = _sort(file, self.path.suffix)
            if (sort == "picture" and not self.reading.volume) or sort == "dicom":
                with suppress(Exception):
                    return size_of_dicom(file) if sort == "dicom" else size_of_picture(file)
        return tuple(self.load(case).shape[1:])

    def digest(self, case: str) -> str:
        with self._open(case) as file:
            try:
                content = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
            except OSError as error:
                raise self._closed(case, error) from None
        told = self.reading.told()
        return hashlib.sha256(f"{content}\x1f{told}".encode()).hexdigest() if told else content

    def entry(self, case: str, keyword: str) -> str | None:
        """Return a digest of an entry of a DICOM file's head; None where it has none or an empty one."""
        with self._open(case) as file:
            try:
                return value_of(file, keyword)
            except UnreadableError as error:
                raise CasesError(f"image '{case}' ({self.path}) {error}") from None

    def _open(self, case: str) -> BinaryIO:
        try:
            return self.path.open("rb")
        except FileNotFoundError:
            raise CasesError(
                f"image '{case}' is missing: there is no file {self.path}. Put it there, or take the case out."
            ) from None
        except OSError as error:
            raise self._closed(case, error) from None

    def _closed(self, case: str, error: OSError) -> CasesError:
        return CasesError(
            f"image '{case}' cannot be read ({self.path}): {error.strerror}. Mend its rights, or take the case out."
        )


@dataclass(frozen=True)
class BytesImage:
    """An image file's content, handed out by ``fetch(index)`` whenever it is needed."""

    fetch: Callable[[int], bytes]
    index: int
    reading: FileReading = READ_AS_IT_IS

    def load(self, case: str) -> Tensor:
        return decoded(BytesIO(self._content(case)), "", self.reading, case, f"item {self.index}")

    def digest(self, case: str) -> str:
        content, told = hashlib.sha256(self._content(case)).hexdigest(), self.reading.told()
        return hashlib.sha256(f"{content}\x1f{told}".encode()).hexdigest() if told else content

    def _content(self, case: str) -> bytes:
        try:
            return self.fetch(self.index)
        except Exception as error:
            raise CasesError(
                f"image '{case}' cannot be read: the dataset, asked for item {self.index}, {raised(error)}. Repair that"
                " item, or leave it out."
            ) from error


def image_file(path: Path, reading: FileReading | None = None) -> FileImage:
    """Return the image in a file, which is opened when it is needed; ``reading`` says what the file does not."""
    return FileImage(path, reading or READ_AS_IT_IS)


def decoded(file: BinaryIO, suffix: str, reading: FileReading, case: str, place: str) -> Tensor:
    """Return the pixels of a file, float32 in [0, 1]; ``case`` and ``place`` name it in errors.

    Raises
    ------
    CasesError
        The file is no image, or not of the sort that its name says, or has what ``reading`` does not expect.
    """
    sort = _sort(file, suffix)
    try:
        if sort == "dicom":
            return read_dicom(file, reading)
        found = read_numpy(file, reading.volume) if sort == "numpy" else read_picture(file, reading.volume)
        return found.pixels(reading.white)
    except UnreadableError as error:
        raise CasesError(f"image '{case}' ({place}) {error}") from None
    except SaliencyError:  # pydicom is not installed
        raise
    except Exception as error:  # a parser that meets damaged bytes may raise anything
        file.seek(0)
        dicom = sort == "picture" and looks_like_dicom(file.read(HEAD))
        named = ", but DICOM; give it the ending .dcm" if dicom else ""
        raise CasesError(
            f"image '{case}' cannot be read ({place}): {_reason(error)}{named}. Repair or remove the file."
        ) from None


def _sort(file: BinaryIO, suffix: str) -> str:
    """Return how a file is read: by its ending where that is known, otherwise by how it begins."""
    ending = suffix.lower()
    if ending in DICOM_ENDINGS:
        return "dicom"
    if ending == ".npy":
        return "numpy"
    if ending in PICTURES:
        return "picture"
    head = file.read(HEAD)
    file.seek(0)
    return "dicom" if looks_like_dicom(head) else "numpy" if head.startswith(b"\x93NUMPY") else "picture"


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
            if array.dtype.kind not in "biuf":
                raise CasesError(f"image '{case}' is an array of {array.dtype}; pixels are numbers.")
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


def _reason(error: Exception) -> str:
    if type(error).__name__ == "UnidentifiedImageError":  # Pillow's own words only repeat the path
        return "it is not an image of a format that Pillow knows"
    return first_line(error)
