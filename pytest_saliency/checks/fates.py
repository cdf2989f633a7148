"""What becomes of each case of a check: kept, or left out and why. From the columns of a record; torch stays out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_saliency.decide.randomness import Stream

if TYPE_CHECKING:
    from pytest_saliency.checks.numbers import Table

KEPT = "kept"
NOT_CORRECT = "not correct"
SAME_CLUSTER = "another image of the same cluster"
WHY = {
    "both_correct": "not correct in both",
    "same_prediction": "another prediction after",
    "all": "left out",
}
"""Why drift leaves an image out, by ``keep``."""


def correct_of(everyone: Table) -> dict[str, list[bool]]:
    """Return by column, as ``correct_before``, where the prediction is the label."""
    return {
        name.replace("predicted", "correct", 1): [
            bool(one == label) for one, label in zip(column, everyone["label"], strict=True)
        ]
        for name, column in everyone.items()
        if name.startswith("predicted")
    }


def wanted(pair: bool, keep: str, everyone: Table) -> tuple[list[bool], str]:
    """Return which cases ``keep`` keeps, and why the others are left out.

    ``pair``: for a check of a subject before and one after, instead of one.

    Raises
    ------
    KeyError
        The table does not say what each model predicted, or there is no such ``keep``.
    """
    found = correct_of(everyone)
    if pair:
        if keep == "both_correct":
            mask = [a and b for a, b in zip(found["correct_before"], found["correct_after"], strict=True)]
        elif keep == "same_prediction":
            mask = [a == b for a, b in zip(everyone["predicted_before"], everyone["predicted_after"], strict=True)]
        else:
            mask = [True] * len(everyone["id"])
        return mask, WHY[keep]
    return (list(found["correct"]) if keep == "correct" else [True] * len(everyone["id"])), NOT_CORRECT


def drawn_of_clusters(clusters: Sequence[Any], seed: int) -> list[int]:
    """Return the positions of one image of each cluster, drawn by ``seed``, in ascending order."""
    seen: set[Any] = set()
    chosen: list[int] = []
    for position in Stream(seed, "cluster").permutation(len(clusters)):
        if clusters[position] not in seen:
            seen.add(clusters[position])
            chosen.append(int(position))
    return sorted(chosen)


def another_image(count: int, clusters: Sequence[Any] | None) -> list[int]:
    """Return for each row one of another image: the row before; with ``clusters`` the last before of another cluster.

    ``clusters`` are given where an image may be in several rows.
    """
    if clusters is None or len(set(clusters)) < 2:
        return [(i - 1) % count for i in range(count)]
    return [
        next((i - step) % count for step in range(1, count) if clusters[i - step] != clusters[i]) for i in range(count)
    ]


def fates_of(kind: str, criterion: Mapping[str, Any], everyone: Table, seed: int) -> list[str]:
    """Return what became of each case of a check that measures and has ``keep`` among its parameters."""
    from pytest_saliency.checks.registry import KINDS

    mask, why = wanted("before" in KINDS[kind].roles, str(criterion["keep"]), everyone)
    fates = [KEPT if one else why for one in mask]
    clusters = everyone.get("cluster")
    if KINDS[kind].drawn and clusters is not None:
        kept = [i for i, one in enumerate(mask) if one]
        chosen = {kept[i] for i in drawn_of_clusters([clusters[i] for i in kept], seed)}
        fates = [SAME_CLUSTER if fate == KEPT and i not in chosen else fate for i, fate in enumerate(fates)]
    return fates
