"""The record of one check: what its result knows, and what only the run around it knows."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pytest_saliency.records.tool import tool_version

FORMAT = 2
PACKAGES = ("pytest", "torch", "torchvision", "numpy", "scipy", "pillow", "timm", "transformers", "pydicom")
"""Where they are installed: what computes, what builds networks, what decodes images."""


@dataclass(frozen=True)
class Source:
    """Where a check is written: file (relative to pytest's root), line, and the line of each key."""

    file: str
    line: int
    lines: Mapping[str, int] = field(default_factory=dict)
    snippet: tuple[tuple[int, str], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {
            "file": self.file,
            "line": self.line,
            "lines": dict(self.lines),
            "snippet": [[number, text] for number, text in self.snippet],
        }


@dataclass(frozen=True)
class Setting:
    """What the run knows of a check: its contract (slug and SHA-256; None in Python), node, axes, policy, source."""

    node: str
    source: Source | None
    contract: str | None = None
    contract_sha256: str | None = None
    check: str | None = None
    kind: str | None = None
    axes: Mapping[str, str] = field(default_factory=dict)
    requirement: str | None = None
    policy: Mapping[str, Any] = field(
        default_factory=lambda: {"severity": "fail", "on_inconclusive": "fail", "known_failure": None}
    )
    notes: tuple[str, ...] = ()


def complete(record: Mapping[str, Any], setting: Setting) -> dict[str, Any]:
    """Return the record of a result with everything the run knows added; what the result says itself stays."""
    execution = dict(record.get("execution") or {})
    execution["versions"] = {**versions(), **(execution.get("versions") or {})}
    return {
        **record,
        "format": FORMAT,
        "contract": setting.contract,
        "contract_sha256": setting.contract_sha256,
        "check": setting.check or record.get("check"),
        "kind": setting.kind or record.get("kind"),
        "node": setting.node,
        "axes": dict(setting.axes),
        "requirement": setting.requirement,
        "policy": dict(setting.policy),
        "source": None if setting.source is None else setting.source.to_dict(),
        "execution": execution,
        "pictures": list(record.get("pictures") or ()),
        "gallery": list(record.get("gallery") or ()),
        "maps": record.get("maps"),
        "notes": [*(record.get("notes") or ()), *setting.notes],
    }


def without_result(setting: Setting, verdict: str, headline: str) -> dict[str, Any]:
    """Return the record of a declared check that reached no verdict: ``ERROR`` or ``NOT_RUN``."""
    return complete({"verdict": verdict, "headline": headline, "decision": None}, setting)


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that numbers depend on, without importing them."""
    found = {"python": platform.python_version(), "pytest-saliency": tool_version()}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
