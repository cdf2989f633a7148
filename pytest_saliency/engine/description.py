"""What a Python value is, said as JSON: the same in every process for the same content, another for another.

Code is described by its source file where there is one and by its bytecode in any case, data by their bytes, other
objects by what pickle would keep of them, installed packages by their version. Memory addresses, devices, training
flags and gradients are left out.
"""

from __future__ import annotations

import contextlib
import copyreg
import functools
import hashlib
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import CodeType, FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pytest_saliency.engine.installed import code_of, defines, is_foreign, is_installed, is_installed_module, version_of

INTERNAL = frozenset(vars(nn.Module()))  # what every module has: parameters, hooks, flags
HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
DEEPEST = 60  # about 500 frames, half of what Python allows


class OpaqueError(Exception):
    """Something that its content does not identify: an open file, a lock, a generator, an object of a C extension."""


class Description:
    """Describes values, one after the other, and refers to what it described before.

    ``strict``: an opaque value raises OpaqueError. Otherwise its type stands for it.
    """

    def __init__(self, strict: bool) -> None:
        self._strict = strict
        self._known: dict[tuple[int, bool], tuple[list[Any], object]] = {}  # with the object, or its id is used again
        self._inside: set[int] = set()
        self._files: dict[str, str | None] = {}
        self._classes: dict[type, list[Any]] = {}

    def of(self, value: object) -> list[Any]:
        """Return the description of any value."""
        simple = _simple(value)
        if simple is not None:
            return simple
        if type(value) in (tuple, list, set, frozenset, dict, MappingProxyType):
            return self._nested(value, self._container)
        known = self._known.get((id(value), self._strict))
        if known is None:
            self._known[id(value), self._strict] = ["seen", len(self._known)], value
            return self._nested(value, self._object)
        return known[0]

    def tree(self, model: nn.Module) -> list[Any]:
        """Return the description of a model without the numbers in its parameters and buffers."""
        modules = list(model.named_modules(remove_duplicate=False))
        for name, module in modules:  # first, so that references from one to another are names
            for strict in (False, True):
                self._known.setdefault((id(module), strict), (["submodule", name], module))
        first: dict[int, str] = {}
        return [
            [name, first[id(module)]] if first.setdefault(id(module), name) != name else [name, *self._module(module)]
            for name, module in modules
        ]

    def tensors(self, named: Mapping[str, Tensor]) -> list[Any]:
        """Return the description of tensors by name: types, shapes, bytes."""
        return [[name, self._tensor(tensor)] for name, tensor in sorted(named.items())]

    # -- the kinds of values --------------------------------------------------------------------------------------

    def _nested(self, value: Any, describe: Callable[[Any], list[Any]]) -> list[Any]:
        if id(value) in self._inside:
            return ["cycle"]
        if len(self._inside) >= DEEPEST:
            return self._opaque(value)
        self._inside.add(id(value))
        try:
            return describe(value)
        finally:
            self._inside.discard(id(value))

    def _opaque(self, value: object) -> list[Any]:
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        if self._strict:
            raise OpaqueError(kind)
        return ["opaque", kind]

    def _container(self, value: Any) -> list[Any]:
        if isinstance(value, dict | MappingProxyType):
            return ["dict", *([self.of(key), self.of(entry)] for key, entry in value.items())]
        entries = [self.of(entry) for entry in value]
        if isinstance(value, set | frozenset):  # the order of text in a set is another in every process
            entries.sort(key=json.dumps)
        return [type(value).__name__, *entries]

    def _object(self, value: Any) -> list[Any]:
        described: list[Any]
        match value:
            case Tensor():
                described = self._tensor(value)
            case np.ndarray() | np.generic():
                described = self._array(value)
            case nn.Module():
                described = ["module", self.tree(value), self.tensors(all_tensors(value))]
            case FunctionType():
                described = self._function(value)
            case MethodType():
                described = ["method", self.of(value.__self__), self.of(value.__func__)]
            case CodeType():
                described = self._code(value)
            case type():
                described = ["class", *(self._class(base) for base in value.__mro__ if base is not object)]
            case ModuleType():
                described = self._package(value, ())
            case staticmethod() | classmethod():
                described = [type(value).__name__, self.of(value.__func__)]
            case property():
                described = ["property", self.of(value.fget), self.of(value.fset)]
            case functools._lru_cache_wrapper():
                described = self.of(value.__wrapped__)
            case torch.fx.Graph():  # its nodes hold far more, none of which is computed with
                described = ["graph", ADDRESS.sub("", value.python_code("self").src)]
            case torch.device():
                described = ["device"]
            case torch.dtype() | torch.layout() | torch.memory_format():
                described = ["torch", str(value)]
            case _:
                described = self._reduced(value)
        return described

    def _tensor(self, tensor: Tensor) -> list[Any]:
        if type(tensor).__name__ == "FakeTensor":  # of an exported program: a shape, and asking it for numbers is slow
            return self._opaque(tensor)
        try:
            array = tensor.detach().cpu().contiguous()
            content = array.reshape(-1).view(torch.uint8).numpy()
        except (RuntimeError, TypeError, ValueError):  # sparse, quantised, without storage, not yet made
            return self._opaque(tensor)
        return ["tensor", str(tensor.dtype), list(tensor.shape), hashlib.sha256(content.data).hexdigest()]

    def _array(self, value: Any) -> list[Any]:
        array = np.asarray(value)
        if array.dtype.hasobject:
            return ["objects", list(array.shape), self.of(array.ravel().tolist())]
        return ["array", array.dtype.str, list(array.shape), hashlib.sha256(array.tobytes()).hexdigest()]

    def _module(self, module: nn.Module) -> list[Any]:
        """Describe one module of a tree: its class, what it prints, its own attributes and hooks."""
        try:
            extra = ADDRESS.sub("", module.extra_repr())
        except Exception as error:  # the user's code; what it shows of itself is not worth failing for
            extra = type(error).__name__
        made = [self.of(type(module)), extra]
        if isinstance(module, torch.jit.ScriptModule):
            return [*made, getattr(module, "code", None)]
        if not type(module).__module__.startswith("torch._dynamo"):  # it wraps a model, which is in the tree
            own = vars(module)
            again = {"graph_module"} if type(module).__module__ == "torch.export.unflatten" else set()  # its own graph
            made.append([[name, self.of(own[name])] for name in sorted(own.keys() - INTERNAL - again)])
        made.append([[self.of(hook) for hook in (vars(module).get(kind) or {}).values()] for kind in HOOKS])
        return made

    def _reduced(self, value: Any) -> list[Any]:
        """Describe an object by what pickle would make it from; what cannot be pickled has a hidden state."""
        try:
            reduce = copyreg.dispatch_table.get(type(value))
            made = value.__reduce_ex__(2) if reduce is None else reduce(value)
            if isinstance(made, str):  # found by its name, as the functions of C extensions are
                home = str(getattr(value, "__module__", None))
                return ["name", home, made, version_of(home)]
            function, arguments, state, items, pairs = (*made, None, None, None)[:5]
            if isinstance(state, dict) and all(isinstance(key, str) for key in state):
                state = dict(sorted(state.items()))
            parts = [function, arguments, state, list(items or ()), list(pairs or ())]
        except Exception:  # whatever the object's own code raises when asked
            return self._opaque(value)
        return ["object", self.of(type(value)), *map(self.of, parts)]

    # -- code -----------------------------------------------------------------------------------------------------

    def _function(self, function: FunctionType) -> list[Any]:
        code = function.__code__
        given = [function.__qualname__, self.of(function.__defaults__), self.of(function.__kwdefaults__)]
        given.append([self._cell(cell) for cell in function.__closure__ or ()])
        if is_installed(code.co_filename):
            return ["installed function", function.__module__, version_of(str(function.__module__)), *given]
        source = self._source(code.co_filename)
        # Where there is source, it says how its globals are made; without it they are all there is.
        with self._lenient(source is not None):
            names = sorted(_names(code) & function.__globals__.keys())
            used = [[name, self._used(function.__globals__[name], _names(code))] for name in names]
        return ["function", source, self._code(code), *given, used]

    def _cell(self, cell: Any) -> list[Any]:
        try:
            return self.of(cell.cell_contents)
        except ValueError:
            return ["empty"]

    def _code(self, code: CodeType) -> list[Any]:
        """Describe bytecode; where it was written, file and line, is left out."""
        return [
            "code",
            code.co_code.hex(),
            code.co_exceptiontable.hex(),
            [code.co_flags, code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount],
            [code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars],
            [self.of(constant) for constant in code.co_consts],
        ]

    def _used(self, value: object, names: set[str]) -> list[Any]:
        if isinstance(value, ModuleType):
            return self._nested(value, lambda module: self._package(module, names))
        return self.of(value)

    def _package(self, module: ModuleType, names: Any) -> list[Any]:
        """Describe an imported module, and what code that has ``names`` in it may take from it."""
        if is_installed_module(module.__name__):
            return ["installed", module.__name__, version_of(module.__name__)]
        found = vars(module)
        used = [[name, self._used(found[name], names)] for name in sorted(names) if name in found]
        return ["source", self._source(getattr(module, "__file__", None)), used]

    def _class(self, cls: type) -> list[Any]:
        """Describe one class without its bases: the source of its file, and its functions as they are now."""
        if cls not in self._classes:
            self._classes[cls] = ["class", cls.__qualname__]  # meanwhile: its own methods may refer to it
            with self._lenient(True):
                self._classes[cls] = self._one_class(cls)
        return self._classes[cls]

    def _one_class(self, cls: type) -> list[Any]:
        home = str(cls.__module__)
        members = {name: member for name, member in vars(cls).items() if name != "_abc_impl"}
        module = sys.modules.get(home)
        source = self._source(getattr(module, "__file__", None))
        if is_installed_module(home) and defines(module, cls):
            version = version_of(home) or source
            foreign = {name: member for name, member in members.items() if is_foreign(member)}  # put there later
            return ["installed", home, cls.__qualname__, version, self._members(foreign)]
        kept = {n: m for n, m in members.items() if not n.startswith("__") or code_of(m) is not None}
        return ["own", cls.__qualname__, source, self._members(kept)]

    def _members(self, members: Mapping[str, object]) -> list[Any]:
        return [[name, self.of(member)] for name, member in sorted(members.items())]

    def _source(self, path: str | None) -> str | None:
        """Return the SHA-256 of a source file; None where there is none to read."""
        if path is None:
            return None
        if path not in self._files:
            try:
                self._files[path] = hashlib.sha256(Path(path).read_bytes()).hexdigest()
            except (OSError, ValueError):
                self._files[path] = None
        return self._files[path]

    @contextlib.contextmanager
    def _lenient(self, lenient: bool) -> Iterator[None]:
        before = self._strict
        self._strict = before and not lenient
        try:
            yield
        finally:
            self._strict = before


def digest(description: object) -> str:
    """Return the SHA-256 of a description."""
    return hashlib.sha256(json.dumps(description, separators=(",", ":")).encode("ascii")).hexdigest()


def all_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return parameters and buffers by name, those with two names twice."""
    return dict([*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)])


def _simple(value: object) -> list[Any] | None:
    kind = type(value)
    if value is None or value is ... or value is NotImplemented or kind is bool:
        return ["constant", str(value)]
    if kind is int:
        return ["int", f"{value:x}"]
    if kind is float:
        return ["float", value.hex()]  # type: ignore[attr-defined]  # the exact type was compared
    if kind is complex:
        return ["complex", value.real.hex(), value.imag.hex()]  # type: ignore[attr-defined]
    if kind is str:
        return ["str", value]
    if isinstance(value, bytes | bytearray) and kind in (bytes, bytearray):
        return [kind.__name__, hashlib.sha256(value).hexdigest()]
    return None


def _names(code: CodeType) -> set[str]:
    inner = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    return set(code.co_names).union(*(_names(constant) for constant in inner))
