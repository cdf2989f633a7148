"""Maps and pictures of a run: left out of a bundle, or copied into it under names of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_saliency.errors import SaliencyError
from pytest_saliency.evidence.layout import MAPS, PICTURES, safe_name

SUFFIXES = {"image/png": ".png", "image/jpeg": ".jpg"}


def left_out(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document without pictures, galleries and maps."""
    records = [{**record, "pictures": [], "gallery": [], "maps": None} for record in document["records"]]
    return {**document, "records": records}


def taken_in(document: Mapping[str, Any], root: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return the document with paths into the bundle, and the files at those paths.

    Raises
    ------
    SaliencyError
        A file that a record names is not there, or is not what the run wrote.
    """
    files: dict[str, bytes] = {}
    records = []
    for place, record in enumerate(document["records"]):
        name = safe_name(f"{place:03d}-{record.get('node') or record.get('check')}")
        gallery = []
        for row_number, row in enumerate(record.get("gallery") or ()):
            tiles = []
            for number, tile in enumerate(row["tiles"]):
                path = f"{PICTURES}/{name}/{row_number:02d}-{number}{SUFFIXES.get(tile['media'], '.png')}"
                files[path] = _content(root / tile["path"], tile["sha256"])
                tiles.append({**tile, "path": path})
            gallery.append({**row, "tiles": tiles})
        pictures = []
        for number, picture in enumerate(record.get("pictures") or ()):
            path = f"{PICTURES}/{name}-{number}.png"
            files[path] = _content(root / picture, None)
            pictures.append(path)
        maps = record.get("maps")
        if maps:
            path = f"{MAPS}/{name}.npz"
            files[path] = _content(root / maps["path"], maps["sha256"])
            maps = {**maps, "path": path}
        records.append({**record, "pictures": pictures, "gallery": gallery, "maps": maps})
    return {**document, "records": records}, files


def _content(path: Path, sha256: str | None) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SaliencyError(
            f"{path} belongs into the evidence bundle and cannot be read: {error.strerror or error}. Run the checks"
            " again."
        ) from None
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise SaliencyError(
            f"{path} belongs into the evidence bundle and is not what this run wrote: its SHA-256 differs. Something"
            " else writes there; run the checks again alone."
        )
    return content
