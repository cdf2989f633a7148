"""Where a contract lives: what its paths are relative to, what it may import, and the fixtures that it names."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_saliency.contracts.imports import call, resolve
from pytest_saliency.errors import SaliencyError


@dataclass(frozen=True)
class Place:
    """Where a contract lives, what it may import, and the values of the fixtures it names."""

    folder: Path
    root: Path
    allow_python: bool
    fixtures: Mapping[str, object]

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where code named by ``python:`` is looked for, in order."""
        return (self.folder,) if self.folder == self.root else (self.folder, self.root)

    def path(self, written: str) -> Path:
        """Return where ``written``, relative to the contract's folder, is, without ``..`` wherever that is the same."""
        joined = self.folder / written
        plain = Path(os.path.normpath(joined))
        return plain if plain.resolve() == joined.resolve() else joined  # a link on the way makes ".." another folder

    def call(self, target: str, args: Mapping[str, Any]) -> object:
        """Return what ``module:function`` of the repository returns.

        Raises
        ------
        SaliencyError
            The session does not import code of the repository, or the function is not there or fails.
        """
        self._allowed(target)
        return call(target, dict(args), self.folders)

    def find(self, target: str) -> Callable[..., Any]:
        """Return ``module:function`` of the repository itself, without calling it; errors as of :meth:`call`."""
        self._allowed(target)
        return resolve(target, self.folders)

    def _allowed(self, target: str) -> None:
        if not self.allow_python:
            raise SaliencyError(
                f"python: {target} is not imported, because ini saliency_allow_python is false; use a fixture instead."
            )
