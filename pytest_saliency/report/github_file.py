"""``--saliency-github``: the job summary appended to the file that GitHub names, and annotations in the log."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pytest_saliency.errors import SaliencyError
from pytest_saliency.report.paths import option_flag

VARIABLE = "GITHUB_STEP_SUMMARY"
WORKSPACE = "GITHUB_WORKSPACE"


def write(document: Mapping[str, Any], config: pytest.Config) -> list[str]:
    """Append the summary if it was asked for; return the annotations and a line that says what was done."""
    if not option_flag(config, "github"):
        return []
    from pytest_saliency.report.github import annotation_lines

    return [*append_summary(document, os.environ.get(VARIABLE)), *annotation_lines(document, prefix_of(config))]


def append_summary(document: Mapping[str, Any], target: str | None) -> list[str]:
    """Append the job summary to the file ``target``; return the line that says so.

    Raises
    ------
    SaliencyError
        The file cannot be written.
    """
    if not target:
        return [f"no job summary: the environment variable {VARIABLE} is not set, as it is in a GitHub job"]
    from pytest_saliency.report.github import SUMMARY_BYTES
    from pytest_saliency.report.markdown import render_markdown

    path = Path(target)
    try:
        before = path.stat().st_size if path.exists() else 0
        page = render_markdown(document, SUMMARY_BYTES - before - 1)
        if not page:
            return [f"no job summary: {path} holds {before} bytes already, and GitHub takes no more than 1 MiB a step"]
        with path.open("ab") as file:
            file.write(b"\n" + page.encode() if before else page.encode())
    except OSError as error:
        raise SaliencyError(f"the job summary cannot be written to {path}: {error.strerror or error}.") from error
    return [f"job summary appended to {path}"]


def prefix_of(config: pytest.Config) -> str:
    """Return the path from the repository's root to pytest's, with a slash; empty where they are one or unrelated."""
    workspace = os.environ.get(WORKSPACE)
    if not workspace:
        return ""
    try:
        inside = config.rootpath.resolve().relative_to(Path(workspace).resolve()).as_posix()
    except ValueError:
        return ""
    return "" if inside == "." else f"{inside}/"
