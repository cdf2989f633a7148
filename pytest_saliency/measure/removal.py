"""Removing a region from an image: what takes its place, and the blend."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor

from pytest_saliency.errors import CriterionError, MethodError
from pytest_saliency.measure.fills.blur import BLUR
from pytest_saliency.measure.fills.constant import MEAN, ZERO
from pytest_saliency.measure.fills.fill import Fill, Imputer, RegionFill
from pytest_saliency.measure.fills.linear import NOISY_LINEAR

FILLS: Mapping[str, Fill | RegionFill] = MappingProxyType(
    {fill.name: fill for fill in (BLUR, MEAN, ZERO, NOISY_LINEAR)}
)
"""Fills by name."""


def fill_named(name: str) -> Fill | RegionFill:
    """Return the fill of that name. Raises ``CriterionError`` for an unknown one."""
    if name not in FILLS:
        raise CriterionError(f"There is no fill {name!r}; use one of {', '.join(FILLS)}.")
    return FILLS[name]


def filled(images: Tensor, fill: str, weights: Tensor | None = None, noise: Tensor | None = None) -> Tensor:
    """Return what ``images`` (N, C, *S) become where they are removed: same shape, dtype and device.

    For pixels in [0, 1] the result is in [0, 1]. Computed in float64 inside, so that devices and TF32 or bf16
    matmul settings agree on it.

    Parameters
    ----------
    weights
        (N, *S) or (N, positions): what is removed. Needed by a fill that depends on it (``noisy_linear``), and
        only there; where nothing is removed the image is returned as it is.
    noise
        (N, C, *S) draws of a standard normal for a fill that adds noise; ``None`` adds none.

    Raises
    ------
    CriterionError
        An unknown fill.
    MethodError
        Other shapes, or no weights for a fill that depends on them.
    """
    known = fill_named(fill)
    _check_images(images)
    if isinstance(known, Fill):
        return known.apply(images)
    if weights is None:
        raise MethodError(f"What fill {fill!r} puts in depends on the region; pass the region's weights.")
    made = torch.empty_like(images)
    for row, mask in enumerate(_masks(images, weights)):
        drawn = None if noise is None else noise[row : row + 1]
        made[row : row + 1] = known.prepare(mask)(images[row : row + 1], drawn)
    return made


def remove(images: Tensor, weights: Tensor, filled_images: Tensor) -> Tensor:
    """Return images x (1 - w) + filled x w: (N, C, *S), with ``weights`` (N, *S) or (N, positions) in [0, 1].

    ``Region.weights`` fits as it is when the region was taken at the images' size.
    Raises ``MethodError`` where the weights do not cover the images' positions.
    """
    if filled_images.shape != images.shape:
        raise MethodError(
            f"A fill of shape {tuple(filled_images.shape)} does not cover images of shape {tuple(images.shape)}."
        )
    mask = _masks(images, weights).unsqueeze(1).to(images.device, images.dtype)
    # lerp is exact at weight 0 and at weight 1: untouched positions keep their very pixels.
    return torch.lerp(images, filled_images, mask)


class Remover:
    """Removes regions from images that are in memory, each as often as wanted, with one fill.

    A fill that knows the image alone is made once an image; one that depends on the region is prepared once for all
    images that lose the same region one after the other.

    ``noise(row)`` returns the standard normal draws (C, *S) of image ``row`` for a fill that adds noise. They belong
    to the image and not to the region: the same draws for every region of an image let its regions differ by what
    they remove and by nothing else, and a region that changes by one position changes one position.
    """

    def __init__(self, images: Tensor, fill: str, noise: Callable[[int], Tensor] | None = None) -> None:
        self._fill = fill_named(fill)
        _check_images(images)
        self._images = images
        self._filled = self._fill.apply(images) if isinstance(self._fill, Fill) else None
        self._noise = noise if isinstance(self._fill, RegionFill) and self._fill.noisy else None
        self._drawn: dict[int, Tensor] = {}
        self._prepared: tuple[Tensor, Imputer] | None = None

    def __call__(self, rows: Sequence[int], weights: Tensor) -> Tensor:
        """Return image ``rows[k]`` with region ``weights[k]`` removed, for all k: (k, C, *S).

        Raises ``MethodError`` where the weights (k, *S) do not cover the images' positions.
        """
        chosen = torch.tensor(rows, dtype=torch.int64, device=self._images.device)
        images = self._images[chosen]
        replaced = self._imputed(images, rows, weights) if self._filled is None else self._filled[chosen]
        return remove(images, weights, replaced)

    def _imputed(self, images: Tensor, rows: Sequence[int], weights: Tensor) -> Tensor:
        masks = _masks(images, weights).cpu()
        made = images.clone()
        start = 0
        for stop in range(1, len(rows) + 1):
            if stop < len(rows) and torch.equal(masks[stop], masks[start]):
                continue
            part = slice(start, stop)
            noise = None if self._noise is None else torch.stack([self._draws(row) for row in rows[part]])
            made[part] = self._imputer(masks[start])(images[part], noise)
            start = stop
        return made

    def _imputer(self, mask: Tensor) -> Imputer:
        assert isinstance(self._fill, RegionFill)
        if self._prepared is None or not torch.equal(self._prepared[0], mask):
            self._prepared = (mask, self._fill.prepare(mask))
        return self._prepared[1]

    def _draws(self, row: int) -> Tensor:
        if row not in self._drawn:
            assert self._noise is not None
            self._drawn[row] = self._noise(row)
        return self._drawn[row]


def _check_images(images: Tensor) -> None:
    if images.ndim < 3 or not images.is_floating_point():
        raise MethodError(
            f"Images to fill must be floating-point with the shape (images, channels, *spatial), not {images.dtype}"
            f" {tuple(images.shape)}; pass pixels in [0, 1]."
        )


def _masks(images: Tensor, weights: Tensor) -> Tensor:
    """Return ``weights`` as (N, *S)."""
    if len(weights) != len(images) or weights.numel() * images.shape[1] != images.numel():
        raise MethodError(
            f"Weights of shape {tuple(weights.shape)} do not cover images of shape {tuple(images.shape)}; take the"
            " regions at the images' size."
        )
    return weights.reshape(images.shape[0], *images.shape[2:])
