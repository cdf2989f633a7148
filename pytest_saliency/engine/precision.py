"""In which precision a model computes: float32 in full, or half of it where that was asked for.

Evidence must agree across devices, so whatever the process has switched on to be faster is off by default: TF32 on a
GPU keeps 10 bits of a mantissa, bfloat16 on a CPU 7.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from pytest_saliency.errors import DeviceError, first_line

Precision = Literal["float32", "bf16", "fp16"]
HALVES: dict[str, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16}
FULL = "ieee"


def half_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """Return the type in which products and convolutions run; None for float32.

    Raises
    ------
    DeviceError
        There is no such precision, or the device cannot compute in it (which is tried out).
    """
    if precision not in get_args(Precision):
        raise DeviceError(f"precision {precision!r} is not known; use {', '.join(get_args(Precision))}.")
    dtype = HALVES.get(precision)
    if dtype is None:
        return None
    problem = _refusal(dtype, device)
    if problem:
        other = next(word for word in HALVES if word != precision)
        raise DeviceError(
            f"device '{device}' cannot compute in {precision} ({problem}); use precision float32, or try {other}."
        )
    return dtype


def _refusal(dtype: torch.dtype, device: torch.device) -> str | None:
    """Return why a convolution and a product do not run in ``dtype`` on ``device``; None if they do."""
    if device.type == "cuda" and dtype == torch.bfloat16 and not torch.version.hip:
        major, minor = torch.cuda.get_device_capability(device)
        if major < 8:  # emulated there, more slowly than float32
            return f"its compute capability is {major}.{minor}, and bfloat16 needs 8.0"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with torch.no_grad(), torch.autocast(device.type, dtype):
                image = torch.ones(1, 1, 4, 4, device=device)
                made = F.conv2d(image, torch.ones(1, 1, 3, 3, device=device)).flatten(1)
                made = made @ torch.ones(4, 2, device=device)
                value = float(made[0, 0])
    except (RuntimeError, NotImplementedError, UserWarning) as error:
        return first_line(error)
    if made.dtype != dtype:
        return f"torch computed in {made.dtype}".replace("torch.", "")
    return None if value == 36.0 else f"torch computed 4 times 9 as {value:g}"


def at_least_float32(tensor: Tensor) -> Tensor:
    """Return half precision as float32: sums over channels and positions would overflow or lose digits in it."""
    return tensor.float() if tensor.dtype in HALVES.values() else tensor


def outside_autocast(tensor: Tensor) -> torch.autocast:
    """Return the context in which products of float32 are float32, also where the model runs in half precision.

    Half precision is for the model. A map that is summed up in it has 256 different values, many of them tied, and
    weights below 6e-8 are 0 in fp16.
    """
    return torch.autocast(tensor.device.type, enabled=False)


@contextlib.contextmanager
def full_float32() -> Iterator[None]:
    """Compute float32 products and convolutions in float32 inside; the user's settings are as before afterwards.

    The two generations of switches are moved together: torch refuses to read the older ones where they disagree.
    """
    legacy = _legacy()
    switches = _switches()
    found = [switch.fp32_precision for switch in switches]
    try:
        if legacy is not None:
            _set_legacy("highest", False, False)
        for switch in switches:
            switch.fp32_precision = FULL
        yield
    finally:
        if legacy is not None:
            _set_legacy(*legacy)
        for switch, value in zip(switches, found, strict=True):
            switch.fp32_precision = value


def _legacy() -> tuple[str, bool, bool] | None:
    """Return the older settings; None where the process has used the newer ones, after which reading them raises."""
    try:
        return (
            torch.get_float32_matmul_precision(),
            torch.backends.cuda.matmul.allow_tf32,
            torch.backends.cudnn.allow_tf32,
        )
    except RuntimeError:
        return None


def _set_legacy(products: str, cuda: bool, cudnn: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = cuda, cudnn
    torch.set_float32_matmul_precision(products)  # last: the first of the two is a coarser view of it


def _switches() -> tuple[Any, ...]:
    """Return torch's newer switches, one a backend and operation; none before torch 2.9."""
    backends: Any = torch.backends
    if not hasattr(backends.cuda.matmul, "fp32_precision"):
        return ()
    return (
        backends.cuda.matmul,
        backends.cudnn.conv,
        backends.cudnn.rnn,
        backends.mkldnn.matmul,
        backends.mkldnn.conv,
        backends.mkldnn.rnn,
    )
