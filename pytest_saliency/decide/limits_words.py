"""The headline of a decision on limits, and the gates that block PASS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_saliency.decide import power, words
from pytest_saliency.decide.decision import Leg, Measure
from pytest_saliency.decide.limited import Question
from pytest_saliency.decide.verdict import Verdict


@dataclass(frozen=True)
class Gates:
    """What must hold of the images before any PASS: few undefined, enough kept. No gate stops a FAIL.

    ``further``: sentences of the kind's own about what blocks PASS; ``unit``: what n counts, where headlines say it.
    """

    question: Question
    undefined: float
    max_undefined: float
    kept: int
    total: int
    min_kept: float
    further: tuple[str, ...] = ()
    unit: str = ""

    @property
    def block(self) -> bool:
        """Say whether PASS is blocked."""
        return bool(self.sentences())

    def sentences(self) -> list[str]:
        """Return one sentence for every gate that blocks PASS."""
        found = []
        if self.undefined > self.max_undefined:
            share, allowed = words.percents(self.undefined, self.max_undefined)
            found.append(f"{share} of the images are undefined, {allowed} are allowed; {self.question.undefined}")
        # A quotient, because 0.55 x 20 is a little above 11 in floating point.
        if self.total and self.kept / self.total < self.min_kept:
            found.append(
                f"only {self.kept} of {self.total} images were kept, {words.percent(self.min_kept)} are needed;"
                f" {self.question.few}"
            )
        return [*found, *self.further]


def headline(
    question: Question,
    verdict: Verdict,
    measures: Mapping[str, Measure],
    legs: Sequence[Leg],
    shown: Sequence[str],
    gates: Gates,
    alpha: float,
) -> str:
    """Return the verdict in words; ``shown`` names the measures whose failure was shown, the clearest first."""
    limited = [entry for entry in measures.values() if entry.limit is not None]
    if verdict is Verdict.FAIL:
        first = [entry.moved for entry in question.entries if entry.name in shown]
        first += [question.beyond.moved] if question.beyond is not None else []
        lead = first[0]
        return f"{lead}: {_facts([entry for entry in limited if entry.name in shown], gates, alpha)}{_lost(gates)}"
    if verdict is Verdict.PASS:
        return f"{question.held}: {_facts(limited, gates, alpha)}{_lost(gates)}"
    blocking = gates.sentences()
    if blocking:
        return f"not demonstrated: {'; '.join(blocking)}; {_facts(limited, gates, alpha)}"
    names = {entry.limit: entry.name for entry in question.entries}
    if question.beyond is not None:
        names[question.beyond.limit] = question.beyond.name
    missing = [measures[names[leg.name]] for leg in legs if not leg.holds]
    advice = _advice(question, missing[0], gates, alpha)
    return f"not demonstrated: {_facts(missing, gates, alpha)}{_lost(gates)}; {advice}"


def _facts(measures: Sequence[Measure], gates: Gates, alpha: float) -> str:
    """Return every measure with its limit and bound; n is said once where all share it."""
    sizes = {measure.n for measure in measures}
    called = f" {gates.unit}" if gates.unit else ""
    shared = f", n = {sizes.pop()}{called}" if len(sizes) == 1 else ""
    facts = []
    for measure in measures:
        limit = 0.0 if measure.limit is None else measure.limit
        interval = measure.interval
        fact = words.measured(measure.title, measure.estimate, limit, interval.low, interval.high, alpha)
        facts.append(fact if shared else f"{fact}, n = {measure.n}")
    return "; ".join(facts) + shared


def _lost(gates: Gates) -> str:
    return f", {words.percent(gates.undefined)} undefined" if gates.undefined else ""


def _advice(question: Question, measure: Measure, gates: Gates, alpha: float) -> str:
    limited = {entry.name: entry for entry in question.entries}
    limit = 0.0 if measure.limit is None else measure.limit
    if measure.name not in limited:
        if measure.estimate >= limit:
            return "what was measured lies beyond the limit; more images would decide it"
        return "more images or a wider limit would help"
    entry = limited[measure.name]
    gap = entry.margin(measure.estimate, limit)
    if not gap > 0.0:
        return "what was measured lies beyond the limit; more images would decide it"
    needed = power.betting_n(gap, measure.sd, entry.high - entry.low, alpha)
    if needed is None or needed <= measure.n:
        return "more images or a wider limit would help"
    # Two digits are all that such a forecast carries.
    shown = round(needed, 2 - len(str(needed)))
    called = gates.unit.partition(" ")[0] or "images"
    return f"about {shown} {called} would show it if mean and spread stay as measured"
