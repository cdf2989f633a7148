"""Networks of the true size built in a fraction of the usual time: weights come from one short pool of normal draws.

What a constructor computes (position indices, layer scales, norms) stays; only what it would draw is replaced.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

POOL = 1_000_003  # a prime: rows of no layer repeat
SMALL = 0.02  # of tokens and position embeddings, as their authors draw them
DRAWS = {"kaiming_uniform_", "kaiming_normal_", "normal_", "trunc_normal_", "xavier_uniform_", "xavier_normal_"}
DRAWS |= {"uniform_"}
METHODS = {"uniform_", "normal_", "erfinv_"}  # what timm's own truncated normal is made of


class _Undrawn(TorchFunctionMode):
    """Leaves out the drawing, and remembers where it would have happened."""

    def __init__(self) -> None:
        super().__init__()
        self.places: dict[int, Tensor] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        initialises = getattr(func, "__module__", None) == "torch.nn.init" and name in DRAWS
        if initialises or (name in METHODS and args and isinstance(args[0], nn.Parameter)):
            tensor: Tensor = kwargs["tensor"] if "tensor" in kwargs else args[0]
            self.places[tensor.data_ptr()] = tensor
            return tensor
        return func(*args, **kwargs)


def drawn(build: Callable[[], nn.Module], lifted: float = 0.0, around: float = 0.1, seed: int = 0) -> nn.Module:
    """Return what ``build`` makes, in evaluation mode, with He-like weights that depend on ``seed`` alone.

    ``lifted`` is the bias of every batch norm: with it most of what a norm returns passes the rectifier behind, so that
    depth scrambles less. ``around`` is how strong the taps of a kernel are beside the middle one.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        with _Undrawn() as undrawn:
            model = build()
    # A generator of its own: a truncated normal draws anew until all lies inside, from memory that nobody filled here.
    pool = torch.randn(POOL, generator=torch.Generator().manual_seed(seed))
    start = 0
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.bias.fill_(lifted)
        for module in model.modules():
            for parameter in module.parameters(recurse=False):
                # A zero head, as torchvision's ViT has one, depends on no layer.
                if parameter.data_ptr() not in undrawn.places and parameter.any():
                    continue
                if parameter.dim() < 2:
                    parameter.zero_()
                    continue
                start = _fill(parameter, pool, start)
                parameter.mul_(_scale(module, parameter, around))
    return model.eval()


def _scale(module: nn.Module, parameter: Tensor, around: float) -> Tensor | float:
    if isinstance(module, nn.Conv2d | nn.Conv3d):
        taps = _taps(parameter, around)
        return taps * float((2.0 / (parameter.shape[1] * float((taps**2).sum()))) ** 0.5)
    if isinstance(module, nn.Linear | nn.MultiheadAttention):
        return float(parameter.shape[1] ** -0.5)
    return SMALL


def _taps(kernel: Tensor, around: float) -> Tensor:
    """Return how strong each tap of a kernel is: one in the middle, less elsewhere.

    A trained network mostly keeps a feature where it was; kernels without a middle shift it about.
    """
    sides = kernel.shape[2:]
    if any(side % 2 == 0 for side in sides):
        return torch.ones(sides)
    taps = torch.full(sides, around)
    taps[tuple(side // 2 for side in sides)] = 1.0
    return taps


def _fill(parameter: Tensor, pool: Tensor, start: int) -> int:
    flat, done = parameter.view(-1), 0
    while done < len(flat):
        part = pool[start : start + len(flat) - done]
        flat[done : done + len(part)] = part
        done += len(part)
        start = (start + len(part)) % len(pool)
    return start
