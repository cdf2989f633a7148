"""Finding the target layer: candidates with their shapes, ``auto``, ``penultimate``, a name, or a module."""

from __future__ import annotations

import difflib

import torch
from torch import Tensor, nn

from pytest_saliency.engine.capture import Tap
from pytest_saliency.engine.layout import Reshape
from pytest_saliency.engine.observing import LayerInfo, Observed, observe
from pytest_saliency.engine.runner import Runner
from pytest_saliency.engine.sizing import out_of_memory
from pytest_saliency.engine.subject import Subject
from pytest_saliency.engine.wrappers import layer_names, without_prefix
from pytest_saliency.errors import SubjectError

__all__ = ["LayerInfo", "Observed", "candidates", "choose", "observe", "resolve_layer"]

LISTED = 12  # layers named in an error
TRIED = 40  # tensors that `auto` tries from the back; a ViT needs about ten


def candidates(
    module: nn.Module, example: Tensor, reshape: Reshape = None, device: str = "cpu"
) -> tuple[LayerInfo, ...]:
    """Return the layers of ``module`` with a grid larger than 1x1, for a batch ``example`` (N, C, *S)."""
    runner = Runner(Subject(module, reshape=reshape), torch.device(device))
    with runner.session():
        return tuple(info for info in observe(runner, example).layers if info.has_grid)


def choose(module: nn.Module, example: Tensor, layer: str, reshape: Reshape = None) -> LayerInfo:
    """Return the layer that ``layer`` (``auto``, ``penultimate`` or a name) stands for, with ``example`` as input."""
    runner = Runner(Subject(module, layer=layer, reshape=reshape), torch.device("cpu"))
    with runner.session():
        return resolve_layer(runner, example, observe(runner, example))


def resolve_layer(runner: Runner, pixels: Tensor, observed: Observed) -> LayerInfo:
    """Return the subject's target layer from what was observed on ``pixels``; call it inside the runner's session.

    The memory format in which the model runs faster is found on the way.

    Raises
    ------
    SubjectError
        No such layer, a layer without a grid, or no layer at all with a grid that the scores depend on. The message
        lists the candidates with their shapes.
    """
    subject = runner.subject
    runner.settle_memory_format(pixels, observed.output)
    usable = [info for info in observed.layers if info.has_grid]
    if isinstance(subject.layer, nn.Module):
        name = next((n for n, m in subject.model.named_modules() if m is subject.layer), None)
        if not name:
            raise SubjectError(
                f"the layer given for model '{subject.name}' ({type(subject.layer).__name__}) is not one of its"
                f" submodules. {_list(usable)}"
            )
    else:
        name = subject.layer
    if name in ("auto", "penultimate") and name not in dict(subject.model.named_modules()):
        last = _auto(runner, pixels, usable)
        return last if name == "auto" else _penultimate(subject, last, usable)
    return _named(subject, name, usable)


def _named(subject: Subject, name: str, usable: list[LayerInfo]) -> LayerInfo:
    names = layer_names(subject.model)
    proper = without_prefix(name, names)
    if proper is not None:
        for info in usable:
            if info.name == proper:
                return info
        raise SubjectError(
            f"layer '{name}' of model '{subject.name}' has no spatial grid larger than 1x1, or did not run, so it"
            f" cannot carry a map. {_list(usable)}"
        )
    inside = sorted({own for own in names.values() if own.endswith(f".{name}")})
    close = inside if len(inside) == 1 else difflib.get_close_matches(name, [n for n in names if n], n=1)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    raise SubjectError(f"model '{subject.name}' has no layer '{name}'.{hint} {_list(usable)}")


def _auto(runner: Runner, pixels: Tensor, usable: list[LayerInfo]) -> LayerInfo:
    """Return the last layer whose grid the scores depend on, by the outermost name of what made it.

    The dependence is tried, not assumed: behind the last attention block of a ViT only the class token is read, and
    a map there would be blank for every image. Two kinds of layers are put aside, and taken only where no other is
    left: queries, keys or values inside an attention module, of which each is one part of what the module was given;
    and adaptive pooling, which fits the grid to the head behind it.
    """
    subject = runner.subject
    tried: set[int] = set()
    aside: list[LayerInfo] = []

    def reached(info: LayerInfo) -> bool:
        if len(tried) == TRIED:
            return False
        tried.add(info.storage)
        # One image mostly tells, and costs half; only where it does not, all are tried.
        return _reached(runner, info, pixels[:1]) or (len(pixels) > 1 and _reached(runner, info, pixels))

    for info in reversed(usable):
        if info.storage in tried:
            continue
        if info.attends or _pools(info, usable):
            aside.append(info)
        elif reached(info):
            made = _maker(info, usable)
            # An attention module keeps the grid; one inside of which it changes is a network of that name.
            last = next((one for one in aside if one.attends and one.grid != made.grid and reached(one)), made)
            return _maker(last, usable)
    for info in aside:
        if info.storage not in tried and reached(info):
            return _maker(info, usable)
    raise SubjectError(
        f"no layer of model '{subject.name}' has a spatial grid larger than 1x1 that its scores depend on; check"
        f" that the weights are trained ones, name a layer, or give reshape. {_list(usable)}"
    )


def _maker(info: LayerInfo, usable: list[LayerInfo]) -> LayerInfo:
    """Return the outermost layer that made the tensor of ``info``, where it only handed the tensor on."""
    makers = [one for one in _aliases(info, usable) if not one.handed_on and one.grid == info.grid]
    return makers[-1] if makers else info


def _pools(info: LayerInfo, usable: list[LayerInfo]) -> bool:
    return any(one.kind.startswith("Adaptive") and "Pool" in one.kind for one in _aliases(info, usable))


def _aliases(info: LayerInfo, usable: list[LayerInfo]) -> list[LayerInfo]:
    """Return the layers that returned the very tensor of ``info``, with the same numbers in it."""
    return [one for one in usable if (one.storage, one.version) == (info.storage, info.version)]


def _reached(runner: Runner, info: LayerInfo, pixels: Tensor) -> bool:
    """Tell whether a gradient comes back from the scores to the layer on any of the images."""
    try:
        made = Tap(runner, info.name, info.layout)(pixels)
    except SubjectError as error:
        if out_of_memory(error):
            raise
        return False
    # The sum of all scores can cancel; the spread against the last class cannot, unless nothing depends on it.
    weights = torch.linspace(1.0, 2.0, made.scores.shape[1], device=made.scores.device)
    gradient = made.gradients(weights.expand(1, *made.scores.shape))
    return bool((gradient != 0).any()) or bool(gradient.isnan().any())


def _penultimate(subject: Subject, last: LayerInfo, usable: list[LayerInfo]) -> LayerInfo:
    """Return the layer before ``last``: the last one to finish before ``last`` began.

    Where ``last`` wraps the whole feature extractor, so that nothing came before it, the module inside that returned
    the same tensor is taken in its place.
    """
    aliases = [info for info in reversed(usable) if info.storage == last.storage and info.shape == last.shape]
    for alias in aliases:
        before = [info for info in usable if info.end < alias.begin and info.storage != last.storage]
        if before:
            return before[-1]
    raise SubjectError(
        f"model '{subject.name}' has no layer before '{last.name}' with a grid larger than 1x1; name one."
    )


def _list(usable: list[LayerInfo]) -> str:
    if not usable:
        return "It has no layer with a spatial grid larger than 1x1."
    shown = [str(info) for info in usable[-LISTED:]]
    more = f" and {len(usable) - LISTED} earlier ones" if len(usable) > LISTED else ""
    return f"Layers that have one: {', '.join(shown)}{more}."
