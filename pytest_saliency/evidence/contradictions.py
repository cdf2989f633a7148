"""Columns of a record that say something of each other: status and numbers, parts and their mean.

A decision takes one column of several that are measured together. Whoever changes that one alone leaves a record that
contradicts itself, which is found here without maps, model or images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_saliency.checks.numbers import Numbers
from pytest_saliency.evidence import shared
from pytest_saliency.evidence.compared import first_difference

CLOSE = 1e-9
"""By how much a mean made in another order may differ."""

Criterion = Mapping[str, Any]


def contradictions(kind: str, criterion: Criterion, numbers: Numbers) -> list[str]:
    """Return a sentence for every column of a check's table that contradicts the others."""
    look = LOOKED_AT.get(kind)
    return look(criterion, numbers) if look is not None else []


def _unusable(numbers: Numbers, column: str = "status") -> NDArray[np.bool_]:
    return np.asarray([status != "ok" for status in numbers.per_image[column]], dtype=bool)


def _numbers_at(numbers: Numbers, column: str, rows: NDArray[np.bool_], why: str) -> list[str]:
    """Return a sentence where a column has a number in one of ``rows``."""
    wrong = np.flatnonzero(rows & ~np.isnan(numbers.column(column)))
    return [f"{column}[{wrong[0]}] is a number, {why}"] if wrong.size else []


def _not_vacuous(_: Criterion, numbers: Numbers) -> list[str]:
    nothing = _unusable(numbers) | (prod(int(side) for side in numbers.inputs["grid"]) == 1)
    difference = first_difference(list(numbers.per_image["vacuous"]), nothing.astype(float).tolist(), "vacuous")
    return [f"{difference}, as status and grid give it"] if difference else []


def _inside(_: Criterion, numbers: Numbers) -> list[str]:
    from pytest_saliency.checks.inside import USABLE, states_of

    region = list(numbers.per_image["region"])
    difference = first_difference(region, states_of(numbers.column("region_share")).tolist(), "region")
    found = [f"{difference}, as region_share gives it"] if difference else []
    useless = np.asarray([one != USABLE for one in region], dtype=bool)
    for column in ("mass_inside", "hit"):
        if column in numbers.per_image:
            found += _numbers_at(numbers, column, _unusable(numbers), "and its map shows nothing")
            found += _numbers_at(numbers, column, useless, "and its region is not usable")
    return found


def _class_sensitive(_: Criterion, numbers: Numbers) -> list[str]:
    lost = _unusable(numbers, "status_top1") | _unusable(numbers, "status_top2")
    return _numbers_at(numbers, "agreement", lost, "and one of its maps shows nothing")


def _no_semantic_drift(_: Criterion, numbers: Numbers) -> list[str]:
    found, lost = [], _unusable(numbers, "status_before")
    gone = ~lost & _unusable(numbers, "status_after")
    for column, worst in (("iou_drop", 1.0), ("displacement", 1.0), ("correlation", 0.0)):
        if column not in numbers.per_image:
            continue
        found += _numbers_at(numbers, column, lost, "and its map before shows nothing")
        wrong = np.flatnonzero(gone & (numbers.column(column) != worst))
        found += [f"{column}[{wrong[0]}] is not {worst:g}, and its map after shows nothing"] if wrong.size else []
    return found


def _stable(criterion: Criterion, numbers: Numbers) -> list[str]:
    from pytest_saliency.checks.stable import changes_of

    found, lost = [], _unusable(numbers)
    every, total = np.zeros(len(lost)), np.zeros(len(lost))
    for family in criterion["perturbations"]:
        compared, changed = numbers.column(f"compared[{family}]"), numbers.column(f"changed[{family}]")
        values = numbers.column(f"agreement[{family}]")
        most = changes_of(family, int(criterion["draws"]))
        if not bool(((compared >= 0) & (changed >= 0) & (compared + changed <= most)).all()):
            found.append(f"compared[{family}] and changed[{family}] count more than {most} changes, or fewer than none")
        if not np.array_equal(np.isnan(values), compared == 0):
            found.append(f"agreement[{family}] is not undefined where nothing was compared, or is where something was")
        if (compared[lost] > 0).any():
            found.append(f"compared[{family}] counts changes of images whose map shows nothing")
        every += compared
        total += np.where(compared > 0, np.nan_to_num(values) * compared, 0.0)
    said = numbers.column("agreement")
    mean = np.where(every > 0, total / np.maximum(every, 1.0), np.nan)
    if not np.array_equal(numbers.column("compared"), every):
        found.append("compared is not the sum over the kinds of change")
    if not np.array_equal(np.isnan(said), np.isnan(mean)) or bool((np.abs(said - mean) > CLOSE).any()):
        found.append("agreement is not the mean over the kinds of change")
    return found


def _channel_activity(_: Criterion, numbers: Numbers) -> list[str]:
    share = numbers.column("active_channels") / float(numbers.inputs["channels"])
    said = numbers.column("active_share")
    same = np.array_equal(np.isnan(said), np.isnan(share)) and not bool((np.abs(said - share) > CLOSE).any())
    return [] if same else ["active_share is not active_channels over the number of channels"]


LOOKED_AT: Mapping[str, Callable[[Criterion, Numbers], list[str]]] = {
    "avoids": _inside,
    "beats_null_explainers": shared.beats_null_explainers,
    "channel_activity": _channel_activity,
    "class_sensitive": _class_sensitive,
    "localized": _inside,
    "model_dependent": shared.model_dependent,
    "no_semantic_drift": _no_semantic_drift,
    "not_vacuous": _not_vacuous,
    "planted_evidence": shared.planted_evidence,
    "stable": _stable,
}
"""By kind, what holds between the columns of its table."""
