"""What a run writes at its end, one writer a format. A new one is one file and one line here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from time import perf_counter
from typing import Any

import pytest

from pytest_saliency.errors import SaliencyError

WRITERS = {
    "json": "pytest_saliency.report.json_file",
    "baselines": "pytest_saliency.records.baseline_file",
    "report": "pytest_saliency.report.html_file",
    "bundle": "pytest_saliency.evidence.bundle_file",
    "github": "pytest_saliency.report.github_file",
}
"""Modules with ``write(document, config)``, which returns lines for the terminal, none where nothing was asked for."""


@dataclass(frozen=True)
class Written:
    """What came of a run's outputs: lines for the terminal, what went wrong, and the seconds of each that was made."""

    lines: list[str]
    problems: list[str]
    seconds: dict[str, float]


def write_outputs(document: Mapping[str, Any], config: pytest.Config) -> Written:
    """Write everything that was asked for. One writer's problem does not keep the others from writing."""
    made = Written([], [], {})
    for name, module in WRITERS.items():
        start = perf_counter()
        try:
            lines = import_module(module).write(document, config)
        except SaliencyError as error:
            made.problems.append(str(error))
            continue
        if lines:
            made.lines.extend(lines)
            made.seconds[name] = perf_counter() - start
    return made
