"""Per-image columns as arrays and back: what a baseline's ``.npz`` holds."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_saliency.errors import SaliencyError
from pytest_saliency.records.hashing import to_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

IDS, COLUMN, MAP = "ids", "column/", "map/"


def ids_digest(ids: Sequence[Any]) -> str:
    """Return a SHA-256 over ids in their order."""
    return hashlib.sha256(to_json([str(one) for one in ids]).encode()).hexdigest()


def arrays_of(per_image: Mapping[str, Sequence[Any]], maps: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return columns and maps (n, ...) as named arrays; None becomes NaN, rows of unequal length are filled with it."""
    import numpy as np

    made = {IDS: np.asarray([str(one) for one in per_image["id"]], dtype=np.str_)}
    made |= {f"{COLUMN}{name}": _array(values) for name, values in per_image.items() if name != "id"}
    made |= {f"{MAP}{name}": np.asarray(values, dtype=np.float32) for name, values in maps.items()}
    return made


def columns_from(arrays: Mapping[str, NDArray[Any]], where: str, ids_sha256: str) -> dict[str, list[Any]]:
    """Return the columns as a record has them, in the order of the ids.

    Raises
    ------
    SaliencyError
        The arrays do not fit together, or are of other images.
    """
    from pytest_saliency.decide.decision import plain

    if IDS not in arrays or arrays[IDS].ndim != 1 or arrays[IDS].dtype.kind != "U":
        raise SaliencyError(f"{where} holds no list of image ids, so it is not a baseline's; make it anew.")
    ids = [str(one) for one in arrays[IDS]]
    if ids_digest(ids) != ids_sha256 or len(set(ids)) != len(ids):
        raise SaliencyError(f"{where} holds other images than its entry says; restore both files, or make them anew.")
    columns: dict[str, list[Any]] = {"id": ids}
    for name, values in arrays.items():
        if name == IDS:
            continue
        if values.ndim == 0 or len(values) != len(ids):
            raise SaliencyError(
                f"{where}: {name} has the shape {values.shape}, and there are {len(ids)} images; make it anew."
            )
        if name.startswith(COLUMN):
            if values.dtype.kind not in "biufU" or values.ndim > 2:
                raise SaliencyError(
                    f"{where}: {name} is of type {values.dtype} and shape {values.shape}; make it anew."
                )
            columns[name.removeprefix(COLUMN)] = plain(values)
    return columns


def maps_from(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the maps (n, *grid) by name."""
    return {name.removeprefix(MAP): values for name, values in arrays.items() if name.startswith(MAP)}


def _array(values: Sequence[Any]) -> NDArray[Any]:
    import numpy as np

    known = [value for value in values if value is not None]
    if known and all(isinstance(value, list | tuple) for value in known):
        width = max(len(row) for row in known)
        table = np.full((len(values), width), np.nan)
        for i, row in enumerate(values):
            if row is not None:
                table[i, : len(row)] = [np.nan if value is None else value for value in row]
        return table
    if known and all(isinstance(value, str) for value in known):
        return np.asarray(["" if value is None else value for value in values], dtype=np.str_)
    if len(known) == len(values) and all(isinstance(value, bool) for value in values):
        return np.asarray(values, dtype=np.bool_)
    if len(known) == len(values) and all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        return np.asarray(values, dtype=np.int64)
    return np.asarray([np.nan if value is None else float(value) for value in values], dtype=np.float64)
