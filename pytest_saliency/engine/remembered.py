"""Between runs: what was computed for a model over its cases is kept under an address made of everything it depends on.

Source text cannot identify every model (a forward replaced in memory, a helper that was edited), so what is found is
not believed at once: one batch is computed again and compared, and everything else found for the model must stand on
the same scores.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from pytest_saliency.engine.cases import Cases
from pytest_saliency.engine.identity import subject_parts
from pytest_saliency.engine.runner import Runner
from pytest_saliency.engine.swept import Swept

if TYPE_CHECKING:
    from pytest_saliency.records.cache import Cache
    from pytest_saliency.records.cache_entry import Entry

ENGINE = 1  # rises whenever something here changes numbers without a method's version changing
WITNESSES = 32  # images whose scores an entry carries
WITHIN = 1e-3  # share of the largest value: far above what another batch size does, far below another model

WITNESS = "witness"
BESIDE = "beside/"  # in front of the names of arrays kept beside a pass

T = TypeVar("T")

Arrays = dict[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Beside:
    """A pass, with JSON-able values and arrays that are kept with it."""

    swept: Swept
    extra: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray[Any, Any]] = field(default_factory=dict)


@dataclass
class Remembered:
    """The entries of one model over its cases. Without a cache, or for a model that cannot be identified, it is empty.

    Attributes
    ----------
    found, made
        How many entries were taken from the cache, and how many were computed.
    notes
        Sentences for the user, each once.
    """

    cache: Cache | None
    runner: Runner
    cases: Cases
    found: int = 0
    made: int = 0
    notes: dict[str, None] = field(default_factory=dict)
    _scores: Tensor | None = None
    _distrusted: bool = False

    @cached_property
    def parts(self) -> Mapping[str, Any] | None:
        """What every address of this model over these cases begins with; None where nothing can be kept."""
        if self.cache is None:
            return None
        subject = subject_parts(self.runner.subject)
        if subject is None:
            self.notes[
                f"nothing was kept for model '{self.runner.subject.name}': its preprocess, output or reshape is a"
                " callable that cannot be told from another one by its source"
            ] = None
            return None
        return {
            "engine": ENGINE,
            "subject": subject,
            "cases": self.cases.digest,
            "device": self.runner.device.type,
            "precision": self.runner.precision,
            "torch": torch.__version__,
        }

    def known(self, parts: Mapping[str, Any]) -> bool:
        """Tell whether there is an entry under ``parts``, whatever it is worth."""
        address = self._address(parts)
        return address is not None and self.cache is not None and self.cache.get(address) is not None

    def first(
        self,
        parts: Mapping[str, Any],
        make: Callable[[], Beside],
        again: Callable[[Beside], tuple[list[int], Swept]],
    ) -> Beside:
        """Return the pass that all else stands on, found or made, with what is kept beside it.

        ``again`` computes one batch afresh, and says which images it was.
        """

        def read(entry: Entry) -> Beside | None:
            beside = {n.removeprefix(BESIDE): a for n, a in entry.arrays.items() if n.startswith(BESIDE)}
            own = {n: a for n, a in entry.arrays.items() if not n.startswith(BESIDE)}
            found = Beside(Swept.from_arrays(own, entry.meta["swept"]), entry.meta["extra"], beside)
            indices, fresh = again(found)
            if same(fresh, found.swept.rows(indices)):
                return found
            self._distrust(address)
            return None

        def write(made: Beside) -> tuple[Arrays, dict[str, Any]]:
            arrays, meta = made.swept.to_arrays()
            arrays |= {BESIDE + name: array for name, array in made.arrays.items()}
            return arrays, {"swept": meta, "extra": dict(made.extra)}

        address = self._address(parts)
        found = self._found_or_made(address, read, make, write)
        self._scores = found.swept.scores
        return found

    def swept(self, parts: Mapping[str, Any], make: Callable[[], tuple[Swept, dict[str, Any]]]) -> Swept:
        """Return a further pass, found or made. It is found only where it stands on the same scores."""

        def arrays() -> tuple[Arrays, dict[str, Any]]:
            made, extra = make()
            found, meta = made.to_arrays()
            return found, {"swept": meta, "extra": extra}

        found, meta = self.arrays(parts, arrays)
        for note in meta["extra"].get("notes", ()):
            self.notes[note] = None
        return Swept.from_arrays(found, meta["swept"])

    def arrays(
        self, parts: Mapping[str, Any], make: Callable[[], tuple[Arrays, dict[str, Any]]]
    ) -> tuple[Arrays, dict[str, Any]]:
        """Return arrays and their meta, found or made; found only where they stand on the same scores."""

        def read(entry: Entry) -> tuple[Arrays, dict[str, Any]] | None:
            if not self._stands(entry):
                return None
            return {name: array for name, array in entry.arrays.items() if name != WITNESS}, entry.meta

        return self._found_or_made(self._address(parts), read, make, self._witnessed)

    def checked(
        self, parts: Mapping[str, Any], make: Callable[[], Tensor], again: Callable[[list[int]], Tensor], batch: int
    ) -> Tensor:
        """Return maps (N, *grid) of the user's own function; found only where one batch comes out the same."""

        def read(entry: Entry) -> Tensor | None:
            if not self._stands(entry):
                return None
            values = torch.from_numpy(entry.arrays["values"])
            indices = list(range(min(int(entry.meta["batch"]), len(values))))
            return values if close(again(indices), values[indices]) else None

        def write(made: Tensor) -> tuple[Arrays, dict[str, Any]]:
            return self._witnessed(({"values": made.numpy()}, {"batch": batch}))

        return self._found_or_made(self._address(parts), read, make, write)

    def _address(self, parts: Mapping[str, Any]) -> str | None:
        if self.cache is None or self.parts is None:
            return None
        from pytest_saliency.records.cache import address

        return address({**self.parts, **parts})

    def _found_or_made(
        self,
        address: str | None,
        read: Callable[[Entry], T | None],
        make: Callable[[], T],
        write: Callable[[T], tuple[Arrays, dict[str, Any]]],
    ) -> T:
        """Return what ``read`` finds good in an entry, else what ``make`` makes, which is kept as ``write`` says.

        Of several processes that need the same, one makes it and the others wait for it.
        """
        if address is None or self.cache is None:
            return make()
        found = self._read(address, read)
        if found is not None:
            return found
        with self.cache.locked(address):
            found = self._read(address, read)  # whoever waited finds it now
            if found is not None:
                return found
            made = make()
            self.made += 1
            self.cache.put(address, *write(made))
            return made

    def _read(self, address: str, read: Callable[[Entry], T | None]) -> T | None:
        entry = self.cache.get(address) if self.cache is not None and not self._distrusted else None
        found = None if entry is None else read(entry)
        if found is not None:
            self.found += 1
        return found

    def _witnessed(self, made: tuple[Arrays, dict[str, Any]]) -> tuple[Arrays, dict[str, Any]]:
        """Put the scores of a few images beside arrays: what they were made from."""
        if self._scores is None:
            raise ValueError("the first pass comes before all others")
        return {**made[0], WITNESS: self._scores[self._witnesses()].numpy()}, made[1]

    def _stands(self, entry: Entry) -> bool:
        if self._scores is None or WITNESS not in entry.arrays:
            return False
        return close(self._scores[self._witnesses()], torch.from_numpy(entry.arrays[WITNESS]))

    def _distrust(self, address: str | None) -> None:
        """What was found is not what the model does now: nothing else that was kept for it is believed either."""
        self._distrusted = True
        if address is not None and self.cache is not None:
            self.cache.discard(address)
        self.notes[
            f"what was kept of model '{self.runner.subject.name}' from an earlier run was computed again: its weights"
            " and source are the same, but it no longer gives the same scores or maps (its forward was changed in"
            " memory or in a module that it calls)"
        ] = None

    def _witnesses(self) -> list[int]:
        count = min(WITNESSES, len(self.cases))
        return [i * len(self.cases) // count for i in range(count)]


def same(one: Swept, two: Swept) -> bool:
    """Tell whether two passes over the same images agree, up to what another batch size does."""
    if one.values.keys() != two.values.keys() or not close(one.scores, two.scores):
        return False
    for key, values in one.values.items():
        # Classes come from the scores, so they can differ only in a tie; there the maps are for different classes.
        alike = one.classes[key[1]] == two.classes[key[1]]
        if not close(values[alike], two.values[key][alike]):
            return False
    return True


def close(one: Tensor, two: Tensor) -> bool:
    """Tell whether two tensors agree within ``WITHIN`` of the largest value, and are not finite in the same places."""
    if one.shape != two.shape:
        return False
    if not len(one):
        return True
    finite = torch.isfinite(one) & torch.isfinite(two)
    if not torch.equal(torch.isfinite(one), torch.isfinite(two)):
        return False
    largest = float(torch.where(finite, one, torch.zeros_like(one)).abs().max())
    return bool(((one - two)[finite].abs() <= WITHIN * largest).all())


def digest_of(values: Tensor) -> str:
    """Return the SHA-256 of a tensor's numbers, for addresses."""
    return hashlib.sha256(values.contiguous().numpy().tobytes()).hexdigest()
