"""One entry of the cache as a file: what it holds, how it is laid out, and how it is read without trusting it.

    magic, 8 bytes | format, 4 | length of the header, 4 | SHA-256 of the header, 32
    header: JSON with the key, the meta data, name, type and shape of each array, SHA-256 and length of the payload
    payload: the arrays, one after the other, row-major and little-endian

Every byte is covered: the first 48 by what they must be, the header by its digest, the payload by the one in the
header. There is no pickle in it, so that a cache that came from elsewhere can hold wrong numbers but run nothing.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from pytest_saliency.errors import SaliencyError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FORMAT = 1
MAGIC = b"\x93SALMAP\n"
PREFIX = struct.Struct("<8sII32s")
DTYPE = re.compile(r"(\|b1|\|[iu]1|<[iu][248]|<f[248]|<c(8|16)|\|S[1-9]\d{0,8}|<U[1-9]\d{0,8})")


@dataclass(frozen=True)
class Entry:
    """What was stored: named arrays, which the caller may write to, and meta data as JSON has them."""

    arrays: dict[str, NDArray[Any]]
    meta: dict[str, Any]


class DamagedEntryError(Exception):
    """A file is not a whole entry of this format and key; the message says why."""


class Packed:
    """An entry ready to be written: the bytes before the payload, and the arrays the payload is made of."""

    def __init__(self, key: str, arrays: Mapping[str, NDArray[Any]], meta: Mapping[str, Any]) -> None:
        self._arrays = {name: _little_endian(name, array) for name, array in arrays.items()}
        made = hashlib.sha256()
        for piece in self._pieces():
            made.update(piece)
        header = {
            "key": key,
            "meta": dict(meta),
            "arrays": [[name, array.dtype.str, list(array.shape)] for name, array in self._arrays.items()],
            "sha256": made.hexdigest(),
            "length": sum(array.nbytes for array in self._arrays.values()),
        }
        try:
            text = json.dumps(header, allow_nan=False).encode("ascii")
        except (TypeError, ValueError) as error:
            raise SaliencyError(
                f"the meta data of a cache entry cannot be written as JSON: {error}. Give text, finite numbers, lists"
                " and mappings."
            ) from error
        self._head = PREFIX.pack(MAGIC, FORMAT, len(text), hashlib.sha256(text).digest()) + text
        self.size: int = len(self._head) + sum(array.nbytes for array in self._arrays.values())

    def write(self, file: BinaryIO) -> None:
        """Write the entry, and have it on the disk before this returns."""
        file.write(self._head)
        for piece in self._pieces():
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())

    def _pieces(self) -> Iterator[memoryview]:
        for array in self._arrays.values():
            if array.nbytes:  # a memoryview cannot be cast where a side is zero
                yield _bytes_of(array)


def read_entry(file: BinaryIO, key: str) -> Entry:
    """Read the entry of ``key``; nothing is allocated that the length of the file does not bear out.

    Raises
    ------
    DamagedEntryError
        The file is cut short, changed, of another format, or belongs to another key.
    OSError
        The file cannot be read.
    """
    size = os.fstat(file.fileno()).st_size
    prefix = file.read(PREFIX.size)
    if len(prefix) < PREFIX.size:
        raise DamagedEntryError("it is cut short")
    magic, version, length, digest = PREFIX.unpack(prefix)
    if magic != MAGIC:
        raise DamagedEntryError("it is not an entry of this cache")
    if version != FORMAT:
        raise DamagedEntryError(f"it has format {version}, not {FORMAT}")
    if length > size - PREFIX.size:
        raise DamagedEntryError("it is cut short")
    text = file.read(length)
    if hashlib.sha256(text).digest() != digest:
        raise DamagedEntryError("its header is damaged")
    try:
        header = json.loads(text)
        found, meta = header["key"], dict(header["meta"])
        layout = [(str(name), _dtype(dtype), _shape(shape)) for name, dtype, shape in header["arrays"]]
    except (ValueError, TypeError, KeyError, RecursionError):  # a right digest over a header nothing here writes
        raise DamagedEntryError("its header is not understood") from None
    if found != key:
        raise DamagedEntryError("it belongs to another computation")
    expected = sum(dtype.itemsize * math.prod(shape) for _, dtype, shape in layout)
    if expected != header.get("length") or expected != size - PREFIX.size - length:
        raise DamagedEntryError("its length is wrong")
    made = hashlib.sha256()
    arrays: dict[str, NDArray[Any]] = {}
    for name, dtype, shape in layout:
        arrays[name] = array = _empty(shape, dtype)
        if array.nbytes:
            piece = _bytes_of(array)
            _fill(file, piece)
            made.update(piece)
    if made.hexdigest() != header.get("sha256"):
        raise DamagedEntryError("its content is damaged")
    return Entry(arrays, meta)


def _little_endian(name: str, array: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    made = np.asarray(array)
    if made.dtype.itemsize == 0:
        made = made.astype(made.dtype.kind + "1")  # text of no length at all, which numpy cannot make again
    made = np.asarray(made, dtype=made.dtype.newbyteorder("<"), order="C")
    if not DTYPE.fullmatch(made.dtype.str):
        raise SaliencyError(
            f"array '{name}' of type {made.dtype} cannot be kept in the cache; give booleans, numbers or text."
        )
    return made


def _empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    import numpy as np

    try:
        return np.empty(shape, dtype)
    except ValueError:  # more sides than numpy has, or a huge one beside a side of zero
        raise DamagedEntryError("its header is not understood") from None


def _bytes_of(array: NDArray[Any]) -> memoryview:
    import numpy as np

    return array.reshape(-1).view(np.uint8).data


def _dtype(text: object) -> np.dtype[Any]:
    import numpy as np

    if not isinstance(text, str) or not DTYPE.fullmatch(text):
        raise ValueError(text)
    return np.dtype(text)


def _shape(sides: list[object]) -> tuple[int, ...]:
    made = tuple(side for side in sides if isinstance(side, int) and side >= 0)
    if len(made) != len(sides):
        raise ValueError(sides)
    return made


def _fill(file: BinaryIO, piece: memoryview) -> None:
    done = 0
    while done < len(piece):
        got = file.readinto(piece[done:])  # type: ignore[attr-defined]  # typeshed has it on the classes, not here
        if not got:
            raise DamagedEntryError("it is cut short")
        done += got
