"""SHA-256 of files, and JSON in one spelling so that equal content has equal bytes."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CHUNK = 1 << 20


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal, read in pieces so that size does not matter."""
    made = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            made.update(piece)
    return made.hexdigest()


def plain_json(value: object) -> Any:
    """Return ``value`` with every number JSON has no word for (NaN, infinities) as None, and keys as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): plain_json(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain_json(entry) for entry in value]
    return value


def to_json(value: object, indent: int | None = None) -> str:
    """Return ``value`` as JSON with sorted keys and None for NaN; the same content gives the same text."""
    return json.dumps(plain_json(value), sort_keys=True, indent=indent, ensure_ascii=False, allow_nan=False)
