"""Code that a contract names as ``module:attribute``, imported as pytest imports a conftest.py.

The contract's folder and pytest's root become importable for the rest of the session.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module, invalidate_caches
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from pytest_saliency.errors import SaliencyError, first_line, raised


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

    Raises
    ------
    SaliencyError
        As :func:`resolve`, or anything the code itself raised, with its line; a ``SaliencyError`` of the code passes
        through.
    """
    found = resolve(target, folders)
    try:
        return found(**args)
    except SaliencyError:
        raise
    except Exception as error:
        if isinstance(error, TypeError) and error.__traceback__ is not None and error.__traceback__.tb_next is None:
            raise SaliencyError(  # nothing inside ran
                f"python: {target} cannot be called with args {args}: {first_line(error)}; change 'args' in the"
                " contract."
            ) from error
        raise SaliencyError(
            f"python: {target} {raised(error)}. Mend it there, or change what it is given ({args or 'no args'});"
            " pytest --full-trace shows the whole traceback."
        ) from error


def resolve(target: str, folders: Sequence[Path]) -> Callable[..., Any]:
    """Import ``target`` ("package.module:attribute") and return it.

    ``folders`` are those the code may live in; they must be importable already.

    Raises
    ------
    SaliencyError
        No such module or attribute, a module of the same name from elsewhere, or something that is not callable.
    """
    module_name, _, attribute = target.partition(":")
    _refuse_namesake(module_name.split(".")[0], folders)
    try:
        found: Any = import_module(module_name)
    except Exception as error:
        name = error.name if isinstance(error, ModuleNotFoundError) else None
        if name is not None and (module_name + ".").startswith(name + "."):
            source = next((folder / "src" for folder in folders if _lies_in(folder / "src", name)), None)
            hint = (
                f"it lies in {source}, so install the project (pip install -e .), or write pythonpath = src into"
                " pytest's ini file."
                if source
                else "check the spelling, or install it."
            )
            raise SaliencyError(
                f"python: {target}: there is no module '{name}' in {' or '.join(map(str, folders))}, nor is one"
                f" installed; {hint}"
            ) from None
        raise SaliencyError(
            f"python: {target}: importing '{module_name}' {raised(error)}. Mend it there; pytest --full-trace shows the"
            " whole traceback."
        ) from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise SaliencyError(f"python: {target}: {_described(found)} has no attribute '{part}'{_close(part, found)}")
        found = getattr(found, part)
    if not callable(found):
        raise SaliencyError(f"python: {target} is of type {type(found).__name__}; it must be a function to call.")
    made: Callable[..., Any] = found
    return made


def _lies_in(folder: Path, module: str) -> bool:
    place = folder.joinpath(*module.split("."))
    return place.is_dir() or place.with_suffix(".py").is_file()


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


def _close(word: str, found: object) -> str:
    close = difflib.get_close_matches(word, dir(found), n=1)
    return f"; did you mean '{close[0]}'?" if close else "; name a function that it defines."


def _described(found: object) -> str:
    return f"module '{found.__name__}'" if isinstance(found, ModuleType) else repr(found)
