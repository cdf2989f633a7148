"""Images in .npy files: one array a file."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np

from pytest_saliency.engine.reading import Stored, UnreadableError
from pytest_saliency.errors import first_line

CHANNELS = (1, 2, 3, 4)
SORTS = "bool, uint8, uint16 or floating point"


def read_numpy(file: BinaryIO, volume: bool) -> Stored:
    """Return (H, W) as three equal channels, (C, H, W) as it is, and of volumes (D, H, W) or (C, D, H, W).

    Raises
    ------
    UnreadableError
        No array of numbers, of another type, or of a shape that is no image with its channels first.
    """
    try:
        array = np.load(file, allow_pickle=False)
    except Exception as error:  # a head that is damaged is read as Python, which may raise anything
        if "allow_pickle" in str(error):
            raise UnreadableError(
                "holds Python objects, which are not read because that would run code; save an array of numbers."
            ) from None
        raise UnreadableError(f"cannot be read as .npy: {first_line(error)}; write it anew with numpy.save.") from None
    if not isinstance(array, np.ndarray):  # .npz under the name of .npy
        raise UnreadableError("is an archive of arrays (.npz), not one array; write it with numpy.save.")
    shape = tuple(array.shape)
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * 255
    if array.dtype.kind == "f":
        top = 1.0
    elif array.dtype in (np.dtype("u1"), np.dtype("u2"), np.dtype(">u2")):
        top = float(np.iinfo(array.dtype).max)
    else:
        raise UnreadableError(f"has the type {array.dtype}; pixels must be {SORTS}.")
    if volume:
        if array.ndim == 3:
            return Stored(array[None], top)
        if array.ndim == 4 and shape[0] in CHANNELS:
            return Stored(array, top)
        raise UnreadableError(f"has shape {shape}; a volume is (D, H, W) or, channels first, (C, D, H, W).")
    if array.ndim == 2:
        return Stored(np.repeat(array[None], 3, axis=0), top)
    if array.ndim == 3 and shape[0] in CHANNELS:
        return Stored(array, top)
    hint = "; declare 'volume: true' if it is a volume" if array.ndim in (3, 4) else ""
    raise UnreadableError(f"has shape {shape}; an image is (H, W) or, channels first, (C, H, W){hint}.")
