"""Looking into a folder that somebody else filled: nothing outside of it is read, and nothing odd is opened."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from pytest_saliency.errors import SaliencyError
from pytest_saliency.evidence.manifest import Entry

MAX_FILES = 200_000
MAX_DEPTH = 8
MAX_BYTES = 1 << 36
CHUNK = 1 << 20


@dataclass(frozen=True)
class Listing:
    """The regular files below a folder (relative path -> bytes), and what is no regular file (path -> what it is)."""

    files: dict[str, int] = field(default_factory=dict)
    odd: dict[str, str] = field(default_factory=dict)


class FileError(SaliencyError):
    """A file of a bundle that cannot be read; the message has no subject."""


def listing(folder: Path) -> Listing:
    """Return what lies below ``folder``; links are not followed, empty folders are odd.

    Raises
    ------
    FileError
        It is no folder, or cannot be listed, or holds more than a bundle ever does.
    """
    if folder.is_symlink() or not folder.is_dir():
        raise FileError("is not a folder")
    found = Listing()
    _look(folder, "", 0, found)
    return found


def _look(folder: Path, prefix: str, depth: int, found: Listing) -> None:
    try:
        with os.scandir(folder) as rows:
            entries = sorted(rows, key=lambda row: row.name)
    except OSError as error:
        raise FileError(f"cannot be listed: {error.strerror or error}") from None
    if not entries and prefix:
        found.odd[prefix.rstrip("/")] = "an empty folder"
    for entry in entries:
        path = prefix + shown_name(entry.name)
        if len(found.files) + len(found.odd) >= MAX_FILES:
            raise FileError(f"holds more than {MAX_FILES} files")
        try:
            state = entry.stat(follow_symlinks=False)
        except OSError as error:
            found.odd[path] = f"a file that cannot be looked at ({error.strerror or error})"
            continue
        if path != prefix + entry.name or "\\" in entry.name:
            found.odd[path] = "a file whose name is not portable text"
        elif stat.S_ISLNK(state.st_mode):
            found.odd[path] = "a symbolic link, which is not followed"
        elif stat.S_ISDIR(state.st_mode):
            if depth + 1 >= MAX_DEPTH:
                found.odd[path] = "a folder nested deeper than in any bundle"
            else:
                _look(Path(entry.path), path + "/", depth + 1, found)
        elif stat.S_ISREG(state.st_mode):
            found.files[path] = state.st_size
        else:
            found.odd[path] = "neither a file nor a folder (a device, pipe or socket)"


def shown_name(name: str) -> str:
    """Return a file name as text that can be printed: control characters and undecodable bytes escaped."""
    text = name.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(one if one.isprintable() else f"\\x{ord(one):02x}" for one in text)


def entry_of(folder: Path, path: str) -> Entry:
    """Return digest and length of a listed file.

    Raises
    ------
    FileError
        It cannot be read, or is no regular file any more.
    """
    made = hashlib.sha256()
    size = 0
    with open(_opened(folder, path), "rb", closefd=True) as file:
        while piece := file.read(CHUNK):
            made.update(piece)
            size += len(piece)
            if size > MAX_BYTES:
                raise FileError(f"is larger than {MAX_BYTES} bytes")
    return Entry(made.hexdigest(), size)


def content_of(folder: Path, path: str, limit: int) -> bytes:
    """Return the bytes of a listed file.

    Raises
    ------
    FileError
        It cannot be read, is no regular file, or has more than ``limit`` bytes.
    """
    with open(_opened(folder, path), "rb", closefd=True) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise FileError(f"is larger than {limit} bytes")
    return content


def _opened(folder: Path, path: str) -> int:
    """Open without following a link in any part of the way and without waiting for a pipe."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    current = folder
    for part in path.split("/")[:-1]:
        current = current / part
        if part in ("", ".", "..") or current.is_symlink():
            raise FileError("does not lie in the folder")
    last = path.rsplit("/", 1)[-1]
    if last in ("", ".", ".."):
        raise FileError("is not a file")
    try:
        descriptor = os.open(current / last, flags)
    except (OSError, ValueError) as error:
        raise FileError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileError("is not a regular file")
    return descriptor
