"""Streams cases as batches of pixels: one batch in work, one being read, nothing more in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from pytest_saliency.engine.cases import Cases
from pytest_saliency.engine.preprocess import Preprocess
from pytest_saliency.engine.sizing import BatchSize, out_of_memory
from pytest_saliency.engine.threads import set_own_threads
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
    read: dict[int, Tensor] = {}
    for i in indices:  # an image that is in several rows, as one with several labels, is read once
        if id(cases.images[i]) not in read:
            read[id(cases.images[i])] = preprocess.geometry(cases.image(i), cases.ids[i])
    images = [read[id(cases.images[i])] for i in indices]
    first = images[0].shape
    for i, image in zip(indices, images, strict=True):
        _same_size(cases, indices[0], first, i, image.shape)
    return torch.stack(images)


def stream(
    cases: Cases, preprocess: Preprocess, batch_size: int | BatchSize, device: torch.device | None = None
) -> Iterator[Batch]:
    """Yield all cases in order; see :func:`stream_chunks`.

    A ``BatchSize`` is asked before each batch is read, which is one batch ahead: after it has shrunk, the next batch
    can still be larger, so work through batches with :meth:`BatchSize.each`.
    """
    return stream_chunks(cases, preprocess, _in_order(len(cases), batch_size), device)


def _in_order(count: int, batch_size: int | BatchSize) -> Iterator[tuple[int, ...]]:
    start = 0
    while start < count:
        step = batch_size.current if isinstance(batch_size, BatchSize) else batch_size
        stop = min(count, start + step)
        yield tuple(range(start, stop))
        start = stop


def stream_chunks(
    cases: Cases, preprocess: Preprocess, chunks: Iterable[tuple[int, ...]], device: torch.device | None = None
) -> Iterator[Batch]:
    """Yield the cases at each chunk of indices, reading the next chunk while one is in work.

    Pixels are on the CPU; with a CUDA ``device`` they are there, copied while the batch before was in work.
    """
    upload = _Upload(device) if device is not None and device.type == "cuda" else None
    torch.get_num_threads()  # a thread takes its number of threads when it first asks; ours before the reader's

    def read(chunk: tuple[int, ...]) -> _Read:
        pixels = load_pixels(cases, chunk, preprocess)
        return upload.send(pixels) if upload is not None else _Read(pixels)

    queue = iter(chunks)
    size: torch.Size | None = None
    first = -1
    with ThreadPoolExecutor(1, "saliency-read", _begin_reading, (device,)) as reader:
        chunk = next(queue, None)
        ahead: Future[_Read] | None = reader.submit(read, chunk) if chunk is not None else None
        try:
            while chunk is not None and ahead is not None:
                pixels = ahead.result().here()
                if size is None:
                    size, first = pixels.shape[1:], chunk[0]
                _same_size(cases, first, size, chunk[0], pixels.shape[1:])
                batch = Batch(chunk, pixels)
                del pixels
                chunk = next(queue, None)
                ahead = reader.submit(read, chunk) if chunk is not None else None
                yield batch
                del batch
        finally:
            if ahead is not None:
                ahead.cancel()


def _begin_reading(device: torch.device | None) -> None:
    """Set up the thread that reads.

    It computes on itself alone: what is done to one image is too little to be worth a team of threads, which would
    compete for the cores with the model's.
    """
    set_own_threads(1)
    if device is not None and device.type == "cuda":
        torch.cuda.set_device(device)  # of this thread only; pinning would otherwise start the first device


@dataclass(frozen=True)
class _Read:
    """A batch as the reading thread hands it over: pixels, and the event after which a device holds them."""

    pixels: Tensor
    ready: torch.cuda.Event | None = None

    def here(self) -> Tensor:
        """Return the pixels for use on the calling thread's current stream."""
        if self.ready is not None:
            stream = torch.cuda.current_stream(self.pixels.device)
            stream.wait_event(self.ready)
            # They were allocated on the copying stream, which must not reuse their memory before this one is done.
            self.pixels.record_stream(stream)
        return self.pixels


class _Upload:
    """Copies batches to a CUDA device from pinned memory, on a stream of its own."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def send(self, pixels: Tensor) -> _Read:
        """Start the copy; called in the reading thread."""
        try:
            pixels = pixels.pin_memory()
            with torch.cuda.stream(self._stream):
                # torch keeps the pinned memory until the copy is done, also when the tensor is gone.
                moved = pixels.to(self._device, non_blocking=True)
                ready = torch.cuda.Event()  # type: ignore[no-untyped-call]
                ready.record(self._stream)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            # No room to be ahead: the batch goes over when it is its turn, in as many parts as fit.
            return _Read(pixels)
        return _Read(moved, ready)


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
