"""How a layer's output lies in memory, and how to read it as (N, C, *spatial).

Four layouts: channels first (convolutions), channels last (Swin, some ConvNeXt blocks), tokens (N, T, C) with or
without class and register tokens in front, and anything a callable can rearrange.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from pytest_saliency.errors import SubjectError

Reshape = Literal["channels_first", "channels_last", "tokens"] | Callable[[Tensor], Tensor] | None

NAMED = ("channels_first", "channels_last", "tokens")
PREFIXES = (1, 0, 2, 5, 4)  # class token; none; class and distillation; class and 4 registers; 4 registers
MOST_PREFIX = 16


@dataclass(frozen=True)
class Layout:
    """A layout that was found or declared. ``grid`` is empty for a callable until it has been applied."""

    kind: str
    grid: tuple[int, ...]
    prefix: int = 0
    function: Callable[[Tensor], Tensor] | None = None

    def read(self, output: Tensor) -> Tensor:
        """Return ``output`` (or a gradient of the same shape) as (N, C, *grid), a view where possible."""
        if self.function is not None:
            return self.function(output)
        if self.kind == "channels_last":
            return output.movedim(-1, 1)
        if self.kind == "tokens":
            patches = output[:, self.prefix :].movedim(-1, 1)
            return patches.reshape(*patches.shape[:2], *self.grid)
        return output

    def describe(self) -> str:
        """Return the word for records."""
        if self.kind == "tokens" and self.prefix:
            return f"tokens ({self.prefix} in front dropped)"
        return self.kind


def find_layout(shape: tuple[int, ...], image: tuple[int, ...], reshape: Reshape = None) -> Layout | None:
    """Return the layout of an output of ``shape`` (with batch) for images of spatial size ``image``.

    None means that the output has no spatial grid. A square batch of square feature maps with as many channels as
    rows is ambiguous: channels first is taken, as torch's convention; declare ``reshape`` otherwise.
    """
    if callable(reshape):
        return Layout("callable", (), function=reshape)
    if reshape is not None and reshape not in NAMED:
        raise SubjectError(f"reshape={reshape!r} is not known; use {', '.join(NAMED)} or a callable.")
    inner = shape[1:]
    if len(inner) == len(image) + 1 and reshape != "tokens":
        first, last = inner[1:], inner[:-1]
        if reshape == "channels_last":
            return Layout("channels_last", last)
        if reshape is None and not _proportional(first, image) and _proportional(last, image):
            return Layout("channels_last", last)
        return Layout("channels_first", first)
    if len(inner) == 2 and reshape in (None, "tokens"):
        # Said to be tokens: any few in front will do. Not said: only the numbers that architectures have.
        for prefix in PREFIXES if reshape is None else dict.fromkeys((*PREFIXES, *range(MOST_PREFIX + 1))):
            grid = _token_grid(inner[0] - prefix, image)
            if grid is not None:
                return Layout("tokens", grid, prefix)
    return None


def _proportional(grid: tuple[int, ...], image: tuple[int, ...]) -> bool:
    """Tell whether ``grid`` could be ``image`` divided by one stride, give or take the rounding of a border."""
    if any(g > i for g, i in zip(grid, image, strict=True)):
        return False
    if len(set(image)) == 1:
        return len(set(grid)) == 1
    strides = [i / g for g, i in zip(grid, image, strict=True)]
    slack = max((i / g) - i / (g + 1) for g, i in zip(grid, image, strict=True))
    return max(strides) - min(strides) <= slack + 1e-9


def _token_grid(count: int, image: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return the grid of ``count`` patches whose sides share the image's proportions, if there is one."""
    if count < 1:
        return None
    patch = (math.prod(image) / count) ** (1.0 / len(image))
    grid = tuple(max(1, round(side / patch)) for side in image)
    if math.prod(grid) != count or not _proportional(grid, image):
        return None
    return grid
