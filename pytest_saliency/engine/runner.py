"""Runs a user's model on pixels and leaves it as it was found, whatever happens."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from pytest_saliency.engine.outputs import two_sided
from pytest_saliency.engine.subject import Subject
from pytest_saliency.errors import SaliencyError, SubjectError, raised


@contextlib.contextmanager
def untouched(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Evaluation mode, float32 matrix products, no autocast, on ``device``; everything restored on the way out.

    Restored after success, an exception or an interrupt: train/eval flag of every submodule, device of the
    parameters, the random states of torch, NumPy and Python, the TF32 switches, gradient mode. Parameters,
    ``.grad`` and ``requires_grad`` are never written.
    """
    flags = [(module, module.training) for module in model.modules()]
    home = _home(model)
    python_state, numpy_state = random.getstate(), np.random.get_state()
    tf32 = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    cuda = [device] if device.type == "cuda" else []
    try:
        with (
            torch.inference_mode(False),  # the caller may be in it, and no gradient would be recorded
            torch.random.fork_rng(devices=cuda),
            torch.autocast(device.type, enabled=False),
        ):
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
            model.eval()
            if home is not None and home != device:
                model.to(device)
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = tf32
        if home is not None and home != device:
            model.to(home)
        for module, training in flags:
            module.training = training
        random.setstate(python_state)
        np.random.set_state(numpy_state)


def _home(model: nn.Module) -> torch.device | None:
    """Return the one device the model's parameters are on; None if it has none or spans several."""
    devices = {tensor.device for tensor in (*model.parameters(), *model.buffers())}
    return devices.pop() if len(devices) == 1 else None


@dataclass(frozen=True)
class Runner:
    """A subject on a device. Use its methods inside :meth:`session`."""

    subject: Subject
    device: torch.device

    @contextlib.contextmanager
    def session(self) -> Iterator[None]:
        """Hold the model in evaluation on the device; see :func:`untouched`."""
        with untouched(self.subject.model, self.device):
            yield

    def scores(self, pixels: Tensor) -> Tensor:
        """Return class scores (N, C) without gradients; ``pixels`` is a batch after geometry, in [0, 1]."""
        with torch.inference_mode():
            logits, _ = two_sided(self.logits(pixels))
        return logits.clone()

    def logits(self, pixels: Tensor) -> Tensor:
        """Return the model's own logits (N, C) or (N, 1) under the caller's gradient mode."""
        return self.subject.select(self.call(pixels), len(pixels))

    def call(self, pixels: Tensor) -> object:
        """Normalise ``pixels``, run the model once and return what it returns."""
        return guarded(self.subject, pixels, lambda: self.subject.model(self.model_input(pixels)))

    def model_input(self, pixels: Tensor) -> Tensor:
        """Return the normalised batch on the device, in the model's own floating-point type."""
        if pixels.is_inference():  # made by a caller under inference_mode; no graph may hold such a tensor
            pixels = pixels.clone()
        made = self.subject.preprocess.normalise(pixels.to(self.device, non_blocking=True))
        dtype = next((p.dtype for p in self.subject.model.parameters() if p.is_floating_point()), made.dtype)
        return made.to(self.device, dtype)


def guarded(subject: Subject, pixels: Tensor, work: Callable[[], object]) -> object:
    """Run ``work``; an exception raised inside the user's model becomes one sentence with the cause attached."""
    try:
        return work()
    except SaliencyError:
        raise
    except Exception as error:
        raise SubjectError(
            f"model '{subject.name}', given {len(pixels)} images of shape {tuple(pixels.shape[1:])},"
            f" {raised(error)}. Check that preprocess gives it the size and channels it was trained with."
        ) from error
