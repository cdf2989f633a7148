"""Maps: one raw, signed attribution map an image, with a status that says whether it means anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

STATUSES = ("ok", "blank", "flat", "nonfinite", "degenerate")


@dataclass(frozen=True, eq=False)
class Maps:
    """The maps of one method for one target over all cases.

    Attributes
    ----------
    values
        (N, *grid) float32 on the CPU: raw, signed, at layer resolution.
    status
        (N,) of ``ok``, ``blank`` (no positive value), ``flat`` (one value everywhere), ``nonfinite``,
        ``degenerate`` (the method has no meaning here).
    method, version
        Full name, as in ``case[logits:3]``, and version of the definition.
    target, classes
        ``top1``, ``top2``, ``label`` or an index as text; and the class each map is for, (N,).
    warnings
        What the user should know although the maps are usable, as ``no_contrast``.
    details
        Numbers a method records per image, (N, ...) arrays: for CASE ``cosine``, ``kept`` and ``contrast``.
    """

    values: Tensor
    status: np.ndarray[Any, np.dtype[np.str_]]
    method: str
    version: int
    target: str
    classes: np.ndarray[Any, np.dtype[np.int64]]
    ids: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    details: Mapping[str, np.ndarray[Any, Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def ok(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which maps are usable, (N,)."""
        return np.asarray(self.status == "ok")

    def counts(self) -> dict[str, int]:
        """Return how many maps have each status that occurs."""
        return {name: int((self.status == name).sum()) for name in STATUSES if (self.status == name).any()}


def judge(values: Tensor, degenerate: Tensor | None = None) -> np.ndarray[Any, np.dtype[np.str_]]:
    """Return the status of each map of ``values`` (N, *grid).

    ``degenerate`` (N,) marks images for which the method itself said that it has no meaning.
    """
    flat = values.flatten(1)
    finite = torch.isfinite(flat).all(1)
    high, low = flat.amax(1), flat.amin(1)
    status = np.full(len(flat), "ok", dtype="<U10")
    status[(high <= 0).cpu().numpy()] = "blank"
    # A flat map that is not blank: the same positive evidence everywhere, so that no region stands out.
    status[((high > 0) & (high - low <= 1e-6 * high)).cpu().numpy()] = "flat"
    if degenerate is not None:
        status[degenerate.cpu().numpy()] = "degenerate"
    status[(~finite).cpu().numpy()] = "nonfinite"
    return status
