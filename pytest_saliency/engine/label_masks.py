"""Masks of single labels: where an image shows an effusion is not where it shows a mass.

Each unit of an image then has the mask of its own label. Masks of labels that no unit is for are not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from pytest_saliency.engine.masks import ArrayMask, FileMask, MaskSource, array_masks
from pytest_saliency.engine.multi_label import Label, label_index
from pytest_saliency.errors import CasesError

if TYPE_CHECKING:
    from pytest_saliency.engine.cases import Cases


@dataclass(frozen=True)
class NoMask:
    """Stands for the mask of a unit where other labels have masks and its own has none."""

    label: str

    def load(self, case: str) -> Tensor:
        raise CasesError(f"case '{case}' has no mask: 'masks' names other labels, but not '{self.label}'.")

    def digest(self, case: str) -> str:
        return "none"


def unmasked_labels(cases: Cases) -> tuple[str, ...]:
    """Return the labels of units that have no masks while others have."""
    return tuple(dict.fromkeys(mask.label for mask in cases.masks or () if isinstance(mask, NoMask)))


def are_by_label(masks: Any, size: tuple[int, ...] | None = None) -> bool:
    """Tell whether there is a mask a label: a mapping, or arrays with an axis more than images of ``size`` have."""
    if size is None or isinstance(masks, Mapping):
        return isinstance(masks, Mapping)
    try:
        first = masks[0]
        return (first.dim() if isinstance(first, Tensor) else np.ndim(first)) == len(size) + 1
    except (TypeError, KeyError, IndexError, ValueError):  # whatever they are, who reads them says so
        return False


def with_label_masks(
    units: Cases, base: Cases, masks: Mapping[Label, Sequence[MaskSource | None]], labels: int
) -> Cases:
    """Return ``units``, which were made of ``base``, with the mask of its own label each.

    ``masks``: of each label one an image of ``base``, None where there is none of it; ``labels``: how many there are.

    Raises
    ------
    CasesError
        ``base`` has one label an image, ``masks`` name a label that is unknown or named twice, they are not one an
        image, or that of a unit is left out.
    """
    if units.present is None:
        raise CasesError(
            f"masks a label belong to images with several labels, but {base.source} has one label an image; give one"
            " mask an image."
        )
    if units.others is None:  # held-out sets, of which nothing is explained
        return units
    names = base.class_names or tuple(str(index) for index in range(labels))
    found: dict[int, Sequence[MaskSource | None]] = {}
    for word, given in masks.items():
        label = label_index(word, names, "'masks'", base.source)
        if label in found:
            raise CasesError(f"'masks' of {base.source} names the label '{names[label]}' twice; name it once.")
        if len(given) != len(base):
            raise CasesError(
                f"{base.source} has {len(base)} images but {len(given)} masks of the label '{names[label]}'; give one"
                " an image, None where the label is absent."
            )
        found[label] = given
    made: list[MaskSource] = []
    for case, row, label in zip(units.ids, _rows(units, base), units.labels, strict=True):
        mask = found[label][row] if label in found else NoMask(names[label])
        if mask is None:
            raise CasesError(
                f"case '{case}' has no mask, but 'masks' names its label '{names[label]}'; every image in which that"
                " label is present needs one: give it, or leave the image out."
            )
        made.append(mask)
    return replace(units, masks=tuple(made), label_masks=True)


def with_label_arrays(units: Cases, base: Cases, masks: Any, sizes: Sequence[tuple[int, ...]], labels: int) -> Cases:
    """Return ``units`` with masks from arrays: (L, *S) an image, or a mapping from labels to (N, *S).

    ``sizes`` are the spatial sizes of the images; else as :func:`with_label_masks`.
    """
    if isinstance(masks, Mapping):
        given = {word: _column(_listed(held, word, base.source), base, sizes) for word, held in masks.items()}
        return with_label_masks(units, base, given, labels)
    if units.others is None:
        return units
    if len(masks) != len(base):
        raise CasesError(f"{base.source} has {len(base)} ids but {len(masks)} masks; give one each.")
    made: list[ArrayMask] = []
    for case, row, label in zip(units.ids, _rows(units, base), units.labels, strict=True):
        count = len(masks[row]) if hasattr(masks[row], "__len__") else 1
        if count != labels:
            raise CasesError(
                f"image '{base.ids[row]}' has {count} masks, but there are {labels} labels; give one mask a label, in"
                " the order of the labels."
            )
        made += array_masks([masks[row][label]], [case], [sizes[row]], base.source)
    return replace(units, masks=tuple(made), label_masks=True)


def file_label_masks(masks: Any, root: Path, source: str) -> dict[Label, list[FileMask | None]]:
    """Return masks in files from a mapping of labels to their paths, which start at ``root``; nothing from others.

    Raises
    ------
    CasesError
        Something that is no path and not None, which stands for an image without the label.
    """
    made: dict[Label, list[FileMask | None]] = {}
    for word, column in masks.items() if isinstance(masks, Mapping) else ():
        made[word] = []
        for path in _listed(column, word, source):
            if not isinstance(path, str | Path | None):
                raise CasesError(
                    f"'masks' of {source} holds {path!r} for the label '{word}'; give the path of a file, or None for"
                    " an image without that label."
                )
            made[word].append(None if path is None else FileMask(root / path))
    return made


def _listed(column: Any, label: Label, source: str) -> list[Any]:
    """Return the masks of a label; raises CasesError for what is no list of them."""
    if isinstance(column, str) or not hasattr(column, "__iter__"):
        raise CasesError(f"'masks' of {source} must hold, for the label '{label}', a list with one mask an image.")
    return list(column)


def _column(given: list[Any], base: Cases, sizes: Sequence[tuple[int, ...]]) -> list[MaskSource | None]:
    if len(given) != len(base):
        return given  # the reader counts them
    return [
        None if mask is None else array_masks([mask], [case], [size], base.source)[0]
        for case, size, mask in zip(base.ids, sizes, given, strict=True)
    ]


def _rows(units: Cases, base: Cases) -> list[int]:
    """Return the row of ``base`` that each unit's image is in."""
    rows = {id(image): row for row, image in enumerate(base.images)}
    return [rows[id(image)] for image in units.images]
