"""From what a measure handed over to what a decision works on: checked, substituted, averaged within clusters."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_saliency.errors import CriterionError

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

SLACK = 1e-6


def checked(name: str, values: npt.ArrayLike, low: float, high: float) -> FloatArray:
    """Return ``values`` as float64, NaN where undefined, rounding noise at the ends of the range clipped.

    Raises
    ------
    CriterionError
        If there is not one number per image, or a number lies outside ``low`` to ``high`` (infinity included).
    """
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise CriterionError(f"{name} holds something that is not a number; give one number per image.") from None
    if array.ndim != 1:
        raise CriterionError(
            f"{name} has the shape {array.shape}; give one number per image, NaN for an undefined one."
        )
    wrong = np.flatnonzero((array < low - SLACK) | (array > high + SLACK) | np.isinf(array))
    if wrong.size:
        first = int(wrong[0])
        raise CriterionError(
            f"{name} is {array[first]:g} for image number {first + 1} of {array.size}"
            f" ({wrong.size} such {'image' if wrong.size == 1 else 'images'}), outside its range {low:g} to {high:g};"
            " mark an undefined image by NaN and check how the measure was computed."
        )
    return np.clip(array, low, high)


def same_length(name: str, values: npt.NDArray[Any], other: str, n: int) -> None:
    """Raise a CriterionError if ``values`` does not hold one entry for each of the ``n`` images."""
    if len(values) != n:
        raise CriterionError(f"{name} holds {len(values)} numbers and {other} {n}; both need one per image.")


def share_limit(name: str, value: float) -> float:
    """Return ``value`` if it is a share between 0 and 1, else raise a CriterionError."""
    return within(name, value, 0.0, 1.0)


def within(name: str, value: float, low: float, high: float) -> float:
    """Return ``value`` if it is a finite number from ``low`` to ``high``, else raise a CriterionError."""
    if not low <= value <= high or not np.isfinite(value):
        raise CriterionError(f"{name} is {value:g}; it must be a number from {low:g} to {high:g}.")
    return float(value)


def level(alpha: float) -> float:
    """Return ``alpha`` if it is a usable level, else raise a CriterionError."""
    if not 0.0 < alpha < 0.5:
        raise CriterionError(f"alpha is {alpha:g}; it must lie between 0 and 0.5, as 0.05 does.")
    return float(alpha)


@dataclass(frozen=True)
class Unit:
    """What the units are called, and with what a headline ends "n = 25 ": "sets with 98 of 100 images"."""

    word: str
    told: str


class Units:
    """The units of a decision: the images, or the clusters that group them (average within, then decide)."""

    def __init__(self, images: int, clusters: Sequence[Hashable] | None, unit: Unit | None = None) -> None:
        self.images = images
        self.unit = unit
        self.clustered = clusters is not None
        if clusters is None:
            self._member: IntArray = np.arange(images, dtype=np.int64)
            self.n = images
            return
        if len(clusters) != images:
            raise CriterionError(f"there are {len(clusters)} cluster names for {images} images; give one per image.")
        places: dict[Hashable, int] = {}
        # Numbered as they first appear, so that their order follows the case ids and not the names' types.
        self._member = np.array([places.setdefault(name, len(places)) for name in clusters], dtype=np.int64)
        self.n = len(places)

    @property
    def word(self) -> str:
        """Return what the units are called."""
        if self.unit is not None:
            return self.unit.word
        return "clusters" if self.clustered else "images"

    def average(self, values: FloatArray) -> FloatArray:
        """Return one number per unit: the mean of its images' numbers, NaN left out (NaN if all are)."""
        if not self.clustered:
            return values
        known = ~np.isnan(values)
        sums = np.bincount(self._member, weights=np.where(known, values, 0.0), minlength=self.n)
        counts = np.bincount(self._member, weights=known.astype(np.float64), minlength=self.n)
        averages: FloatArray = np.divide(sums, counts, out=np.full(self.n, np.nan), where=counts > 0)
        return averages


def filled(values: FloatArray, substitute: float) -> FloatArray:
    """Return ``values`` with every undefined one replaced."""
    return np.where(np.isnan(values), substitute, values)


def defined(values: FloatArray) -> FloatArray:
    """Return the defined values alone."""
    return values[~np.isnan(values)]


def mean_of(values: FloatArray) -> float:
    """Return the mean, NaN for no values."""
    return float(np.mean(values)) if values.size else float("nan")


def median_of(values: FloatArray) -> float:
    """Return the median, NaN for no values."""
    return float(np.median(values)) if values.size else float("nan")


def sd_of(values: FloatArray) -> float:
    """Return the standard deviation (n - 1), NaN for fewer than two values."""
    return float(np.std(values, ddof=1)) if values.size > 1 else float("nan")
