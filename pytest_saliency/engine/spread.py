"""Rows that show one image, from one forward pass: the units of an image with several labels.

The image goes through the model once. Its scores and activations stand for each of its rows; gradients are taken row by
row of an image, for all images at once, because a batched product has one direction an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pytest_saliency.engine.capture import Capture
from pytest_saliency.engine.cases import Cases

WORTH = 4
"""Gradients of all images are taken as often as the image with the most rows needs; up to this factor that pays."""


@dataclass(frozen=True)
class Sharing:
    """Which rows of a batch show one image.

    Attributes
    ----------
    first
        The row in which each image comes first, (u,).
    image
        Which of these images each row shows, (n,).
    turn
        How many rows of its image each row has before it, (n,).
    """

    first: tuple[int, ...]
    image: Tensor
    turn: Tensor


def sharing(cases: Cases, indices: Sequence[int]) -> Sharing | None:
    """Return how the cases at ``indices`` share images; None where they do not, or where that saves nothing."""
    if cases.others is None:
        return None
    places: dict[int, int] = {}
    first: list[int] = []
    image: list[int] = []
    turn: list[int] = []
    seen: list[int] = []
    for row, index in enumerate(indices):
        key = id(cases.images[index])
        if key not in places:
            places[key] = len(first)
            first.append(row)
            seen.append(0)
        place = places[key]
        image.append(place)
        turn.append(seen[place])
        seen[place] += 1
    if len(first) == len(indices) or max(seen) * len(first) > WORTH * len(indices):
        return None
    return Sharing(tuple(first), torch.tensor(image), torch.tensor(turn))


@dataclass(frozen=True)
class Spread(Capture):
    """A capture of images as one of their rows: (n, C) scores and (n, Ch, *grid) activations of (u) images."""

    rows: Sharing

    @classmethod
    def over(cls, made: Capture, rows: Sharing) -> Spread:
        """Return ``made``, a capture of the images of ``rows``, as one of the rows."""
        image = rows.image.to(made.scores.device)
        return cls(
            made.scores[image],
            made.binary,
            made.activations[image],
            made._leaf,
            made._graph,
            made._layout,
            made._where,
            rows,
        )

    def gradients(self, cotangents: Tensor) -> Tensor:
        """Return the gradients (K, n, Ch, *grid) of the rows; see :meth:`Capture.gradients`."""
        parts: list[Tensor] = []
        places: list[Tensor] = []
        for turn in range(int(self.rows.turn.max()) + 1):
            at = (self.rows.turn == turn).nonzero().flatten().to(cotangents.device)
            image = self.rows.image.to(cotangents.device)[at]
            of_images = cotangents.new_zeros(len(cotangents), len(self.rows.first), cotangents.shape[2])
            of_images[:, image] = cotangents[:, at]
            parts.append(super().gradients(of_images)[:, image])
            places.append(at)
        together = torch.cat(parts, dim=1)
        return together[:, torch.cat(places).argsort()]
