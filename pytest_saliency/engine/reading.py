"""How image files are to be read where they do not say it themselves, and what a reader hands over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

Window = Literal["file", "full"] | tuple[float, float]
Function = Literal["linear", "linear_exact", "sigmoid"]


class UnreadableError(Exception):
    """Why a file is no image, in words that go on after its name: "has 3 pages; save one of them"."""


@dataclass(frozen=True)
class FileReading:
    """What a contract says of the files of its cases.

    ``white`` is the stored value that counts as 1; None is the largest of the file's own type. ``volume`` takes the
    pages or frames of a file as one volume (C, D, H, W). ``window`` and ``function`` are for DICOM: the part of the
    values that is spread over black to white, as the file says, all that could be stored, or (centre, width).
    """

    white: float | None = None
    volume: bool = False
    window: Window = "file"
    function: Function = "linear"

    def told(self) -> str:
        """Return what differs from reading files by what they say themselves; nothing where nothing does."""
        default = FileReading()
        return " ".join(
            f"{name}={getattr(self, name)}"
            for name in ("white", "volume", "window", "function")
            if getattr(self, name) != getattr(default, name)
        )


@dataclass(frozen=True)
class Stored:
    """Numbers as they stand in a file, channels first (C, *S), and the number that counts as white."""

    numbers: np.ndarray[Any, Any]
    top: float

    def pixels(self, white: float | None) -> Tensor:
        """Return float32 pixels in [0, 1].

        Raises
        ------
        UnreadableError
            Numbers below 0, above white, or not finite; a white that the type of the numbers cannot hold.
        """
        numbers = self.numbers
        if numbers.size == 0:
            raise UnreadableError("holds no pixels; repair or remove it.")
        if numbers.dtype == np.uint8 and white is None and self.top == 255.0:
            return torch.from_numpy(np.ascontiguousarray(numbers)).to(torch.float32).div_(255.0)
        top = self.top if white is None else white
        if numbers.dtype.kind in "ui" and top > np.iinfo(numbers.dtype).max:
            most = np.iinfo(numbers.dtype).max
            raise UnreadableError(
                f"holds values up to {most} at most, so that {top:g} as 'white' would make it dark; leave files of"
                " another depth out, or write them alike."
            )
        if not np.isfinite(numbers).all():
            raise UnreadableError("holds NaN or infinite pixels; repair or remove it.")
        low, high = float(numbers.min()), float(numbers.max())
        if low < 0.0 or high > top:
            said = "its type's white" if white is None else "'white'"
            raise UnreadableError(
                f"holds values from {low:g} to {high:g}, but {said} is {top:g} and black is 0; say in 'white' which"
                " stored value is white, or write the file anew."
            )
        return torch.from_numpy(np.ascontiguousarray((numbers.astype(np.float64) / top).astype(np.float32)))
