"""Attribution methods of the user's own: registered in code, announced by an entry point, or named by import path.

An own method is a callable ``(subject, images, targets) -> maps``: ``images`` (n, C, *S) are pixels in [0, 1] after the
subject's resize and crop, on the device; ``targets`` (n,) are class indices; the maps are (n, *grid), raw and signed,
at any resolution, as a tensor or an array. It is called batch by batch with the model in evaluation mode. Nothing here
imports torch, so that contracts can be read without it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from pytest_saliency.engine.methods.names import METHOD_NAMES
from pytest_saliency.errors import MethodError, raised

GROUP = "pytest_saliency.methods"
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_+.-]*")
PATH = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


@dataclass(frozen=True)
class OwnMethod:
    """An own method. ``version`` is the user's to raise whenever its numbers change."""

    name: str
    function: Callable[..., Any]
    version: int = 1


_REGISTERED: dict[str, OwnMethod] = {}


def register_method(name: str, function: Callable[..., Any], version: int = 1) -> None:
    """Make ``function`` known as ``method=name`` to every check and contract of this process.

    Call it in a ``conftest.py``, so that contracts that name it can be read. Registering the same function again
    changes nothing.

    Raises
    ------
    MethodError
        The name is not one, is taken, or the function cannot be called.
    """
    if not NAME.fullmatch(name):
        raise MethodError(f"register_method: {name!r} is no name; use letters, digits, '_', '+', '.' and '-'.")
    if name in METHOD_NAMES:
        raise MethodError(f"register_method: {name!r} is a method of the engine; choose another name.")
    if not callable(function):
        raise MethodError(f"register_method({name!r}): a function (subject, images, targets) -> maps is needed.")
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise MethodError(f"register_method({name!r}): version={version!r} must be a whole number from 1.")
    made = OwnMethod(name, function, version)
    if _REGISTERED.setdefault(name, made) != made:
        raise MethodError(f"register_method: {name!r} is registered already, as another function; choose another name.")


def own_names() -> tuple[str, ...]:
    """Return the names that are registered or announced by an installed package."""
    return tuple(dict.fromkeys((*_REGISTERED, *_announced())))


def is_path(name: str) -> bool:
    """Tell whether ``name`` is an import path, ``package.module:function``."""
    return PATH.fullmatch(name) is not None


def own_method(name: str) -> OwnMethod | None:
    """Return the own method of this name or import path; None if there is none.

    Raises
    ------
    MethodError
        It is announced or written as a path, but cannot be imported or called.
    """
    if name in _REGISTERED:
        return _REGISTERED[name]
    announced = _announced().get(name)
    if announced is not None:
        return _loaded(name, announced.load, f"entry point {announced.value}")
    return _loaded(name, lambda: _imported(name), "import path") if is_path(name) else None


def _announced() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP) if point.name not in METHOD_NAMES}


def _loaded(name: str, load: Callable[[], Any], origin: str) -> OwnMethod:
    try:
        function = load()
    except Exception as error:
        raise MethodError(f"method {name!r} ({origin}) cannot be imported: {raised(error)}.") from error
    if not callable(function):
        raise MethodError(
            f"method {name!r} ({origin}) is of type {type(function).__name__}; a function (subject, images, targets)"
            " -> maps is needed."
        )
    version = getattr(function, "saliency_version", 1)
    return OwnMethod(name, function, version if isinstance(version, int) else 1)


def _imported(path: str) -> Any:
    module, _, attribute = path.partition(":")
    found: Any = import_module(module)
    for part in attribute.split("."):
        found = getattr(found, part)
    return found
