"""Which map of each kind stands for it, where one before is shown beside one now."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

SHOWN: Mapping[str, str] = MappingProxyType(
    {"class_sensitive": "top1", "faithful": "top1", "no_semantic_drift": "after"}
)
