"""What the change of the maps is held against: the jitter of one checkpoint, or clean fine-tunings; as numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_saliency.checks.common import Floats, Kept
from pytest_saliency.decide.drift import UNCHANGED
from pytest_saliency.errors import CriterionError, SubjectError

if TYPE_CHECKING:
    from pytest_saliency.checks.no_semantic_drift import NoSemanticDriftParameters
    from pytest_saliency.engine.explained import Explained
    from pytest_saliency.engine.maps import Maps

NULLS = "nulls."


def noise(before: Explained, method: str, kept: Kept, fraction: float, size: tuple[int, ...]) -> dict[str, Floats]:
    """Return the measures between each kept image's own map before and its map with 0.9 times the contrast.

    Both are of the class that the model before predicts. NaN where the jitter changed the prediction or left no usable
    map: that says nothing about how far a map moves by itself.

    Raises
    ------
    CriterionError
        The method's maps were brought in without those of the jittered images.
    """
    from pytest_saliency.checks.drift import measure

    again = before.maps_jittered(method)
    if again is None:
        raise CriterionError(
            f"reference: noise needs the maps of {method} on the jittered images; bring them in too (add_maps,"
            " again=), or choose another reference."
        )
    own, rows = before.maps(method, "top1"), kept.indices
    made = measure(own, again, rows, fraction, size)
    usable = again.ok[rows] & before.jitter_kept_prediction[rows]
    return {name: np.where(usable, column, np.nan) for name, column in made.items()}


def nulls(
    explained: Mapping[str, Explained],
    before: Explained,
    a: Maps,
    kept: Kept,
    parameters: NoSemanticDriftParameters,
    size: tuple[int, ...],
    candidate: Mapping[str, Any],
) -> tuple[dict[str, Floats], dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return the nulls' mean measures of each kept image; their own means; who they are; and what they cost.

    Each null is measured as the candidate is: against the model before, over the images that ``keep`` leaves of that
    pair. So candidate and nulls may change places, which is what a rank stands on. An image that no null keeps has no
    reference (NaN). Nulls are looked up one at a time, and let go of. ``candidate``: who the model after is.

    Raises
    ------
    SubjectError
        A null is another one again, or the model before or after.
    """
    from pytest_saliency.checks import drift
    from pytest_saliency.checks.common import keep

    rows = kept.indices
    place = {int(i): position for position, i in enumerate(rows)}
    sums = {name: np.zeros(len(rows)) for name in UNCHANGED}
    counts = {name: np.zeros(len(rows)) for name in UNCHANGED}
    means: dict[str, list[float | None]] = {name: [] for name in UNCHANGED}
    sizes, identities, costs = [], {}, {}
    apart = {_state(before.identity()): "the model before", _state(candidate): "the model after"}
    for role in roles(explained):
        one = explained[role]
        identity = one.identity()
        _refuse_known(identity, apart)
        apart[_state(identity)] = f"'{identity['name']}'"
        drift.same_cases(before, one)
        mask, target = drift.kept_mask(before, one, parameters.keep)
        drift.common_size(before, one)
        theirs = keep(before, mask, f"{role}: {drift.WHY[parameters.keep]}").indices
        values = drift.measure(a, one.maps(parameters.method, target), theirs, parameters.top_fraction, size)
        sizes.append(len(theirs))
        both = [(place[int(i)], k) for k, i in enumerate(theirs) if int(i) in place]
        mine, there = (np.asarray(side, dtype=np.int64) for side in (zip(*both, strict=True) if both else ((), ())))
        for name, column in values.items():
            seen = column[~np.isnan(column)]
            means[name].append(float(seen.mean()) if seen.size else None)
            known = ~np.isnan(column[there])
            sums[name][mine[known]] += column[there][known]
            counts[name][mine[known]] += 1.0
        identities[role], costs[role] = identity, one.costs()
    references = {
        name: np.divide(sums[name], counts[name], out=np.full(len(rows), np.nan), where=counts[name] > 0)
        for name in UNCHANGED
    }
    return references, {"means": means, "kept": sizes}, identities, costs


def _state(identity: Mapping[str, Any]) -> str | None:
    found = identity.get("state_sha256") or identity.get("weights_sha256")
    return None if found is None else str(found)


def _refuse_known(null: Mapping[str, Any], known: Mapping[str | None, str]) -> None:
    """Raise where a null has the weights of a model that is there already: a rank counts trainings, each once."""
    state = _state(null)
    if state is not None and state in known:
        raise SubjectError(
            f"null checkpoints are counted as separate clean fine-tunings, but '{null['name']}' has the same weights as"
            f" {known[state]} (SHA-256 {state[:12]}..); name models that were fine-tuned with other seeds or on"
            " resampled data."
        )


def roles(explained: Mapping[str, Any]) -> list[str]:
    """Return the roles of the nulls, in the order of the list."""
    return sorted((role for role in explained if role.startswith(NULLS)), key=lambda r: int(r.removeprefix(NULLS)))
