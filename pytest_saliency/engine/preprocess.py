"""What a model wants done to pixels: geometry first, normalisation after.

The two are kept apart because maps live on the pixels between them: that is where regions are removed and pictures
are drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pytest_saliency.errors import SubjectError

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
INTERPOLATIONS = ("bilinear", "bicubic", "nearest")
KEYS = ("resize", "interpolation", "center_crop", "mean", "std", "channels")


@dataclass(frozen=True)
class Preprocess:
    """Resize, centre crop, channel count, normalisation; or a callable that does what follows the geometry.

    A callable gets a batch of pixels in [0, 1] and returns the model's input; maps are read at the size of the pixels.
    A callable of a user stands alone, so that the geometry is the identity; with ``keeps_size`` it is an error if what
    it returns has another size than what it got.
    """

    resize: int | tuple[int, ...] | None = None
    center_crop: int | tuple[int, ...] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    channels: int | None = None
    interpolation: str | None = None  # of the resize; None is bilinear
    function: Callable[[Tensor], Tensor] | None = None
    keeps_size: bool = False
    named: str | None = None  # what a record calls the callable

    @classmethod
    def of(cls, value: Preprocess | Mapping[str, Any] | Callable[[Tensor], Tensor] | None) -> Preprocess:
        """Build from what a user gives: None, a mapping as in a contract, or a callable."""
        if value is None:
            return cls()
        if isinstance(value, Preprocess):
            return value
        if isinstance(value, Mapping):
            unknown = sorted(set(value) - set(KEYS))
            if unknown:
                raise SubjectError(f"preprocess has no key {unknown[0]!r}; its keys are {', '.join(KEYS)}.")
            fields: dict[str, Any] = {key: tuple(v) if isinstance(v, list | tuple) else v for key, v in value.items()}
            made = cls(**fields)
            made._check()
            return made
        if callable(value):
            return cls(function=value)
        raise SubjectError(f"preprocess must be a mapping or a callable, not {type(value).__name__}.")

    def _check(self) -> None:
        if (self.mean is None) != (self.std is None):
            raise SubjectError("preprocess needs both 'mean' and 'std', or neither.")
        if self.mean is not None and self.std is not None:
            if len(self.mean) != len(self.std):
                raise SubjectError(f"preprocess has {len(self.mean)} means but {len(self.std)} standard deviations.")
            if min(self.std) <= 0:
                raise SubjectError("preprocess: every 'std' must be above zero.")
        if self.channels not in (None, 1, 3):
            raise SubjectError(f"preprocess: 'channels' must be 1 or 3, not {self.channels}.")
        if self.interpolation not in (None, *INTERPOLATIONS):
            raise SubjectError(
                f"preprocess: 'interpolation' must be one of {', '.join(INTERPOLATIONS)}, not {self.interpolation}."
            )
        for key, value in (("resize", self.resize), ("center_crop", self.center_crop)):
            sizes = (value,) if isinstance(value, int) else (value or (1,))
            if not all(isinstance(size, int) and size > 0 for size in sizes):
                raise SubjectError(f"preprocess: '{key}' must be a positive size or a list of them, not {value}.")

    def geometry(self, image: Tensor, case: str) -> Tensor:
        """Apply channels, resize and crop to one image (C, *S) in [0, 1]; ``case`` names it in errors."""
        if self.channels is not None:
            image = _to_channels(image, self.channels, case)
        if self.resize is not None:
            image = _resize(image, self.resize, self.interpolation or INTERPOLATIONS[0], case)
        if self.center_crop is not None:
            image = _crop(image, self.center_crop, case)
        return image

    def geometry_of_mask(self, mask: Tensor, case: str) -> Tensor:
        """Apply resize and crop to a mask, bool (*S), as ``geometry`` does to its image; the nearest pixel counts."""
        made = mask[None]
        if self.resize is not None:
            target = _resized(tuple(mask.shape), self.resize, case)
            if target != tuple(mask.shape):
                made = F.interpolate(made[None].to(torch.float32), size=target, mode="nearest-exact")[0] > 0.5
        if self.center_crop is not None:
            made = _crop(made, self.center_crop, case)
        return made[0]

    def normalise(self, pixels: Tensor) -> Tensor:
        """Turn a batch of pixels (N, C, *S) after geometry into the model's input."""
        if self.function is not None:
            made = self.function(pixels)
            if not isinstance(made, Tensor) or len(made) != len(pixels):
                raise SubjectError("the preprocess callable must return one tensor with the batch it was given.")
            if self.keeps_size and made.shape[2:] != pixels.shape[2:]:
                sizes = " to ".join("x".join(map(str, one.shape[2:])) for one in (pixels, made))
                raise SubjectError(
                    f"the preprocess callable changes the size from {sizes}, so that no map could be laid over its"
                    " image; let it begin with torchvision's Resize and CenterCrop, which are told apart."
                )
            return made
        if self.mean is None or self.std is None:
            return pixels
        if len(self.mean) not in (1, pixels.shape[1]):
            raise SubjectError(
                f"preprocess has {len(self.mean)} means, but the images have {pixels.shape[1]} channels;"
                " set 'channels' or give one mean a channel."
            )
        shape = (1, -1) + (1,) * (pixels.dim() - 2)
        mean = torch.tensor(self.mean, dtype=pixels.dtype, device=pixels.device).view(shape)
        std = torch.tensor(self.std, dtype=pixels.dtype, device=pixels.device).view(shape)
        return (pixels - mean) / std

    def describe(self) -> dict[str, Any] | str:
        """Return what a record says of it."""
        said = {key: getattr(self, key) for key in KEYS if getattr(self, key) is not None}
        if self.function is not None:
            named = getattr(self.function, "__qualname__", type(self.function).__qualname__)
            called = f"callable {self.named or f'{self.function.__module__}.{named}'}"
            return {**said, "then": called} if said else called
        return said

    def identity(self) -> object:
        """Return what tells one preprocessing from another: more than ``describe`` where code is involved."""
        said = self.describe()
        return said if self.function is None else self.function if isinstance(said, str) else (said, self.function)

    def same_view(self, other: Preprocess) -> bool:
        """Tell whether both see the same part of an image, so that their maps can be laid over each other."""
        if any(one.function is not None and not one.keeps_size for one in (self, other)):
            return True  # sizes are compared by the caller; a callable is taken to keep the geometry
        if self.center_crop is None and other.center_crop is None:
            return True
        return (self.resize, self.center_crop) == (other.resize, other.center_crop)


def _sizes(value: int | tuple[int, ...], spatial: tuple[int, ...], case: str, key: str) -> tuple[int, ...]:
    if isinstance(value, int):
        return (value,) * len(spatial)
    if len(value) != len(spatial):
        raise SubjectError(
            f"preprocess '{key}' gives {len(value)} sizes, but image '{case}' has {len(spatial)} spatial dimensions."
        )
    return value


def _to_channels(image: Tensor, channels: int, case: str) -> Tensor:
    found = image.shape[0]
    if found == channels:
        return image
    if found == 3 and channels == 1:
        weights = torch.tensor(LUMA, dtype=image.dtype, device=image.device)
        return torch.einsum("c,c...->...", weights, image).unsqueeze(0)
    if found == 1 and channels == 3:
        return image.expand(3, *image.shape[1:])
    raise SubjectError(f"image '{case}' has {found} channels, which cannot be made into {channels}.")


def _resized(spatial: tuple[int, ...], size: int | tuple[int, ...], case: str) -> tuple[int, ...]:
    if isinstance(size, int):  # the shorter side, as torchvision's Resize
        return tuple(size * s // min(spatial) for s in spatial)
    return _sizes(size, spatial, case, "resize")


def _resize(image: Tensor, size: int | tuple[int, ...], how: str, case: str) -> Tensor:
    spatial = tuple(image.shape[1:])
    target = _resized(spatial, size, case)
    if target == spatial:
        return image
    flat = len(spatial) == 2
    if how == "nearest":  # as torchvision's Resize; up to half a pixel from where masks take theirs ("nearest-exact")
        return F.interpolate(image.unsqueeze(0), size=target, mode="nearest")[0]
    if how == "bicubic" and not flat:
        raise SubjectError(
            f"preprocess: image '{case}' is a volume, which cannot be resized with interpolation bicubic; use bilinear"
            " (linear in all three directions) or nearest."
        )
    mode = how if flat else "trilinear"
    made = F.interpolate(image.unsqueeze(0), size=target, mode=mode, align_corners=False, antialias=flat)
    return made[0].clamp(0.0, 1.0)  # bicubic overshoots at edges


def _crop(image: Tensor, size: int | tuple[int, ...], case: str) -> Tensor:
    spatial = tuple(image.shape[1:])
    target = _sizes(size, spatial, case, "center_crop")
    if any(t > s for t, s in zip(target, spatial, strict=True)):
        raise SubjectError(
            f"preprocess crops {target}, but image '{case}' is only {spatial} after the resize; resize to more."
        )
    for axis, (have, want) in enumerate(zip(spatial, target, strict=True), start=1):
        image = image.narrow(axis, round((have - want) / 2), want)
    return image
