"""What a check's models are called for a reader: "training 2" for the role ``models.2``, "null 1" for ``nulls.1``."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

ONE: Mapping[str, str] = MappingProxyType({"models": "training", "nulls": "null", "checkpoints": "checkpoint"})
"""A model of a list by the key that names the list."""


def role_title(role: str, check: str | None = None) -> str:
    """Return the words for ``role``; with ``check`` those of a training say whose it is: "training 2 of any-seed"."""
    kind, _, number = role.partition(".")
    if kind not in ONE or not number:
        return role
    of = f" of {check}" if check and kind == "models" else ""
    return f"{ONE[kind]} {number}{of}"


def counted(kind: str, number: int) -> str:
    """Return "3 trainings" for three models of the list ``models``."""
    word = ONE.get(kind, kind)
    return f"{number} {word}{'' if number == 1 else 's'}" if kind in ONE else f"{number} {kind}"
