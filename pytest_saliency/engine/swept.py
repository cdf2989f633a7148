"""What a pass over the cases leaves: scores, target classes and maps, batch by batch and as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pytest_saliency.engine.methods.evidence import RawMaps

Key = tuple[str, str]
"""(method name, target word)."""


@dataclass
class Part:
    """One batch's share, on the CPU. ``reached``: whether any gradient at the target layer is not zero."""

    scores: Tensor
    binary: bool
    size: tuple[int, ...]
    classes: Mapping[str, Tensor]
    maps: dict[Key, RawMaps] = field(default_factory=dict)
    active: Tensor | None = None
    reached: bool = True


@dataclass
class Swept:
    """What a pass over all cases found, on the CPU.

    ``active`` counts each image's active channels (N,) out of ``channels``; None where the pass did not look.
    ``reached``: whether any gradient at the target layer is not zero; not kept between runs.
    """

    scores: Tensor
    binary: bool
    classes: Mapping[str, Tensor]
    values: Mapping[Key, Tensor]
    degenerate: Mapping[Key, Tensor]
    details: Mapping[Key, Mapping[str, Tensor]]
    input_size: tuple[int, ...]
    active: Tensor | None = None
    channels: int = 0
    reached: bool = True

    @classmethod
    def appended(cls, parts: Sequence[Swept]) -> Swept:
        """Return consecutive parts of one pass as a whole."""
        first = parts[0]
        degenerate = {key for part in parts for key in part.degenerate}

        def all_of(pick: Callable[[Swept], Tensor]) -> Tensor:
            return torch.cat([pick(part) for part in parts])

        def flags(key: Key) -> Callable[[Swept], Tensor]:
            return lambda part: part.degenerate.get(key, torch.zeros(len(part.scores), dtype=torch.bool))

        return cls(
            scores=all_of(lambda part: part.scores),
            binary=first.binary,
            classes={word: all_of(lambda part, word=word: part.classes[word]) for word in first.classes},  # type: ignore[misc]
            values={key: all_of(lambda part, key=key: part.values[key]) for key in first.values},  # type: ignore[misc]
            degenerate={key: all_of(flags(key)) for key in first.values if key in degenerate},
            details={
                key: {name: all_of(lambda part, key=key, name=name: part.details[key][name]) for name in found}  # type: ignore[misc]
                for key, found in first.details.items()
            },
            input_size=first.input_size,
            active=None if first.active is None else torch.cat([p.active for p in parts if p.active is not None]),
            channels=max(part.channels for part in parts),
            reached=any(part.reached for part in parts),
        )

    @classmethod
    def joined(cls, parts: Sequence[Part], channels: int = 0) -> Swept:
        """Put the parts of all batches together, in order."""
        gathering = Gathering(sum(len(part.scores) for part in parts))
        for part in parts:
            gathering.add(part)
        return gathering.swept(channels)

    def rows(self, indices: Sequence[int]) -> Swept:
        """Return the same for the images at ``indices``."""
        at = torch.tensor(list(indices))
        return Swept(
            scores=self.scores[at],
            binary=self.binary,
            classes={word: found[at] for word, found in self.classes.items()},
            values={key: found[at] for key, found in self.values.items()},
            degenerate={key: found[at] for key, found in self.degenerate.items()},
            details={key: {n: value[at] for n, value in found.items()} for key, found in self.details.items()},
            input_size=self.input_size,
            active=None if self.active is None else self.active[at],
            channels=self.channels,
        )

    # -- as plain arrays ------------------------------------------------------------------------------------------

    def to_arrays(self) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, Any]]:
        """Return arrays by name and the rest as JSON-able values."""
        keys = list(self.values)
        arrays = {"scores": self.scores.numpy()}
        arrays |= {f"classes/{word}": found.numpy() for word, found in self.classes.items()}
        for number, key in enumerate(keys):
            arrays[f"values/{number}"] = self.values[key].numpy()
            if key in self.degenerate:
                arrays[f"degenerate/{number}"] = self.degenerate[key].numpy()
            arrays |= {f"details/{number}/{name}": value.numpy() for name, value in self.details[key].items()}
        if self.active is not None:
            arrays["active"] = self.active.numpy()
        meta = {
            "binary": self.binary,
            "input_size": list(self.input_size),
            "channels": self.channels,
            "keys": [list(key) for key in keys],
        }
        return arrays, meta

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray[Any, Any]], meta: Mapping[str, Any]) -> Swept:
        """Return what :meth:`to_arrays` was made of."""
        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
        keys: list[Key] = [(method, target) for method, target in meta["keys"]]
        details: dict[Key, dict[str, Tensor]] = {key: {} for key in keys}
        for name, value in tensors.items():
            if name.startswith("details/"):
                _, number, detail = name.split("/", 2)
                details[keys[int(number)]][detail] = value
        return cls(
            scores=tensors["scores"],
            binary=bool(meta["binary"]),
            classes={n.partition("/")[2]: value for n, value in tensors.items() if n.startswith("classes/")},
            values={key: tensors[f"values/{number}"] for number, key in enumerate(keys)},
            degenerate={
                key: tensors[f"degenerate/{number}"]
                for number, key in enumerate(keys)
                if f"degenerate/{number}" in tensors
            },
            details=details,
            input_size=tuple(meta["input_size"]),
            active=tensors.get("active"),
            channels=int(meta["channels"]),
        )


class Gathering:
    """Takes in batch after batch of a pass over ``count`` images, in order.

    Storage for all images is made with the first batch and filled row by row: small tensors that are kept one by one
    would hold on to the pages between them, and memory would grow with the number of images far beyond what is kept.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._filled = 0
        self._stored: dict[tuple[str, ...], Tensor] = {}
        self._first: Part | None = None
        self._has_degenerate: set[Key] = set()
        self.reached = False

    def add(self, part: Part) -> None:
        """Copy a batch's rows behind those of the batches before."""
        if self._first is None:
            self._first = Part(part.scores[:0], part.binary, part.size, part.classes, part.maps, part.active)
        length = len(part.scores)
        for name, rows in _rows_of(part):
            if name not in self._stored:
                self._stored[name] = torch.empty(self._count, *rows.shape[1:], dtype=rows.dtype)
            self._stored[name][self._filled : self._filled + length] = rows
        self._has_degenerate |= {key for key, raw in part.maps.items() if raw.degenerate is not None}
        self.reached |= part.reached
        self._filled += length

    def swept(self, channels: int = 0) -> Swept:
        """Return what was gathered, once all batches are in."""
        if self._first is None or self._filled != self._count:
            raise ValueError(f"{self._filled} of {self._count} images were gathered")
        first, stored = self._first, self._stored
        return Swept(
            scores=stored[("scores",)],
            binary=first.binary,
            classes={word: stored["classes", word] for word in first.classes},
            values={key: stored["values", *key] for key in first.maps},
            degenerate={key: stored["degenerate", *key] for key in first.maps if key in self._has_degenerate},
            details={
                key: {name: stored["details", *key, name] for name in raw.details} for key, raw in first.maps.items()
            },
            input_size=first.size,
            active=stored.get(("active",)),
            channels=channels,
            reached=self.reached,
        )


def _rows_of(part: Part) -> Iterator[tuple[tuple[str, ...], Tensor]]:
    yield ("scores",), part.scores
    for word, classes in part.classes.items():
        yield ("classes", word), classes
    for key, raw in part.maps.items():
        yield ("values", *key), raw.values
        yield ("degenerate", *key), _mask(raw)
        for name, value in raw.details.items():
            yield ("details", *key, name), value
    if part.active is not None:
        yield ("active",), part.active


def on_cpu(raw: RawMaps, grid: Sequence[int]) -> RawMaps:
    """Return the maps on the CPU as (n, *grid) float32."""
    values = raw.values.reshape(len(raw.values), *grid).float().cpu()
    degenerate = None if raw.degenerate is None else raw.degenerate.cpu()
    return RawMaps(values, degenerate, {name: value.cpu() for name, value in raw.details.items()})


def _mask(raw: RawMaps) -> Tensor:
    if raw.degenerate is not None:
        return raw.degenerate
    return torch.zeros(len(raw.values), dtype=torch.bool)
