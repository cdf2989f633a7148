"""Level 0: every byte is the one that was written, nothing is missing, nothing was added, signatures hold.

Who changes a file and makes a new manifest gives the bundle another identifier; compare it with the one that the run
printed, or that a signature names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_saliency.evidence.dsse import Key, check_signatures
from pytest_saliency.evidence.findings import OTHER_BUNDLE, Found
from pytest_saliency.evidence.folder import FileError, Listing, content_of, entry_of, listing
from pytest_saliency.evidence.layout import FORMAT, MANIFEST, REQUIRED, SIGNATURES, UNKNOWN, role_of
from pytest_saliency.evidence.manifest import Entry, bundle_id, manifest_of
from pytest_saliency.evidence.read import BundleError, parsed

MAX_MANIFEST = 1 << 28
ADVICE = "; Finder and Explorer leave such files: delete it and verify again"
LEFT_BEHIND = (".DS_Store", "Thumbs.db", "desktop.ini")
"""Files that Finder and Explorer leave in folders that somebody looks into."""


def check_bytes(folder: Path, expected_id: str | None, keys: Sequence[Key]) -> tuple[Found, str | None, list[str]]:
    """Return what was found, the identifier of the bundle (None where there is none), and lines about signatures."""
    found = Found(0)
    try:
        seen = listing(folder)
    except FileError as error:
        found.add(".", f"{folder.name or folder} {error}")
        return found, None, []
    try:
        manifest = content_of(folder, MANIFEST, MAX_MANIFEST)
    except FileError as error:
        found.add(MANIFEST, f"{error}; without it this is no bundle{_meant(folder, seen)}")
        return found, None, []
    for path, what in seen.odd.items():
        found.add(path, f"is {what}; no bundle holds one")
    identifier = bundle_id(manifest)
    if expected_id is not None and expected_id.lower() != identifier:
        found.add(MANIFEST, f"this is bundle {identifier}, and {expected_id} was asked for", OTHER_BUNDLE)
    listed = _listed(manifest, found)
    if listed is not None:
        _compare(folder, seen, listed, manifest, found)
    beside = [path for path in seen.files if path.startswith(f"{SIGNATURES}/")]
    for path in filter(left_behind, beside):
        found.add(path, f"was added{ADVICE}")
    signed = check_signatures(folder, [path for path in beside if not left_behind(path)], identifier, keys, found)
    if not found.findings:
        found.checked.append(f"{_counted(len(seen.files) - len(beside), len(beside))} byte for byte what was written")
    return found, identifier, signed


def left_behind(path: str) -> bool:
    """Tell whether a file of this name was left by the program that somebody looked into the folder with."""
    name = path.rpartition("/")[2]
    return name in LEFT_BEHIND or name.startswith("._")


def _counted(files: int, signatures: int) -> str:
    said = f"{files} files{',' if signatures else ''}"
    return said + (f" and {signatures} signature{'s' if signatures != 1 else ''}, are" if signatures else " are")


def _meant(folder: Path, seen: Listing) -> str:
    """Return a hint where bundles lie inside of ``folder``; the newest comes last by its name."""
    inside = sorted(
        path.partition("/")[0] for path in seen.files if path.endswith(f"/{MANIFEST}") and path.count("/") == 1
    )
    return f"; did you mean {folder / inside[-1]}?" if inside else ""


def _listed(manifest: bytes, found: Found) -> dict[str, Entry] | None:
    try:
        data = parsed(manifest, MANIFEST)
    except BundleError as error:
        found.add(MANIFEST, str(error).removeprefix(f"{MANIFEST} "))
        return None
    if data.get("format") != FORMAT:
        found.add(MANIFEST, f"has format {data.get('format')!r}, and this release reads {FORMAT}")
        return None
    rows = data.get("files")
    if not isinstance(rows, list):
        found.add(MANIFEST, "lists no files")
        return None
    made = {}
    for row in rows:
        entry = _entry(row)
        if entry is None:
            found.add(MANIFEST, f"has an entry that names no path, SHA-256 and length: {str(row)[:80]}")
        else:
            made[entry[0]] = entry[1]
    return made


def _entry(row: Any) -> tuple[str, Entry] | None:
    if not isinstance(row, Mapping):
        return None
    path, sha256, size = row.get("path"), row.get("sha256"), row.get("bytes")
    if isinstance(path, str) and isinstance(sha256, str) and type(size) is int:
        return path, Entry(sha256, size)
    return None


def _compare(folder: Path, seen: Listing, listed: Mapping[str, Entry], manifest: bytes, found: Found) -> None:
    there = {path for path in seen.files if path != MANIFEST and not path.startswith(f"{SIGNATURES}/")}
    before = len(found.findings)
    for path in sorted(set(listed) - there):
        found.add(_shown(path), "is missing")
    for path in sorted(there - set(listed)):
        found.add(path, f"was added: the manifest does not list it{ADVICE if left_behind(path) else ''}")
    for path in sorted({*REQUIRED} - there - set(listed)):
        found.add(path, "is missing, and every bundle has one")
    made: dict[str, Entry] = {}
    for path in sorted(there & set(listed)):
        if role_of(path) == UNKNOWN:
            found.add(path, "is listed, but is no file that a bundle has")
        if seen.files[path] != listed[path].size:
            found.add(path, f"was changed: it has {seen.files[path]} bytes and the manifest says {listed[path].size}")
            continue
        try:
            made[path] = entry_of(folder, path)
        except FileError as error:
            found.add(path, str(error))
            continue
        if made[path].sha256 != listed[path].sha256:
            found.add(path, "was changed: its SHA-256 is not the one that the manifest lists")
    if len(found.findings) == before and manifest_of(made) != manifest:
        found.add(MANIFEST, "was changed: it is not the manifest that these files give")


def _shown(path: str) -> str:
    from pytest_saliency.evidence.folder import shown_name

    return shown_name(path)[:200]
