"""Files and folders that appear whole or not at all, whatever ends the process that writes them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from pytest_saliency.errors import SaliencyError

PART = ".part"
"""How the hidden name ends of what is not whole yet; nothing reads it, and a later run may remove it."""


def write_text_whole(path: Path, text: str) -> None:
    """Do what :func:`write_bytes_whole` does with text in UTF-8."""
    write_bytes_whole(path, text.encode("utf-8", "backslashreplace"))  # a lone surrogate has no bytes of its own


def write_bytes_whole(path: Path, content: bytes) -> None:
    """Write ``content`` so that ``path`` holds either all of it or what was there before; folders are made.

    Raises
    ------
    SaliencyError
        It cannot be written; the message names the path and the reason.
    """
    temporary = path.with_name(f".{path.name[:100]}.{uuid4().hex}{PART}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(f"[Errno 21] Is a directory: '{path}'")
        with temporary.open("xb") as file:
            file.write(content)
            sync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise SaliencyError(f"{path} cannot be written: {error}. What was there before is untouched.") from error
    finally:
        with suppress(OSError):  # gone already, or never made because its folder is a file
            temporary.unlink()


@contextmanager
def new_folder(final: Path) -> Iterator[Path]:
    """Give a folder to fill, which becomes ``final`` when the block ends without an error.

    Until then it lies beside under a hidden name; an exception removes it, a killed process leaves it, and neither
    leaves anything at ``final``.

    Raises
    ------
    SaliencyError
        ``final`` is there already, or cannot be made.
    """
    if final.exists() or final.is_symlink():
        raise SaliencyError(f"{final} is there already and is not changed; choose another folder.")
    part = final.with_name(f".{final.name[:100]}.{uuid4().hex}{PART}")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        part.mkdir()
    except OSError as error:
        raise SaliencyError(f"{final} cannot be made: {error}.") from error
    try:
        yield part
        for folder, _, files in os.walk(part):
            for name in files:
                with (Path(folder) / name).open("rb") as file:
                    sync(file.fileno())
            sync_folder(Path(folder))
        if final.exists():  # rename would take the place of an empty folder
            raise SaliencyError(f"{final} was made by something else in the meantime; nothing was written there.")
        part.rename(final)
        sync_folder(final.parent)
    except OSError as error:
        raise SaliencyError(f"{final} cannot be written: {error}. Nothing was left there.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def sync(descriptor: int) -> None:
    """Have what was written on the disk before this returns."""
    os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    """Have a folder's names on the disk, where the system can say so."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)
