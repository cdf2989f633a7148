"""How many positions a top region has. Torch stays out."""

from __future__ import annotations

from fractions import Fraction
from math import floor

from pytest_saliency.errors import CriterionError


def region_size(fraction: float, positions: int) -> int:
    """Return k = ``fraction`` of ``positions``, rounded half up, at least 1.

    The product is taken of the decimal number as written, so 0.29 of 50 is 14.5 and gives 15.
    Raises ``CriterionError`` unless 0 < fraction <= 1.
    """
    if not 0.0 < fraction <= 1.0:
        raise CriterionError(f"The share of positions in a top region must be above 0 and at most 1, not {fraction!r}.")
    return max(1, floor(Fraction(repr(float(fraction))) * positions + Fraction(1, 2)))
