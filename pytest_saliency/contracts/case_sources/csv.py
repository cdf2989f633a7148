"""Images listed in a CSV file, one a row, with labels, patients, groups and masks."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_saliency.errors import CasesError, first_line

if TYPE_CHECKING:
    from pytest_saliency.contracts.models import CasesSpec, Columns
    from pytest_saliency.contracts.place import Place
    from pytest_saliency.engine.cases import Cases


def make(value: str, spec: CasesSpec, place: Place) -> Cases:
    """Return the images of the file; their paths are relative to it.

    Raises
    ------
    CasesError
        No such file, columns or cells that are missing, labels that are no classes.
    """
    return _csv(place.path(value), spec.columns, spec.classes, value)


def _csv(path: Path, columns: Columns | None, classes: Sequence[str] | None, source: str) -> Cases:
    from pytest_saliency.contracts.models import Columns
    from pytest_saliency.engine.cases import Cases

    names = columns or Columns()
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restkey="", restval=None)
            header = list(reader.fieldnames or ())
            rows = [(reader.line_num, row) for row in reader]
    except UnicodeDecodeError as error:
        raise CasesError(f"cases in {path} cannot be read: it is not UTF-8; save it as UTF-8.") from error
    except (OSError, csv.Error) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or first_line(error)
        raise CasesError(f"cases in {path} cannot be read: {reason}. Check the path and the file.") from error
    for column in (names.image, names.label, *_declared(columns)):
        if column not in header:
            raise CasesError(
                f"{path} has no column '{column}'; it has {', '.join(header) or 'no header'}. Map it in 'columns'."
            )
    if not rows:
        raise CasesError(f"there are no cases in {path}; a check over nothing would prove nothing.")
    for line, row in rows:
        if any(row[column] in (None, "") for column in (names.image, names.label)):
            raise CasesError(f"{path}:{line}: a row needs '{names.image}' and '{names.label}'.")

    def optional(name: str) -> list[str] | None:
        if name not in header:
            return None
        for line, row in rows:
            if row[name] in (None, ""):
                raise CasesError(f"{path}:{line}: column '{name}' is empty; every row needs one, or none.")
        return [row[name] for _, row in rows]

    words = [(line, row[names.label].strip()) for line, row in rows]
    labels, class_names = _labels(path, words, classes)
    return Cases.from_files(
        [row[names.image] for _, row in rows],
        labels,
        ids=optional(names.id),
        groups=optional(names.group),
        clusters=optional(names.cluster),
        masks=None if names.mask is None else optional(names.mask),
        class_names=class_names,
        root=path.parent,
        source=source,
    )


def _declared(columns: Columns | None) -> list[str]:
    """Return the optional columns that the contract names itself, and that must therefore be there."""
    if columns is None:
        return []
    return [getattr(columns, key) for key in ("id", "group", "cluster", "mask") if key in columns.model_fields_set]


def _labels(
    path: Path, words: Sequence[tuple[int, str]], classes: Sequence[str] | None
) -> tuple[list[int], Sequence[str] | None]:
    """Return class indices and class names: written as indices, as names of ``classes``, or as names alone."""
    if all(word.isascii() and word.isdecimal() for _, word in words) and not (
        classes is not None and all(word in classes for _, word in words)
    ):
        labels = [int(word) for _, word in words]
        for (line, _), label in zip(words, labels, strict=True):
            if classes is not None and label >= len(classes):
                raise CasesError(f"{path}:{line}: label {label} is beyond the {len(classes)} classes of the contract.")
        return labels, classes
    number = next(((line, word) for line, word in words if word.isascii() and word.isdecimal()), None)
    if classes is None and number is not None:
        raise CasesError(
            f"{path}:{number[0]}: label '{number[1]}' is a number, but other labels are names; write all of one sort,"
            " or list the names under 'classes'."
        )
    names = list(classes) if classes is not None else sorted({word for _, word in words})
    order = {name: index for index, name in enumerate(names)}
    for line, word in words:
        if word not in order:
            close = difflib.get_close_matches(word, names, n=1)
            hint = f"; did you mean '{close[0]}'?" if close else f"; the classes are {', '.join(names)}."
            raise CasesError(f"{path}:{line}: '{word}' is not a class of the contract{hint}")
    return [order[word] for _, word in words], names
