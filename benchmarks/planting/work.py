"""Making runs: train what is missing, measure its effect, run the checks that have no numbers yet."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from planting.contract import drafts
from planting.data import DATA, Data
from planting.effects import damaged, followed, off_layer
from planting.kinds import FAILURES, PLANTS
from planting.nets import Net
from planting.scoring import advantages, cases_of, explained_of, numbers_of
from planting.store import Run, Store
from planting.training import base, fine_tuned

JUDGED = 1000
PLANTED = 2000
"""Seeds of fine-tunings begin here; those of the clean runs that propose limits begin at 0."""


@dataclass(frozen=True)
class Plan:
    """Which runs there are.

    ``calibrating``, ``clean`` and ``plants`` are counts by setting, and ``plants`` by kind of failure too.
    """

    architectures: Sequence[str]
    data: Sequence[str]
    bases: int
    calibrating: int
    clean: int
    plants: int
    failures: Sequence[str] = PLANTS

    def settings(self) -> list[tuple[str, str, int]]:
        """Return architecture, data and base of every setting."""
        return [(a, d, b) for b in range(self.bases) for a in self.architectures for d in self.data]

    def calibration(self) -> Iterator[Run]:
        """Return the clean runs that propose limits."""
        for number in range(self.calibrating):
            for setting in self.settings():
                yield Run(*setting, "clean", number)

    def judged(self) -> Iterator[Run]:
        """Return every plant once, then the clean runs, then the plants again with other seeds."""
        yield from self._planted(0)
        for number in range(self.clean):
            for setting in self.settings():
                yield Run(*setting, "clean", JUDGED + number)
        for turn in range(1, self.plants):
            yield from self._planted(turn)

    def _planted(self, turn: int) -> Iterator[Run]:
        if turn < self.plants:
            for failure in self.failures:
                for setting in self.settings():
                    yield Run(*setting, failure, PLANTED + turn)


@dataclass
class Workshop:
    """Makes runs, and remembers data and bases in between."""

    store: Store
    say: Callable[[str], None]
    seed: int = 0
    _data: dict[str, Data] = field(default_factory=dict)
    _bases: dict[str, Net] = field(default_factory=dict)

    def data(self, name: str) -> Data:
        """Return a data set, made once."""
        if name not in self._data:
            self._data[name] = DATA[name]()
        return self._data[name]

    def base(self, run: Run) -> Net:
        """Return the model before fine-tuning."""
        if run.setting not in self._bases:
            data = self.data(run.data)
            found = self.store.load_model(run.setting, run.architecture, data.classes)
            if found is None:
                found = base(run.architecture, data, 100 * self.seed + run.base)
                self.store.save_model(run.setting, found)
            self._bases[run.setting] = found
        return self._bases[run.setting]

    def after(self, run: Run) -> Net:
        """Return the fine-tuned model of a run."""
        data = self.data(run.data)
        found = self.store.load_model(run.key, run.architecture, data.classes)
        if found is None:
            found = fine_tuned(self.base(run), data, run.failure, 10_000 * self.seed + run.seed)
            self.store.save_model(run.key, found)
        return found

    def numbers(self, run: Run) -> Mapping[str, Mapping[str, Any]]:
        """Return the numbers of every check of a run; those that are missing are measured now."""
        kept = dict(self.store.kept("numbers", run.key) or {})
        missing = [draft for draft in drafts() if draft.id not in kept]
        if missing:
            started = time.perf_counter()
            after = self.after(run)
            trained = time.perf_counter() - started
            explained = explained_of(run, copy.deepcopy(self.base(run)), after, cases_of(run, self.data(run.data)))
            for draft in missing:
                kept[draft.id] = numbers_of(explained, draft)
            self.store.keep("numbers", run.key, kept)
            checked = time.perf_counter() - started - trained
            self.say(
                f"{run.key}: trained {trained:.1f} s, checked {checked:.1f} s ({', '.join(d.id for d in missing)})"
            )
        return kept

    def finished(self, run: Run) -> bool:
        """Tell whether nothing is missing of a run."""
        kept = self.store.kept("numbers", run.key) or {}
        plant = FAILURES[run.failure].fault != "none"
        effect = not plant or self.store.kept("effects", run.key) is not None
        return effect and all(draft.id in kept for draft in drafts())

    def effect(self, run: Run) -> dict[str, Any] | None:
        """Return what was planted did to predictions; None for a clean run."""
        fault = FAILURES[run.failure].fault
        if fault == "none":
            return None
        found = self.store.kept("effects", run.key)
        if found is None:
            data, after = self.data(run.data), self.after(run)
            if fault == "artefact":
                found = followed(run.failure, self.base(run), after, data, run.seed).to_dict()
            elif fault == "layer":
                found = off_layer(*(advantages(one) for one in self._both_layers(run))).to_dict()
            else:
                twin = self.after(Run(run.architecture, run.data, run.base, "clean", 0))
                found = damaged(twin, after, data).to_dict()
            self.store.keep("effects", run.key, found)
        return dict(found)

    def _both_layers(self, run: Run) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Return the numbers of ``faithful`` of the same model at the right layer and at the wrong one."""
        draft = next(one for one in drafts() if one.kind == "faithful")
        plain = Run(run.architecture, run.data, run.base, "clean", run.seed)
        explained = explained_of(plain, self.base(run), self.after(run), cases_of(plain, self.data(run.data)))
        return numbers_of(explained, draft), self.numbers(run)[draft.id]
