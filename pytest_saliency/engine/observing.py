"""One look at a model: which of its modules return a tensor with a spatial grid, and in what order."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from pytest_saliency.engine.head import Convolution
from pytest_saliency.engine.layout import Layout, find_layout
from pytest_saliency.engine.runner import Runner
from pytest_saliency.errors import SaliencyError, SubjectError


@dataclass(frozen=True)
class LayerInfo:
    """A module's output: qualified name, class, shape without the batch, spatial grid, layout.

    ``begin`` and ``end`` order the modules' last calls; ``storage`` is equal where two modules return the same
    tensor, and ``version`` too where nothing was written into it in between. ``handed_on`` says that the module was
    given the tensor that it returned (dropout in evaluation, identity, a permutation of axes), ``attends`` that it
    lies inside an attention module.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    grid: tuple[int, ...]
    layout: Layout
    begin: int
    end: int
    storage: int
    version: int = 0
    handed_on: bool = False
    attends: bool = False

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
    begun: dict[str, tuple[int, frozenset[tuple[int, int, int]]]] = {}
    attentions = _attentions(subject.model)
    attending: set[str] = set()
    seen: dict[str, LayerInfo] = {}
    memory = _Memory()
    flat: set[int] = set()
    broken: list[str] = []
    handles = []

    def before(name: str) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            nonlocal clock
            clock += 1
            given = _tensors(args, kwargs)
            begun[name] = clock, frozenset(memory.state(one) for one in given)
            if name in attentions and any(_features(one, image) for one in given):
                attending.add(name)

        return hook

    def after(name: str) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: Any, output: object) -> None:
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
                given = next(iter(_tensors(args, kwargs)), None)
                origin = memory.place(given) if given is not None else None
                if _flattened(first, given, seen.values(), origin in flat):
                    flat.add(place)
                    return
            if subject.reshape is None and _by_heads(first, seen.values()):
                return
            begin, given_states = begun[name]
            seen[name] = LayerInfo(
                name,
                type(module).__name__,
                tuple(first.shape[1:]),
                tuple(read.shape[2:]),
                layout,
                begin,
                clock,
                place,
                _version(first),
                memory.state(first) in given_states,
                any(name.startswith(f"{one}.") for one in attending),
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
                handles.append(module.register_forward_pre_hook(before(name), with_kwargs=True))
                handles.append(module.register_forward_hook(after(name), with_kwargs=True))
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

    def state(self, tensor: Tensor) -> tuple[int, int, int]:
        """Return what is equal for two views of all of a tensor between which nothing was written into it."""
        return self.place(tensor), tensor.numel(), _version(tensor)


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


def _tensors(args: Any, kwargs: Any) -> list[Tensor]:
    return [one for one in (*args, *kwargs.values()) if isinstance(one, Tensor)]


def _attentions(model: nn.Module) -> set[str]:
    """Return the innermost modules that are called attention and that do not convolve over positions.

    By the name of the class or of the attribute: in an exported program all classes have one name.
    """
    called = {name for name, module in model.named_modules() if name and _called_attention(name, module)}
    found = set()
    for name in called:
        inside = [(one, module) for one, module in model.named_modules() if one.startswith(f"{name}.")]
        if not any(one in called or _spreads(module) for one, module in inside):
            found.add(name)
    return found


def _called_attention(name: str, module: nn.Module) -> bool:
    words = (type(module).__name__.lower(), name.rpartition(".")[2].lower())
    # A leaf of that name is its dropout, or a function.
    return any("attention" in word or "attn" in word for word in words) and any(module.children())


def _spreads(module: nn.Module) -> bool:
    return isinstance(module, Convolution) and max(module.kernel_size) > 1


def _features(given: Tensor, image: tuple[int, ...]) -> bool:
    """Tell whether ``given`` is a grid of features, and not the image."""
    if given.dim() < 3:
        return False
    layout = find_layout(tuple(given.shape), image)
    return layout is not None and math.prod(layout.grid) > 1 and layout.grid != image


def _by_heads(output: Tensor, before: Iterable[LayerInfo]) -> bool:
    """Tell whether (N, a, b, c) is tokens split by attention heads, or attention itself, and not a channels of b x c.

    It is where tokens were seen, b of them, and the heads' channels make up theirs or each token weighs each.
    """
    if output.dim() != 4:
        return False
    heads, count, width = output.shape[1:]
    tokens = (info for info in before if info.layout.kind == "tokens" and info.shape[0] == count)
    return any(width == count or info.shape[1] % (heads * width) == 0 for info in tokens)


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
