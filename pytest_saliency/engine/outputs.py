"""From whatever a classifier returns to a matrix of class scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from pytest_saliency.errors import SubjectError, raised

OutputSelector = int | str | Callable[[Any], Tensor] | None


def select_logits(output: Any, selector: OutputSelector, name: str, count: int) -> Tensor:
    """Return the logits of ``count`` images as (N, C) or (N, 1), differentiable.

    ``selector`` is a tuple index, a key or attribute name, a callable, or None. None takes a tensor as it is, the
    entry ``logits`` of a mapping or ModelOutput, and the first entry of a tuple.

    Raises
    ------
    SubjectError
        There is no such entry, or what it holds is not one row of floating-point scores an image.
    """
    found = _pick(output, selector, name)
    if not isinstance(found, Tensor):
        raise SubjectError(
            f"the output of model '{name}' is {_describe(output)}; say where its logits are with"
            " output=<index, key, attribute or callable>."
        )
    if found.dim() == 1:
        found = found.unsqueeze(1)
    if found.dim() > 2 and all(size == 1 for size in found.shape[2:]):
        found = found.flatten(1)
    if found.dim() != 2 or len(found) != count or not found.is_floating_point():
        raise SubjectError(
            f"the logits of model '{name}' have shape {tuple(found.shape)} and type {found.dtype} for {count} images;"
            " expected one row of floating-point class scores an image, (N, C). Point output=... at them."
        )
    return found


def _pick(output: Any, selector: OutputSelector, name: str) -> Any:
    if callable(selector):
        try:
            return selector(output)
        except Exception as error:
            raise SubjectError(
                f"the output callable of model '{name}' {raised(error)}. The model returns {_describe(output)}."
            ) from error
    if selector is not None and isinstance(output, Tensor):
        # Indexing a tensor would take one image's row for the whole batch.
        raise SubjectError(
            f"output={selector!r} does not fit model '{name}', which returns {_describe(output)}; leave it out."
        )
    if selector is None:
        if isinstance(output, Tensor):
            return output
        if isinstance(output, Mapping):
            return output.get("logits")
        if hasattr(output, "logits"):
            return output.logits
        if isinstance(output, tuple | list) and output:
            return output[0]
        return None
    try:
        if isinstance(selector, str) and not isinstance(output, Mapping):
            return getattr(output, selector)
        return output[selector]
    except (KeyError, IndexError, AttributeError, TypeError):
        raise SubjectError(
            f"output={selector!r} does not fit model '{name}', which returns {_describe(output)}; name what it returns."
        ) from None


def _describe(output: Any) -> str:
    if isinstance(output, Tensor):
        return f"a tensor of shape {tuple(output.shape)}"
    if isinstance(output, Mapping):
        return f"a mapping with the keys {', '.join(map(str, list(output)[:8])) or '(none)'}"
    if isinstance(output, tuple | list):
        return f"a {type(output).__name__} of {len(output)}"
    return "None" if output is None else f"a {type(output).__name__}"


def two_sided(logits: Tensor) -> tuple[Tensor, bool]:
    """Return scores with at least two columns and whether the head is a one-logit one.

    A one-logit head z has the targets class 0 with score -z and class 1 with score z.
    """
    if logits.shape[1] == 1:
        return torch.cat([-logits, logits], dim=1), True
    return logits, False
