"""What ``localized`` and ``avoids`` share: maps against a region of each image, a few images at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pytest_saliency.engine.label_masks import unmasked_labels
from pytest_saliency.engine.masks import NEEDED
from pytest_saliency.errors import CasesError

if TYPE_CHECKING:
    from torch import Tensor

    from pytest_saliency.checks.common import Floats, Indices
    from pytest_saliency.checks.numbers import Numbers
    from pytest_saliency.engine.cases import Cases
    from pytest_saliency.engine.maps import Maps

CHUNK = 16
USABLE, EMPTY, FULL = "usable", "empty", "everything"
"""What a region is: usable, or it holds no pixel, or all of them, and then it says nothing about where."""
COUNTED = ("min_hits",)
"""Limits on a share of maxima, not of mass."""


def need_masks(cases: Cases, kind: str) -> None:
    """Raise CasesError where the cases have no masks, or those of some labels have none."""
    if cases.masks is None:
        raise CasesError(f"{kind} needs masks, but the cases of {cases.source} have none. {NEEDED}")
    for label in unmasked_labels(cases):
        raise CasesError(
            f"{kind} needs masks, but the label '{label}' of {cases.source} has none: 'masks' names other labels only."
            " Add it there, or give this check cases of its own whose 'pairs' leave that label out."
        )


def outlined(cases: Cases) -> str:
    """Return what a line around the mask of a picture stands for."""
    return "the mask of the label" if cases.label_masks else "the mask"


def measured(
    maps: Maps, rows: Indices, usable: NDArray[np.bool_], region: Callable[[int], Tensor]
) -> dict[str, NDArray[np.generic]]:
    """Return ``mass_inside``, ``hit``, ``region_share`` and ``region`` (its state) of the images at ``rows``.

    ``region`` returns the weights (*S) of an image of the cases. Mass and hit are NaN where the map is not ``usable``
    or the region is not.
    """
    import torch

    from pytest_saliency.measure.grid import spread
    from pytest_saliency.measure.inside import mass_inside_of, maximum_inside_of

    mass, hit, shares = [], [], []
    for start in range(0, len(rows), CHUNK):
        chosen = rows[start : start + CHUNK]
        weights = torch.stack([region(int(i)).to(torch.float64) for i in chosen])
        grid = spread(maps.values[chosen], tuple(weights.shape[1:]))
        share = weights.flatten(1).mean(1).numpy()
        mass.append(mass_inside_of(grid, weights).cpu().numpy())
        hit.append(maximum_inside_of(grid, weights).cpu().numpy())
        shares.append(share)
    state = states_of(np.concatenate(shares))
    known = usable[rows] & (state == USABLE)
    return {
        "mass_inside": np.where(known, np.concatenate(mass), np.nan),
        "hit": np.where(known, np.concatenate(hit), np.nan),
        "region_share": np.concatenate(shares),
        "region": state,
    }


def states_of(shares: Floats) -> NDArray[np.str_]:
    """Return what the regions are that cover these shares of their images."""
    return np.where(shares <= 0.0, EMPTY, np.where(shares >= 1.0, FULL, USABLE))


def chance_of(numbers: Numbers) -> float | None:
    """Return the mean share of an image that the regions cover, over the images with a number; None without one."""
    shares, mass = numbers.column("region_share"), numbers.column("mass_inside")
    known = np.isfinite(mass) & np.isfinite(shares)
    return float(shares[known].mean()) if known.any() else None


def notes_on(states: NDArray[np.str_], shares: Floats, limits: Mapping[str, float], side: str) -> list[str]:
    """Return what the reader must know of the regions: images without a usable one, and limits that chance keeps.

    ``shares``: of the image that each region covers, which is the mass that a map spread evenly has inside, and how
    often a maximum at a random place lies inside. ``limits``: the declared ones by name; ``side``: theirs, ``>=`` or
    ``<=``.
    """
    from pytest_saliency.decide.words import several

    notes = []
    empty, full = int((states == EMPTY).sum()), int((states == FULL).sum())
    if empty:
        notes.append(
            f"{several(empty, 'image')} with a mask that is empty after the model's resize and crop counted as"
            " undefined: nothing can lie inside it; draw masks that are larger than a pixel of the model's input, or"
            " leave such images out of the cases"
        )
    if full:
        notes.append(
            f"{several(full, 'image')} with a mask of the whole image (after the model's resize and crop) counted as"
            " undefined: nothing can lie outside of it; leave such images out of the cases"
        )
    usable = shares[states == USABLE]
    chance = float(usable.mean()) if usable.size else float("nan")
    for name, limit in limits.items():
        if limit <= chance if side == ">=" else limit >= chance:
            what = "maximum at a random place" if name in COUNTED else "evenly spread map"
            has = "lies inside that often" if name in COUNTED else "has that much of its mass inside"
            notes.append(
                f"{name} {limit:g} asks for no more than chance: the regions cover {chance:.3g} of an image on average,"
                f" so that {'a' if name in COUNTED else 'an'} {what} {has} and would keep the limit"
            )
    return notes


def readouts_of(numbers: Numbers) -> dict[str, object]:
    """Return what chance gives: the share of an image that the regions cover, and how much more the maps have inside.

    A map spread evenly over its image has as much of its mass inside as the region covers.
    """
    shares, mass = numbers.column("region_share"), numbers.column("mass_inside")
    known = np.isfinite(mass) & np.isfinite(shares)
    if not known.any():
        return {"chance": None, "mass_beyond_chance": None}
    return {
        "chance": chance_of(numbers),
        "mass_beyond_chance": float((mass[known] - shares[known]).mean()),
    }
