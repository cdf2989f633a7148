"""Rows of a table that list several labels each: in one cell with a separator, in a list, or in one column a label."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pytest_saliency.errors import CasesError

if TYPE_CHECKING:
    from pytest_saliency.contracts.case_sources.tables import Table
    from pytest_saliency.contracts.models import CasesSpec, Columns

BLANK = ("", "nan", "NaN", "<NA>")


def lists_labels(spec: CasesSpec) -> bool:
    """Tell whether the table has several labels an image."""
    return spec.separator is not None or (spec.columns is not None and spec.columns.labels is not None)


def label_reading(spec: CasesSpec) -> dict[str, Any]:
    """Return what ``Cases.from_files`` and ``Cases.from_arrays`` are told of the labels."""
    made = {"pairs": spec.pairs, "threshold": spec.threshold, "uncertain": spec.uncertain, "blank": spec.blank}
    return {key: value for key, value in made.items() if value is not None}


def label_sets(table: Table, columns: Columns, spec: CasesSpec) -> tuple[list[list[float]], Sequence[str]]:
    """Return a row for each image, with 1, 0, -1 or NaN (blank) a label, and the names of the labels.

    With ``classes`` the labels are those, in that order, as the outputs of a model that knows more labels than the
    table; those that the table has no column for are present nowhere.

    Raises
    ------
    CasesError
        A name that is not among the classes, a name that is listed twice, or a cell that is neither 1, 0, -1 nor blank.
    """
    if columns.labels is None:
        return _split(table, columns.label, spec)
    names = spec.classes or columns.labels
    for column in columns.labels:
        if column not in names:
            raise CasesError(f"{table.name} has the label '{column}', which {_unknown(column, names)}")
    made = []
    for place, row in table.rows:
        found = {column: _cell(place, column, row[column]) for column in columns.labels}
        made.append([found.get(name, 0.0) for name in names])
    return made, names


def _split(table: Table, column: str, spec: CasesSpec) -> tuple[list[list[float]], Sequence[str]]:
    cells = [(place, row[column]) for place, row in table.rows]
    split = [
        (place, _names(place, cell, [word.strip() for word in cell.split(spec.separator)], spec))
        for place, cell in cells
    ]
    return _ones(split, spec.classes or ())


def listed_sets(
    listed: Sequence[tuple[str, Sequence[str]]], names: Sequence[str], spec: CasesSpec
) -> tuple[list[list[float]], Sequence[str]]:
    """Return what :func:`label_sets` does, of rows that hold a list of names each."""
    return _ones([(place, _names(place, ", ".join(words), words, spec)) for place, words in listed], names)


def _ones(listed: Sequence[tuple[str, Sequence[str]]], names: Sequence[str]) -> tuple[list[list[float]], Sequence[str]]:
    for place, found in listed:
        for name in found:
            if name not in names:
                raise CasesError(
                    f"{place}: '{name}' {_unknown(name, names)} A word for having no label goes under 'no_label'."
                )
    return [[float(name in found) for name in names] for _, found in listed], names


def _names(place: str, cell: str, names: Sequence[str], spec: CasesSpec) -> Sequence[str]:
    if list(names) == [spec.no_label]:
        return []
    for position, name in enumerate(names):
        if not name:
            beside = " beside a separator" if spec.separator is not None else ""
            raise CasesError(f"{place}: '{cell}' has an empty label{beside}; take one out.")
        if name == spec.no_label:
            raise CasesError(f"{place}: '{cell}' names labels and says '{name}', that there is none; correct it.")
        if name in names[:position]:
            raise CasesError(f"{place}: '{cell}' names the label '{name}' twice; name it once.")
    return names


def _cell(place: str, column: str, cell: str) -> float:
    word = cell.strip()
    if word in BLANK:
        return math.nan
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if value not in (0.0, 1.0, -1.0):
        raise CasesError(
            f"{place}: column '{column}' holds '{word}'; write 1 where the label is present, 0 where it is absent, -1"
            " where that is uncertain."
        )
    return value


def _unknown(name: str, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean '{close[0]}'?" if close else f"they are {', '.join(names)}."
    return f"is not one of the contract's 'classes'; {hint}"
