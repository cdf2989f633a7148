"""Which tool wrote a record: the release, and the source that was really there."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from pytest_saliency import __version__

KINDS = (".py", ".j2", ".css", ".json", ".yaml", ".yml", ".txt")


@lru_cache(maxsize=1)
def tool_version() -> str:
    """Return the version with eight digits of a digest of the package's own files, as ``1.2.0+3fa9c1d2``.

    Words and formulas may differ between two states of the source that carry one release number; whoever decides a
    record again, or renders it again, compares byte by byte only where this text is the same.
    """
    root = Path(__file__).resolve().parent.parent
    made = hashlib.sha256()
    for path in sorted(root.rglob("*"), key=lambda path: path.relative_to(root).as_posix()):
        if path.suffix in KINDS and path.is_file() and "__pycache__" not in path.parts:
            made.update(f"{path.relative_to(root).as_posix()}\0".encode())
            made.update(hashlib.sha256(path.read_bytes().replace(b"\r\n", b"\n")).digest())
    return f"{__version__}+{made.hexdigest()[:8]}"
