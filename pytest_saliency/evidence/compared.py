"""Where two values of JSON differ first, and whether it is more than rounding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ROUNDING = 1e-9
MISSING = "nothing"


def first_difference(said: Any, made: Any, where: str = "") -> str | None:
    """Return "measures.iou_drop.estimate is 0.1 and must be 0.8" for the first difference; None where there is none.

    ``said`` stands in the file, ``made`` is what it must be.
    """
    if isinstance(said, Mapping) and isinstance(made, Mapping):
        for key in sorted({*said, *made}):
            inside = f"{where}.{key}" if where else str(key)
            if key not in said or key not in made:
                return f"{inside} is {_shown(said.get(key, MISSING))} and must be {_shown(made.get(key, MISSING))}"
            found = first_difference(said[key], made[key], inside)
            if found:
                return found
        return None
    if isinstance(said, list) and isinstance(made, list):
        if len(said) != len(made):
            return f"{where} has {len(said)} entries and must have {len(made)}"
        for place, (one, two) in enumerate(zip(said, made, strict=True)):
            found = first_difference(one, two, f"{where}[{place}]")
            if found:
                return found
        return None
    same = said == made and isinstance(said, bool) == isinstance(made, bool)
    return None if same else f"{where or 'it'} is {_shown(said)} and must be {_shown(made)}"


def only_rounding(one: Any, two: Any) -> bool:
    """Tell whether two values differ in no more than the last digits of numbers."""
    if isinstance(one, Mapping) and isinstance(two, Mapping):
        return set(one) == set(two) and all(only_rounding(one[key], two[key]) for key in one)
    if isinstance(one, list) and isinstance(two, list):
        return len(one) == len(two) and all(map(only_rounding, one, two))
    if isinstance(one, bool) or isinstance(two, bool):
        return one is two
    if isinstance(one, int | float) and isinstance(two, int | float):
        return abs(one - two) <= ROUNDING * max(abs(one), abs(two), 1.0)
    return bool(one == two)


def _shown(value: Any) -> str:
    if isinstance(value, Mapping | list):
        return f"{'an object' if isinstance(value, Mapping) else 'a list'} of {len(value)}"
    text = value if value is MISSING else repr(value)
    return text if len(text) <= 120 else text[:117] + "..."
