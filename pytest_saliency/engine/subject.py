"""A subject: a model under test and how to read it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from pytest_saliency.engine.contrast import Contrast
from pytest_saliency.engine.layout import Reshape
from pytest_saliency.engine.outputs import OutputSelector, select_logits
from pytest_saliency.engine.preprocess import Preprocess
from pytest_saliency.engine.wrappers import unwrapped


class Subject:
    """A model, its target layer, its preprocessing, its output and its contrast set.

    Parameters
    ----------
    model
        The classifier. It is never changed: not its parameters, gradients, flags, hooks or device. Of one wrapped by
        torch.compile, DataParallel or DistributedDataParallel the module inside is taken.
    layer
        ``auto``, ``penultimate``, a qualified module name, or a submodule of ``model``.
    preprocess
        A mapping (``resize``, ``center_crop``, ``mean``, ``std``, ``channels``) or a callable on a batch of pixels
        in [0, 1]. It belongs to the model, so that two models see the same cases.
    contrast
        Which classes CASE contrasts with: ``{"select": "logits" | "confusion" | ..., "k": 3, ...}``.
    output
        Where the logits are in what the model returns: index, key, attribute or callable.
    reshape
        How the layer's output lies: None finds out; ``channels_first``, ``channels_last``, ``tokens``, or a
        callable that returns (N, C, *spatial).
    input
        The key of the images, for a model that takes a mapping: it is called with ``{input: batch}``.
    name
        The word for the subject in errors and records; the class name of the model by default.
    """

    def __init__(
        self,
        model: nn.Module,
        layer: str | nn.Module = "auto",
        preprocess: Mapping[str, Any] | Callable[[Tensor], Tensor] | Preprocess | None = None,
        contrast: Mapping[str, Any] | Contrast | None = None,
        output: OutputSelector = None,
        reshape: Reshape = None,
        name: str | None = None,
        source: str | None = None,
        weights_sha256: str | None = None,
        input: str | None = None,
    ) -> None:
        self.model = model = unwrapped(model)
        self.layer = layer
        self.preprocess = Preprocess.of(preprocess)
        self.contrast = Contrast.of(contrast)
        self.output = output
        self.reshape = reshape
        self.input = input
        self.name = name or type(model).__name__
        self.source = source or f"{type(model).__module__}.{type(model).__qualname__}"
        self.weights_sha256 = weights_sha256
        self._hashed: dict[tuple[int, ...], str] = {}  # shared by copies of the subject

    def __repr__(self) -> str:
        layer = self.layer if isinstance(self.layer, str) else type(self.layer).__name__
        return f"Subject({self.name!r}, layer={layer!r})"

    def select(self, output: object, count: int) -> Tensor:
        """Return the logits of ``count`` images in what the model returned."""
        return select_logits(output, self.output, self.name, count)

    def given(self, inputs: Tensor) -> Tensor | dict[str, Tensor]:
        """Return a normalised batch as the model takes it: as a tensor, or under the key ``input``."""
        return inputs if self.input is None else {self.input: inputs}

    def model_output(self, inputs: Tensor) -> object:
        """Return what the model returns for a normalised batch."""
        return self.model(self.given(inputs))

    @property
    def state_sha256(self) -> str:
        """SHA-256 over names, types, shapes and bytes of parameters and buffers, in the order of their names.

        Made again only when the model has changed.
        """
        now = self.fingerprint()
        if now not in self._hashed:
            self._hashed.clear()
            self._hashed[now] = self._sha256()
        return self._hashed[now]

    def reading(self) -> tuple[object, ...]:
        """Return what tells apart two ways to read a model, and two states of it; equal where passes can be shared."""
        function = self.preprocess.function
        callables = tuple(id(one) for one in (function, self.output, self.reshape, self.layer) if callable(one))
        named = tuple(one for one in (self.output, self.reshape, self.layer, self.input) if not callable(one))
        contrast, preprocess = self.contrast.describe(), self.preprocess.describe()
        described = json.dumps([contrast, preprocess, [type(one).__name__ for one in named]], sort_keys=True)
        return id(self.model), self.fingerprint(), callables, named, described

    def fingerprint(self) -> tuple[int, ...]:
        """Return one checksum a parameter and buffer: cheap, and any change of a number or of its place shows.

        Taken from the numbers themselves, because writing through ``.data`` leaves no trace in a tensor's version.
        """
        tensors = [
            *self.model.parameters(),
            *(buffer for name, buffer in self.model.named_buffers() if not name.endswith("num_batches_tracked")),
        ]
        return tuple(_checksum(tensor.detach()) for tensor in tensors if not is_lazy(tensor))

    def _sha256(self) -> str:
        made = hashlib.sha256()
        for key, value in sorted(self.model.state_dict().items()):
            if isinstance(value, Tensor):
                array = value.detach().cpu().contiguous()
                made.update(f"{key}\x1f{array.dtype}\x1f{tuple(array.shape)}\x1e".encode())
                made.update(array.reshape(-1).view(torch.uint8).numpy().tobytes())
        return made.hexdigest()

    def identity(self) -> dict[str, Any]:
        """Return what a record says of the subject, the layer aside."""
        return {
            "name": self.name,
            "source": self.source,
            "architecture": f"{type(self.model).__module__}.{type(self.model).__qualname__}",
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "weights_sha256": self.weights_sha256,
            "state_sha256": self.state_sha256,
            "preprocess": self.preprocess.describe(),
        }


STRIDE = 8192  # words that are weighed at a time


def _checksum(tensor: Tensor) -> int:
    """Return a sum of a tensor's bits, weighted by their place, so that numbers that changed places show too.

    Words of 64 bits where that is possible, several times faster than shorter ones. The weights are odd, so that no
    bit is lost when the sum wraps around.
    """
    bits = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64, 16: torch.int64}
    flat, size = tensor.contiguous().view(-1), tensor.element_size()
    if flat.numel() * size % 8 == 0:
        if flat.storage_offset() * size % 8:
            flat = flat.clone()
        words = flat.view(torch.int64)
    else:
        words = flat.view(bits[size]).to(torch.int64)
    weights = _weights(words.device)
    total = 0
    for number, part in enumerate(torch.split(words, STRIDE * 128)):
        whole = len(part) // STRIDE * STRIDE
        rows = (part[:whole].view(-1, STRIDE) * weights).sum(1)
        sums = torch.cat([rows, (part[whole:] * weights[: len(part) - whole]).sum().reshape(1)])
        total += (2 * number + 1) * int((sums * weights[: len(sums)]).sum())
    return total


@cache
def _weights(device: torch.device) -> Tensor:
    """Return odd numbers without a pattern, (STRIDE,) int64: the same everywhere."""
    place = torch.arange(STRIDE, dtype=torch.int64)
    mixed = (place + 1) * -7046029254386353131  # 2^64 divided by the golden ratio, as a signed number
    return (mixed | 1).to(device)
