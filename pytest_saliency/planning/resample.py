"""A run that might have been: units of a pilot drawn with replacement, in the form that decisions take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pytest_saliency.checks.numbers import Numbers
from pytest_saliency.decide.randomness import Stream

TIMES = "plan"


@dataclass(frozen=True, eq=False)
class Pilot:
    """The numbers of a pilot by unit: the rows of each unit among all cases, and among the kept.

    A unit is a case, a cluster, or a set of images that share mosaics or floors.
    """

    numbers: Numbers
    rows: Sequence[Sequence[int]]
    kept: Sequence[int]
    """By case its row among the kept ones, -1 for a case that was left out."""

    @classmethod
    def of(cls, numbers: Numbers) -> Pilot:
        """Return the pilot that a record's numbers are."""
        everyone = numbers.everyone
        place = {one: row for row, one in enumerate(numbers.per_image["id"])}
        units: dict[Any, list[int]] = {}
        names = list(everyone.get("cluster") or everyone["id"])
        if "set" in numbers.per_image:
            # A cluster with kept images is in their set; a case that was left out is a unit by itself.
            within = {names[row]: place[one] for row, one in enumerate(everyone["id"]) if one in place}
            names = [
                ("set", numbers.per_image["set"][within[name]]) if name in within else ("left out", name)
                for name in names
            ]
        for row, name in enumerate(names):
            units.setdefault(name, []).append(row)
        return cls(numbers, list(units.values()), [place.get(one, -1) for one in everyone["id"]])

    @property
    def kept_units(self) -> int:
        """How many units have a kept image."""
        return sum(any(self.kept[row] >= 0 for row in unit) for unit in self.rows)

    @property
    def kept_share(self) -> float:
        """Share of the units that have a kept image."""
        return self.kept_units / len(self.rows)

    @property
    def images(self) -> float:
        """How many cases a unit has on average."""
        return len(self.kept) / len(self.rows)

    def total_for(self, kept: int) -> int:
        """Return how many units leave about ``kept`` of them after what the check leaves out."""
        return max(1, round(kept / self.kept_share))

    def drawn(self, kept: int, seed: int, number: int) -> Numbers:
        """Return draw ``number`` of as many units as leave about ``kept``."""
        chosen = Stream(seed, TIMES, str(kept), str(number)).integers(len(self.rows), self.total_for(kept))
        return self.made_of(chosen.tolist())

    def repeated(self, kept: int) -> Numbers:
        """Return the pilot over and over, until it has ``kept`` units at least: what many more images would say."""
        times = max(1, -(-kept // max(1, self.kept_units)))
        return self.made_of(list(range(len(self.rows))) * times)

    def made_of(self, units: Sequence[int]) -> Numbers:
        """Return the numbers of these units, each a unit of its own however often it is there."""
        whole: list[int] = []
        clusters: list[str] = []
        numbered: list[int] = []
        for number, unit in enumerate(units):
            whole += self.rows[unit]
            numbered += [number] * len(self.rows[unit])
            clusters += [f"u{number:07d}"] * len(self.rows[unit])
        ids = [f"i{number:08d}" for number in range(len(whole))]
        inside = [i for i, row in enumerate(whole) if self.kept[row] >= 0]
        everyone = {name: [column[row] for row in whole] for name, column in self.numbers.everyone.items()}
        rows = [self.kept[whole[i]] for i in inside]
        per_image = {name: [column[row] for row in rows] for name, column in self.numbers.per_image.items()}
        everyone["id"], per_image["id"] = ids, [ids[i] for i in inside]
        if "cluster" in everyone:
            everyone["cluster"], per_image["cluster"] = clusters, [clusters[i] for i in inside]
        if "set" in per_image:
            per_image["set"] = [numbered[i] for i in inside]
        return replace(self.numbers, everyone=everyone, per_image=per_image, inputs=self._inputs(len(inside)))

    def _inputs(self, kept: int) -> dict[str, Any]:
        """Return the inputs of a run with so many kept images; what they count grows with them."""
        inputs = dict(self.numbers.inputs)
        baseline = inputs.get("baseline")
        if isinstance(baseline, dict) and "images" in baseline:
            share = len(self.numbers.per_image["id"]) / max(1, int(baseline["images"]))
            inputs["baseline"] = {**baseline, "images": max(kept, round(kept / share) if share else kept)}
        return inputs


def share_of(count: int, draws: int) -> tuple[float, float]:
    """Return a share and its standard error."""
    share = count / draws
    return share, float(np.sqrt(max(share * (1.0 - share), 1.0 / draws) / draws))
