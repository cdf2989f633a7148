"""Finding the target layer: candidates with their shapes, ``auto``, ``penultimate``, a name, or a module."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from pytest_saliency.engine.capture import Tap
from pytest_saliency.engine.layout import Layout, Reshape, find_layout
from pytest_saliency.engine.runner import Runner
from pytest_saliency.engine.sizing import out_of_memory
from pytest_saliency.engine.subject import Subject
from pytest_saliency.engine.wrappers import layer_names, without_prefix
from pytest_saliency.errors import SaliencyError, SubjectError

LISTED = 12  # layers named in an error
TRIED = 40  # tensors that `auto` tries from the back; a ViT needs about ten


@dataclass(frozen=True)
class LayerInfo:
    """A module's output: qualified name, class, shape without the batch, spatial grid, layout.

    ``begin`` and ``end`` order the modules' last calls; ``storage`` is equal where two modules return the same
    tensor.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    grid: tuple[int, ...]
    layout: Layout
    begin: int
    end: int
    storage: int

    def __str__(self) -> str:
        return f"{self.name} ({self.kind}, {'x'.join(map(str, self.shape))})"

    @property
    def has_grid(self) -> bool:
        """Whether the spatial grid is larger than 1x1."""
        return math.prod(self.grid) > 1


@dataclass(frozen=True)
class Observed:
    """One forward pass: every submodule's output that has a grid, in order of finish, and what the model returned."""

    layers: tuple[LayerInfo, ...]
    output: object


def observe(runner: Runner, pixels: Tensor) -> Observed:
    """Run the model once on ``pixels`` (N, C, *S) and return what was seen; call it inside the runner's session."""
    subject = runner.subject
    image = tuple(pixels.shape[2:])
    clock = 0
    begun: dict[str, int] = {}
    seen: dict[str, LayerInfo] = {}
    memory = _Memory()
    flat: set[int] = set()
    broken: list[str] = []
    handles = []

    def before(name: str) -> Any:
        def hook(module: nn.Module, args: object) -> None:
            nonlocal clock
            clock += 1
            begun[name] = clock

        return hook

    def after(name: str) -> Any:
        def hook(module: nn.Module, args: object, output: object) -> None:
            nonlocal clock
            clock += 1
            seen.pop(name, None)
            first = output[0] if isinstance(output, tuple | list) and output else output
            if not isinstance(first, Tensor) or first.dim() < 3 or len(first) != len(pixels):
                return
            try:
                layout = find_layout(tuple(first.shape), image, subject.reshape)
                read = layout.read(first) if layout is not None else None
            except SaliencyError:
                raise
            except Exception as error:
                broken.append(f"{name}: {error}")
                return
            if layout is None or read is None or read.dim() < 3:
                return
            place = memory.place(first)
            if subject.reshape is None and layout.kind == "tokens":
                given = args[0] if isinstance(args, tuple) and args else None
                origin = memory.place(given) if isinstance(given, Tensor) else None
                if _flattened(first, given, seen.values(), origin in flat):
                    flat.add(place)
                    return
            grid = tuple(read.shape[2:])
            seen[name] = LayerInfo(
                name,
                type(module).__name__,
                tuple(first.shape[1:]),
                grid,
                layout,
                begun[name],
                clock,
                place,
            )

        return hook

    try:
        for name, module in subject.model.named_modules():
            if isinstance(module, torch.jit.ScriptModule):
                raise SubjectError(
                    f"module '{name}' of model '{subject.name}' is TorchScript, whose inside cannot be watched;"
                    " build that part from its Python class and load its weights into it."
                )
            if name:
                handles.append(module.register_forward_pre_hook(before(name)))
                handles.append(module.register_forward_hook(after(name)))
        with torch.no_grad():
            output = runner.call(pixels)
    finally:
        for handle in handles:
            handle.remove()
    if not seen and broken:
        raise SubjectError(f"the reshape callable fits no layer of model '{subject.name}': {broken[-1]}.")
    return Observed(tuple(sorted(seen.values(), key=lambda info: info.end)), output)


class _Memory:
    """Tells where a tensor lies: equal numbers for tensors that begin at one place in one piece of memory.

    Addresses would do as long as the tensors live; but keeping the outputs of all layers makes a pass a third slower.
    """

    def __init__(self) -> None:
        self._held: dict[int, StorageWeakRef] = {}  # what they refer to is not used for another storage meanwhile
        self._numbers: dict[tuple[int, int], int] = {}

    def place(self, tensor: Tensor) -> int:
        storage = StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]
        key = self._held.setdefault(storage.cdata, storage).cdata
        return self._numbers.setdefault((key, int(tensor.storage_offset())), len(self._numbers))


def _flattened(output: Tensor, given: object, before: Iterable[LayerInfo], from_flat: bool) -> bool:
    """Tell whether (N, a, b) is a flattened feature map, a channels of b positions, and not a tokens of b channels.

    Where a is a square number, as 64 or 256 channels are, the shape alone would let it be read as a grid of tokens.
    ``from_flat`` says that ``given``, the module's input, was found to be flattened.
    """
    if isinstance(given, Tensor):
        if given.dim() > 3 and given.flatten(2).shape == output.shape:
            return given.data_ptr() == output.data_ptr() and output.stride() == given.flatten(2).stride()
        if from_flat and given.shape == output.shape:
            return True
    rows, columns = output.shape[1:]
    if rows == columns:
        return False
    maps = (info for info in before if info.layout.kind == "channels_first")
    return any((info.shape[0], math.prod(info.grid)) == (rows, columns) for info in maps)


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
    """Return the last layer whose grid the scores depend on, by its outermost name.

    The dependence is tried, not assumed: behind the last attention block of a ViT only the class token is read, and
    a map there would be blank for every image.
    """
    subject = runner.subject
    tried: set[int] = set()
    for info in reversed(usable):
        if info.storage in tried:
            continue
        if len(tried) == TRIED:
            break
        tried.add(info.storage)
        # One image mostly tells, and costs half; only where it does not, all are tried.
        if _reached(runner, info, pixels[:1]) or (len(pixels) > 1 and _reached(runner, info, pixels)):
            return info
    raise SubjectError(
        f"no layer of model '{subject.name}' has a spatial grid larger than 1x1 that its scores depend on; check"
        f" that the weights are trained ones, name a layer, or give reshape. {_list(usable)}"
    )


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
