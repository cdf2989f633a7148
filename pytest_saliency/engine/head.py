"""The linear layer that makes the scores: its rows for ``cam``, and for contrasts by the likeness of classes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from pytest_saliency.engine.outputs import two_sided
from pytest_saliency.errors import MethodError

# Share of the largest score: far above what rounding does, far below what another pooling or activation does.
HOLDS_WITHIN = 1e-3
ROUNDINGS = 16  # in half precision rounding alone exceeds that share

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
Linear = nn.Linear | Convolution


def head_rows(model: nn.Module, name: str, scores: Tensor, activations: Tensor) -> Tensor:
    """Return the rows W (C, K) with which scores = W mean_p A + b, after checking that this holds on the batch.

    Parameters
    ----------
    model, name
        The classifier, and the word for it in errors.
    scores
        (N, C), after ``two_sided``: the rows of a one-logit head with the row w are -w and w.
    activations
        A, (N, K, *grid): what the target layer returned for the same images.

    Raises
    ------
    MethodError
        No linear layer of the model turns the mean activations into these scores.

    Notes
    -----
    The check is on numbers, because what lies between the layer and the scores (dropout in evaluation, flattening, a
    pooling of the user's own) cannot be judged by its name. Source: Zhou et al., arXiv 1512.04150, section 2.
    """
    precise = torch.float32 if scores.device.type == "mps" else torch.float64
    pooled = activations.flatten(2).mean(2, dtype=precise)
    expected = scores.to(precise)
    for _, layer in _linear_layers(model, expected.shape[1]):
        rows, bias = _rows(layer, expected)
        if rows.shape[1] != pooled.shape[1]:
            continue
        error = (pooled @ rows.T + bias - expected).abs().amax()
        if bool(error <= _share(layer) * (expected - bias).abs().amax() + _rounding(layer) * expected.abs().amax()):
            return rows.to(activations.dtype)
    raise MethodError(
        f"cam has a meaning only where global average pooling and one linear layer follow the target layer; for model"
        f" '{name}' the scores are not such a function of the layer's {pooled.shape[1]} channels. Choose the layer"
        " right before the pooling, or use gradcam, which needs no such head and equals cam where there is one."
    )


def classifier_rows(model: nn.Module, scored: Callable[[], Tensor]) -> Tensor:
    """Return the rows (C, F) of the linear layer that makes the scores, float64 on the CPU.

    ``scored`` runs the model on a few images, in evaluation, and returns the scores (n, C) after ``two_sided``. The
    classifier is the linear layer (or convolution with kernels of one) whose output the scores are. If there is none,
    it is the only linear layer with one output a class to run, provided that nothing with weights starts after it:
    only functions without weights follow then, such as a softmax or a temperature.

    Raises
    ------
    MethodError
        There is no such layer, or several with different rows.
    """
    with _watched(model) as seen:
        scores = scored()
    count = scores.shape[1]
    candidates = dict(_linear_layers(model, count))
    found = {name: layer for name, layer in candidates.items() if _makes(seen.outputs.get(name, ()), layer, scores)}
    if not found and [name for name in candidates if name in seen.outputs] == [seen.last]:
        found = {seen.last: candidates[seen.last]}
    if not found:
        raise MethodError(
            "contrast 'similar_weights' compares the rows of the linear layer that makes the scores, and"
            f" {type(model).__name__} shows none: no nn.Linear or 1x1 convolution with {count} outputs returns them,"
            " or is the only one and the last layer to run. Use select: logits, confusion or explicit."
        )
    names = list(found)
    rows = [_rows(layer, scores)[0].to("cpu", torch.float64) for layer in found.values()]
    if any(other.shape != rows[0].shape or not torch.equal(other, rows[0]) for other in rows[1:]):
        raise MethodError(
            "contrast 'similar_weights' compares the rows of the linear layer that makes the scores, and several of"
            f" {type(model).__name__} return exactly them: {', '.join(names)}. Use select: logits, confusion or"
            " explicit."
        )
    return rows[0]


@dataclass
class _Seen:
    """What ran in a forward pass: the outputs of each linear layer, and the last layer with weights to start."""

    outputs: dict[str, list[Tensor]] = field(default_factory=dict)
    last: str = ""

    def starts(self, name: str) -> Callable[[nn.Module, Any], None]:
        def note(module: nn.Module, args: Any) -> None:
            self.last = name

        return note

    def ends(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def keep(module: nn.Module, args: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                self.outputs.setdefault(name, []).append(output.detach())

        return keep


@contextlib.contextmanager
def _watched(model: nn.Module) -> Iterator[_Seen]:
    """Watch the layers of ``model`` for the duration of a forward pass; the hooks go away whatever happens."""
    seen = _Seen()
    with contextlib.ExitStack() as handles:
        for name, module in model.named_modules():
            # Its start, because a module that owns a parameter beside its children ends after all of them.
            if next(module.parameters(recurse=False), None) is not None:
                handles.callback(module.register_forward_pre_hook(seen.starts(name)).remove)
            if isinstance(module, Linear):
                handles.callback(module.register_forward_hook(seen.ends(name)).remove)
        yield seen


def _linear_layers(model: nn.Module, classes: int) -> Iterator[tuple[str, Linear]]:
    """Go through the layers that apply one matrix with a row a class; for two classes one row is enough."""
    sizes = (classes, 1) if classes == 2 else (classes,)
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            rows = module.out_features
        elif isinstance(module, Convolution) and set(module.kernel_size) == {1} and module.groups == 1:
            rows = module.out_channels
        else:
            continue
        if rows in sizes:
            yield name, module


def _rows(layer: Linear, scores: Tensor) -> tuple[Tensor, Tensor]:
    """Return weight (C, F) and bias (C,) in the scores' type; of a one-logit head once negated and once as it is."""
    weight = layer.weight.detach().flatten(1).to(scores)
    bias = torch.zeros(len(weight), device=scores.device) if layer.bias is None else layer.bias.detach()
    bias = bias.to(scores)
    if len(weight) == 1:
        return torch.cat([-weight, weight]), torch.cat([-bias, bias])
    return weight, bias


def _makes(outputs: Iterable[Tensor], layer: Linear, scores: Tensor) -> bool:
    """Tell whether one of the layer's outputs, averaged over positions if it has any, is the scores."""
    for output in outputs:
        if output.dim() < 2 or len(output) != len(scores):
            continue
        channels_first = output.movedim(-1, 1) if isinstance(layer, nn.Linear) else output
        pooled = channels_first.flatten(2).mean(2) if output.dim() > 2 else channels_first
        two, _ = two_sided(pooled.to(scores))
        if two.shape == scores.shape and bool((two - scores).abs().amax() <= _share(layer) * scores.abs().amax()):
            return True
    return False


def _rounding(layer: Linear) -> float:
    weight = layer.weight
    half = torch.is_autocast_enabled(weight.device.type)  # then it multiplies in another type than it is kept in
    computed = torch.get_autocast_dtype(weight.device.type) if half else weight.dtype
    return ROUNDINGS * max(torch.finfo(weight.dtype).eps, torch.finfo(computed).eps)


def _share(layer: Linear) -> float:
    return max(HOLDS_WITHIN, _rounding(layer))
