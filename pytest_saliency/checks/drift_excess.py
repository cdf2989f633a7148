"""What of a drift its reference leaves over, image by image, and which images can tell. From a record alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pytest_saliency.decide.drift import LIMITED, UNCHANGED
from pytest_saliency.decide.drift_reference import telling
from pytest_saliency.decide.words import several

if TYPE_CHECKING:
    from pytest_saliency.checks.numbers import Numbers

Floats = NDArray[np.float64]

CONCENTRATION = "concentration_before"
"""Column of what the change of concentration starts from; a lost map loses all of it."""


def reference_column(measure: str) -> str:
    """Return the column of the record that holds what is subtracted from ``measure``."""
    return f"{measure}_reference"


def lost(measure: str, numbers: Numbers) -> Floats | float:
    """Return what ``measure`` is for an image whose map is gone."""
    if measure == "concentration_change":
        return -numbers.column(CONCENTRATION)
    return {"iou_drop": 1.0, "displacement": 1.0, "correlation": 0.0}[measure]


def excess(measure: str, values: Floats, numbers: Numbers, limits: Mapping[str, float]) -> Floats:
    """Return ``values`` (n,) of ``measure`` less its reference; NaN where there is none, or where it leaves no room.

    It leaves no room where even an image whose map is gone would keep the limit.
    """
    reference = numbers.column(reference_column(measure))
    left = values - reference
    entry = next(entry for entry in LIMITED if entry.name == measure)
    if entry.limit not in limits:
        return left
    return telling(left, lost(measure, numbers) - reference, limits[entry.limit], entry.side)


@dataclass(frozen=True)
class Undefined:
    """Why images are undefined: how many have no usable map before, no reference, or one that leaves no room."""

    unusable: int
    without: int
    no_room: int
    reference: str

    def sentence(self) -> str:
        """Return the reasons that hold, as the end of a sentence about undefined images."""
        found = []
        if self.unusable:
            found.append(
                f"of {several(self.unusable, 'image')} the map before is blank, flat or not finite (check the weights,"
                " or choose another layer or method)"
            )
        if self.without:
            found.append(f"{several(self.without, 'image')} {_without(self.without, self.reference)}")
        if self.no_room:
            found.append(f"{several(self.no_room, 'image')} {_no_room(self.no_room)}")
        return "; ".join(found) or "numbers are missing"

    def notes(self) -> list[str]:
        """Return the note about images whose reference leaves no room."""
        if not self.no_room:
            return []
        return [f"{several(self.no_room, 'image')} {_no_room(self.no_room)}; counted as undefined"]


def _without(count: int, reference: str) -> str:
    have = "has" if count == 1 else "have"
    if reference == "noise":
        return (
            f"{have} no reference, because the jitter (0.9 times the contrast) changes the prediction or leaves no"
            " usable map"
        )
    return f"{have} no reference, because no null has a usable map of it that 'keep' leaves"


def _no_room(count: int) -> str:
    have = "has" if count == 1 else "have"
    return (
        f"{have} a reference so far off that the loss of the whole map would keep the limit, so nothing could be seen"
        " there (a smaller limit, a steadier method or another reference would)"
    )


def undefined_of(numbers: Numbers, values: Mapping[str, Floats], limits: Mapping[str, float], name: str) -> Undefined:
    """Return why images are undefined under the reference ``name``, over the measures with a limit."""
    unusable = np.asarray([status != "ok" for status in numbers.per_image["status_before"]], dtype=np.bool_)
    without, missing = np.zeros_like(unusable), np.zeros_like(unusable)
    for entry in LIMITED:
        if entry.limit in limits and entry.name in UNCHANGED:
            without |= np.isnan(numbers.column(reference_column(entry.name)))
            missing |= np.isnan(values[entry.name])
    without &= ~unusable
    return Undefined(int(unusable.sum()), int(without.sum()), int((missing & ~without & ~unusable).sum()), name)
