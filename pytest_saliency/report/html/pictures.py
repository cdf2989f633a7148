"""Pictures in the report: read from below one folder only, held against their SHA-256, embedded as data."""

from __future__ import annotations

import base64
import hashlib
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from markupsafe import Markup

from pytest_saliency.errors import SaliencyError
from pytest_saliency.report.html.text import name

ReadPicture = Callable[[str], bytes | None]

LARGEST = 8 << 20
"""Bytes of the largest picture that is embedded; a tile has a few thousand."""
LARGEST_SIDE = 4096
SIGNATURES = {"image/png": b"\x89PNG\r\n\x1a\n", "image/jpeg": b"\xff\xd8\xff"}
IMAGES = ("failed", "all", "none")


@dataclass(frozen=True)
class Shown:
    """A tile in the report: ``source`` is a data URI, or "" where ``problem`` says why there is no picture."""

    title: str
    alt: str
    word: str
    slice: str
    source: Markup | str
    width: int | None
    height: int | None
    problem: str


def pictures_below(folder: Path, *also: Path) -> ReadPicture:
    """Return a function that reads a picture at a path relative to ``folder``; None where there is no such file.

    Absolute paths are read below one of ``also`` only, folders that this program itself writes pictures to. Whatever
    leads out of these folders, over ``..`` or a link, raises ``SaliencyError`` and is not touched.
    """
    root = folder.resolve()
    others = tuple(one.resolve() for one in also)

    def read(path: str) -> bytes | None:
        parts = PurePosixPath(path)
        windows = PureWindowsPath(path)
        within: tuple[Path, ...] = (root,)
        if parts.is_absolute():
            within = others
        elif windows.drive or windows.root or "\\" in path:
            raise SaliencyError("its path is not one below the folder of the pictures")
        if not path or "\0" in path or ".." in parts.parts:
            raise SaliencyError("its path leads out of the folder of the pictures")
        return _read_within(Path(path) if parts.is_absolute() else root / path, within)

    return read


def _read_within(path: Path, folders: tuple[Path, ...]) -> bytes | None:
    if not folders:
        raise SaliencyError("its path leads out of the folder of the pictures")
    try:
        real = path.resolve()
        if not any(real.is_relative_to(folder) for folder in folders):
            raise SaliencyError("its path leads out of the folder of the pictures")
        status = real.stat()
        if not stat.S_ISREG(status.st_mode):
            raise SaliencyError("it is not a file")
        if status.st_size > LARGEST:
            raise SaliencyError(f"it is larger than {LARGEST >> 20} MB")
        return real.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise SaliencyError(f"it cannot be read ({reason})") from None


def shown_tile(tile: Mapping[str, Any], read: ReadPicture) -> Shown:
    """Return a tile with its picture, or with the sentence that says why there is none."""
    path = str(tile.get("path") or "")
    source: Markup | str = ""
    problem = ""
    try:
        source = _data_uri(tile, read(path))
    except SaliencyError as error:
        problem = f"Picture {name(path)} is not shown: {error}."
    return Shown(
        title=name(tile.get("title")),
        alt=str(tile.get("alt") or tile.get("title") or "picture"),
        word=str(tile.get("word") or ""),
        slice=str(tile.get("slice") or ""),
        source=source,
        width=_side(tile.get("width")),
        height=_side(tile.get("height")),
        problem=problem,
    )


def _data_uri(tile: Mapping[str, Any], content: bytes | None) -> Markup:
    if content is None:
        raise SaliencyError("there is no such file")
    media = str(tile.get("media"))
    if media not in SIGNATURES or not content.startswith(SIGNATURES[media]):
        raise SaliencyError("it is not the PNG or JPEG picture that the record says")
    if hashlib.sha256(content).hexdigest() != tile.get("sha256"):
        raise SaliencyError("it is not the picture of this run, as its SHA-256 is another one than the record's")
    # Nothing in it needs escaping, and as markup it is not cut like a long text.
    return Markup(f"data:{media};base64,{base64.b64encode(content).decode('ascii')}")


def _side(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= LARGEST_SIDE else None
