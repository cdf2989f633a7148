"""Models between two states of one architecture: blocks of one put into the other, and weights in between.

A block is a child of the model, in the order in which the model holds its children, with the normalisation that
follows it. Where one child holds nearly everything (a backbone in a wrapper), its children are taken instead.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pytest_saliency.errors import SubjectError

MOST = 0.8
"""A block with a larger share than this of the weights that changed is taken apart, if it can be."""

LEAST, LIMIT = 3, 40
"""Blocks are taken apart until there are this many, and never beyond the limit."""

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Block:
    """A part of a model, with the names of its parameters and buffers."""

    name: str
    keys: tuple[str, ...]


def states_of(before: nn.Module, after: nn.Module) -> tuple[State, State]:
    """Return copies of both states on the CPU.

    Raises
    ------
    SubjectError
        The two are of different architecture, so that no part of one fits into the other, or they are the same.
    """
    one, two = (
        {key: value.detach().cpu().clone() for key, value in model.state_dict().items() if isinstance(value, Tensor)}
        for model in (before, after)
    )
    apart = sorted(set(one) ^ set(two))
    shapes = [key for key in one if key in two and one[key].shape != two[key].shape]
    if apart or shapes or type(before) is not type(after):
        why = f"{type(before).__name__} and {type(after).__name__}"
        if apart:
            why += f"; {len(apart)} tensors are in one of them only, as {apart[0]}"
        elif shapes:
            first = shapes[0]
            why += f"; {first} has the shapes {tuple(one[first].shape)} and {tuple(two[first].shape)}"
        raise SubjectError(
            f"the two models are of different architecture ({why}), so no block of one fits into the other; bisect"
            " compares two states of one architecture."
        )
    if all(torch.equal(one[key], two[key]) for key in one):
        raise SubjectError("the two models have the same weights, so there is no block that could have moved anything.")
    return one, two


def blocks_of(model: nn.Module, before: State, after: State) -> list[Block]:
    """Return the blocks in which the two states differ, in the model's order."""
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    weights = {key: before[key].numel() for key in changed}
    units = _children(model, "", before)
    while True:
        touched = [unit for unit in units if changed.intersection(unit.keys)]
        total = sum(weights.values())
        sized = sorted(touched, key=lambda unit: -sum(weights.get(key, 0) for key in unit.keys))
        largest = sum(weights.get(key, 0) for key in sized[0].keys) / total
        if len(touched) >= LEAST and largest <= MOST:
            break
        found = next(
            ((unit, parts) for unit in sized for parts in (_parts(model, unit, before),) if len(parts) > 1), None
        )
        if found is None or len(units) + len(found[1]) > LIMIT:
            break
        place = units.index(found[0])
        units[place : place + 1] = found[1]
    return [unit for unit in _with_norms(model, units) if changed.intersection(unit.keys)]


def _children(module: nn.Module, prefix: str, state: State) -> list[Block]:
    """Return a block for each child that holds anything, and one for what the module holds itself."""
    made: list[Block] = []
    taken: set[str] = set()
    for name, _ in module.named_children():
        keys = tuple(key for key in state if key.startswith(f"{prefix}{name}."))
        taken.update(keys)
        made += [Block(f"{prefix}{name}", keys)] if keys else []
    own = tuple(key for key in state if key.startswith(prefix) and key not in taken)
    return [*([Block(f"{prefix}(own)", own)] if own else []), *made]


def _parts(model: nn.Module, block: Block, state: State) -> list[Block]:
    module = dict(model.named_modules()).get(block.name)
    return [] if module is None else _children(module, f"{block.name}.", state)


def _with_norms(model: nn.Module, units: list[Block]) -> list[Block]:
    """Join each normalisation to the block in front of it: its statistics are of what that block puts out."""
    modules = dict(model.named_modules())
    made: list[Block] = []
    for unit in units:
        module = modules.get(unit.name)
        if made and module is not None and "Norm" in type(module).__name__ and not list(module.children()):
            made[-1] = Block(f"{made[-1].name}+{unit.name}", made[-1].keys + unit.keys)
        else:
            made.append(unit)
    return made


def swapped(before: State, after: State, blocks: Collection[Block]) -> State:
    """Return the state before with ``blocks`` of the state after."""
    taken = {key for block in blocks for key in block.keys}
    return {key: after[key] if key in taken else value for key, value in before.items()}


def between(before: State, after: State, share: float) -> State:
    """Return weights a ``share`` of the way from before to after; whole numbers (counters) are the nearer state's."""
    made = {}
    for key, value in before.items():
        if value.is_floating_point() or value.is_complex():
            made[key] = torch.lerp(value, after[key], share)
        else:
            made[key] = after[key] if share >= 0.5 else value
    return made


def with_state(model: nn.Module, state: State) -> nn.Module:
    """Return a copy of the model with this state."""
    made = copy.deepcopy(model)
    made.load_state_dict(dict(state))
    return made


def cumulative(blocks: list[Block]) -> Iterator[tuple[str, int, list[Block]]]:
    """Yield every set of blocks that is swapped, as (way, block, set).

    ``alone``: the block; ``up_to``: it and all in front of it; ``from``: it and all behind it; ``without``: all but it.
    """
    for i, block in enumerate(blocks):
        yield "alone", i, [block]
        yield "up_to", i, blocks[: i + 1]
        yield "from", i, blocks[i:]
        yield "without", i, blocks[:i] + blocks[i + 1 :]
