"""The per-image numbers of a check that a baseline keeps and a later run is held against. Torch stays out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pytest_saliency.decide.planted import seen_of
from pytest_saliency.decide.randomised import telling
from pytest_saliency.decide.swap import SwapBlock
from pytest_saliency.decide.worsening_measures import measure_names

if TYPE_CHECKING:
    from pytest_saliency.checks.numbers import Table

Floats = NDArray[np.float64]

DECIDES_ONLY = frozenset({"alpha", "rule", "against", "curves", "reference", "null_test", "checkpoints", "confirm"})
"""Parameters that say how numbers are judged or what is reported beside them, and change no number."""


def compared_columns(kind: str, per_image: Table, criterion: Mapping[str, Any] | None = None) -> dict[str, Floats]:
    """Return by column what a check of ``kind`` measured of each image, NaN where undefined.

    With the check's ``criterion`` images are undefined too where the check itself takes them so for its limit.
    ``faithful`` has a column a fill: an image's own score drop minus the mean drop by the other regions of its block.
    """
    from pytest_saliency.checks.numbers import floats

    if kind == "model_dependent":
        similarity, floor = floats(per_image["similarity"]), floats(per_image["floor"])
        if criterion is None:
            return {"excess": similarity - floor}
        return {"excess": telling(similarity, floor, floats(per_image["likeness"]), float(criterion["max_excess"]))}
    if kind != "faithful":
        return {name: floats(per_image[name]) for name in measure_names(kind)}
    fills = [name[len("drops[") : -1] for name in per_image if name.startswith("drops[")]
    return {f"advantage[{fill}]": _advantages(per_image, fill) for fill in fills}


def comparable(kind: str, per_image: Table) -> NDArray[np.bool_]:
    """Return which images have a number at all.

    An image alone in its class is in no block of the swap test, only some images are explained by randomised models,
    and where the model does not see an image in its mosaic there is nothing to be found.
    """
    from pytest_saliency.checks.numbers import floats

    if kind == "planted_evidence":
        return seen_of(floats(per_image["cell_drop"]))
    if kind == "model_dependent":
        return np.asarray([draws is not None for draws in per_image["unusable_draws"]], dtype=np.bool_)
    if kind == "faithful":
        return np.asarray([block >= 0 for block in per_image["block"]], dtype=np.bool_)
    return np.ones(len(per_image["id"]), dtype=np.bool_)


def _advantages(per_image: Table, fill: str) -> Floats:
    """Return each image's advantage from the rows of D; NaN without a usable map, or outside of all blocks."""
    from pytest_saliency.checks.numbers import floats

    rows, status = per_image[f"drops[{fill}]"], per_image["status"]
    found = np.full(len(rows), np.nan)
    for block in blocks_of(per_image["block"]):
        drops = np.stack([floats(rows[i])[: len(block)] for i in block])
        undefined = np.asarray([status[i] != "ok" for i in block], dtype=np.bool_)
        found[list(block)] = SwapBlock(block, drops, undefined).advantages()
    return found


def blocks_of(column: Sequence[Any]) -> list[tuple[int, ...]]:
    """Return the positions of the images of each block, in ascending order, as the rows of D have them."""
    members: dict[int, list[int]] = {}
    for i, block in enumerate(column):
        if block >= 0:
            members.setdefault(int(block), []).append(i)
    return [tuple(members[block]) for block in sorted(members)]


def meaning(criterion: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that decide what a number means; limits and levels are left out."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in criterion.items()
        if name not in DECIDES_ONLY and not name.startswith(("max_", "min_"))
    }
