"""Which code belongs to installed packages, whose version says what it is, and which is the user's own."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import sys
import sysconfig
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any


@functools.cache
def is_installed(filename: str) -> bool:
    """Tell whether a source file belongs to the standard library or an installed package (not an editable one)."""
    if filename.startswith("<"):
        return filename.startswith("<frozen ")
    path = Path(os.path.realpath(filename))
    if {"site-packages", "dist-packages"} & set(path.parts):
        return True
    libraries = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib")}
    return any(path.is_relative_to(os.path.realpath(library)) for library in libraries if library)


def is_installed_module(name: str) -> bool:
    """Tell the same of an imported module; one without a file is installed if it comes with Python."""
    file = getattr(sys.modules.get(name), "__file__", None)
    return is_installed(file) if file else name.partition(".")[0] in sys.stdlib_module_names


@functools.cache
def version_of(module: str) -> str | None:
    """Return the version of the package that a module belongs to; None where nobody says."""
    package = module.partition(".")[0]
    if package in sys.stdlib_module_names:
        return platform.python_version()
    said = getattr(sys.modules.get(package), "__version__", None)
    if isinstance(said, str):
        return str(said)
    named = importlib.metadata.packages_distributions().get(package)  # slow, but few packages hide their version
    return importlib.metadata.version(named[0]) if named else None


def code_of(member: Any) -> CodeType | None:
    """Return the code of a function, method or property of a class; None for data."""
    inner = getattr(member, "fget", None) or getattr(member, "__func__", member)
    code = getattr(inner, "__code__", None)
    return code if isinstance(code, CodeType) else None


def defines(module: ModuleType | None, cls: type) -> bool:
    """Tell whether a module has a class under its name; one made in memory only says that it is from there."""
    found: object = module
    for name in cls.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is cls


def is_foreign(member: object) -> bool:
    """Tell whether a member of a class is a function written outside of the installed packages."""
    code = code_of(member)
    return code is not None and not is_installed(code.co_filename)
