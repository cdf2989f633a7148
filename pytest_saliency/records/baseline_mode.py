"""What a run does about baselines: ``check`` compares only, ``new`` and ``update`` also write candidates."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

MODES = ("check", "new", "update")
FOLDER = "saliency-baselines"


def mode_of(config: pytest.Config) -> str:
    """Return ``check``, ``new`` or ``update``: the command line, else the ini file, else ``check``."""
    return str(config.getoption("saliency_baseline") or config.getini("saliency_baseline") or MODES[0])


def folder_of(config: pytest.Config) -> Path:
    """Return where the baselines of this run are kept, whether the folder is there or not."""
    from pytest_saliency.report.paths import option_path

    return option_path(config, "baselines") or config.rootpath / FOLDER


def in_ci(environment: Mapping[str, str] | None = None) -> bool:
    """Tell whether this is a machine that builds and tests, as the variable ``CI`` says."""
    value = (os.environ if environment is None else environment).get("CI", "")
    return value.strip().lower() not in ("", "0", "false")


def refuse_wrong_mode(config: pytest.Config) -> None:
    """End the session before anything runs where baselines may not be written, or the mode is not one.

    Raises
    ------
    pytest.UsageError
        The ini file names another mode, or baselines would be written under CI.
    """
    mode = mode_of(config)
    if mode not in MODES:
        raise pytest.UsageError(f"ini saliency_baseline must be one of {', '.join(MODES)}; got {mode!r}.")
    if mode != "check" and in_ci():
        raise pytest.UsageError(
            f"--saliency-baseline {mode} is refused here, because the environment variable CI is set: a machine that"
            " judges a change must not also write what it is judged by. Run it on your own machine, look at"
            " 'pytest-saliency baseline diff', approve, and commit the folder."
        )
