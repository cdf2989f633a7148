"""The headline of ``no_subgroup_gap``, and the gates that block PASS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_saliency.decide import words
from pytest_saliency.decide.decision import Measure
from pytest_saliency.decide.groups import GroupRow
from pytest_saliency.decide.verdict import Verdict

NAMED = 5


@dataclass(frozen=True)
class Gates:
    """What must hold before any PASS. ``sizes`` are units kept by group, ``declared`` its images."""

    undefined: float
    max_undefined: float
    sizes: Mapping[str, int]
    declared: Mapping[str, int]
    min_group: int

    @property
    def block(self) -> bool:
        """Say whether PASS is blocked."""
        return bool(self.sentences())

    def sentences(self) -> list[str]:
        """Return one sentence for every gate that blocks PASS."""
        found = []
        if self.undefined > self.max_undefined:
            share, allowed = words.percents(self.undefined, self.max_undefined)
            found.append(f"{share} of the images are undefined, {allowed} are allowed; look at which maps are unusable")
        small = [name for name, size in self.sizes.items() if size < self.min_group]
        if small:
            named = ", ".join(f"'{name}' ({self.sizes[name]} of {self.declared[name]} kept)" for name in small[:NAMED])
            more = f" and {len(small) - NAMED} more" if len(small) > NAMED else ""
            verb = "is" if len(small) == 1 else "are"
            found.append(
                f"{words.several(len(small), 'group')} {verb} too small to decide: {named}{more}; {self.min_group} are"
                f" needed (min_group); add images of {'it' if len(small) == 1 else 'them'}, or declare larger groups"
            )
        return found


def headline(
    verdict: Verdict,
    measures: Mapping[str, Measure],
    shown: Sequence[str],
    gates: Gates,
    alpha: float,
    rows: Sequence[GroupRow],
) -> str:
    """Return the verdict in words; ``shown`` names the measures whose failure was shown, the clearest first."""
    lost = f", {words.percent(gates.undefined)} undefined" if gates.undefined else ""
    if verdict is Verdict.FAIL:
        facts = "; ".join(_fact(measures[name], alpha, rows) for name in shown)
        return f"groups differ: {facts}{lost}"
    if verdict is Verdict.PASS:
        return f"groups are alike: {'; '.join(_fact(entry, alpha, rows) for entry in measures.values())}{lost}"
    blocking = gates.sentences()
    if blocking:
        facts = "; ".join(_fact(entry, alpha, rows) for entry in measures.values())
        return f"not demonstrated: {'; '.join(blocking)}; {facts}"
    missing = [entry for entry in measures.values() if entry.verdict is not Verdict.PASS]
    facts = "; ".join(_fact(entry, alpha, rows) for entry in missing)
    smallest = min(gates.sizes, key=lambda name: (gates.sizes[name], name))
    return (
        f"not demonstrated: {facts}{lost}; add images, first of the smallest group, '{smallest}' (n ="
        f" {gates.sizes[smallest]})"
    )


def _fact(measure: Measure, alpha: float, rows: Sequence[GroupRow]) -> str:
    limit = 0.0 if measure.limit is None else measure.limit
    interval = measure.interval
    said = words.measured(measure.title, measure.estimate, limit, interval.low, interval.high, alpha)
    mine = [row for row in rows if f"gap[{row.measure}]" == measure.name and row.n > row.missing]
    if len(mine) < 2:
        return f"{said}, n = {measure.n}"
    # First and last, so that two groups are named also where all are equal.
    low, *_, high = sorted(mine, key=lambda row: row.estimate)
    one, other = words.figures(low.estimate, high.estimate)
    return f"{said}: {one} for '{low.group}' (n = {low.n}), {other} for '{high.group}' (n = {high.n})"
