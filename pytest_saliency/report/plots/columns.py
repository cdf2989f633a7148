"""What plots read out of a record: columns as numbers, whatever a file may hold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Record = Mapping[str, Any]
LARGEST = 1e12
"""Beyond this a number is taken for damage, not for a measurement."""


def finite(value: object) -> float | None:
    """Return a number, or None for whatever is none: None, text, NaN, infinities."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if -LARGEST <= value <= LARGEST and math.isfinite(value) else None


def part(value: object, *names: str) -> Mapping[str, Any]:
    """Return the mapping at ``names`` inside of ``value``; an empty one where there is none."""
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def listed(record: Record, name: str) -> Sequence[Any] | None:
    """Return a column over the kept images, or None where the record has none of that name."""
    found = part(record, "per_image").get(name)
    return found if isinstance(found, list) else None


def numbers(values: Sequence[Any]) -> Floats:
    """Return ``values`` as float64, NaN for whatever is no number."""
    made = (finite(value) for value in values)
    return np.asarray([math.nan if value is None else value for value in made], dtype=np.float64)


def column(record: Record, name: str) -> Floats | None:
    """Return a column over the kept images as numbers, or None where the record has none of that name."""
    found = listed(record, name)
    return None if found is None else numbers(found)


def bracketed(record: Record, prefix: str) -> list[str]:
    """Return what stands in brackets after ``prefix`` among the columns: "blur" for "drops[blur]"."""
    head = f"{prefix}["
    names = (str(name) for name in part(record, "per_image"))
    return sorted(name[len(head) : -1] for name in names if name.startswith(head) and name.endswith("]"))


def by_unit(record: Record, values: Floats) -> tuple[Floats, str]:
    """Return the numbers of the units a decision is over, and the word for one: clusters' means, or the images."""
    clusters = listed(record, "cluster")
    if clusters is None or len(clusters) != len(values):
        return values, "image"
    sums: dict[str, list[float]] = {}
    for name, value in zip(clusters, values.tolist(), strict=True):
        sums.setdefault(str(name), []).append(value)
    means = []
    for found in sums.values():
        seen = [value for value in found if not math.isnan(value)]
        means.append(sum(seen) / len(seen) if seen else math.nan)
    return np.asarray(means, dtype=np.float64), "cluster"


def measure(record: Record, name: str) -> Mapping[str, Any]:
    """Return a measure of the record's decision; empty where there is none."""
    return part(record, "decision", "measures", name)


def several(count: int, word: str) -> str:
    """Return "1 image" or "3 images"."""
    return f"{count} {word}{'' if count == 1 else 's'}"


def figure(value: float, decimals: int = 2) -> str:
    """Return a number as text with a true minus sign; tiny ones are not shown as nothing."""
    if value != 0.0 and abs(value) < 0.5 * 10.0**-decimals:
        return f"{value:.1g}".replace("-", "−")
    if abs(value) >= 1e6:
        return f"{value:.3g}".replace("-", "−")
    return f"{value:.{decimals}f}".replace("-", "−")
