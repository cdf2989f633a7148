"""Values of a DICOM image spread over black to white, in [0, 1]: windows and tables of DICOM PS3.3 C.11."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_saliency.engine.reading import UnreadableError

Floats = NDArray[np.float64]


def windowed(values: Floats, centre: float, width: float, function: str) -> Floats:
    """Return ``values`` through a window: C.11.2.1.2.1 (linear), C.11.2.1.3.1 (sigmoid), C.11.2.1.3.2 (linear_exact).

    Raises
    ------
    UnreadableError
        A width that the standard does not allow.
    """
    least = 1.0 if function == "linear" else 0.0
    if not np.isfinite([centre, width]).all() or width < least or width == 0.0:
        raise UnreadableError(
            f"has a window of width {width:g} around {centre:g}, which the function {function} cannot use; declare a"
            " window."
        )
    if function == "sigmoid":
        with np.errstate(over="ignore"):
            return np.asarray(1.0 / (1.0 + np.exp(-4.0 * (values - centre) / width)))
    if function == "linear":  # whole numbers: the window ends in the middle of its last values
        centre, width = centre - 0.5, width - 1.0
    low, high = centre - width / 2.0, centre + width / 2.0
    inner = (values - centre) / width + 0.5 if width > 0.0 else np.zeros_like(values)
    return np.where(values <= low, 0.0, np.where(values > high, 1.0, inner))


def lookup(values: Floats, table: Any, signed: bool, order: str = "<") -> tuple[Floats, float]:
    """Return ``values`` through a table of the file (C.11.1.1.1, C.11.2.1.1), and the largest value it could give.

    ``order`` is the byte order of the file, ``<`` or ``>``.

    Raises
    ------
    UnreadableError
        A table that is shorter than its descriptor says, or not described at all.
    """
    try:
        length, first, bits = (int(number) for number in table.LUTDescriptor)
        data = table.LUTData
    except (AttributeError, TypeError, ValueError):
        raise UnreadableError("has a lookup table without descriptor or data; repair or remove it.") from None
    length = length or 65536
    if signed and first > 32767:  # a signed first value, written in an unsigned field
        first -= 65536
    if isinstance(data, bytes):
        entries = np.frombuffer(data, dtype=f"{order}u2" if len(data) >= 2 * length else "u1")
    else:
        entries = np.atleast_1d(np.asarray(data)).astype(np.int64) & 0xFFFF
    if len(entries) < length or not 1 <= bits <= 16:
        raise UnreadableError(f"has a lookup table of {len(entries)} entries that declares {length}; repair it.")
    places = np.clip(np.round(values).astype(np.int64) - first, 0, length - 1)
    return entries[:length].astype(np.float64)[places], float(2**bits - 1)


def full_range(values: Floats, data: Any, slope: float, intercept: float, table: Any | None) -> Floats:
    """Return ``values`` spread from the least to the largest that the file's bits could hold.

    Raises
    ------
    UnreadableError
        Floating-point pixels, which have no such range.
    """
    if table is not None:
        return values / float(2 ** int(table.LUTDescriptor[2]) - 1)
    if "PixelData" not in data:
        raise UnreadableError("holds floating-point pixels, which have no full range; declare a window.")
    bits = int(data.BitsStored)
    signed = int(data.get("PixelRepresentation", 0)) == 1
    ends = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    low, high = sorted(slope * end + intercept for end in ends)
    if high == low:
        raise UnreadableError(f"has a rescale slope of {slope:g}, which makes all pixels alike; repair it.")
    return (values - low) / (high - low)
