"""The folder of baselines, meant for git: what is approved, what waits for approval, and what is left over.

    CONTRACT/CHECK[AXES].json             approved: what checks are compared with
    CONTRACT/CHECK[AXES].candidate.json   written by a run, waiting for somebody to approve it
    CONTRACT/<sha256>.npz                 the per-image numbers and maps that an entry names

Arrays are written before the entry that names them, and an entry takes its place in one step, so that at every moment
there is the old entry or the new one, each with its arrays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_saliency.errors import SaliencyError
from pytest_saliency.records.baseline_arrays import arrays_of
from pytest_saliency.records.baseline_entry import ARRAYS, BaselineError, Entry, entry_of, read_entry, shown
from pytest_saliency.records.baseline_key import Key
from pytest_saliency.records.hashing import to_json
from pytest_saliency.records.whole import PART, write_bytes_whole, write_text_whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

ENTRY, CANDIDATE = ".json", ".candidate.json"


@dataclass(frozen=True)
class Shelf:
    """What there is of one key; ``waiting`` is None where it only repeats what is approved."""

    key: Key
    approved: Entry | None
    waiting: Entry | None


def approved_path(folder: Path, key: Key) -> Path:
    """Return where the approved entry of ``key`` lies."""
    return folder / key.folder / f"{key.stem}{ENTRY}"


def candidate_path(folder: Path, key: Key) -> Path:
    """Return where the entry lies that waits for approval."""
    return folder / key.folder / f"{key.stem}{CANDIDATE}"


def find(folder: Path, key: Key) -> Shelf:
    """Return what there is of ``key``.

    Raises
    ------
    BaselineError
        A file is damaged, of a newer format or of another key.
    """
    paths = approved_path(folder, key), candidate_path(folder, key)
    approved, waiting = (read_entry(path, key) if path.is_file() else None for path in paths)
    if approved is not None and waiting is not None and approved.content == waiting.content and approved.approval:
        waiting = None  # approved a moment before the process ended
    return Shelf(key, approved, waiting)


def shelves(folder: Path) -> tuple[list[Shelf], list[str]]:
    """Return everything in ``folder`` sorted by selector, and a sentence for every file that cannot be used."""
    keys: dict[Key, None] = {}
    problems = []
    for path in _files(folder):
        if path.name.endswith(ENTRY):
            try:
                entry = read_entry(path)
            except BaselineError as error:
                problems.append(str(error))
                continue
            if path not in (approved_path(folder, entry.key), candidate_path(folder, entry.key)):
                problems.append(
                    f"{shown(path)} is not where the baseline of {entry.key.selector} belongs: it was moved or renamed"
                    " by hand. Give it its old name, or remove it."
                )
                continue
            keys[entry.key] = None
    found = [find(folder, key) for key in keys]
    return sorted(found, key=lambda shelf: (shelf.key.selector, shelf.key.axes)), problems


def approved_entry(folder: Path, key: Key) -> Entry:
    """Return the entry that ``key`` is to be compared with.

    Raises
    ------
    BaselineError
        There is none, or nobody has approved it; the message says what to do.
    """
    shelf = find(folder, key)
    if shelf.approved is not None and shelf.approved.approval is not None:
        return shelf.approved
    if shelf.approved is not None or shelf.waiting is not None:
        raise BaselineError(
            f"the baseline of {key.selector} is not approved, so nothing can be compared with it; look at it:"
            f" pytest-saliency baseline diff '{key.selector}', and approve it: pytest-saliency baseline approve"
            f" '{key.selector}' --reason \"...\"."
        )
    raise BaselineError(
        f"there is no baseline of {key.selector} yet; run the check once with --saliency-baseline new, approve what it"
        f" wrote: pytest-saliency baseline approve '{key.selector}' --reason \"...\", and commit the folder."
    )


def write_candidate(
    folder: Path,
    key: Key,
    record: Mapping[str, Any],
    run: Mapping[str, Any],
    maps: Mapping[str, NDArray[Any]],
    compared: Mapping[str, Any] | None = None,
) -> Path:
    """Write the numbers of ``record`` beside what is approved, for somebody to look at; returns the entry's path.

    ``compared``: by id the checks that compare with it, and their limits.

    Raises
    ------
    SaliencyError
        It cannot be written; what was there before is whole.
    """
    from pytest_saliency.records.arrays import pack_arrays

    content = pack_arrays(arrays_of(record["per_image"], maps))
    digest = hashlib.sha256(content).hexdigest()
    path = candidate_path(folder, key)
    arrays = path.with_name(f"{digest}.npz")
    if not arrays.is_file() or arrays.read_bytes() != content:
        write_bytes_whole(arrays, content)
    named = {"path": arrays.name, "sha256": digest, "bytes": len(content)}
    _write_entry(path, entry_of(key, record, named, run, sorted(maps), compared or {}))
    return path


def approve(folder: Path, waiting: Entry, *, by: str, at: str, reason: str) -> Entry:
    """Make ``waiting`` the entry that checks are compared with; the one it replaces stays in force until then.

    Raises
    ------
    SaliencyError
        Its arrays are damaged, or it cannot be written.
    """
    waiting.load()
    path = approved_path(folder, waiting.key)
    _write_entry(path, {**waiting.data, "approval": {"by": by, "at": at, "reason": reason}})
    if waiting.path != path:
        waiting.path.unlink(missing_ok=True)
    return read_entry(path, waiting.key)


def stray(folder: Path, without: Collection[Path] = ()) -> list[Path]:
    """Return arrays that no entry names, and what a killed process left half-written.

    ``without``: entries that are to go and count no more.

    Raises
    ------
    BaselineError
        An entry cannot be read, so that it is not known which arrays it names.
    """
    named = set()
    for path in _files(folder):
        if path.name.endswith(ENTRY) and path not in without:
            named.add(read_entry(path).arrays_path)
    return [
        path
        for path in _files(folder)
        if (ARRAYS.fullmatch(path.name) and path not in named) or (path.name.startswith(".") and path.suffix == PART)
    ]


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files one folder below ``folder``, sorted; a link is followed nowhere."""
    if not folder.is_dir():
        return
    try:
        for inner in sorted(folder.iterdir()):
            if inner.is_dir() and not inner.is_symlink():
                yield from sorted(path for path in inner.iterdir() if path.is_file() and not path.is_symlink())
    except OSError as error:
        raise SaliencyError(f"the baselines in {folder} cannot be read: {error.strerror or error}.") from error


def _write_entry(path: Path, data: Mapping[str, Any]) -> None:
    write_text_whole(path, to_json(data, indent=1) + "\n")
