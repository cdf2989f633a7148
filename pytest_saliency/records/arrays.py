"""Named arrays as a file with a digest: the same arrays give the same bytes, and nothing in it can run."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_saliency.errors import SaliencyError
from pytest_saliency.records.whole import write_bytes_whole

if TYPE_CHECKING:
    from numpy.typing import NDArray


def pack_arrays(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return ``arrays`` as the bytes of an ``.npz``, in the order of their names."""
    import numpy as np

    held = io.BytesIO()
    np.savez_compressed(
        held, allow_pickle=False, **{name: np.ascontiguousarray(arrays[name]) for name in sorted(arrays)}
    )
    return held.getvalue()


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Write ``arrays`` whole to ``path`` and return what identifies the file: path, SHA-256, bytes."""
    content = pack_arrays(arrays)
    write_bytes_whole(path, content)
    return {"path": str(path), "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def read_arrays(path: Path, sha256: str | None = None) -> dict[str, NDArray[Any]]:
    """Return the arrays of an ``.npz``.

    Raises
    ------
    SaliencyError
        The file is not there, is not what ``sha256`` says, or is damaged.
    """
    import numpy as np

    try:
        content = path.read_bytes()
    except OSError as error:
        raise SaliencyError(f"the arrays in {path} cannot be read: {error.strerror or error}.") from error
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise SaliencyError(
            f"{path} is not the file that was written: its SHA-256 differs. Restore it or make it anew."
        )
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as held:
            return {name: held[name] for name in held.files}
    except (ValueError, OSError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise SaliencyError(f"{path} does not hold arrays as this package writes them: {error}.") from error
