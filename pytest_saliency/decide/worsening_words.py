"""The headline of ``not_worse_than_baseline``, and the gates that block PASS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_saliency.decide import words
from pytest_saliency.decide.decision import Measure
from pytest_saliency.decide.verdict import Verdict


@dataclass(frozen=True)
class Gates:
    """What must hold of the images before any PASS: few undefined, enough of the baseline's. Neither stops a FAIL."""

    undefined: float
    max_undefined: float
    kept: int
    baseline: int
    min_kept: float

    @property
    def left(self) -> int:
        """Return how many images of the baseline are not compared."""
        return self.baseline - self.kept

    @property
    def block(self) -> bool:
        """Say whether PASS is blocked."""
        return bool(self.sentences())

    def sentences(self) -> list[str]:
        """Return one sentence for every gate that blocks PASS."""
        found = []
        if self.undefined > self.max_undefined:
            share, allowed = words.percents(self.undefined, self.max_undefined)
            found.append(
                f"{share} of the images are undefined, {allowed} are allowed; their maps, then or now, are blank, flat"
                " or not finite"
            )
        # A quotient, because 0.55 x 20 is a little above 11 in floating point.
        if self.baseline and self.kept / self.baseline < self.min_kept:
            found.append(
                f"only {self.kept} of the baseline's {self.baseline} images are kept now,"
                f" {words.percent(self.min_kept)} are needed; look at where the predictions changed"
            )
        return found


def headline(
    verdict: Verdict,
    measures: Mapping[str, Measure],
    shown: Sequence[str],
    gates: Gates,
    alpha: float,
    needed: Mapping[str, int | None],
) -> str:
    """Return the verdict in words; ``shown`` names the measures whose failure was shown, the clearest first."""
    n = f", n = {next(iter(measures.values())).n}"
    tail = n + _left(gates)
    if verdict is Verdict.FAIL:
        return f"worse than the approved baseline: {_facts([measures[name] for name in shown], alpha)}{tail}"
    if verdict is Verdict.PASS:
        return f"not worse than the approved baseline: {_facts(list(measures.values()), alpha)}{tail}"
    blocking = gates.sentences()
    if blocking:
        return f"not demonstrated: {'; '.join(blocking)}; {_facts(list(measures.values()), alpha)}{n}"
    missing = [measure for measure in measures.values() if measure.verdict is not Verdict.PASS]
    return f"not demonstrated: {_facts(missing, alpha)}{tail}; {_advice(missing[0], needed)}"


def _facts(measures: Sequence[Measure], alpha: float) -> str:
    facts = []
    for measure in measures:
        limit = 0.0 if measure.limit is None else measure.limit
        interval = measure.interval
        facts.append(words.measured(measure.title, measure.estimate, limit, interval.low, interval.high, alpha))
    return "; ".join(facts)


def _left(gates: Gates) -> str:
    if not gates.left:
        return ""
    return (
        f", {gates.left} of the baseline's {gates.baseline} images {'is' if gates.left == 1 else 'are'} no longer kept"
    )


def _advice(measure: Measure, needed: Mapping[str, int | None]) -> str:
    limit = 0.0 if measure.limit is None else measure.limit
    if not measure.estimate < limit:
        return "what was measured lies beyond the limit; more images would decide it"
    count = needed.get(measure.name)
    if count is None or count <= measure.n:
        return "more images or a wider limit would help"
    # Two digits are all that such a forecast carries.
    return f"about {round(count, 2 - len(str(count)))} images would show it if mean and spread stay as measured"
