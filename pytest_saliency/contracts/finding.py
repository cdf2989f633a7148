"""Where contracts are: files as given, and folders searched as pytest would search them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from pytest_saliency.errors import SaliencyError

SUFFIXES = (".saliency.yaml", ".saliency.yml")
SKIPPED = frozenset({"node_modules", "venv", "build", "dist", "__pycache__"})


def contracts_below(path: Path) -> Iterator[Path]:
    """Yield the contracts at or below ``path``, sorted; hidden folders and environments are left out."""
    if not path.is_dir():
        yield path
        return
    for place, folders, files in os.walk(path):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and name not in SKIPPED and not (Path(place) / name / "pyvenv.cfg").exists()
        )
        yield from (Path(place) / name for name in sorted(files) if name.endswith(SUFFIXES))


def contract_files(paths: Sequence[Path]) -> list[Path]:
    """Return the contracts that ``paths`` name, each once.

    Raises
    ------
    SaliencyError
        A folder holds none: a command that looked at nothing must not seem to have succeeded.
    """
    files: dict[Path, None] = {}
    for path in paths:
        inside = list(contracts_below(path))
        if not inside:
            raise SaliencyError(f"no {' or '.join('*' + suffix for suffix in SUFFIXES)} in folder {path}.")
        files.update(dict.fromkeys(inside))
    return list(files)
