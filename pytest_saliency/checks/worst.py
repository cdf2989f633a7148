"""Which images speak most against a criterion, from the numbers of a run or of a record. Torch stays out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pytest_saliency.decide.decision import plain

if TYPE_CHECKING:
    from pytest_saliency.checks.numbers import Numbers

Floats = NDArray[np.float64]

WORST = 8  # images named and drawn for a check


@dataclass(frozen=True, eq=False)
class Ranked:
    """How bad each kept image is (NaN: an unusable map, worst of all; -inf: not judged), and what is shown of it."""

    badness: Floats
    shown: Mapping[str, NDArray[Any]]


def order_of(badness: Floats) -> list[int]:
    """Return positions from worst to best; NaN, an unusable map, is worst, and -inf is left out."""
    filled = np.where(np.isnan(badness), np.inf, badness)
    return [int(i) for i in np.argsort(-filled, kind="stable") if filled[i] > -np.inf]


def rows_of(ranked: Ranked, numbers: Numbers, class_names: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return a row for each of the worst images: id, name of its class, values."""
    made: list[dict[str, Any]] = plain(
        [
            {
                "id": numbers.per_image["id"][i],
                "label": class_names.get(str(numbers.per_image["label"][i]), str(numbers.per_image["label"][i])),
                "values": {title: values[i].item() for title, values in ranked.shown.items()},
            }
            for i in order_of(ranked.badness)[:WORST]
        ]
    )
    return made
