"""The change of the maps over a training: every checkpoint against the model before, one model in memory at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_saliency.checks.common import Floats, Kept
from pytest_saliency.decide.drift import UNCHANGED

if TYPE_CHECKING:
    from pytest_saliency.checks.no_semantic_drift import NoSemanticDriftParameters
    from pytest_saliency.engine.explained import Explained
    from pytest_saliency.engine.maps import Maps

CHECKPOINTS = "checkpoints."


@dataclass(frozen=True)
class Followed:
    """Columns by measure (a list over checkpoints for each kept image), what is told of each checkpoint, who, cost."""

    columns: Mapping[str, list[list[float]]]
    points: list[dict[str, Any]]
    identities: Mapping[str, Mapping[str, Any]]
    costs: Mapping[str, Mapping[str, Any]]


def roles(explained: Mapping[str, Any]) -> list[str]:
    """Return the roles of the checkpoints, in the order of the training."""
    found = (role for role in explained if role.startswith(CHECKPOINTS))
    return sorted(found, key=lambda role: int(role.removeprefix(CHECKPOINTS)))


def follow(
    explained: Mapping[str, Explained],
    before: Explained,
    after: Explained,
    a: Maps,
    last: Mapping[str, Floats],
    kept: Kept,
    target: str,
    parameters: NoSemanticDriftParameters,
    size: tuple[int, ...],
) -> Followed:
    """Measure every checkpoint against ``before`` on the kept images, whatever a checkpoint makes of them.

    The images are those of the check, so that the points of the path can be compared with each other. ``last`` are
    the measures of ``after``, which ends the path unless the last checkpoint is that very model. A checkpoint is
    looked up, measured and let go of before the next one.
    """
    from pytest_saliency.checks import drift

    rows = kept.indices
    values: list[Mapping[str, Floats]] = []
    points: list[dict[str, Any]] = []
    identities, costs = {}, {}
    for role in roles(explained):
        one = explained[role]
        drift.same_cases(before, one)
        drift.kept_mask(before, one, "all")  # the same classes
        drift.common_size(before, one)
        values.append(drift.measure(a, one.maps(parameters.method, target), rows, parameters.top_fraction, size))
        identities[role], costs[role] = one.identity(), one.costs()
        points.append(_point(one, str(identities[role]["name"])))
        del one
    ends = identities and list(identities.values())[-1]["state_sha256"] == after.identity()["state_sha256"]
    if not ends:
        values.append(last)
        points.append(_point(after, after.subject.name))
    columns = {name: np.stack([one[name] for one in values], axis=1).tolist() for name in UNCHANGED}
    return Followed(columns, points, identities, costs)


def _point(one: Explained, name: str) -> dict[str, Any]:
    from pytest_saliency.checks.drift import performance_of

    found = performance_of(one)
    return {"name": name, "accuracy": found["accuracy"], "macro_auc": found["macro_auc"]}
