"""Attribution methods of the user's own: registered in code, announced by an entry point, or named by import path.

An own method is a callable ``(subject, images, targets) -> maps``: ``images`` (n, C, *S) are pixels in [0, 1] after the
subject's resize and crop, on the device; ``targets`` (n,) are class indices; the maps are (n, *grid), raw and signed,
at any resolution, as a tensor or an array. It is called batch by batch with the model in evaluation mode and gradients
on; the model's input is ``subject.preprocess.normalise(images)``. What it draws from torch, NumPy or ``random`` is the
same in every run over the same batches, and differs between targets and repeats.

A name stands for one thing: a built-in name cannot be taken (an entry point of such a name is not looked at), and of
two registrations or packages that claim another one neither is silently preferred. Nothing here imports torch, so that
contracts can be read without it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from pytest_saliency.engine.methods.names import CAPTUM, METHOD_NAMES
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
_ASSUMED: ContextVar[tuple[str, ...]] = ContextVar("pytest_saliency_assumed_methods", default=())


def register_method(name: str, function: Callable[..., Any], version: int = 1) -> None:
    """Make ``function`` known as ``method=name`` to every check and contract of this process.

    Call it in a ``conftest.py``, so that contracts that name it can be read. Registering the same function again
    changes nothing; where its module was imported anew, as by a second run in one process, the newer one counts.

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
    if not _is_version(version):
        raise MethodError(f"register_method({name!r}): version={version!r} must be a whole number from 1.")
    made = OwnMethod(name, function, version)
    known = _REGISTERED.get(name)
    if known is not None and not _same(known, made):
        raise MethodError(f"register_method: {name!r} is registered already, as another function; choose another name.")
    announced = [point for point in _announced().get(name, ()) if point.value != _path_of(function)]
    if announced:
        raise MethodError(
            f"register_method: {name!r} is a method of {_package_of(announced[0])}, which announces"
            f" {announced[0].value}; choose another name."
        )
    _REGISTERED[name] = made


def own_names() -> tuple[str, ...]:
    """Return the names that are registered or announced by an installed package."""
    return tuple(dict.fromkeys((*_REGISTERED, *_announced(), *_ASSUMED.get())))


@contextmanager
def names_assumed(names: Iterable[str]) -> Iterator[None]:
    """Take ``names`` to be registered inside the block, so that a contract can be read without the code it names."""
    token = _ASSUMED.set(tuple(names))
    try:
        yield
    finally:
        _ASSUMED.reset(token)


def is_path(name: str) -> bool:
    """Tell whether ``name`` is an import path, ``package.module:function``, and no method of the engine."""
    return PATH.fullmatch(name) is not None and not name.startswith(CAPTUM)


def own_method(name: str) -> OwnMethod | None:
    """Return the own method of this name or import path; None if there is none.

    Raises
    ------
    MethodError
        It is announced or written as a path, but cannot be imported or called, or two packages announce it.
    """
    if name in _REGISTERED:
        return _REGISTERED[name]
    announced = _announced().get(name)
    if announced is not None:
        if len({point.value for point in announced}) > 1:
            packages = " and ".join(_package_of(point) for point in announced)
            raise MethodError(
                f"method {name!r} is announced by {packages}; name the one that is meant by its import path"
                f" ({' or '.join(point.value for point in announced)})."
            )
        return _loaded(name, announced[0].load, f"entry point {announced[0].value}")
    return _loaded(name, lambda: _imported(name), "import path") if is_path(name) else None


def _announced() -> dict[str, list[EntryPoint]]:
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=GROUP):
        if point.name not in METHOD_NAMES:
            found.setdefault(point.name, []).append(point)
    return found


def _package_of(point: EntryPoint) -> str:
    return f"package {point.dist.name!r}" if point.dist is not None else "an installed package"


def _loaded(name: str, load: Callable[[], Any], origin: str) -> OwnMethod:
    try:
        function = load()
    except Exception as error:
        raise MethodError(f"method {name!r} ({origin}) cannot be imported: it {raised(error)}.") from error
    if not callable(function):
        raise MethodError(
            f"method {name!r} ({origin}) is of type {type(function).__name__}; a function (subject, images, targets)"
            " -> maps is needed."
        )
    version = getattr(function, "saliency_version", 1)
    if not _is_version(version):
        raise MethodError(
            f"method {name!r} ({origin}) has saliency_version = {version!r}; it must be a whole number from 1."
        )
    return OwnMethod(name, function, version)


def _imported(path: str) -> Any:
    module, _, attribute = path.partition(":")
    found: Any = import_module(module)
    for part in attribute.split("."):
        found = getattr(found, part)
    return found


def _is_version(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _same(known: OwnMethod, made: OwnMethod) -> bool:
    """Tell whether both are one function, perhaps of two imports of one file."""
    if known == made:
        return True
    here, there = _path_of(known.function), _path_of(made.function)
    files = [getattr(getattr(one.function, "__code__", None), "co_filename", None) for one in (known, made)]
    return here is not None and here == there and files[0] is not None and files[0] == files[1]


def _path_of(function: Callable[..., Any]) -> str | None:
    """Return ``module:name`` of a function that a module defines; None for lambdas, closures and instances."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    return None if module is None or name is None or "<" in name else f"{module}:{name}"
