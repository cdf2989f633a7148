"""A table with one image a row, whatever it was read from: its cells as text, and what they mean for cases."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_saliency.errors import CasesError

if TYPE_CHECKING:
    from pytest_saliency.contracts.models import Columns

EMPTY = ("", "nan", "NaN", "<NA>")
"""Cells without a value, as people and pandas write them."""
OPTIONAL = ("id", "group", "cluster", "mask")


def label_columns(columns: Columns) -> tuple[str, ...]:
    """Return the column of the label, or those of the labels where each has one."""
    return columns.labels or (columns.label,)


def mask_columns(columns: Columns) -> tuple[str, ...]:
    """Return the column of the masks, or those of the labels' masks; none where none is named."""
    return tuple((columns.masks or {}).values()) or (() if columns.mask is None else (columns.mask,))


@dataclass(frozen=True)
class Table:
    """Rows with the place where each stands ("cases.csv:3"); ``name`` is that of the whole."""

    name: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, Mapping[str, str]], ...]

    def column(self, name: str) -> list[str]:
        """Return the cells of a column."""
        return [row[name] for _, row in self.rows]

    def optional(self, name: str) -> list[str] | None:
        """Return a column whose cells must all be filled; None where there is no such column.

        Raises
        ------
        CasesError
            Some cells are empty.
        """
        if name not in self.header:
            return None
        empty = [place for place, row in self.rows if row[name] in EMPTY]
        if empty:
            more = f" (and in {len(empty) - 1} more rows)" if len(empty) > 1 else ""
            raise CasesError(
                f"{empty[0]}: column '{name}' is empty{more}; every row needs one, or none: fill it, take such rows out"
                " with 'where', or name another column in 'columns'."
            )
        return self.column(name)

    def require(self, columns: Columns) -> None:
        """Raise CasesError unless there are rows, and the columns that are needed or that the contract names."""
        declared = [getattr(columns, key) for key in OPTIONAL if key in columns.model_fields_set]
        for column in (columns.image, *label_columns(columns), *declared, *(columns.masks or {}).values()):
            if column not in self.header:
                close = difflib.get_close_matches(column, self.header, n=1)
                hint = f"; did you mean '{close[0]}'?" if close else "."
                raise CasesError(
                    f"{self.name} has no column '{column}'; it has {', '.join(self.header) or 'no header'}. Map it in"
                    f" 'columns'{hint}"
                )
        if not self.rows:
            raise CasesError(f"there are no cases in {self.name}; a check over nothing would prove nothing.")

    def where(self, wanted: Mapping[str, int | str | tuple[int | str, ...]] | None) -> Table:
        """Return the rows that have one of the wanted values in every column that is named.

        Raises
        ------
        CasesError
            No such column, or no such row.
        """
        made = self
        for column, value in (wanted or {}).items():
            if column not in self.header:
                raise CasesError(
                    f"{self.name} has no column '{column}', which 'where' names; it has {', '.join(self.header)}."
                )
            words = {str(one) for one in (value if isinstance(value, tuple) else (value,))}
            kept = tuple((place, row) for place, row in made.rows if row[column].strip() in words)
            if not kept and made.rows:
                found = sorted({row[column].strip() for _, row in made.rows})
                shown = ", ".join(found[:8]) + (", ..." if len(found) > 8 else "")
                raise CasesError(
                    f"{self.name} has no row with {column}: {' or '.join(sorted(words))}; that column holds {shown}."
                )
            made = replace(made, rows=kept)
        return made

    def filled(self, columns: Columns) -> None:
        """Raise CasesError unless every row has an image and, where it has one only, a label."""
        needed = (columns.image,) if columns.labels else (columns.image, columns.label)
        names = " and ".join(f"'{column}'" for column in needed)
        for place, row in self.rows:
            if any(row[column] in EMPTY for column in needed):
                raise CasesError(f"{place}: a row needs {names}.")

    def labels(
        self, column: str, classes: Sequence[str] | None, every: Table | None = None
    ) -> tuple[list[int], Sequence[str] | None]:
        """Return class indices and class names: written as indices, as names of ``classes``, or as names alone.

        ``every`` is the table that these rows were taken from.

        Raises
        ------
        CasesError
            A label that is no class, or names alone of which ``every`` has more: then their order does not tell their
            indices.
        """
        words = [(place, row[column].strip()) for place, row in self.rows]
        if classes is None or not all(word in classes for _, word in words):
            # a column of whole numbers with a gap somewhere is written as 0.0, 1.0 by pandas
            words = [(place, re.sub(r"^(\d+)\.0+$", r"\1", word, flags=re.ASCII)) for place, word in words]
            if all(word.isascii() and word.isdecimal() for _, word in words):
                return _indices(words, classes), classes
        number = next(((place, word) for place, word in words if word.isascii() and word.isdecimal()), None)
        if classes is None and number is not None:
            raise CasesError(
                f"{number[0]}: label '{number[1]}' is a number, but other labels are names; write all of one sort,"
                " or list the names under 'classes'."
            )
        names = list(classes) if classes is not None else sorted({word for _, word in words})
        rest = set() if classes is not None or every is None else {text.strip() for text in every.column(column)}
        if gone := sorted(rest - {*names, *EMPTY}):
            raise CasesError(
                f"{self.name} has rows of class '{gone[0]}', but none among those that 'where' takes, so that the names"
                " do not tell which output each class is; list all of them under 'classes', in the model's order."
            )
        order = {name: index for index, name in enumerate(names)}
        for place, word in words:
            if word not in order:
                close = difflib.get_close_matches(word, names, n=1)
                hint = f"; did you mean '{close[0]}'?" if close else f"; the classes are {', '.join(names)}."
                raise CasesError(f"{place}: '{word}' is not a class of the contract{hint}")
        return [order[word] for _, word in words], names


def _indices(words: Sequence[tuple[str, str]], classes: Sequence[str] | None) -> list[int]:
    for place, word in words:
        if classes is not None and int(word) >= len(classes):
            raise CasesError(f"{place}: label {word} is beyond the {len(classes)} classes of the contract.")
    return [int(word) for _, word in words]
