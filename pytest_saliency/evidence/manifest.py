"""The manifest: every file of a bundle with its digest, and nothing that does not follow from the files.

So it can be made again from them and compared byte by byte: whatever was changed, in a file or in the manifest itself,
shows. The SHA-256 of the manifest is the identifier of the bundle.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from pytest_saliency.evidence.canonical import canonical
from pytest_saliency.evidence.layout import FORMAT, role_of


@dataclass(frozen=True)
class Entry:
    """What identifies the content of a file: SHA-256 and length."""

    sha256: str
    size: int

    @classmethod
    def of(cls, content: bytes) -> Entry:
        return cls(hashlib.sha256(content).hexdigest(), len(content))


def manifest_of(files: Mapping[str, Entry]) -> bytes:
    """Return the manifest of ``files`` (relative path, forward slashes -> entry)."""
    rows = [
        {"path": path, "sha256": files[path].sha256, "bytes": files[path].size, "role": role_of(path)}
        for path in sorted(files)
    ]
    return canonical({"format": FORMAT, "files": rows})


def bundle_id(manifest: bytes) -> str:
    """Return the identifier of the bundle that has this manifest."""
    return hashlib.sha256(manifest).hexdigest()
