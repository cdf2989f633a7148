"""Comparing numbers of images that were made twice: equal within what ``decide.tolerance`` says of their measure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pytest_saliency.checks.numbers import floats
from pytest_saliency.decide.tolerance import FEW, TOLERANCES, Tolerance, tolerance_of

MEASURE_OF = {
    "self_agreement": "agreement",
    "other_image_agreement": "agreement",
    "own_share": "mass_inside",
    "largest_other_share": "mass_inside",
    "floor": "iou_drop",
    "likeness": "iou_drop",
    "cell_drop": "log_odds_drop",
}


def tolerance_for(column: str, inputs: Mapping[str, Any]) -> Tolerance | None:
    """Return the tolerance of a column of a record; None for columns without one, which must be equal."""
    name = "log_odds_drop" if column.startswith(("drop[", "drops[", "drop_of_")) else MEASURE_OF.get(column, column)
    if name not in TOLERANCES:
        return None
    region = inputs.get("region")
    return tolerance_of(name, int(region) if isinstance(region, int) and not isinstance(region, bool) else None)


def too_far(said: Sequence[Any], made: Sequence[Any], tolerance: Tolerance) -> str | None:
    """Return how two columns differ beyond ``tolerance``; None where they do not. Rows of numbers count as one."""
    if len(said) != len(made):
        return f"has {len(said)} rows, and made again {len(made)}"
    gaps = np.zeros(len(said))
    for place, (one, two) in enumerate(zip(said, made, strict=True)):
        a, b = floats(one if isinstance(one, list) else [one]), floats(two if isinstance(two, list) else [two])
        if a.shape != b.shape or bool((np.isnan(a) != np.isnan(b)).any()):
            return f"is undefined in other places: row {place}"
        known = np.abs(a - b)[~np.isnan(a)]
        gaps[place] = known.max() if known.size else 0.0
    rounding = 1e-12
    beyond = int((gaps > tolerance.every + rounding).sum())
    worst = int(gaps.argmax()) if len(gaps) else 0
    if len(gaps) and gaps[worst] > max(tolerance.few, tolerance.every) + rounding:
        most = max(tolerance.few, tolerance.every)
        return f"differs by {gaps[worst]:.3g} in row {worst}, and at most {most:.3g} is rounding"
    if beyond > math.ceil(FEW * len(gaps)):
        return f"differs by more than {tolerance.every:.3g} in {beyond} of {len(gaps)} rows"
    return None
