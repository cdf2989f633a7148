"""Code that a contract names as ``module:attribute``, imported as pytest imports a conftest.py.

The contract's folder and pytest's root become importable for the rest of the session.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module, invalidate_caches
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from pytest_saliency.errors import SaliencyError


def make_importable(folders: Sequence[Path]) -> Callable[[], None]:
    """Put ``folders`` in front of ``sys.path``, the first one first; the returned function takes them out again."""
    added = [str(folder) for folder in folders if str(folder) not in sys.path]
    sys.path[:0] = added
    invalidate_caches()

    def undo() -> None:
        for entry in added:
            with suppress(ValueError):
                sys.path.remove(entry)

    return undo


def call(target: str, args: dict[str, Any], folders: Sequence[Path]) -> object:
    """Import ``target`` ("package.module:attribute") and return what it returns when called with ``args``.

    ``folders`` are those the code may live in; they must be importable already. What the code itself raises passes
    through unchanged: its traceback is what its author needs.

    Raises
    ------
    SaliencyError
        No such module or attribute, a module of the same name from elsewhere, or something that is not callable.
    """
    module_name, _, attribute = target.partition(":")
    _refuse_namesake(module_name.split(".")[0], folders)
    try:
        found: Any = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name + ".").startswith(error.name + "."):
            raise
        raise SaliencyError(
            f"python: {target}: there is no module '{error.name}' in {' or '.join(map(str, folders))}, nor is one"
            " installed."
        ) from None
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise SaliencyError(f"python: {target}: {_described(found)} has no attribute '{part}'.")
        found = getattr(found, part)
    if not callable(found):
        raise SaliencyError(f"python: {target} is a {type(found).__name__}; it must be a function to call.")
    return found(**args)


def _refuse_namesake(name: str, folders: Sequence[Path]) -> None:
    """Two contracts in two folders may each have a ``model.py``; the first one imported must not serve both."""
    loaded = sys.modules.get(name)
    if loaded is None:
        return
    spec = PathFinder.find_spec(name, [str(folder) for folder in folders])
    origin = getattr(spec, "origin", None)
    file = getattr(loaded, "__file__", None)
    if origin and file and Path(origin).resolve() != Path(file).resolve():
        raise SaliencyError(
            f"python: module '{name}' was already imported from {file}, but this contract means {origin}. Give one of"
            " them another name, put it into a package, or run the contracts in two sessions."
        )


def _described(found: object) -> str:
    return f"module '{found.__name__}'" if isinstance(found, ModuleType) else repr(found)
