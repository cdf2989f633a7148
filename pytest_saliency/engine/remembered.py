"""Between runs: what was computed for a model over its cases is kept under an address made of everything it depends on.

Source text cannot identify every model (a forward replaced in memory, a helper that nobody imports by name), so what is
found is not believed at once: a sample of the images is computed again and compared, and everything else found for the
model must have been made from the very same first pass.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from pytest_saliency.engine.agreement import Agreement
from pytest_saliency.engine.cases import Cases
from pytest_saliency.engine.identity import subject_parts
from pytest_saliency.engine.runner import Runner
from pytest_saliency.engine.swept import Swept
from pytest_saliency.errors import SubjectError

if TYPE_CHECKING:
    from pytest_saliency.records.cache import Cache
    from pytest_saliency.records.cache_entry import Entry

ENGINE = 1  # rises whenever something here changes numbers without a method's version changing
CANARY = 32  # images that are computed again before an earlier run is believed

BESIDE = "beside/"  # in front of the names of arrays kept beside a pass
MALFORMED = (KeyError, IndexError, ValueError, TypeError, AttributeError)

T = TypeVar("T")
P = TypeVar("P")

Arrays = dict[str, np.ndarray[Any, Any]]

_at_work: ContextVar[dict[str, None] | None] = ContextVar("saliency_at_work", default=None)


def told(sentence: str) -> None:
    """Note a sentence of the cache with the work that it disturbed, in whose records it reaches the user.

    Made to be the ``warn`` of a :class:`Cache`.
    """
    notes = _at_work.get()
    if notes is not None:
        notes[sentence] = None


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
    device
        The type of the device on which passes are made.
    found, made
        How many entries were taken from the cache, and how many were computed.
    notes
        Sentences for the user, each once.
    """

    cache: Cache | None
    runner: Runner
    cases: Cases
    device: str = "cpu"
    found: int = 0
    made: int = 0
    notes: dict[str, None] = field(default_factory=dict)
    _origin: str | None = None  # of the first pass: what everything else is made from
    _peeked: tuple[str, Entry] | None = None

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
            "device": self.device,
            "precision": self.runner.precision,
            "torch": torch.__version__,
        }

    @property
    def agreement(self) -> Agreement:
        """What counts as the same in the precision of this model."""
        return Agreement.of(self.runner.computes_in)

    def sample(self) -> list[int]:
        """Return the images to compute again: evenly spread, from another one on in every run.

        Spread, because cases mostly come class by class; moved, because what concerns images outside of one sample
        is then seen in another run. No number in a record comes from them.
        """
        total = len(self.cases)
        count = min(CANARY, total)
        start = secrets.randbelow(total)
        return sorted((start + i * total // count) % total for i in range(count))

    def known(self, parts: Mapping[str, Any]) -> bool:
        """Tell whether there is an entry under ``parts``, whatever it is worth."""
        address = self._address(parts)
        if address is None:
            return False
        with self._telling():
            entry = self._get(address)
        self._peeked = None if entry is None else (address, entry)
        return entry is not None

    def first(
        self,
        parts: Mapping[str, Any],
        make: Callable[[], Beside],
        again: Callable[[Beside, list[int]], Swept],
        understood: Callable[[Beside], None],
    ) -> Beside:
        """Return the pass that all else stands on, found or made, with what is kept beside it.

        ``again`` computes the images at some indices afresh. ``understood`` raises what :data:`MALFORMED` names where
        something beside the pass is not as it should be.
        """
        address = self._address(parts)

        def parse(entry: Entry) -> tuple[Beside, str]:
            beside = {n.removeprefix(BESIDE): a for n, a in entry.arrays.items() if n.startswith(BESIDE)}
            own = {n: a for n, a in entry.arrays.items() if not n.startswith(BESIDE)}
            found = Beside(Swept.from_arrays(own, entry.meta["swept"]), dict(entry.meta["extra"]), beside)
            understood(found)
            return self._fitting(found.swept, found), str(entry.meta["origin"])

        def judge(parsed: tuple[Beside, str]) -> Beside | None:
            found, origin = parsed
            indices = self.sample()
            try:
                same = self.agreement.of_passes(again(found, indices), found.swept.rows(indices))
            except SubjectError:  # raised again by the whole pass that now follows, which names its images
                same = False
            if not same:
                self._distrust()
                return None
            self._origin = origin
            return found

        def write(made: Beside) -> tuple[Arrays, dict[str, Any]]:
            arrays, meta = made.swept.to_arrays()
            self._origin = _digest_of_all(arrays)
            arrays |= {BESIDE + name: array for name, array in made.arrays.items()}
            return arrays, {"swept": meta, "extra": dict(made.extra), "origin": self._origin}

        return self._found_or_made(address, parse, judge, make, write)

    def swept(
        self, parts: Mapping[str, Any], make: Callable[[], tuple[Swept, dict[str, Any]]]
    ) -> tuple[Swept, Mapping[str, Any]]:
        """Return a further pass and what was said of it, found or made."""

        def parse(entry: Entry) -> tuple[Swept, Mapping[str, Any]] | None:
            if not self._stands(entry):
                return None
            swept = Swept.from_arrays(entry.arrays, entry.meta["swept"])
            return self._fitting(swept, swept), dict(entry.meta["extra"])

        def write(made: tuple[Swept, Mapping[str, Any]]) -> tuple[Arrays, dict[str, Any]]:
            arrays, meta = made[0].to_arrays()
            return arrays, {"swept": meta, "extra": dict(made[1]), "origin": self._origin}

        swept, extra = self._found_or_made(self._address(parts), parse, lambda parsed: parsed, make, write)
        for note in extra.get("notes", ()):
            self.notes[note] = None
        return swept, extra

    def arrays(self, parts: Mapping[str, Any], make: Callable[[], Arrays]) -> Arrays:
        """Return arrays, found or made; found only where they were made from the same first pass."""

        def parse(entry: Entry) -> Arrays | None:
            return entry.arrays if self._stands(entry) else None

        def write(made: Arrays) -> tuple[Arrays, dict[str, Any]]:
            return made, {"origin": self._origin}

        return self._found_or_made(self._address(parts), parse, lambda parsed: parsed, make, write)

    def checked(
        self,
        parts: Mapping[str, Any],
        make: Callable[[], tuple[Tensor, int]],
        again: Callable[[list[int], int], Tensor],
        what: str,
    ) -> Tensor:
        """Return maps (N, *grid) of the user's own code, ``what``; found only where a batch of them comes out the same.

        ``make`` returns them with the number of images at once. ``again`` is asked for one of these batches, as it
        was: what such code draws at random depends on the batch.
        """

        def parse(entry: Entry) -> tuple[Tensor, int] | None:
            values, batch = torch.from_numpy(entry.arrays["values"]), int(entry.meta["batch"])
            if len(values) != len(self.cases) or batch < 1:
                raise ValueError(f"{len(values)} maps in batches of {batch}")
            return (values, batch) if self._stands(entry) else None

        def judge(parsed: tuple[Tensor, int]) -> tuple[Tensor, int] | None:
            values, batch = parsed
            start = batch * secrets.randbelow(-(-len(values) // batch))
            indices = list(range(start, min(start + batch, len(values))))
            if self.agreement.of_maps(again(indices, batch), values[indices]):
                return parsed
            self.notes[
                f"what was kept of {what} from an earlier run was computed again: its source is the same, but it no"
                " longer gives the same maps (it draws at random from a source of its own, or code or data that it"
                " uses has changed)"
            ] = None
            return None

        def write(made: tuple[Tensor, int]) -> tuple[Arrays, dict[str, Any]]:
            return {"values": made[0].numpy()}, {"batch": made[1], "origin": self._origin}

        return self._found_or_made(self._address(parts), parse, judge, make, write)[0]

    # -- entries --------------------------------------------------------------------------------------------------

    def _address(self, parts: Mapping[str, Any]) -> str | None:
        if self.cache is None or self.parts is None:
            return None
        from pytest_saliency.records.cache import address

        return address({**self.parts, **parts})

    def _found_or_made(
        self,
        address: str | None,
        parse: Callable[[Entry], P | None],
        judge: Callable[[P], T | None],
        make: Callable[[], T],
        write: Callable[[T], tuple[Arrays, dict[str, Any]]],
    ) -> T:
        """Return what ``judge`` finds good in an entry, else what ``make`` makes, which is kept as ``write`` says.

        ``parse`` reads an entry; None, as from ``judge``, means that it is not to be used. Of several processes that
        need the same, one makes it and the others wait for it.
        """
        if address is None or self.cache is None:
            return make()
        with self._telling():
            entry = self._get(address)
            found = self._read(entry, parse, judge)
            if found is not None:
                return found
            with self.cache.locked(address):
                newer = self._get(address)
                # Whoever waited finds a new one. What is still there was found wanting: it is not looked at twice.
                found = None if newer is None or _equal(newer, entry) else self._read(newer, parse, judge)
                if found is not None:
                    return found
                if newer is not None:
                    self.cache.discard(address)
                del entry, newer  # as large as what is made now
                made = make()
                self.made += 1
                self.cache.put(address, *write(made))
                return made

    @contextmanager
    def _telling(self) -> Iterator[None]:
        token = _at_work.set(self.notes)
        try:
            yield
        finally:
            _at_work.reset(token)

    def _get(self, address: str) -> Entry | None:
        peeked, self._peeked = self._peeked, None
        if peeked is not None and peeked[0] == address:
            return peeked[1]
        return None if self.cache is None else self.cache.get(address)

    def _read(
        self, entry: Entry | None, parse: Callable[[Entry], P | None], judge: Callable[[P], T | None]
    ) -> T | None:
        if entry is None:
            return None
        try:
            parsed = parse(entry)
        except MALFORMED as error:
            self.notes[
                f"an entry of the cache is whole but not what this version of pytest-saliency writes"
                f" ({type(error).__name__}: {error}); what it held is recomputed"
            ] = None
            return None
        found = None if parsed is None else judge(parsed)
        if found is not None:
            self.found += 1
        return found

    def _fitting(self, swept: Swept, given: P) -> P:
        """Return ``given`` if its pass is over as many images as there are cases."""
        sizes = {len(swept.scores), *map(len, swept.values.values()), *map(len, swept.classes.values())}
        if sizes != {len(self.cases)}:
            raise ValueError(f"{sorted(sizes)} images instead of {len(self.cases)}")
        return given

    def _stands(self, entry: Entry) -> bool:
        """Tell whether an entry was made from the first pass that is used now.

        So nothing of a model as it was is mixed with what it has become, also where the first pass alone went lost.
        """
        if self._origin is None:
            raise RuntimeError("the first pass comes before all others")
        return bool(entry.meta["origin"] == self._origin)

    def _distrust(self) -> None:
        self.notes[
            f"what was kept of model '{self.runner.subject.name}' from an earlier run was computed again: its weights"
            " and source are the same, but it no longer gives the same scores or maps (its forward was changed in"
            " memory or in a module that it calls)"
        ] = None


def _equal(one: Entry, two: Entry | None) -> bool:
    return (
        two is not None
        and one.meta == two.meta
        and one.arrays.keys() == two.arrays.keys()
        and all(array.tobytes() == two.arrays[name].tobytes() for name, array in one.arrays.items())
    )


def _digest_of_all(arrays: Arrays) -> str:
    made = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        made.update(f"{name}\x1f{array.dtype.str}\x1f{array.shape}\x1e".encode())
        made.update(array.reshape(-1).view(np.uint8).data if array.size else b"")
    return made.hexdigest()


def digest_of(values: Tensor) -> str:
    """Return the SHA-256 of a tensor's numbers, for addresses."""
    return hashlib.sha256(values.contiguous().numpy().tobytes()).hexdigest()
