"""Executors by name. A new one is one file and one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from pytest_saliency.engine.executors.executor import Executor
from pytest_saliency.engine.executors.local import Local


def _ray(address: str, device: str) -> Executor:
    from pytest_saliency.engine.executors.on_ray import OnRay

    return OnRay.at(address, device)


EXECUTORS: Mapping[str, Callable[[str, str], Executor]] = MappingProxyType(
    {
        "local": lambda address, device: Local(),
        "ray": _ray,
    }
)
"""Name -> what makes it from an address and the device that was asked for."""
