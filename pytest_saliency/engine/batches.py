"""Streams cases as batches of pixels: one batch in work, one being read, nothing more in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from pytest_saliency.engine.cases import Cases
from pytest_saliency.engine.preprocess import Preprocess
from pytest_saliency.errors import CasesError


@dataclass(frozen=True)
class Batch:
    """Positions in the cases, and their pixels (n, C, *S) after the subject's geometry."""

    indices: tuple[int, ...]
    pixels: Tensor


def load_pixels(cases: Cases, indices: Sequence[int], preprocess: Preprocess) -> Tensor:
    """Return the pixels of the cases at ``indices`` after resize and crop, (n, C, *S) in [0, 1].

    Raises
    ------
    CasesError
        An image cannot be read, or the sizes still differ; names the image.
    """
    images = [preprocess.geometry(cases.image(i), cases.ids[i]) for i in indices]
    first = images[0].shape
    for i, image in zip(indices, images, strict=True):
        _same_size(cases, indices[0], first, i, image.shape)
    return torch.stack(images)


def stream(cases: Cases, preprocess: Preprocess, batch_size: int) -> Iterator[Batch]:
    """Yield all cases in order, ``batch_size`` at a time."""
    order = range(len(cases))
    return stream_chunks(cases, preprocess, [tuple(order[i : i + batch_size]) for i in order[::batch_size]])


def stream_chunks(cases: Cases, preprocess: Preprocess, chunks: Sequence[tuple[int, ...]]) -> Iterator[Batch]:
    """Yield the cases at each chunk of indices, reading the next chunk while one is in work."""
    size: torch.Size | None = None
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="saliency-read") as reader:
        ahead: Future[Tensor] | None = None
        try:
            for position, chunk in enumerate(chunks):
                pixels = ahead.result() if ahead is not None else load_pixels(cases, chunk, preprocess)
                if size is None:
                    size = pixels.shape[1:]
                _same_size(cases, chunks[0][0], size, chunk[0], pixels.shape[1:])
                if position + 1 < len(chunks):
                    ahead = reader.submit(load_pixels, cases, chunks[position + 1], preprocess)
                yield Batch(chunk, pixels)
        finally:
            if ahead is not None:
                ahead.cancel()


def _same_size(cases: Cases, first: int, size: torch.Size, other: int, found: torch.Size) -> None:
    if found == size:
        return
    wanted, got = ("x".join(map(str, s)) for s in (size, found))
    raise CasesError(
        f"images have different sizes: '{cases.ids[first]}' is {wanted}, '{cases.ids[other]}' is {got}. Give the"
        " subject a preprocess with 'resize' (and 'channels' if those differ)."
    )


def jittered(pixels: Tensor) -> Tensor:
    """Return the pixels with 0.9 times the contrast, around each image's own mean."""
    mean = pixels.flatten(1).mean(1).reshape(-1, *(1,) * (pixels.dim() - 1))
    return (mean + 0.9 * (pixels - mean)).clamp(0.0, 1.0)
