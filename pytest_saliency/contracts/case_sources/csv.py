"""Images listed in a CSV file, one a row, with labels, patients, groups and masks."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any

from pytest_saliency.contracts.case_sources.files import as_declared, file_reading
from pytest_saliency.contracts.case_sources.tables import EMPTY, Table, label_columns, mask_columns
from pytest_saliency.contracts.label_sets import label_reading, label_sets, lists_labels
from pytest_saliency.errors import CasesError, first_line

if TYPE_CHECKING:
    from pytest_saliency.contracts.models import CasesSpec, Columns
    from pytest_saliency.contracts.place import Place
    from pytest_saliency.engine.cases import Cases

DELIMITERS = (",", ";", "\t")


def make(value: str, spec: CasesSpec, place: Place) -> Cases:
    """Return the images of the file; their paths are relative to it, or to ``root``.

    Raises
    ------
    CasesError
        No such file, columns or cells that are missing, labels that are no classes, no images where they should be.
    """
    from pytest_saliency.contracts.models import Columns
    from pytest_saliency.engine.cases import Cases

    path, columns = place.path(value), spec.columns or Columns()
    table = read_table(path, columns, spec.where or ())
    table.require(columns)
    every, table = table, table.where(spec.where)
    table.filled(columns)
    labels: Any
    class_names: Sequence[str] | None
    if lists_labels(spec):
        labels, class_names = label_sets(table, columns, spec)
    else:
        labels, class_names = table.labels(columns.label, spec.classes, every)
    root = path.parent if spec.root is None else place.path(spec.root)
    images = [_local(text, root) for text in table.column(columns.image)]
    made = Cases.from_files(
        images,
        labels,
        ids=table.optional(columns.id) or _names(images, root),
        groups=table.optional(columns.group),
        clusters=table.optional(columns.cluster),
        masks=_masks(table, columns, root),
        class_names=class_names,
        root=root,
        source=value,
        read_as=file_reading(spec),
        **label_reading(spec),
    )
    _look_for(images, root, path)
    return as_declared(made, spec)


def read_table(path: Path, columns: Columns, further: Iterable[str] = ()) -> Table:
    """Return the rows of a file whose cells are separated by commas, semicolons or tabs, whichever fits its header.

    Raises
    ------
    CasesError
        The file is not there, is no text in UTF-8, names a column twice that is used (``further`` are names of such
        columns), or has rows of more cells than its header.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise CasesError(f"cases in {path} cannot be read: it is not UTF-8; save it as UTF-8.") from error
    except OSError as error:
        reason = error.strerror or first_line(error)
        start = ", which starts at the contract's own folder," if isinstance(error, FileNotFoundError) else ""
        raise CasesError(f"cases in {path} cannot be read: {reason}. Check the path{start} and the file.") from error
    head = text.split("\n", 1)[0].rstrip("\r")
    wanted = {columns.image, *label_columns(columns)}
    fits = {mark: len(wanted & set(_cells(head, mark))) for mark in DELIMITERS}
    mark = max(DELIMITERS, key=lambda one: fits[one])
    try:
        reader = csv.reader(io.StringIO(text), delimiter=mark)  # not splitlines, for which a cell may end a line
        header = [name.strip() for name in next(reader, [])]
        stripped = ((reader.line_num, [cell.strip() for cell in cells]) for cells in reader)
        rows = [(line, cells) for line, cells in stripped if any(cells)]
    except csv.Error as error:
        raise CasesError(
            f"cases in {path} cannot be read: {first_line(error)}. Check the path and the file."
        ) from error
    named = {columns.image, *label_columns(columns), columns.id, columns.group, columns.cluster, *further}
    named |= set(mask_columns(columns))
    for name in header:
        if name in named and header.count(name) > 1:
            raise CasesError(f"{path} has {header.count(name)} columns '{name}'; name one of them otherwise.")
    for line, cells in rows:
        if any(cells[len(header) :]):
            raise CasesError(
                f"{path}:{line}: a row of {len(cells)} cells under a header of {len(header)}; put cells that hold the"
                " separator into quotes."
            )
    padded = [(line, [*cells, *[""] * (len(header) - len(cells))]) for line, cells in rows]
    return Table(
        str(path),
        tuple(header),
        tuple((f"{path}:{line}", dict(zip(header, cells, strict=False))) for line, cells in padded),
    )


def _masks(table: Table, columns: Columns, root: Path) -> Any:
    """Return the paths of the masks, one an image, or of each label one an image, where it has one."""
    if columns.masks is None:
        cells = None if columns.mask is None else table.optional(columns.mask)
        return None if cells is None else [_local(text, root) for text in cells]
    return {
        label: [None if text in EMPTY else _local(text, root) for text in table.column(name)]
        for label, name in columns.masks.items()
    }


def _cells(line: str, mark: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=mark), [])]
    except csv.Error:
        return []


def _local(text: str, root: Path) -> Path:
    """Return a path as it is meant here: one that was written on Windows has its folders behind backslashes."""
    path = Path(text.strip())
    if "\\" in text and os.sep == "/" and not (root / path).exists():
        return Path(PureWindowsPath(text.strip()).as_posix())
    return path


def _names(paths: Sequence[Path], root: Path) -> list[str]:
    """Return the ids of cases without ids: their paths from ``root``, or from the folder that holds them all.

    Where a path is absolute, what is above that folder belongs to the machine and not to the case.
    """
    found = [path.relative_to(root) if path.is_relative_to(root) else path for path in paths]
    outside = [path for path in found if path.is_absolute()]
    if not outside:
        return [path.as_posix() for path in found]
    common = os.path.commonpath([path.parent for path in outside])
    return [(path.relative_to(common) if path.is_absolute() else path).as_posix() for path in found]


def _look_for(images: Sequence[Path], root: Path, table: Path) -> None:
    """Raise CasesError where the very first image is missing: then the paths start somewhere else, most of the time."""
    if (root / images[0]).exists():
        return
    missing = sum(not (root / image).exists() for image in images)
    raise CasesError(
        f"{missing} of the {len(images)} images that {table} lists are missing, first {root / images[0]}; paths start"
        " at the file's own folder, or at 'root'."
    )
