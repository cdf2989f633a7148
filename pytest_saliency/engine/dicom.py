"""DICOM files as pixels in [0, 1]: modality LUT, window, photometric interpretation.

What is done in which order, by DICOM PS3.3: stored values (C.7.6.3) -> rescale slope and intercept or modality LUT
(C.11.1) -> VOI LUT or window (C.11.2) -> black and white turned round for MONOCHROME1. Colour is converted to RGB and
has no window. Nothing of a file but its image is read, unless :func:`value_of` is asked.
"""

from __future__ import annotations

import hashlib
import warnings
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pytest_saliency.engine.reading import FileReading, UnreadableError
from pytest_saliency.engine.windows import full_range, lookup, windowed
from pytest_saliency.errors import SaliencyError, first_line

Floats = NDArray[np.float64]
MARK = (128, b"DICM")
COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")  # pydicom hands all of them out as RGB
DECODERS = {
    "JPEG-LS": "pyjpegls",
    "High-Throughput JPEG": "pylibjpeg pylibjpeg-openjpeg",
    "JPEG 2000": "pylibjpeg pylibjpeg-openjpeg",
    "RLE": "numpy",
    "JPEG": "pylibjpeg pylibjpeg-libjpeg",
}


def looks_like_dicom(head: bytes) -> bool:
    """Tell by the mark after the preamble whether a file is DICOM."""
    start, mark = MARK
    return head[start : start + len(mark)] == mark


def read_dicom(file: BinaryIO, reading: FileReading) -> Tensor:
    """Return float32 pixels in [0, 1]: an image (3, H, W); a volume (1, D, H, W), of colours (3, D, H, W).

    Raises
    ------
    UnreadableError
        No DICOM, no image in it, no decoder for its compression, no window, or something this reader does not know.
    """
    data = _dataset(file)
    numbers, kind = _numbers(data)
    frames = int(data.get("NumberOfFrames", 1) or 1)
    if numbers.ndim == (3 if kind == "colour" else 2):
        numbers = numbers[None]
    if frames > 1 and not reading.volume:
        raise UnreadableError(
            f"has {frames} frames; declare 'volume: true' if they are the slices of a volume, or export one frame."
        )
    if frames == 1 and reading.volume:
        raise UnreadableError("holds one frame, but the contract declares 'volume: true'; give files of several.")
    if reading.white is not None:
        raise UnreadableError("is DICOM, for which 'white' has no meaning; declare dicom: {window: ...} instead.")
    if kind == "grey":
        made = np.stack([_grey(data, frame, number, reading) for number, frame in enumerate(numbers)])[None]
    else:
        made = (_palette(data, numbers) if kind == "palette" else _colour(data, numbers)).transpose(3, 0, 1, 2)
    low, high = float(made.min()), float(made.max())
    if low < 0.0 or high > 1.0:
        raise UnreadableError(
            f"gives pixels from {low:g} to {high:g} where 0 is black and 1 is white: its tables or pixels have more"
            " bits than it says; declare a window, or repair it."
        )
    pixels = torch.from_numpy(np.ascontiguousarray(made.astype(np.float32)))
    if reading.volume:
        return pixels
    return pixels[:, 0].expand(3, -1, -1).contiguous()


def size_of_dicom(file: BinaryIO) -> tuple[int, ...]:
    """Return (H, W), or (D, H, W) of several frames, from the head of the file."""
    data = _dataset(file, stop_before_pixels=True)
    frames, height, width = (int(data.get(key, 1) or 1) for key in ("NumberOfFrames", "Rows", "Columns"))
    return (frames, height, width) if frames > 1 else (height, width)


def value_of(file: BinaryIO, keyword: str) -> str | None:
    """Return the start of the SHA-256 of one entry of the file's head, so that the entry itself goes nowhere.

    None where the file has no such entry or an empty one.
    """
    with warnings.catch_warnings():  # pydicom's warnings of values that break its rules have the values in them
        warnings.simplefilter("ignore")
        value = str(_dataset(file, stop_before_pixels=True).get(keyword, "") or "").strip()
    return hashlib.sha256(f"{keyword}\x1f{value}".encode()).hexdigest()[:16] if value else None


def need_pydicom() -> Any:
    """Return pydicom.

    Raises
    ------
    SaliencyError
        It is not installed.
    """
    try:
        import pydicom
    except ImportError:
        raise SaliencyError(
            "reading DICOM needs pydicom, which is not installed; pip install 'pytest-saliency[dicom]'."
        ) from None
    return pydicom


def _dataset(file: BinaryIO, stop_before_pixels: bool = False) -> Any:
    pydicom = need_pydicom()
    head = file.read(256)
    file.seek(0)
    if not looks_like_dicom(head):
        raise UnreadableError("is not a DICOM file: its mark 'DICM' is missing; check the file, or its name.")
    try:
        return pydicom.dcmread(file, stop_before_pixels=stop_before_pixels)
    except Exception as error:  # a parser that meets damaged bytes may raise anything
        raise UnreadableError(f"is a damaged DICOM file: {first_line(error)}; repair or remove it.") from None


def _numbers(data: Any) -> tuple[NDArray[Any], str]:
    """Return the stored values and whether they are grey, indices of a palette, or colours (RGB last)."""
    present = [key for key in ("PixelData", "FloatPixelData", "DoubleFloatPixelData") if key in data]
    if not present:
        raise UnreadableError("is DICOM without an image (no pixel data); leave it out of the cases.")
    samples, photometric = int(data.get("SamplesPerPixel", 1) or 1), str(data.get("PhotometricInterpretation", ""))
    known = {"MONOCHROME1": "grey", "MONOCHROME2": "grey", "PALETTE COLOR": "palette"}
    kind = known.get(photometric) if samples == 1 else "colour" if photometric in COLOURS and samples == 3 else None
    if kind is None:
        raise UnreadableError(
            f"has the photometric interpretation '{photometric}' with {samples} samples a pixel, which is not read;"
            f" convert it to MONOCHROME2 or RGB."
        )
    _refuse_without_decoder(data)
    try:
        numbers: NDArray[Any] = data.pixel_array
    except Exception as error:  # as above: pixels that are cut off, codecs that fail
        raise UnreadableError(
            f"has pixel data that cannot be read: {first_line(error)}; repair or remove it."
        ) from None
    if present[0] != "PixelData":
        return numbers, kind
    stored, high = int(data.BitsStored), int(data.get("HighBit", data.BitsStored - 1))
    if high != stored - 1:
        raise UnreadableError(
            f"keeps {stored} bits below bit {high} instead of at the bottom, an old layout that is not read; convert."
        )
    if kind != "colour" and numbers.dtype.kind in "iu" and stored < 8 * numbers.dtype.itemsize:
        wide = numbers.astype(np.int64) & ((1 << stored) - 1)  # what lies above, overlays in old files, is no pixel
        if int(data.get("PixelRepresentation", 0)) == 1:
            wide = np.where(wide >= 1 << (stored - 1), wide - (1 << stored), wide)
        numbers = wide
    return numbers, kind


def _refuse_without_decoder(data: Any) -> None:
    from pydicom.pixels.decoders.base import get_decoder

    syntax = getattr(getattr(data, "file_meta", None), "TransferSyntaxUID", None)
    if syntax is None:
        raise UnreadableError("does not say its transfer syntax; write it anew with a DICOM tool.")
    if not syntax.is_compressed or syntax.is_deflated:
        return
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        raise UnreadableError(f"has the transfer syntax {syntax.name}, which is not read; decompress it.") from None
    if not available:
        package = next((package for word, package in DECODERS.items() if word in syntax.name), "python-gdcm")
        raise UnreadableError(
            f"is compressed as {syntax.name}, for which no decoder is installed; pip install {package}, or decompress"
            " the file."
        )


def _grey(data: Any, stored: NDArray[Any], frame: int, reading: FileReading) -> Floats:
    """Return one frame (H, W) in [0, 1]: modality LUT, window, and black and white as they are meant."""
    holder = _group(data, frame, "PixelValueTransformationSequence")
    slope, intercept = (
        float(holder.get(key, default)) for key, default in (("RescaleSlope", 1), ("RescaleIntercept", 0))
    )
    table = data.get("ModalityLUTSequence")
    values: Floats = stored.astype(np.float64)
    signed = int(data.get("PixelRepresentation", 0)) == 1
    if table:
        values, _ = lookup(values, table[0], signed, _order(data))
    else:
        values = values * slope + intercept
    if not np.isfinite(values).all():
        raise UnreadableError("holds NaN or infinite pixels; repair or remove it.")
    if reading.window == "full":
        made = full_range(values, data, slope, intercept, table[0] if table else None)
    elif reading.window == "file":
        made = _by_file(data, values, frame, not table and _goes_below_zero(data, slope, intercept, signed))
    else:
        made = windowed(values, *reading.window, reading.function)
    return 1.0 - made if data.PhotometricInterpretation == "MONOCHROME1" else made


def _goes_below_zero(data: Any, slope: float, intercept: float, signed: bool) -> bool:
    """Tell whether rescaled values may be negative: then the first value of a VOI LUT is signed (C.11.2.1.1)."""
    bits = int(data.get("BitsStored", 16))
    ends = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return any(slope * end + intercept < 0.0 for end in ends)


def _by_file(data: Any, values: Floats, frame: int, signed: bool) -> Floats:
    """Apply the file's VOI LUT, or the first of its windows where it has none."""
    tables = data.get("VOILUTSequence")
    if tables:
        made, top = lookup(values, tables[0], signed, _order(data))
        return made / top
    holder = _group(data, frame, "FrameVOILUTSequence")
    centre, width = (_first(holder.get(key)) for key in ("WindowCenter", "WindowWidth"))
    if centre is None or width is None:
        raise UnreadableError(
            "says no window; declare dicom: {window: full}, or the values to spread, dicom: {window: [center, width]}."
        )
    function = str(holder.get("VOILUTFunction", "") or "LINEAR").lower()
    if function not in ("linear", "linear_exact", "sigmoid"):
        raise UnreadableError(f"has the VOI LUT function '{function}', which is not known; declare a window.")
    return windowed(values, centre, width, function)


def _order(data: Any) -> str:
    return ">" if data.original_encoding[1] is False else "<"


def _first(value: Any) -> float | None:
    """Return the first of one or several numbers."""
    if value is None or value == "":
        return None
    if isinstance(value, str | int | float):
        return float(value)
    try:
        many = list(value)
    except TypeError:
        return float(value)
    return float(many[0]) if many else None


def _group(data: Any, frame: int, name: str) -> Any:
    """Return what holds a frame's values: its own group, the group that all frames share, or the file itself."""
    own, shared = data.get("PerFrameFunctionalGroupsSequence"), data.get("SharedFunctionalGroupsSequence")
    for item in ((own[frame] if own and frame < len(own) else None), (shared[0] if shared else None)):
        if item is not None and item.get(name):
            return item.get(name)[0]
    return data


def _colour(data: Any, numbers: NDArray[Any]) -> Floats:
    made: Floats = numbers.astype(np.float64) / (2.0 ** int(data.BitsStored) - 1.0)
    return made


def _palette(data: Any, numbers: NDArray[Any]) -> Floats:
    from pydicom.pixels.processing import apply_color_lut

    try:
        made = apply_color_lut(numbers, data)
    except Exception as error:  # tables of the wrong length, descriptors that are missing
        raise UnreadableError(f"has a palette that cannot be read: {first_line(error)}; convert it to RGB.") from None
    top = 2.0 ** int(data.RedPaletteColorLookupTableDescriptor[2]) - 1.0
    return np.asarray(made[..., :3], dtype=np.float64) / top
