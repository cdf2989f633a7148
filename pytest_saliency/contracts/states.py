"""The state of a model in what a training loop saved: under which entry, and behind which prefix of its keys."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_saliency.errors import SubjectError

if TYPE_CHECKING:
    from torch import Tensor

NESTS = ("state_dict", "model_state_dict", "model", "net", "weights")
AVERAGES = ("state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "ema")
"""Moving averages of the weights, which training loops keep beside the last ones."""
PREFIXES = ("module.", "model.", "_orig_mod.", "net.", "backbone.", "network.")
COUNTER = "num_batches_tracked"
"""Counts steps of training and plays no part in evaluation; older checkpoints lack it."""
LISTED = 3  # keys named in an error


class WeightsError(SubjectError):
    """The declared weights are not there, not readable without running code, or not those of the model."""


@dataclass(frozen=True)
class State:
    """Tensors by the names that the model has for them, as far as that could be found out.

    ``said`` tells how they were found ("under 'state_dict'", "prefix 'model.' removed"); ``metadata`` is what torch
    keeps beside a state, if the file has it for these very names.
    """

    tensors: dict[str, Tensor]
    said: tuple[str, ...] = ()
    metadata: Any = None


Adapt = Callable[[dict[str, "Tensor"]], Mapping[str, "Tensor"]]
"""Turns the keys of files that a package released into those of its models now."""


def find_state(
    read: object, wanted: Set[str], chosen: str | None, where: str, adapt: tuple[str, Adapt] | None = None
) -> State:
    """Return the state for a model with the keys ``wanted`` in what was ``read`` from a checkpoint.

    ``chosen`` is an entry of the checkpoint, or the first part of the keys, where the contract says which of several is
    meant; ``where`` begins errors; ``adapt`` is tried, under its name, where the keys do not fit as they are.

    Raises
    ------
    WeightsError
        No state in it, or several and none chosen.
    """
    state, said, prefix = _entry(read, chosen, where)
    found = {str(key): value for key, value in state.items()}
    metadata = getattr(state, "_metadata", None)
    if prefix is not None:
        behind = _behind(found, prefix, where)
        found = _without_copies(behind, wanted)
        left = [f"left out: {_some([f'{prefix}{key}' for key in behind if key not in found])}"]
        said = (*said, f"prefix '{prefix}' removed", *(left if len(found) < len(behind) else ()))
        metadata = None
    if covers(found, wanted):
        return State(found, said, metadata)
    if prefix is None:
        for part, words in (_common(found, wanted), _one_of_several(found, wanted, where)):
            if part is not None and covers(part, wanted):
                return State(part, (*said, *words))
    if adapt is not None:
        name, change = adapt
        adapted = dict(change(dict(found)))
        if covers(adapted, wanted):
            return State(adapted, (*said, name))
    part, words = _common(found, wanted)
    return State(part if words else _nearest(found, wanted), (*said, *words), None if words else metadata)


def covers(found: Mapping[str, Tensor], wanted: Set[str]) -> bool:
    """Tell whether ``found`` has the keys ``wanted`` and no others, but for counters that older files lack."""
    return found.keys() <= wanted and all(key.endswith(COUNTER) for key in wanted - found.keys())


def _entry(read: object, chosen: str | None, where: str) -> tuple[Mapping[Any, Tensor], tuple[str, ...], str | None]:
    """Return the entry with tensors, how it was found, and ``chosen`` as a prefix if it was no entry."""
    said: list[str] = []
    state: Any = read
    for _ in range(2):  # as Lightning and timm nest them; deeper is not a checkpoint
        if not isinstance(state, Mapping) or _has_tensors(state):
            break
        if chosen is not None and isinstance(state.get(chosen), Mapping):
            key: str | None = chosen
            chosen = None
        else:
            key = _nest(state, chosen is not None, where)
            if key is not None and chosen is None:
                _refuse_twins(state, key, where)
        if key is None:
            break
        state = state[key]
        said.append(f"under '{key}'")
    if not isinstance(state, Mapping) or not state or not _only_tensors(state):
        raise WeightsError(
            f"{where} does not hold a state dict (names with tensors), nor one under {', '.join(NESTS)}; it holds"
            f" {what(read)}. Save model.state_dict()."
        )
    return state, tuple(said), None if chosen is None else chosen.rstrip(".") + "."


def _nest(state: Mapping[Any, Any], told: bool, where: str) -> str | None:
    there = [key for key in (*NESTS, *AVERAGES) if isinstance(state.get(key), Mapping)]
    averages = [key for key in there if key in AVERAGES]
    if averages and len(averages) < len(there) and not told:
        raise WeightsError(
            f"{where} holds two sets of weights, '{there[0]}' and the moving average '{averages[0]}', and the contract"
            f" does not say which one is released. Write 'state: {there[0]}' or 'state: {averages[0]}' in the model."
        )
    return there[0] if there else None


def _refuse_twins(state: Mapping[Any, Any], key: str, where: str) -> None:
    """Raise where another entry holds a state of the very same names: a best epoch, a teacher, a second network."""
    names = _plain_names(state[key])
    for other, held in state.items():
        if other != key and names and _plain_names(held) == names:
            raise WeightsError(
                f"{where} holds two sets of weights of the same names, '{key}' and '{other}', and the contract does not"
                f" say which one is meant. Write 'state: {key}' or 'state: {other}' in the model."
            )


def _plain_names(state: object) -> set[str]:
    """Return the names of the tensors in a state, without what wrappers put in front of them."""
    from torch import Tensor

    if not isinstance(state, Mapping):
        return set()
    names = {str(key) for key, value in state.items() if isinstance(value, Tensor)}
    return {re.sub(r"^(module\.|_orig_mod\.)+", "", name) for name in names if name != "n_averaged"}


def _behind(found: dict[str, Tensor], prefix: str, where: str) -> dict[str, Tensor]:
    part = {key.removeprefix(prefix): value for key, value in found.items() if key.startswith(prefix)}
    if not part:
        heads = sorted({key.split(".")[0] for key in found})
        raise WeightsError(
            f"{where} has no entry '{prefix[:-1]}', as 'state' in the contract says, and no tensors whose names begin"
            f" with '{prefix}'; they begin with {_some(heads)}."
        )
    return part


def _without_copies(found: dict[str, Tensor], wanted: Set[str]) -> dict[str, Tensor]:
    """Return the state without whole copies of the model further down, as a module keeps an average of itself."""
    if covers({key: value for key, value in found.items() if key in wanted}, wanted):
        inner = [prefix for prefix, part in _parts(found, wanted).items() if prefix and covers(part, wanted)]
        return {key: value for key, value in found.items() if not key.startswith(tuple(inner))}
    return found


def _parts(found: dict[str, Tensor], wanted: Set[str]) -> dict[str, dict[str, Tensor]]:
    """Return what lies behind each prefix that the model's longest name is found behind, the empty one too."""
    anchor = max(wanted, key=len, default="")
    prefixes = [key[: len(key) - len(anchor)] for key in found if key == anchor or key.endswith(f".{anchor}")]
    return {
        prefix: {key.removeprefix(prefix): value for key, value in found.items() if key.startswith(prefix)}
        for prefix in prefixes
    }


def _common(found: dict[str, Tensor], wanted: Set[str]) -> tuple[dict[str, Tensor], list[str]]:
    """Return the state without the prefixes that all its keys share, as long as that is what keeps it from fitting."""
    said = []
    for _ in PREFIXES:
        prefix = next((p for p in PREFIXES if all(key.startswith(p) for key in found)), None)
        if prefix is None or found.keys() <= wanted:
            break
        found = {key.removeprefix(prefix): value for key, value in found.items()}
        said.append(f"prefix '{prefix}' removed")
    return found, said


def _one_of_several(
    found: dict[str, Tensor], wanted: Set[str], where: str
) -> tuple[dict[str, Tensor] | None, list[str]]:
    """Return the model among other things (a loss with weights, a metric, a teacher), whatever its prefix is called."""
    parts = _parts(found, wanted)
    holding = [
        prefix for prefix, part in parts.items() if covers({k: v for k, v in part.items() if k in wanted}, wanted)
    ]
    if len(holding) > 1:
        words = [f"'{prefix[:-1]}'" if prefix else "names without any prefix" for prefix in sorted(holding)]
        chosen = next(prefix for prefix in sorted(holding) if prefix)[:-1]
        alone = "" if all(holding) else " If those without prefix are meant, save them alone."
        raise WeightsError(
            f"{where} holds weights of this architecture {len(holding)} times, under {' and '.join(words)}, and the"
            f" contract does not say which are meant. Write 'state: {chosen}' in the model.{alone}"
        )
    whole = [prefix for prefix in holding if prefix and covers(parts[prefix], wanted)]
    if not whole:
        return None, []
    others = [key for key in found if not key.startswith(whole[0])]
    left = [f"left out: {_some(others)}"] if others else []
    return parts[whole[0]], [f"prefix '{whole[0]}' removed", *left]


def _nearest(found: dict[str, Tensor], wanted: Set[str]) -> dict[str, Tensor]:
    """Return what lies behind the prefix that brings the names nearest to ``wanted``: an error then names the rest."""
    parts = [found]
    for prefix in PREFIXES:
        part = {key.removeprefix(prefix): value for key, value in found.items() if key.startswith(prefix)}
        parts.append(part)
    return max(parts, key=lambda part: len(part.keys() & wanted))


def _has_tensors(state: Mapping[Any, Any]) -> bool:
    from torch import Tensor

    return any(isinstance(value, Tensor) for value in state.values())


def _only_tensors(state: Mapping[Any, Any]) -> bool:
    from torch import Tensor

    return all(isinstance(value, Tensor) for value in state.values())


def _some(words: list[str]) -> str:
    return f"{', '.join(words[:LISTED])}{', ...' if len(words) > LISTED else ''}"


def what(read: object) -> str:
    """Return the words for something that is no state."""
    if isinstance(read, Mapping):
        keys = [str(key) for key in read]
        return f"a mapping with the keys {', '.join(keys[:LISTED])}" if keys else "an empty mapping"
    return f"a {type(read).__name__}"
