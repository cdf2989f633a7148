"""The pieces of a replay: what modules returned, taken apart and put together again, and who reads it."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from pytest_saliency.errors import SubjectError

CONSTANTS = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device)
_ABSENT = object()


class NoReplayError(SubjectError):
    """What follows the layer cannot be run alone; the message is the reason, as the second half of a sentence."""


@dataclass(frozen=True)
class Slot:
    """The place of tensor number ``index`` in what a module returned."""

    index: int


def first_of(output: Any) -> Any:
    """Return the layer's own tensor in what it returned: itself, or the first element."""
    return output[0] if isinstance(output, tuple | list) and output else output


def with_first(output: Any, first: Tensor) -> Any:
    """Return what the layer returned, with ``first`` in the place of its own tensor."""
    if not isinstance(output, tuple | list):
        return first
    if hasattr(output, "_replace"):
        return type(output)(first, *output[1:])
    return type(output)((first, *output[1:]))


def walk(structure: Any, leaf: Callable[[Any], Any], where: str) -> Any:
    """Return ``structure`` with ``leaf`` applied to everything in it that is not a container.

    Raises
    ------
    NoReplayError
        It holds an object whose inside is unknown; ``where`` says who returned it.
    """
    if isinstance(structure, (Tensor, Slot, *CONSTANTS)):
        return leaf(structure)
    if isinstance(structure, tuple | list):
        made = [walk(item, leaf, where) for item in structure]
        return type(structure)(*made) if hasattr(structure, "_fields") else type(structure)(made)
    if isinstance(structure, Mapping):
        filled: Any = copy.copy(structure)
        for key, item in structure.items():
            filled[key] = walk(item, leaf, where)
        return filled
    if is_dataclass(structure) and not isinstance(structure, type):
        filled = copy.copy(structure)
        for entry in fields(structure):
            object.__setattr__(filled, entry.name, walk(getattr(structure, entry.name), leaf, where))
        return filled
    raise NoReplayError(f"{where} returns an object of type {type(structure).__name__}, which cannot be kept")


def leaves(structure: Any, where: str) -> list[Any]:
    """Return everything in ``structure`` that is not a container, in the order of :func:`walk`."""
    found: list[Any] = []
    walk(structure, lambda leaf: found.append(leaf) or leaf, where)  # type: ignore[func-returns-value]
    return found


def sketch(structure: Any, where: str) -> list[Any]:
    """Return the leaves of ``structure``, tensors as their shapes."""
    return [leaf.shape if isinstance(leaf, Tensor) else leaf for leaf in leaves(structure, where)]


@contextlib.contextmanager
def overridden(forwards: Mapping[nn.Module, Callable[..., Any]]) -> Iterator[None]:
    """Let each module run another ``forward``; what its ``__dict__`` held is put back whatever happens."""
    before = [(module, vars(module).get("forward", _ABSENT)) for module in forwards]
    try:
        for module, forward in forwards.items():
            vars(module)["forward"] = forward
        yield
    finally:
        for module, held in before:
            if held is _ABSENT:
                vars(module).pop("forward", None)
            else:
                vars(module)["forward"] = held


@dataclass
class Kept:
    """What is known of one tensor that a stub hands back.

    Attributes
    ----------
    source
        The last call that returned this very tensor (a module may change its input in place and return it), as the
        number of its step, and the tensor's place among the leaves there.
    shape, axis
        For one image, and where the images lie: None where the tensor does not depend on how many there are.
    clear
        Whether the images lie along one axis, or none.
    live
        Code that runs again reads it. The others go from stub to stub, and no replay needs their values.
    altered
        It is changed in place after that call.
    """

    source: tuple[int, int]
    shape: tuple[int, ...]
    axis: int | None
    clear: bool
    dtype: torch.dtype
    device: torch.device
    live: bool = False
    altered: bool = False

    @classmethod
    def of(cls, tensor: Tensor, one: tuple[int, ...], source: tuple[int, int]) -> Kept:
        """Describe what a module returned for two images and had returned for one in the shape ``one``."""
        two = tuple(tensor.shape)
        axes = [axis for axis, (a, b) in enumerate(zip(one, two, strict=False)) if a != b]
        clear = len(one) == len(two) and (not axes or (len(axes) == 1 and two[axes[0]] == 2 * one[axes[0]]))
        return cls(source, tuple(one), axes[0] if axes and clear else None, clear, tensor.dtype, tensor.device)

    def rows(self, tensor: Tensor, image: int, count: int, copied: bool) -> Tensor:
        """Return one image of the batch's ``tensor``, ``count`` times over, in memory of its own only if ``copied``."""
        if self.axis is None:
            return tensor.clone() if copied else tensor
        each = self.shape[self.axis]
        part = tensor.narrow(self.axis, image * each, each)
        if each == 1:
            sizes = [-1] * part.dim()
            sizes[self.axis] = count
            part = part.expand(sizes)
        else:
            sizes = [-1] * (part.dim() + 1)
            sizes[self.axis] = count
            part = part.unsqueeze(self.axis).expand(sizes).flatten(self.axis, self.axis + 1)
        return part.clone(memory_format=torch.contiguous_format) if copied else part

    def nothing(self, count: int) -> Tensor:
        """Return a tensor of the right shape whose values would spoil whatever read them."""
        shape = list(self.shape)
        if self.axis is not None:
            shape[self.axis] *= count
        spoils = float("nan") if self.dtype.is_floating_point or self.dtype.is_complex else None
        value = spoils or (True if self.dtype == torch.bool else torch.iinfo(self.dtype).max)
        return torch.full((), value, dtype=self.dtype, device=self.device).expand(shape)


class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes which of the tensors given to :meth:`add` are read by an operation while ``outside()`` is true.

    The tensors must be kept alive by somebody, or their addresses mean nothing.
    """

    def __init__(self, outside: Callable[[], bool]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._outside = outside
        self._storages: dict[int, set[int]] = {}
        self.slots: dict[int, int] = {}
        self.live: set[int] = set()

    def add(self, tensor: Tensor, slot: int) -> None:
        """Watch ``tensor`` under the number ``slot``."""
        self.slots[id(tensor)] = slot
        self._storages.setdefault(tensor.untyped_storage().data_ptr(), set()).add(slot)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Note the operands and run the operation."""
        if self._outside():
            self._read([*args, *(kwargs or {}).values()])
        return func(*args, **(kwargs or {}))

    def _read(self, items: Any) -> None:
        for item in items:
            if isinstance(item, tuple | list):
                self._read(item)
            elif isinstance(item, Tensor):
                slot = self.slots.get(id(item))
                # A tensor that nobody added but that shares memory with some of them: any could be meant.
                address = item.untyped_storage().data_ptr()
                self.live |= self._storages.get(address, set()) if slot is None else {slot}
