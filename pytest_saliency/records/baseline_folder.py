"""Where the folder of baselines is, for commands: there is no pytest session there that could say."""

from __future__ import annotations

import configparser
import tomllib
from pathlib import Path
from typing import Any

from pytest_saliency.errors import SaliencyError
from pytest_saliency.records.baseline_mode import FOLDER

SETTING = "saliency_baselines"
TOML = (("pytest.toml", ("pytest",)), (".pytest.toml", ("pytest",)))
INI = (("pytest.ini", "pytest"), (".pytest.ini", "pytest"), ("tox.ini", "pytest"), ("setup.cfg", "tool:pytest"))


def baseline_folder(start: Path) -> Path:
    """Return the folder that the nearest configuration file above ``start`` names, else the nearest of the usual name.

    Raises
    ------
    SaliencyError
        There is neither.
    """
    above = (start, *start.parents)
    for place in above:
        named = _declared(place)
        if named:
            return place / named
        if (place / FOLDER).is_dir():
            return place / FOLDER
    raise SaliencyError(
        f"there is no folder {FOLDER} in {start} or above it, and no configuration file names one ({SETTING}): run the"
        " checks once with --saliency-baseline new, or name the folder with --baselines."
    )


def _declared(place: Path) -> str | None:
    """Return the ini setting in the configuration of pytest in this folder, if it has one that can be read."""
    for name, section in INI:
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read(place / name, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError, OSError):
            continue
        if parser.has_option(section, SETTING):
            return parser.get(section, SETTING).strip() or None
    for name, keys in (
        *TOML,
        ("pyproject.toml", ("tool", "pytest", "ini_options")),
        ("pyproject.toml", ("tool", "pytest")),
    ):
        try:
            value: Any = tomllib.loads((place / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        if isinstance(value, dict) and isinstance(value.get(SETTING), str):
            return str(value[SETTING]) or None
    return None
