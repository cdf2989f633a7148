"""The records of a run as one JSON file (``--saliency-json``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from pytest_saliency.records.runfile import write_run
from pytest_saliency.report.paths import option_path


def write(document: Mapping[str, Any], config: pytest.Config) -> list[str]:
    """Write the file if it was asked for; return the line that says so."""
    path = option_path(config, "json")
    if path is None:
        return []
    write_run(path, document)
    return [f"records written to {path}"]
