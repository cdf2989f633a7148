"""Axes: keys of a check that may be written as a list, one pytest item an entry."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pytest_saliency.checks.registry import Kind
from pytest_saliency.contracts.loader import Path, shown
from pytest_saliency.contracts.pairs import listed, pairs_of
from pytest_saliency.contracts.problems import Findings

AXES = ("pair", "method", "model", "top_k")
MAX_ITEMS = 500


@dataclass(frozen=True)
class Choice:
    """One value that a key takes, where it stands, and whether it was written in a list."""

    value: Any
    path: Path
    listed: bool


def axes_of(kind: Kind) -> tuple[str, ...]:
    """Return the keys of ``kind`` that may be written as a list, in the order of item names.

    ``fill`` and ``against`` take lists too, but as conjunctions: all must hold in one item. ``before`` and ``after``
    are lists together, and make the axis ``pair`` (see ``pairs``).
    """
    known = (*kind.roles, *(name for name in kind.parameters.model_fields if name not in kind.fixed))
    return tuple(key for key in AXES if key in known)


def choices(
    kind: Kind, values: Mapping[Any, Any], path: Path, section: str, findings: Findings
) -> dict[str, tuple[Choice, ...]] | None:
    """Return the choices of every axis key that ``values`` writes, or None where they are too many.

    Empty lists and repeats are reported too.
    """
    found: dict[str, tuple[Choice, ...]] = {}
    if listed(kind, values):
        pairs = pairs_of(values, path, section, findings)
        found["pair"] = tuple(Choice(pair, (*path, "after", i), True) for i, pair in enumerate(pairs))
    for key in axes_of(kind):
        if key not in values:
            continue
        here = (*path, key)
        if not isinstance(values[key], tuple):
            found[key] = (Choice(values[key], here, False),)
            continue
        entries = tuple(Choice(entry, (*here, i), True) for i, entry in enumerate(values[key]))
        if not entries:
            findings.value(here, f"'{key}' {section} is an empty list, so nothing would be checked")
        for i, entry in enumerate(entries):
            if any(_same(entry.value, earlier.value) for earlier in entries[:i]):
                findings.value(entry.path, f"'{key}' {section} names '{shown(entry.value)}' twice")
        found[key] = entries
    if (count := math.prod(len(entries) for entries in found.values())) > MAX_ITEMS:
        findings.value(path, f"the lists {section} make {count} items; at most {MAX_ITEMS} are allowed")
        return None
    return found


def combinations(found: Mapping[str, tuple[Choice, ...]]) -> Iterator[dict[str, Choice]]:
    """Yield one choice of every axis, in the order of the file."""
    for picked in itertools.product(*found.values()):
        yield dict(zip(found, picked, strict=True))


def shown_axes(picked: Mapping[str, Choice]) -> dict[str, str]:
    """Return the axes that an item's name shows: those written as a list."""
    return {key: axis_text(choice.value) for key, choice in picked.items() if choice.listed}


def item_name(check: str, axes: Mapping[str, str]) -> str:
    """Return the name of an item, as in ``faithful[gradcam]``."""
    return f"{check}[{'-'.join(axes.values())}]" if axes else check


def axis_text(value: object) -> str:
    """Return an axis value as its item's name shows it; 1 and 1.0 look alike, as they are one value."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return repr(float(value)).removesuffix(".0")
    return str(value)


def _same(a: object, b: object) -> bool:
    return type(a) in (int, float, str) and type(b) in (int, float, str) and a == b
