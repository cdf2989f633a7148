"""A finished text as pytest's representation of a failure.

pytest takes the message of short summary, ``--tb=line`` and JUnit from ``reprcrash``, and xdist carries exactly this
class between processes, so the text is wrapped in it instead of being a plain string.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from _pytest._code.code import ReprEntryNative, ReprExceptionInfo, ReprFileLocation, ReprTraceback

from pytest_saliency.report.escape import log_line


def failure_block(text: str, path: str, line: int, message: str) -> ReprExceptionInfo:
    """Return ``text`` as a failure located at ``path:line``, with ``message`` where one line is shown.

    Names of classes and files in it can give a terminal or a CI runner no commands.

    Without ``text`` there is the location only, as ``--tb=line`` wants it.
    """
    harmless = "\n".join(map(log_line, text.splitlines()))
    entries = [ReprEntryNative([harmless + "\n"])] if text else []
    traceback = ReprTraceback(reprentries=entries, extraline=None, style="native")
    return ReprExceptionInfo(reprtraceback=traceback, reprcrash=ReprFileLocation(path, line, log_line(message)))


def shown_path(path: Path, config: pytest.Config) -> str:
    """Return ``path`` relative to where pytest was started, so that a terminal can open it."""
    try:
        relative = os.path.relpath(path, config.invocation_params.dir)
    except ValueError:  # another drive on Windows
        return str(path)
    return str(path) if relative.startswith(os.pardir + os.sep + os.pardir) else relative
