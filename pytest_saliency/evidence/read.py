"""Reading a bundle: its files back into the document that they were made from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_saliency.errors import SaliencyError
from pytest_saliency.evidence.canonical import ParseError, parse, settled
from pytest_saliency.evidence.folder import FileError, content_of
from pytest_saliency.evidence.layout import CASES, MANIFEST, RESULTS, RUN
from pytest_saliency.evidence.manifest import bundle_id
from pytest_saliency.evidence.split import JoinError, join

MAX_BYTES = 1 << 30
MAX_CASES = 1 << 32


class BundleError(SaliencyError):
    """A folder that cannot be read as a bundle; ``file`` is the file that this is about."""

    def __init__(self, message: str, file: str) -> None:
        super().__init__(message)
        self.file = file


@dataclass(frozen=True)
class Bundle:
    """A bundle's document (as every report takes it), its manifest, its identifier and where it lies."""

    path: Path
    document: dict[str, Any]
    manifest: dict[str, Any]
    id: str


def read_bundle(path: Path) -> Bundle:
    """Return the bundle at ``path``. It is not verified: see ``verify``.

    Raises
    ------
    BundleError
        A file is missing, cannot be read, or does not fit the others.
    """
    manifest = read_content(path, MANIFEST, MAX_BYTES)
    return Bundle(path, read_document(path), parsed(manifest, MANIFEST), bundle_id(manifest))


def read_document(path: Path) -> dict[str, Any]:
    """Return the document that the files of the bundle at ``path`` make up; see :func:`read_bundle`."""
    run = parsed(read_content(path, RUN, MAX_BYTES), RUN)
    results = parsed(read_content(path, RESULTS, MAX_BYTES), RESULTS)
    lines = read_content(path, CASES, MAX_CASES).split(b"\n")
    if lines.pop():
        raise BundleError("cases.jsonl does not end with a line break", CASES)
    try:
        made: dict[str, Any] = settled(join(run, results, lines))  # keys in the order in which it was rendered
    except (JoinError, ParseError) as error:
        text = str(error) if isinstance(error, JoinError) else f"a line of cases.jsonl {error}"
        named = next((name for name in (RUN, RESULTS) if text.startswith(name)), CASES)
        raise BundleError(text, named) from None
    return made


def read_content(path: Path, name: str, limit: int) -> bytes:
    """Return the bytes of one file of a bundle."""
    try:
        return content_of(path, name, limit)
    except FileError as error:
        raise BundleError(f"{name} {error}", name) from None


def parsed(content: bytes, name: str) -> Any:
    """Return the JSON of one file of a bundle, which must be an object."""
    try:
        value = parse(content)
    except ParseError as error:
        raise BundleError(f"{name} {error}", name) from None
    if not isinstance(value, dict):
        raise BundleError(f"{name} holds no object", name)
    return value
