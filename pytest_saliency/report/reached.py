"""How far a run got: whether it stopped early, and which files it could not collect.

What was not reached leaves no record where nothing else of its contract ran, so that all records may say PASS.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Part = Mapping[str, Any]

STOPPED = {2: "was interrupted", 3: "ended in an internal error of pytest"}
"""Of pytest's exit statuses those after which tests may not have run."""
NAMED = 5  # files that a sentence names


def unreached(parts: Iterable[Part]) -> list[str]:
    """Return a sentence for everything that ``parts`` (a run, or those it was merged from) did not get to."""
    parts = list(parts)
    said = []
    for part in parts:
        name = "The run" if len(parts) == 1 else f"Run {str(part.get('id'))[:8]}"
        how = part.get("stopped") or STOPPED.get(part.get("exit_status", 0))
        if how:
            said.append(f"{name} {how}: what it had not reached yet is not in it.")
        files = list(map(str, part.get("uncollected") or ()))
        if files:
            more = f" and {len(files) - NAMED} more" if len(files) > NAMED else ""
            said.append(
                f"{name} could not collect {', '.join(files[:NAMED])}{more}: what they hold did not run."
                if len(files) > 1
                else f"{name} could not collect {files[0]}: what it holds did not run."
            )
    return said
