"""Where a pass runs: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``."""

from __future__ import annotations

import re

import torch

from pytest_saliency.errors import DeviceError

KNOWN = re.compile(r"auto|cpu|mps|cuda(:\d+)?")
WORKER = re.compile(r"gw(\d+)")


def resolve_device(name: str = "auto", worker: str | None = None) -> torch.device:
    """Return the device that ``name`` stands for on this machine.

    ``auto`` takes CUDA, then Apple's MPS, then the CPU. ``worker`` is a pytest-xdist worker's name (``gw3``): where
    no CUDA device is named by number, the workers take them in turn.

    Raises
    ------
    DeviceError
        The name is not one of the above, or the device is not there. Never falls back to another one: a run that
        was meant for a GPU should say so instead of taking an hour.
    """
    if not KNOWN.fullmatch(name):
        raise DeviceError(f"device {name!r} is not known; use auto, cpu, cuda, cuda:<number> or mps.")
    has_mps = torch.backends.mps.is_available()
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        name = "cuda" if count else "mps" if has_mps else "cpu"
    if name.startswith("cuda"):
        wanted = torch.device(name).index or 0
        if wanted >= count:
            found = f"{count} CUDA device{'s' if count != 1 else ''}" if count else "no CUDA device"
            raise DeviceError(f"device {name!r} is not there: torch {torch.__version__} sees {found}; use auto or cpu.")
        turn = WORKER.fullmatch(worker or "")
        if name == "cuda" and turn:
            return torch.device("cuda", int(turn[1]) % count)
    if name == "mps" and not has_mps:
        raise DeviceError(f"device 'mps' is not there: torch {torch.__version__} sees no Apple GPU; use auto or cpu.")
    return torch.device(name)
