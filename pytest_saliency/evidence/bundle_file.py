"""The evidence bundle of a run (``--saliency-bundle``)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import pytest

from pytest_saliency.errors import SaliencyError
from pytest_saliency.report.document import WAIVERS
from pytest_saliency.report.paths import option_flag, option_path, option_text

SHORTEST_KEY = 16


def write(document: Mapping[str, Any], config: pytest.Config) -> list[str]:
    """Write the bundle if it was asked for; return the lines that say where it is and what it is called."""
    parent = option_path(config, "bundle")
    if parent is None:
        return []
    from pytest_saliency.evidence.bundle import write_bundle

    waivers = option_path(config, "waivers") or config.rootpath / WAIVERS
    written = write_bundle(
        parent,
        document,
        root=config.rootpath,
        maps=option_flag(config, "bundle-maps"),
        case_key=case_key(option_text(config, "case-key")),
        waivers=waivers if waivers.is_file() else None,
    )
    lines = [f"evidence bundle {written.id} written to {written.path}", *written.problems]
    others = [name for name in ("json", "html") if option_path(config, name)]
    if option_text(config, "case-key") and others:
        lines.append(f"ids of cases are keyed in the bundle alone; the {' and '.join(others)} of this run name them")
    return lines


def case_key(variable: str | None) -> bytes | None:
    """Return the secret that the environment variable holds; None where none is named.

    Raises
    ------
    SaliencyError
        The variable is not set, or holds less than 16 characters, which could be guessed.
    """
    if variable is None:
        return None
    value = os.environ.get(variable, "")
    if not value:
        raise SaliencyError(
            f"--saliency-case-key names the environment variable {variable}, which is not set; no bundle was written,"
            " because it would name the cases."
        )
    if len(value) < SHORTEST_KEY:
        raise SaliencyError(
            f"the environment variable {variable} holds fewer than {SHORTEST_KEY} characters, which could be guessed;"
            " no bundle was written."
        )
    return value.encode("utf-8", "surrogateescape")
