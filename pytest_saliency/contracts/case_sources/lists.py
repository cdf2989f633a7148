"""A column of a Hugging Face dataset that holds a list of labels a row: classes, names, or whole numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pytest_saliency.errors import CasesError

if TYPE_CHECKING:
    from pytest_saliency.contracts.models import CasesSpec


def listed_labels(data: Any, column: str, spec: CasesSpec, source: str) -> list[list[str] | None] | None:
    """Return the names of the labels in each row, None for a row without a list; None where these are no lists.

    Raises
    ------
    CasesError
        Lists in lists, lists of other things than labels, or the contract says of them what belongs to other columns.
    """
    inner = _inner(data.features.get(column))
    if inner is None:
        return None
    if spec.separator is not None:
        raise CasesError(f"column '{column}' of the dataset in {source} holds lists; leave 'separator' out.")
    if spec.uncertain is not None or spec.blank is not None:
        raise CasesError(
            f"'uncertain' and 'blank' are about a column a label ('columns.labels'), but column '{column}' of the"
            f" dataset in {source} holds lists; leave them out."
        )
    sort = "" if _inner(inner) is not None else str(getattr(inner, "dtype", ""))
    names: Sequence[str] | None = getattr(inner, "names", None)
    numbers = names is not None or sort.startswith(("int", "uint"))
    if not numbers and sort not in ("string", "large_string"):
        raise CasesError(
            f"column '{column}' of the dataset in {source} holds lists of {sort or 'lists or of mappings'}; labels are"
            " classes, names, or whole numbers."
        )
    if names is None and spec.classes is None:
        raise CasesError(
            f"column '{column}' of the dataset in {source} holds lists of {sort}, which do not tell all labels; list"
            " them under 'classes', in the order of the model's outputs."
        )
    rows = list(data.with_format(None)[column])
    known = names if names is not None else spec.classes or ()
    if numbers and names is None and _ones_and_zeros(rows, len(known)):
        raise CasesError(
            f"column '{column}' of the dataset in {source} holds a 0 or 1 for each label; save each label in a column"
            " of its own, and name those in 'columns.labels'."
        )
    if numbers and names is None:
        numbers = not _are_names(rows, known, spec.no_label, f"column '{column}' of the dataset in {source}")
    return [None if row is None else [_name(value, known if numbers else ()) for value in row] for row in rows]


def label_names(data: Any, column: str, spec: CasesSpec) -> Sequence[str]:
    """Return the labels in the order of the outputs: ``classes``, or the column's own without the word for none."""
    if spec.classes is not None:
        return spec.classes
    return tuple(name for name in _inner(data.features[column]).names if name != spec.no_label)


def _inner(feature: Any) -> Any:
    """Return what a column's lists hold, as the library describes it in any of its releases; None for other columns."""
    if isinstance(feature, list | tuple):
        return feature[0]
    return getattr(feature, "feature", None)


def _ones_and_zeros(rows: Sequence[Any], labels: int) -> bool:
    """Tell whether every list has an entry a label, 0 or 1; as places they would give every image every label."""
    found = [row for row in rows if row is not None]
    return bool(found) and all(len(row) == labels and set(row) <= {0, 1} for row in found)


def _are_names(rows: Sequence[Any], known: Sequence[str], no_label: str | None, where: str) -> bool:
    """Tell whether whole numbers are the names of the labels (as "1", "2", "3") and not their places among them.

    Raises
    ------
    CasesError
        Some are names only, and others places only.
    """
    found = {value for row in rows for value in row or () if value is not None and str(value) != no_label}
    unnamed = sorted(value for value in found if str(value) not in known)
    beyond = sorted(value for value in found - {*range(len(known))} if str(value) in known)
    if unnamed and beyond:
        raise CasesError(
            f"{where} holds {beyond[0]}, which is a name among 'classes', and {unnamed[0]}, which is none; write names"
            " alone, or places from 0 and other names."
        )
    return not unnamed


def _name(value: Any, known: Sequence[str]) -> str:
    """Return a label by name; a number that stands for none stays one, which is told once the row is looked at."""
    if isinstance(value, int) and 0 <= value < len(known):
        return known[value]
    return "" if value is None else str(value).strip()
