"""Transforms of torchvision, and functions on pixels, as a ``Preprocess``: what they do to the geometry is told apart.

Maps live on the pixels behind the geometry. So the resize and crop that a transform begins with, and a normalisation
that it ends with, are done natively; whatever else it does is kept as a function, which must keep the size.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pytest_saliency.engine.preprocess import INTERPOLATIONS, Preprocess
from pytest_saliency.errors import SubjectError, first_line, raised

SIDE = 64  # pixels of a made-up image that a function is tried on where nothing says its size
TRIES = 6
FAR = 2.0  # no mean of pixels in [0, 1] is beyond it
TO_TENSOR = ("ToTensor", "MaybeToTensor", "ToImage", "PILToTensor", "ToPureTensor", "ToImageTensor")
TO_FLOAT = ("ToDtype", "ConvertImageDtype", "ConvertDtype")


def of_transform(value: object, name: str, channels: int | None = None) -> Preprocess:
    """Return what ``value`` does, a transform or a function on batches (N, C, H, W) in [0, 1]; ``name`` is for errors.

    Raises
    ------
    SubjectError
        It is random, changes the size after something else was done, wants PIL images, or fails.
    """
    if not callable(value):
        raise SubjectError(f"{name} is of type {type(value).__name__}; a transform or a function of a batch is needed.")
    steps = list(_steps(value))
    for step in steps:
        _refuse(step, name)
    made: dict[str, Any] = {} if channels is None else {"channels": channels}
    rest: list[Any] = []
    for step in steps:
        if not _taken(step, made, bool(rest), name):
            rest.append(step)
    if not rest:
        return Preprocess.of(made)
    if "mean" in made:  # found behind the rest, so it stays with it
        for key in ("mean", "std"):
            made.pop(key)
        rest = [step for step in steps if step in rest or _kind(step) == "Normalize"]
    whole = (
        value if len(rest) == len(steps) else rest[0] if len(rest) == 1 else torch.nn.Sequential(*map(_module, rest))
    )
    held = replace(Preprocess.of(made), function=whole, keeps_size=True, named=name.removeprefix("preprocess "))
    _try(held, name)
    return held


def _steps(value: Any) -> Iterator[Any]:
    """Yield the single transforms of a composition, in order; presets of torchvision's weights as their parts."""
    if _ours(value) and _kind(value) == "Compose":
        for one in value.transforms:
            yield from _steps(one)
    elif isinstance(value, torch.nn.Sequential):
        for one in value:
            yield from _steps(one)
    elif _ours(value) and _kind(value) == "ImageClassification":
        from torchvision.transforms import v2

        yield v2.Resize(value.resize_size, interpolation=value.interpolation, antialias=value.antialias)
        yield v2.CenterCrop(value.crop_size)
        yield v2.Normalize(value.mean, value.std)
    else:
        yield value


def _ours(value: object) -> bool:
    return type(value).__module__.split(".")[0] in ("torchvision", "timm")


def _kind(value: object) -> str:
    return type(value).__name__


def _refuse(step: Any, name: str) -> None:
    kind = _kind(step)
    if not _ours(step):
        return
    if kind.startswith("Random") or kind in ("AutoAugment", "TrivialAugmentWide", "AugMix", "ColorJitter"):
        raise SubjectError(f"{name} holds {kind}, which is random; give the transform of evaluation, not of training.")
    if kind == "ToPILImage":
        raise SubjectError(f"{name} holds ToPILImage, but transforms get tensors here; use those of transforms.v2.")


def _taken(step: Any, made: dict[str, Any], late: bool, name: str) -> bool:
    """Put into ``made`` what ``step`` does, if that is done natively; ``late``: something else was done before."""
    kind = _kind(step)
    if not _ours(step):
        return False
    if kind in TO_TENSOR and not late:
        return True  # pixels are tensors here from the start
    if kind in TO_FLOAT and not late:
        return _float(step, name)
    if kind == "Normalize" and "mean" not in made:
        made["mean"], made["std"] = (_floats(part) for part in (step.mean, step.std))
        if max(made["mean"]) > FAR:
            raise SubjectError(
                f"{name} normalises with the mean {max(made['mean']):g}, as of pixels in 0 .. 255; here they are in"
                " [0, 1]. Divide mean and std by 255."
            )
        return True
    if "mean" in made or late:
        return False
    if kind == "Resize" and not {"resize", "center_crop"} & set(made):
        made["resize"], how = _resize(step, name)
        if how != INTERPOLATIONS[0]:
            made["interpolation"] = how
        return True
    if kind == "CenterCrop" and "center_crop" not in made:
        made["center_crop"] = _size(step.size)
        return True
    return False


def _floats(part: Any) -> list[float]:
    """Return numbers as they were written, also where a tensor has made them longer."""
    return [float(str(np.float32(x))) if isinstance(part, Tensor) else float(x) for x in part]


def _float(step: Any, name: str) -> bool:
    wanted = getattr(step, "dtype", None)
    if isinstance(wanted, dict):
        wanted = next(iter(wanted.values()), None)
    if wanted not in (torch.float32, None):
        return False
    if getattr(step, "scale", True) is False:
        raise SubjectError(
            f"{name} holds ToDtype without scale=True, which leaves pixels of files in 0 .. 255; here they are in"
            " [0, 1] from the start. Write scale=True, and mean and std of the normalisation accordingly."
        )
    return True


def _resize(step: Any, name: str) -> tuple[Any, str]:
    how = str(getattr(step.interpolation, "value", step.interpolation))
    if how not in INTERPOLATIONS or getattr(step, "max_size", None) is not None:
        what = "max_size" if how in INTERPOLATIONS else f"interpolation {how}"
        raise SubjectError(f"{name} resizes with {what}, which is not done here; use {', '.join(INTERPOLATIONS)}.")
    if getattr(step, "antialias", True) is False and how != "nearest":
        raise SubjectError(f"{name} resizes with antialias=False, which is not done here; leave antialias at True.")
    return _size(step.size), how


def _size(size: Any) -> int | list[int]:
    found = [int(one) for one in (size if isinstance(size, list | tuple) else (size,))]
    return found[0] if len(found) == 1 else found


def _module(step: Any) -> torch.nn.Module:
    return step if isinstance(step, torch.nn.Module) else _Called(step)


class _Called(torch.nn.Module):
    """A function as a module, so that several steps make one."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, pixels: Tensor) -> Tensor:
        return self.function(pixels)


def _try(held: Preprocess, name: str) -> None:
    """Raise SubjectError if the function fails on made-up images, is random, or mixes the images of a batch."""
    size = held.center_crop or held.resize or SIDE
    sides = size if isinstance(size, tuple) else (size, size)
    count = 3 * (held.channels or 3) * sides[0] * sides[1]
    probe = torch.linspace(0.0, 1.0, count).square().reshape(3, held.channels or 3, *sides)
    state, numpy_state = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            first = held.normalise(probe.clone())
            again = [held.normalise(probe.clone()) for _ in range(TRIES)]
            alone = held.normalise(probe[:1].clone())
    except SubjectError as error:
        raise SubjectError(f"{name}: {first_line(error)}.") from None
    except Exception as error:
        raise SubjectError(
            f"{name}, given a batch of images {tuple(probe.shape)} in [0, 1], {raised(error)}. It gets tensors, not PIL"
            " images: transforms.v2 take both."
        ) from error
    finally:
        random.setstate(state)
        np.random.set_state(numpy_state)
    if not all(torch.equal(first, other) for other in again):
        raise SubjectError(
            f"{name} is random: the same pixels did not give the same input twice; give the transform of evaluation."
        )
    if not torch.allclose(first[:1], alone, rtol=1e-4, atol=1e-5, equal_nan=True):
        raise SubjectError(
            f"{name} mixes the images of a batch: an image alone gives another input than among others; treat each by"
            " itself."
        )
