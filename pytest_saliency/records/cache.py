"""Results that were computed before, found again by what they were computed from.

One file an entry, in folders named by the first two digits of its address. An entry appears under its name in one
step, so that a process killed at any moment leaves a whole entry or none. What is found is verified to the last byte.
The cache can always be deleted, and a cache that cannot be read or written costs time, never a result.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_saliency.errors import SaliencyError
from pytest_saliency.records.cache_entry import FORMAT, DamagedEntryError, Entry, Packed, read_entry
from pytest_saliency.records.cache_lock import acquire

if TYPE_CHECKING:
    from numpy.typing import NDArray

ADDRESS = re.compile(r"[0-9a-f]{64}")
SHELF = re.compile(r"[0-9a-f]{2}")
ENTRY, PART = ".entry", ".part"
ABANDONED = 3600.0  # seconds after which a half-written file belongs to nobody
SIGNS = {
    ".gitignore": "# Made by pytest-saliency: what is in here can be computed again.\n*\n",
    "CACHEDIR.TAG": (
        "Signature: 8a477f597d28d172789f06886806bc55\n"
        "# This folder is a cache of pytest-saliency; it can be deleted at any time.\n"
        "# What this file is for: https://bford.info/cachedir/\n"
    ),
}


def address(parts: Mapping[str, Any]) -> str:
    """Return the SHA-256, in hexadecimal, of all that decides a result, and of the format of the cache.

    ``parts`` holds text, whole numbers, finite floats, booleans, None, and lists and mappings with text keys of
    these; the order of keys is irrelevant. Other contents would make equal things differ or different things equal.

    Raises
    ------
    SaliencyError
        A part is of another type; the message says which.
    """
    _check(parts, "parts")
    try:
        text = json.dumps({"format": FORMAT, "parts": parts}, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except ValueError as error:
        raise SaliencyError(f"a cache address cannot be made: {error}. Give finite numbers.") from error
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _check(value: object, where: str) -> None:
    if isinstance(value, dict):
        for key, entry in value.items():
            if not isinstance(key, str):
                raise SaliencyError(f"a cache address cannot be made: {where} has the key {key!r}; keys must be text.")
            _check(entry, f"{where}.{key}")
    elif isinstance(value, list | tuple):
        for position, entry in enumerate(value):
            _check(entry, f"{where}[{position}]")
    elif value is not None and not isinstance(value, str | int | float):
        raise SaliencyError(
            f"a cache address cannot be made: {where} is of type {type(value).__name__}; give text, numbers, None,"
            " lists or mappings."
        )


class Cache:
    """A folder of entries, at most ``limit_bytes`` large; several processes may share it.

    ``warn`` is called with a sentence when something is wrong with the cache: once for entries that are damaged, once
    if it cannot be written, once for entries that are too large for it.
    """

    def __init__(self, folder: Path, limit_bytes: int, warn: Callable[[str], None]) -> None:
        self.folder = folder.absolute()  # a test may change the working directory
        self.limit_bytes = limit_bytes
        self._warn = warn
        self._said: set[str] = set()
        self._writable = True

    def get(self, key: str) -> Entry | None:
        """Return the entry of ``key`` as it was put, or None; a damaged one is removed. Marks it as used.

        Never raises for what is in the folder, or for the state of the folder itself.
        """
        path = self._path(key)
        try:
            with path.open("rb") as file:
                try:
                    entry = read_entry(file, key)
                except DamagedEntryError as damage:
                    self._say("damaged", f"the cache entry {path} is not used: {damage}; what it held is recomputed.")
                    _remove(path, os.fstat(file.fileno()))
                    return None
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, MemoryError) as error:
            self._say("damaged", f"the cache entry {path} cannot be read: {_reason(error)}; it is recomputed.")
            return None
        with contextlib.suppress(OSError):  # a cache that one may only read is a cache
            os.utime(path)
        return entry

    def put(self, key: str, arrays: Mapping[str, NDArray[Any]], meta: Mapping[str, Any]) -> bool:
        """Store an entry and return whether it is there now; the least recently used ones give way.

        After a failure to write, nothing more is written: a full disk is not tried again for every entry. JSON makes
        tuples in ``meta`` lists, and keys text.

        Raises
        ------
        SaliencyError
            An array is not of booleans, numbers or text, or ``meta`` is not what JSON can say.
        """
        path = self._path(key)
        packed = Packed(key, arrays, meta)
        if packed.size > self.limit_bytes:
            self._say(
                "large",
                f"a result of {packed.size:,} bytes is not kept: the cache at {self.folder} may hold"
                f" {self.limit_bytes:,} in all.",
            )
            return False
        if not self._writable:
            return False
        try:
            self._prepare()
            path.parent.mkdir(exist_ok=True)
            _write(path, packed)
        except OSError as error:
            self._give_up(error)
            return False
        self._make_room(path)
        return True

    def discard(self, key: str) -> None:
        """Remove the entry of ``key``, if there is one that can be removed."""
        with contextlib.suppress(OSError):
            self._path(key).unlink()

    @contextlib.contextmanager
    def locked(self, key: str) -> Iterator[None]:
        """Let one process at a time compute the entry of ``key``; another one waits here as long as that takes.

        Look into the cache again inside: who waited finds the entry there. Where the cache cannot be written there is
        no lock, because nobody could find what another one computed.
        """
        self._path(key)
        release: Callable[[], None] | None = None
        if self._writable:
            try:
                self._prepare()
                release = acquire(self.folder / "locks", key)
            except OSError as error:
                self._give_up(error)
        try:
            yield
        finally:
            if release is not None:
                release()

    def _path(self, key: str) -> Path:
        if not ADDRESS.fullmatch(key):
            raise ValueError(f"{key!r} is not the address of a cache entry; make one with address().")
        return self.folder / key[:2] / f"{key}{ENTRY}"

    def _prepare(self) -> None:
        """Make the folder; mark it only if it is new, for it may be one that holds the user's own files as well."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if any(self.folder.iterdir()):
            return
        for name, text in SIGNS.items():
            with contextlib.suppress(FileExistsError), (self.folder / name).open("x", encoding="ascii") as file:
                file.write(text)

    def _make_room(self, kept: Path) -> None:
        """Remove what was used longest ago until the rest is within the limit, and half-written files left behind."""
        found = [entry for entry in _listing(self.folder) if entry.path != kept]
        with contextlib.suppress(OSError):
            total = sum(entry.size for entry in found) + kept.stat().st_size
            for entry in sorted(found, key=lambda entry: (entry.used, entry.path.name)):
                if total <= self.limit_bytes:
                    break
                with contextlib.suppress(OSError):  # another process removed it first, which makes room as well
                    entry.path.unlink()
                total -= entry.size

    def _give_up(self, error: OSError) -> None:
        self._writable = False
        self._say(
            "unwritable",
            f"the cache at {self.folder} cannot be written: {_reason(error)}; this run goes on without it.",
        )

    def _say(self, topic: str, sentence: str) -> None:
        if topic not in self._said:
            self._said.add(topic)
            self._warn(sentence)


@dataclass(frozen=True)
class _Listed:
    path: Path
    size: int
    used: int


def _listing(folder: Path) -> list[_Listed]:
    """Return all entries, and remove abandoned parts; what has another name is not the cache's and is left alone."""
    found: list[_Listed] = []
    with contextlib.suppress(OSError):
        for shelf in [entry for entry in os.scandir(folder) if SHELF.fullmatch(entry.name)]:
            with contextlib.suppress(OSError):  # gone, or not ours to read
                for entry in os.scandir(shelf.path):
                    name, _, _ = entry.name.partition(".")
                    if not ADDRESS.fullmatch(name):
                        continue
                    with contextlib.suppress(OSError):
                        state = entry.stat(follow_symlinks=False)
                        if entry.name == name + ENTRY:
                            found.append(_Listed(Path(entry.path), state.st_size, state.st_mtime_ns))
                        elif entry.name.endswith(PART) and time.time() - state.st_mtime > ABANDONED:
                            Path(entry.path).unlink()
    return found


def _write(path: Path, packed: Packed) -> None:
    part = path.with_name(f"{path.stem}.{secrets.token_hex(8)}{PART}")
    try:
        with part.open("xb") as file:
            packed.write(file)
        part.replace(path)
    finally:
        with contextlib.suppress(OSError):  # after success it has its new name
            part.unlink()


def _remove(path: Path, read: os.stat_result) -> None:
    """Remove the file that was read, unless another process has put a good one in its place meanwhile."""
    with contextlib.suppress(OSError):
        if os.path.samestat(path.stat(), read):
            path.unlink()


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno == errno.EEXIST:
        return "a file is in the place of a folder"
    if isinstance(error, MemoryError):
        return "there is not enough memory"
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
