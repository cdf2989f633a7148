"""What a run writes at its end, one writer a format. A new one is one file and one line here."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import pytest

from pytest_saliency.errors import SaliencyError

WRITERS = (
    "pytest_saliency.report.json_file",
    "pytest_saliency.records.baseline_file",
    "pytest_saliency.report.html_file",
    "pytest_saliency.evidence.bundle_file",
    "pytest_saliency.report.github_file",
)
"""Modules with ``write(document, config)``, which returns lines for the terminal, none where nothing was asked for."""


def write_outputs(document: Mapping[str, Any], config: pytest.Config) -> tuple[list[str], list[str]]:
    """Write everything that was asked for; returns lines for the terminal, and what went wrong.

    One writer's problem does not keep the others from writing.
    """
    lines: list[str] = []
    problems: list[str] = []
    for name in WRITERS:
        try:
            lines += import_module(name).write(document, config)
        except SaliencyError as error:
            problems.append(str(error))
    return lines, problems
