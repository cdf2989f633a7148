"""Float32 products in full precision, whatever the process has switched on to be faster.

Evidence must agree across devices: TF32 on a GPU keeps 10 bits of a mantissa, bfloat16 on a CPU 7.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

FULL = "ieee"


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
