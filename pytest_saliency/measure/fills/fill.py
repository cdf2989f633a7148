"""The two kinds of fill: one that knows the image alone, and one that knows the region too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

Imputer = Callable[[Tensor, Tensor | None], Tensor]
"""Fills one region of any number of images: (images (M, C, *S), noise of that shape or None) -> (M, C, *S)."""


@dataclass(frozen=True)
class Fill:
    """A fill that is the same whatever is removed, and so is made once an image: ``apply`` (N, C, *S) -> the same.

    ``version`` rises whenever the same image would be filled differently.
    """

    name: str
    version: int
    description: str
    apply: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class RegionFill:
    """A fill that depends on what is removed.

    ``prepare`` takes the weights (*S) of one region and returns what fills it in images, so that the work that
    depends on the region alone is done once for all images that lose it. ``noisy``: it adds the noise it is given.
    """

    name: str
    version: int
    description: str
    prepare: Callable[[Tensor], Imputer]
    noisy: bool
