"""What identifies a computation, so that its result can be found again and nothing else is taken for it.

Weights are identified by their bytes and installed code by its version. The user's own code is identified by its
source files, its bytecode, and the values it refers to, as far as these can be followed. That is not certain: code may
read a file, a clock or an environment variable, or reach for an object in a way that is not written in it. Whoever
takes a result for another's because the identities agree has to recompute a sample of it and compare.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from pytest_saliency.engine.description import Description, OpaqueError, all_tensors, digest
from pytest_saliency.engine.subject import Subject


def architecture_digest(model: nn.Module) -> str:
    """Return a SHA-256 over what a model computes with its parameters and buffers, whatever their values.

    Counted are, for each module: its qualified name, its class and that class's bases (source file and functions as
    they are now; the version, where they are installed), ``extra_repr()``, plain attributes, methods set on the
    instance, forward and backward hooks. Parametrizations are modules. Not counted: training flags,
    ``requires_grad``, gradients, devices. The digest is the same in every process.

    Attributes that have no content to go by (an open file, a lock) count by their type alone: that the digests of two
    models agree does not prove that the models do.
    """
    return digest(Description(strict=False).tree(model))


def callable_digest(function: Callable[..., Any]) -> str | None:
    """Return a SHA-256 over what a callable computes; None if something in it cannot be identified.

    Counted are source file, bytecode, default arguments, the values in its closure, and the functions, classes and
    values it refers to by global names; for objects their class and attributes; for modules their numbers as well.
    """
    return _digest_of(function)


def looks(subject: Subject) -> tuple[str | None, ...]:
    """Return what tells a subject's code apart from what it was before, whatever its numbers.

    The architecture, then each of preprocess, output and reshape that is a callable; None where it cannot be told.
    """
    called = (one for one in (subject.preprocess.function, subject.output, subject.reshape) if callable(one))
    return architecture_digest(subject.model), *map(callable_digest, called)


def subject_parts(subject: Subject) -> dict[str, Any] | None:
    """Return everything of a subject that decides its maps, as JSON; None if a part cannot be identified.

    The layer is the one asked for: which one ``auto`` means follows from the other parts. Name and source of a subject
    decide nothing and are not in it.
    """
    parts: dict[str, Any] = {
        "layer": _layer(subject),
        "preprocess": _digest_of(subject.preprocess.identity()),
        "output": _selector(subject.output),
        "reshape": _selector(subject.reshape),
    }
    if any(part is None for part in parts.values()):
        return None
    if subject.input is not None:  # said only where it is, so that addresses made before it existed stay
        parts["input"] = subject.input
    contrast = subject.contrast.describe()
    if "cases" in contrast:  # where they lie decides nothing
        contrast["cases"] = {key: value for key, value in contrast["cases"].items() if key != "source"}
    tensors = all_tensors(subject.model)
    kept = subject.model.state_dict().keys()
    try:
        unsaved = {name: tensor for name, tensor in tensors.items() if name not in kept}
        parts["buffers"] = digest(Description(strict=True).tensors(unsaved))
        parts["state"] = subject.state_sha256
    except (OpaqueError, RuntimeError, TypeError, ValueError):  # parameters without numbers, or of a rare layout
        return None
    floating = (p.dtype for p in subject.model.parameters() if p.is_floating_point())
    return {
        **parts,
        "contrast": contrast,
        "architecture": architecture_digest(subject.model),
        "dtype": str(next(floating, torch.float32)),
    }


def _digest_of(value: object) -> str | None:
    try:
        return digest(Description(strict=True).of(value))
    except (OpaqueError, RecursionError):
        return None


def _layer(subject: Subject) -> str | None:
    if isinstance(subject.layer, str):
        return subject.layer
    return next((name for name, module in subject.model.named_modules() if module is subject.layer), None)


def _selector(value: object) -> list[Any] | None:
    """Return what selects an output or a layout: a word, an index, nothing, or a callable by its digest."""
    if callable(value):
        found = callable_digest(value)
        return None if found is None else ["callable", found]
    return [type(value).__name__, value]
