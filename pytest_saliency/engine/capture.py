"""One forward pass that keeps a target layer's output, and the gradients of class scores there.

Gradients start at the layer: what comes before it runs as in inference and builds no graph, and the
vector-Jacobian products of all targets and contrast classes go through the tail together.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from pytest_saliency.engine.layout import Layout
from pytest_saliency.engine.outputs import two_sided
from pytest_saliency.engine.precision import at_least_float32
from pytest_saliency.engine.runner import Runner
from pytest_saliency.engine.sizing import out_of_memory
from pytest_saliency.errors import SubjectError


@dataclass
class _Seen:
    """What the hook saw: the layer's output as a leaf of the tail's graph (the last call, if there are several)."""

    leaf: Tensor | None = None
    refused: str | None = None
    calls: int = field(default=0)

    def hook(self, module: nn.Module, args: Any, output: Any) -> Any:
        self.calls += 1
        first = output[0] if isinstance(output, tuple | list) and output else output
        if not isinstance(first, Tensor) or not first.is_floating_point():
            self.refused = type(output).__name__
            return output
        if torch.is_inference_mode_enabled():
            self.refused = "inference"
            return output
        torch.set_grad_enabled(True)
        # Copied, because a layer may return its very input (dropout, identity), which others may change in place.
        self.leaf = first.detach().clone().requires_grad_(True)
        # A fresh tensor goes on, so that an in-place operation behind the layer cannot overwrite what it returned.
        fresh = self.leaf.clone()
        if first is output:
            return fresh
        if hasattr(output, "_replace"):
            return type(output)(fresh, *output[1:])
        return type(output)((fresh, *output[1:]))


@contextlib.contextmanager
def tapped(layer: nn.Module) -> Iterator[_Seen]:
    """Hook ``layer`` for the duration of one forward pass; the hook goes away whatever happens."""
    tap = _Seen()
    handle = layer.register_forward_hook(tap.hook)
    try:
        yield tap
    finally:
        handle.remove()


@dataclass(frozen=True)
class Capture:
    """A batch's class scores (N, C), the layer's output (N, Ch, *grid), and the graph between the two."""

    scores: Tensor
    binary: bool
    activations: Tensor
    _leaf: Tensor
    _graph: Tensor
    _layout: Layout
    _where: str

    def gradients(self, cotangents: Tensor) -> Tensor:
        """Return the gradients (K, N, Ch, *grid) of ``sum_c cotangents[k, n, c] * score[n, c]`` at the layer."""
        count = len(cotangents)
        cotangents = cotangents.to(self._graph.dtype)
        found: Tensor | None
        try:
            (found,) = torch.autograd.grad(
                self._graph,
                self._leaf,
                cotangents,
                retain_graph=True,
                is_grads_batched=True,
                allow_unused=True,
            )
        except (RuntimeError, NotImplementedError) as error:
            if out_of_memory(error):
                raise
            # An operation of the tail has no batching rule: the same products, one after the other.
            rows = [row for row in map(self._product, cotangents) if row is not None]
            found = torch.stack(rows) if rows else None
        if found is None:
            found = torch.zeros(count, *self._leaf.shape, dtype=self._leaf.dtype, device=self._leaf.device)
        read = self._layout.read(at_least_float32(found).flatten(0, 1))
        return read.reshape(count, -1, *read.shape[1:])

    def _product(self, cotangent: Tensor) -> Tensor | None:
        try:
            return torch.autograd.grad(self._graph, self._leaf, cotangent, retain_graph=True, allow_unused=True)[0]
        except (RuntimeError, NotImplementedError) as error:
            if out_of_memory(error):
                raise
            first = (str(error).strip().splitlines() or [""])[0]
            raise SubjectError(
                f"the gradient from the scores back to {self._where} cannot be computed: {first} What follows the"
                " layer must be differentiable; an in-place operation there is a common cause."
            ) from error


class NoGradientError(SubjectError):
    """The scores do not depend on the layer through autograd."""


def capture(
    runner: Runner, layer: nn.Module, layer_name: str, layout: Layout, pixels: Tensor, *, whole: bool = False
) -> Capture:
    """Run the model once on ``pixels`` (N, C, *S) and return scores, layer output and the graph between them.

    ``whole`` leaves gradients on from the start, for a model that turns them off in front of the layer and on again
    behind it (a frozen backbone inside its own ``no_grad`` block): leaving that block would restore our ``no_grad``.

    Raises
    ------
    SubjectError
        The layer did not run, returned no tensor, or (``NoGradientError``) the scores do not depend on it.
    """
    subject = runner.subject
    with torch.set_grad_enabled(whole), tapped(layer) as tap:
        output = runner.call(pixels)
        if tap.calls == 0:
            raise SubjectError(
                f"layer '{layer_name}' of model '{subject.name}' did not run in the forward pass; choose another."
            )
        if tap.refused == "inference":
            raise SubjectError(
                f"model '{subject.name}' runs under torch.inference_mode, in which no gradient can reach layer"
                f" '{layer_name}'; use torch.no_grad in its forward instead."
            )
        if tap.leaf is None:
            raise SubjectError(
                f"layer '{layer_name}' of model '{subject.name}' returns {tap.refused}, not a floating-point tensor;"
                " choose a layer inside it."
            )
        with torch.enable_grad():  # a forward under no_grad leaves gradients off behind it
            raw = subject.select(output, len(pixels))
            scores, binary = two_sided(raw)
        if not raw.requires_grad:
            raise NoGradientError(
                f"no gradient reaches layer '{layer_name}' of model '{subject.name}': what follows it detaches, runs"
                " under no_grad, or does not use it. Choose another layer."
            )
    activations = layout.read(at_least_float32(tap.leaf.detach()))
    where = f"layer '{layer_name}' of model '{subject.name}'"
    return Capture(at_least_float32(scores.detach()), binary, activations, tap.leaf, scores, layout, where)


class Tap:
    """Captures batch after batch at one layer, and remembers whether the model needs gradients on throughout."""

    def __init__(self, runner: Runner, layer_name: str, layout: Layout) -> None:
        self._runner = runner
        self._module = dict(runner.subject.model.named_modules())[layer_name]
        self._name, self._layout = layer_name, layout
        self._whole = False
        self.passes = 0

    def __call__(self, pixels: Tensor) -> Capture:
        """Return the capture of a batch; see :func:`capture`."""
        self.passes += 1
        if not self._whole:
            try:
                return capture(self._runner, self._module, self._name, self._layout, pixels)
            except NoGradientError:
                self._whole = True
                self.passes += 1
        return capture(self._runner, self._module, self._name, self._layout, pixels, whole=True)
