"""What people wrap a model in, and how its layers are named with and without the wrapping."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from pytest_saliency.errors import SubjectError

# Attribute under which a wrapper keeps what it wraps; it shows in the names of the layers inside.
INNER = ("_orig_mod", "module")


def unwrapped(model: object) -> nn.Module:
    """Return the module that does the work: without torch.compile, DataParallel and DistributedDataParallel.

    A compiled graph does not see hooks placed afterwards, and parallel wrappers split a batch over devices where one
    is asked for. A Lightning module is one like any other, provided that its ``forward`` returns the scores.

    Raises
    ------
    SubjectError
        It is no module, or one in which no layer can be watched: TorchScript, an exported program, FSDP.
    """
    seen: set[int] = set()
    while isinstance(model, nn.Module) and id(model) not in seen:
        seen.add(id(model))
        inner = _inner(model)
        if inner is None:
            break
        model = inner
    if isinstance(model, torch.jit.ScriptModule):
        raise SubjectError(
            f"{type(model).__name__} is a TorchScript module, in which no layer can be watched; give the Python module"
            " that it was scripted or traced from, with the same weights."
        )
    kind = f"{type(model).__module__}.{type(model).__qualname__}"
    if kind.startswith("torch.export") and hasattr(model, "module") and not isinstance(model, nn.Module):
        raise SubjectError("an exported program is no module; give torch.export.unflatten(program), which has layers.")
    if not isinstance(model, nn.Module):
        raise SubjectError(f"a subject needs a torch.nn.Module, not {type(model).__name__}.")
    if any(base.__module__ == "torch.export._unlift" for base in type(model).__mro__):
        raise SubjectError(
            "the module of an exported program is one flat list of operations without layers; give"
            " torch.export.unflatten(program), which has them."
        )
    if any(base.__name__ == "FullyShardedDataParallel" for base in type(model).__mro__):
        raise SubjectError(
            "the parameters of an FSDP module are spread over processes; load its full state into a plain module and"
            " give that."
        )
    return model


def _inner(module: nn.Module) -> nn.Module | None:
    """Return what a wrapper wraps; None if ``module`` is no wrapper."""
    if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
        inner = module.module
        return inner if isinstance(inner, nn.Module) else None
    # By its name, because importing the compiler takes seconds.
    if any(base.__name__ == "OptimizedModule" for base in type(module).__mro__):
        return module._modules.get("_orig_mod")
    return None


def layer_names(model: nn.Module) -> dict[str, str]:
    """Return by every name that a layer of ``model`` goes by the one in ``model.named_modules()``.

    A module that is registered twice has two names; a name may leave out the part that a wrapper inside adds to it.
    """
    proper = {module: name for name, module in model.named_modules()}
    names: dict[str, str] = {}
    for path, module in _walk(model, "", ()):
        names.setdefault(path, proper[module])
    for path, module in _walk(model, "", (), bare=True):
        names.setdefault(path, proper[module])
    names.update({name: name for name in proper.values()})
    return names


def _walk(
    module: nn.Module, path: str, above: tuple[nn.Module, ...], bare: bool = False
) -> Iterator[tuple[str, nn.Module]]:
    """Yield every path to every module; with ``bare``, wrappers are passed through without a name of their own."""
    inner = _inner(module) if bare else None
    while inner is not None:
        module, above = inner, (*above, module)
        inner = _inner(module)
    yield path, module
    for name, child in module._modules.items():
        if child is not None and child is not module and child not in above:
            yield from _walk(child, f"{path}.{name}" if path else name, (*above, module), bare)


def without_prefix(name: str, names: dict[str, str]) -> str | None:
    """Return the proper name of a layer that ``name`` calls as seen from a wrapper around the model, if there is one.

    ``module.layer4`` and ``_orig_mod.layer4`` are ``layer4``, which is how a checkpoint or a log may have it.
    """
    while name not in names:
        first, dot, rest = name.partition(".")
        if not dot or first not in INNER:
            return None
        name = rest
    return names[name]


@contextlib.contextmanager
def on_one_device(model: nn.Module) -> Iterator[None]:
    """Let DataParallel modules inside ``model`` call what they wrap, without copies on other devices."""
    found = [(module, module.device_ids) for module in model.modules() if isinstance(module, nn.DataParallel)]
    try:
        for module, _ in found:
            module.device_ids = []
        yield
    finally:
        for module, device_ids in found:
            module.device_ids = device_ids
