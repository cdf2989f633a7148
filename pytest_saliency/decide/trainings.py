"""Does a finding hold for every training? The verdicts of one check over several trainings, joined.

The statement is about the trainings at hand: it holds for at least ``min_share`` of these m. With need = the smallest
count that is such a share, PASS takes need trainings whose own PASS is shown at level alpha / (m - need + 1), and FAIL
takes m - need + 1 whose own FAIL is shown at level alpha / need. These are partial conjunction tests (Benjamini and
Heller, Biometrics 64, 2008, with Bonferroni's combination), valid whatever the trainings share. Asked for all
(min_share 1), each PASS needs alpha itself, and a single FAIL counts only if it is clear enough for m trainings.

Of trainings yet to come, the exact bound of the share for which the check passes is a read-out (Clopper and Pearson):
seven trainings that all pass show 65 % at least.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy.special import betaincinv

from pytest_saliency.decide import power, rates, words
from pytest_saliency.decide.decision import Decision, Interval, Leg, Measure
from pytest_saliency.decide.family import alarm_p
from pytest_saliency.decide.ranks import SAME
from pytest_saliency.decide.values import level, within
from pytest_saliency.decide.verdict import Verdict, verdict_of
from pytest_saliency.errors import CriterionError

KIND = "seed_robust"


@dataclass(frozen=True)
class Training:
    """One training by its name, and what the check decided of it."""

    name: str
    decision: Decision

    @property
    def p_pass(self) -> float:
        """Return the p-value of "the check does not hold for this training"; 1 where something blocks PASS."""
        if self.decision.verdict is not Verdict.PASS:
            return 1.0
        return max((leg.p for leg in self.decision.legs), default=1.0)

    @property
    def p_fail(self) -> float:
        """Return the p-value of "the check holds for this training"; 1 where it does not FAIL."""
        return alarm_p(self.decision) if self.decision.verdict is Verdict.FAIL else 1.0

    def to_dict(self) -> dict[str, Any]:
        """Return what a report says of it."""
        measures = {name: one.to_dict() for name, one in self.decision.measures.items() if one.limit is not None}
        return {
            "verdict": self.decision.verdict.value,
            "headline": self.decision.headline,
            "n": self.decision.n,
            "measures": measures,
        }


def shown_of(verdicts: Sequence[Verdict]) -> int:
    """Return the place of the training whose images are shown: the first that does not PASS, or else the first."""
    return next((place for place, verdict in enumerate(verdicts) if verdict is not Verdict.PASS), 0)


def decide(
    of: str,
    trainings: Sequence[Training],
    *,
    min_share: float = 1.0,
    alpha: float = 0.05,
    counts: Mapping[str, int] | None = None,
    seed: int,
) -> Decision:
    """Decide whether the check ``of`` holds for enough of the trainings.

    Raises
    ------
    CriterionError
        There are fewer than two trainings, or a setting lies outside of its range.
    """
    level(alpha)
    within("min_share", min_share, 0.0, 1.0)
    m = len(trainings)
    if m < 2:
        raise CriterionError(f"{KIND} was given {words.several(m, 'training')}; it takes two or more.")
    need = max(1, math.ceil(min_share * m - SAME))
    allowed = m - need
    good = sum(one.p_pass < alpha / (allowed + 1) for one in trainings)
    bad = sum(one.p_fail < alpha / need for one in trainings)
    verdict = verdict_of(good >= need, bad > allowed)
    passes = sum(one.decision.verdict is Verdict.PASS for one in trainings)
    fails = sum(one.decision.verdict is Verdict.FAIL for one in trainings)
    p_pass = min(1.0, (allowed + 1) * sorted(one.p_pass for one in trainings)[need - 1])
    p_fail = min(1.0, need * sorted(one.p_fail for one in trainings)[allowed])
    share = Measure(
        name="passing",
        title="share of trainings for which the check passes",
        estimate=passes / m,
        interval=Interval(
            rates.lower_bound(passes, m, alpha), rates.upper_bound(passes, m, alpha), 1.0 - alpha, "Clopper-Pearson"
        ),
        limit=None,
        side="",
        n=m,
        undefined=m - passes - fails,
        sd=math.nan,
    )
    return Decision(
        kind=KIND,
        verdict=verdict,
        headline=_headline(verdict, of, trainings, need, alpha),
        measures={share.name: share},
        legs=tuple(
            Leg(
                f"models.{k}", f"'{of}' holds for training '{one.name}'", one.p_pass, one.p_pass < alpha / (allowed + 1)
            )
            for k, one in enumerate(trainings, start=1)
        ),
        n=m,
        counts={"trainings": m, "pass": passes, "fail": fails, "needed": need, **(counts or {})},
        undefined_share=max(one.decision.undefined_share for one in trainings),
        effect_size={},
        smallest_detectable={
            "share of trainings that fail, at least one of them seen (exact)": float(
                betaincinv(allowed + 1, m - allowed, power.POWER)
            )
        },
        readouts={
            "trainings": {f"{k}: {one.name}": one.to_dict() for k, one in enumerate(trainings, start=1)},
            "shown_training": trainings[shown_of([one.decision.verdict for one in trainings])].name,
            "p_pass": p_pass,
            "p_fail_holm": {"trainings": p_fail},
            "groups": _groups(trainings),
        },
        notes=_notes(of, trainings, passes, share.interval.low, need, bad, fails, alpha),
        alpha=alpha,
        seed=seed,
    )


def _groups(trainings: Sequence[Training]) -> list[dict[str, Any]]:
    rows = []
    for one in trainings:
        found: Any = one.decision.readouts.get("groups") or ()
        rows += [
            {**row, "measure": f"{row['measure']}, {one.name}", "title": f"{row['title']}, {one.name}"} for row in found
        ]
    return rows


def _headline(verdict: Verdict, of: str, trainings: Sequence[Training], need: int, alpha: float) -> str:
    m = len(trainings)
    by = {word: [one.name for one in trainings if one.decision.verdict is word] for word in Verdict}
    counted = f"'{of}' passes for {len(by[Verdict.PASS])} of {m} trainings, {need} needed"
    if verdict is Verdict.PASS:
        return f"holds for every training that it must: {counted}"
    missed = [one for one in trainings if one.decision.verdict is not Verdict.PASS]
    named = "; ".join(f"'{one.name}' is {one.decision.verdict.value}" for one in missed[:5])
    more = f" and {len(missed) - 5} more" if len(missed) > 5 else ""
    if verdict is Verdict.FAIL:
        return f"does not hold for every training: {counted}; {named}{more}"
    if not missed or len(by[Verdict.PASS]) >= need:
        allowed = m - need
        return (
            f"not demonstrated: {counted}, but to allow {allowed} of {m} to miss, each PASS has to be shown at alpha"
            f" {alpha / (allowed + 1):.2g}, and not all of them are; add images, or ask for all trainings"
        )
    if len(by[Verdict.FAIL]) > m - need:
        return (
            f"not demonstrated: {counted}; {named}{more}; among {m} trainings these alarms are not beyond chance (each"
            f" has to be shown at alpha {alpha / need:.2g}); add images"
        )
    return f"not demonstrated: {counted}; {named}{more}; add images, or look at these trainings"


def _notes(
    of: str, trainings: Sequence[Training], passes: int, low: float, need: int, bad: int, fails: int, alpha: float
) -> tuple[str, ...]:
    m = len(trainings)
    notes = [
        f"the verdict is about these {m} trainings; of trainings like them yet to come at least {words.percent(low)}"
        f" pass '{of}' ({words.percent(1.0 - alpha)} bound, from {passes} of {m})"
    ]
    if fails > bad:
        notes.append(
            f"{words.several(fails - bad, 'training')} with verdict FAIL not counted: among {m}, an alarm counts at"
            f" alpha {alpha / need:.2g}"
        )
    return tuple(notes)
