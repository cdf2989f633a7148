"""Colours of a map: from dark violet (nothing) over green to yellow (most), readable in greyscale too."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

ANCHORS = (
    (0x44, 0x01, 0x54),
    (0x48, 0x28, 0x78),
    (0x3E, 0x49, 0x89),
    (0x31, 0x68, 0x8E),
    (0x26, 0x82, 0x8E),
    (0x1F, 0x9E, 0x89),
    (0x35, 0xB7, 0x79),
    (0x6E, 0xCE, 0x58),
    (0xB5, 0xDE, 0x2B),
    (0xFD, 0xE7, 0x25),
)
"""Ten evenly spaced colours of viridis (S. van der Walt, N. Smith; CC0), whose lightness rises steadily."""


def colours(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return the colour of each of ``values`` (any shape S, clipped to [0, 1]) as (*S, 3) RGB in [0, 1]."""
    table = np.asarray(ANCHORS, dtype=np.float64) / 255.0
    place = np.linspace(0.0, 1.0, len(ANCHORS))
    flat = np.clip(np.asarray(values, dtype=np.float64), 0.0, 1.0)
    return np.stack([np.interp(flat, place, table[:, channel]) for channel in range(3)], axis=-1)
