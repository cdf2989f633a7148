"""Where a run's outputs go: the command line is relative to the cwd, the ini file to pytest's root."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def option_path(config: pytest.Config, name: str) -> Path | None:
    """Return the path that ``--saliency-NAME`` or its ini twin gives; None where neither does."""
    given = config.getoption(_dest(name))
    if given:
        return Path(os.path.normpath(config.invocation_params.dir / str(given)))
    declared = config.getini(_dest(name))
    return config.rootpath / str(declared) if declared else None


def option_text(config: pytest.Config, name: str) -> str | None:
    """Return the text that ``--saliency-NAME`` or its ini twin gives; None where neither does."""
    value = config.getoption(_dest(name))
    if value is None:
        value = config.getini(_dest(name))
    return str(value) if value else None


def option_flag(config: pytest.Config, name: str) -> bool:
    """Return whether ``--saliency-NAME`` or its ini twin is set."""
    return bool(config.getoption(_dest(name)) or config.getini(_dest(name)))


def _dest(name: str) -> str:
    return f"saliency_{name.replace('-', '_')}"
