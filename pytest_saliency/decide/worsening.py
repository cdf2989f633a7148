"""Is a model worse than the approved one, image by image?

The worsening of an image is what its number became minus what it was, turned so that more is worse. PASS when the
one-sided upper bound of the mean worsening is at most the limit, for every limit. FAIL when the lower bound of one is
above it; these alarms are adjusted together by Holm. Numbers with a range are bounded by betting (means.py) on the
range of their difference; the advantage of faithfulness has none and is bounded by inverting the sign-flip permutation
test together with Hall's transformation for skewness and random weights with room for an unseen tail (compare.py, which
tells what they assume and what was seen).

An image that is undefined now counts with the worst number there is for PASS and with the best for FAIL. One that was
undefined then could have been anything: it counts as if it had been at its best for PASS, at its worst for FAIL.
Without a range there is no worst number. The largest size that was seen on any image, then or now, stands in for it on
either side, and the worsening of such an image is never below the limit, nor below the largest change that was seen
(``compare.extremes``). So a lost map cannot help PASS even if no other image changed, and costs the more, the more
evidence it carried before; how many may be lost at all is said by ``max_undefined``, as for every other measure.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pytest_saliency.decide import compare, means, power, words
from pytest_saliency.decide.bootstrap import bca_mean
from pytest_saliency.decide.decision import Decision, Interval, Leg, Measure, NotAttainable
from pytest_saliency.decide.holm import holm
from pytest_saliency.decide.tolerance import Sensitivity, Tolerance, reachable
from pytest_saliency.decide.values import (
    FloatArray,
    Units,
    defined,
    level,
    mean_of,
    median_of,
    same_length,
    sd_of,
    share_limit,
    within,
)
from pytest_saliency.decide.verdict import Verdict, verdict_of
from pytest_saliency.decide.worsening_measures import LARGEST, Compared, measure_names, measure_of
from pytest_saliency.decide.worsening_words import Gates, headline
from pytest_saliency.errors import CriterionError

KIND = "not_worse_than_baseline"
LIMIT = "max_worsening"


@dataclass(frozen=True)
class Question:
    """One limit: the worsening of every unit with undefined images at their worst, at their best, and left out.

    ``ends`` is the range of a worsening, None where it has none.
    """

    column: str
    measure: Compared
    limit: float
    worst: FloatArray
    best: FloatArray
    seen: FloatArray
    then: FloatArray
    now: FloatArray
    undefined: int
    ends: tuple[float, float] | None
    seed: int
    alpha: float

    @property
    def name(self) -> str:
        """What the measure is called in the decision."""
        return f"worsening[{self.column}]"

    @property
    def title(self) -> str:
        """What it is called in words."""
        return f"mean worsening of {self.measure.called(self.column)}"

    def p_values(
        self, limit: float, references: tuple[compare.MeanReference, compare.MeanReference] | None
    ) -> tuple[float, float]:
        """Return the p-values of "the mean worsening is above ``limit``" (for PASS) and "it is at most" (for FAIL)."""
        if self.ends is None:
            assert references is not None
            return references[0].p_less(limit), references[1].p_greater(limit)
        low, high = self.ends
        return (
            means.p_below(means.canonical(self.worst, self.seed), low, high, limit, self.alpha),
            means.p_above(means.canonical(self.best, self.seed), low, high, limit, self.alpha),
        )

    def references(self) -> tuple[compare.MeanReference, compare.MeanReference] | None:
        """Return the references of the mean for PASS and FAIL; None where there is a range to bet on."""
        if self.ends is not None:
            return None
        worst = compare.mean_reference(self.worst, self.seed, self.seen)
        same = bool(np.array_equal(self.worst, self.best))
        return worst, worst if same else compare.mean_reference(self.best, self.seed, self.seen)

    def interval(self, references: tuple[compare.MeanReference, compare.MeanReference] | None) -> Interval:
        """Return both one-sided bounds of the mean worsening."""
        if self.ends is None:
            assert references is not None
            low, high = references[1].lower(self.alpha), references[0].upper(self.alpha)
            return Interval(low, high, 1.0 - self.alpha, references[0].method)
        return Interval(
            means.lower_bound(means.canonical(self.best, self.seed), *self.ends, self.alpha),
            means.upper_bound(means.canonical(self.worst, self.seed), *self.ends, self.alpha),
            1.0 - self.alpha,
            "betting (Waudby-Smith and Ramdas 2024)",
        )

    def smallest_n(self) -> int | None:
        """Return how many units would show, if none had changed, that the limit holds; None where none would."""
        if self.limit <= 0.0:
            return None
        if self.ends is None:
            return compare.smallest_n(self.alpha)
        return means.smallest_n_below(0.0, *self.ends, self.limit, self.alpha)

    def gap(self, references: tuple[compare.MeanReference, compare.MeanReference] | None) -> float:
        """Return the smallest room to the limit that could be told with 80 % power at this n, about."""
        if self.ends is None:
            assert references is not None
            return power.normal_gap(references[0].standard_error(), self.alpha)
        return power.betting_gap(self.worst.size, sd_of(self.seen), self.ends[1] - self.ends[0], self.alpha)


def decide(
    kind: str,
    now: Mapping[str, npt.ArrayLike],
    then: Mapping[str, npt.ArrayLike],
    *,
    limits: Mapping[str, float],
    alpha: float = 0.05,
    max_undefined: float = 0.05,
    min_kept: float = 0.5,
    baseline: int,
    clusters: Sequence[Hashable] | None = None,
    region: int | None = None,
    counts: Mapping[str, int] | None = None,
    notes: Sequence[str] = (),
    seed: int,
) -> Decision:
    """Decide whether the numbers of the same images became worse by more than the limits.

    Parameters
    ----------
    kind
        The kind of the check that the numbers come from; it says what the measures are.
    now, then
        By column the numbers of the images that both runs kept, ordered by case id, NaN where undefined.
    limits
        By measure, in its own unit, above 0; a measure with several columns (one a fill) is limited in each.
    baseline
        How many images the baseline compares; PASS is blocked when fewer than ``min_kept`` of them are still there.
    clusters
        One name per image; numbers are averaged within a cluster and the clusters are the units.
    region
        Positions in a top region, for the tolerance between machines.
    counts, notes
        Taken over into the decision.

    Raises
    ------
    NotAttainable
        If not even unchanged numbers could PASS with these images.
    CriterionError
        If numbers, limits or settings do not fit together.
    """
    level(alpha)
    share_limit("max_undefined", max_undefined)
    share_limit("min_kept", min_kept)
    kept = len(np.asarray(next(iter(now.values()), ())))
    if not 0 <= kept <= baseline:
        raise CriterionError(f"{kept} of {baseline} images of the baseline were kept; that is impossible.")
    units = Units(kept, clusters)
    asked = _questions(kind, now, then, limits, units, alpha, seed)
    _check_attainable(asked, units, baseline, alpha)

    measures: dict[str, Measure] = {}
    legs: list[Leg] = []
    references = {}
    for question in asked:
        reference = references[question.name] = question.references()
        p_pass, p_fail = question.p_values(question.limit, reference)
        interval = question.interval(reference)
        estimate = mean_of(question.seen)
        measures[question.name] = Measure(
            name=question.name,
            title=question.title,
            estimate=estimate,
            interval=interval,
            limit=question.limit,
            side="<=",
            n=units.n,
            undefined=question.undefined,
            sd=sd_of(question.seen),
            p_pass=p_pass,
            p_fail=p_fail,
        )
        statement = f"{question.title} is at most {question.limit:g}"
        legs.append(Leg(f"{LIMIT}[{question.column}]", statement, p_pass, p_pass < alpha, estimate, interval.high))
    adjusted = holm({name: 1.0 if entry.p_fail is None else entry.p_fail for name, entry in measures.items()})
    shown = [name for name in sorted(adjusted, key=lambda name: (adjusted[name], name)) if adjusted[name] < alpha]
    lost = _lost([question.column for question in asked], now, then, kept)
    gates = Gates(lost / kept, max_undefined, kept, baseline, min_kept)
    holds = all(leg.holds for leg in legs) and not gates.block
    verdict = verdict_of(holds, bool(shown))
    sensitivity = _sensitivity(verdict, asked, references, region, gates.block, alpha)
    measures = {
        name: replace(entry, verdict=verdict_of(leg.holds, name in shown))
        for (name, entry), leg in zip(measures.items(), legs, strict=True)
    }
    changes = {question.column: (mean_of(question.then), mean_of(question.now)) for question in asked}
    return Decision(
        kind=KIND,
        verdict=verdict,
        headline=headline(verdict, measures, shown, gates, alpha, _needed(asked, measures, alpha)),
        measures=measures,
        legs=tuple(legs),
        n=units.n,
        counts={
            "baseline": baseline,
            "kept": kept,
            units.word: units.n,
            "left": baseline - kept,
            "undefined": lost,
            **(counts or {}),
        },
        undefined_share=lost / kept,
        effect_size={
            f"{entry.name}: margin / sd": (question.limit - entry.estimate) / entry.sd if entry.sd > 0.0 else math.nan
            for question, entry in zip(asked, measures.values(), strict=True)
        },
        smallest_detectable={
            f"{question.name}: gap to the limit (approximate)": question.gap(references[question.name])
            for question in asked
        },
        readouts={
            "means": {column: {"then": before, "now": after} for column, (before, after) in changes.items()},
            "worsening": {question.column: _spread(question.seen, alpha, seed) for question in asked},
            "p_fail_holm": adjusted,
        },
        notes=(
            *_notes(gates, lost, all(question.ends is not None for question in asked)),
            *notes,
            *sensitivity.notes(verdict),
        ),
        alpha=alpha,
        seed=seed,
        within_tolerance=sensitivity,
    )


def worsening(
    measure: Compared, column: str, now: npt.ArrayLike, then: npt.ArrayLike, limit: float = 0.0
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return (n,) how much worse every image became: undefined ones at the worst, at the best, and NaN.

    ``limit`` is the worsening that undefined images must not seem to stay below, for measures without a range.
    """
    after = measure.badness(column, np.asarray(now, dtype=np.float64))
    before = measure.badness(f"{column} of the baseline", np.asarray(then, dtype=np.float64))
    same_length(column, after, f"{column} of the baseline", before.size)
    seen: FloatArray = after - before
    if measure.ends is not None:
        best, worst = measure.ends
        lost_now, lost_then = np.isnan(after), np.isnan(before)
        most = np.where(lost_now, worst, after) - np.where(lost_then, best, before)
        least = np.where(lost_now, best, after) - np.where(lost_then, worst, before)
        return most, least, seen
    return *compare.extremes(after, before, limit), seen


def _questions(
    kind: str,
    now: Mapping[str, npt.ArrayLike],
    then: Mapping[str, npt.ArrayLike],
    limits: Mapping[str, float],
    units: Units,
    alpha: float,
    seed: int,
) -> list[Question]:
    if not limits:
        raise CriterionError(f"{KIND} declares no limit, so nothing could fail; add one to {LIMIT}.")
    known = measure_names(kind)
    asked = []
    # In the order of the measures, whatever the order in which a file has the limits.
    for name in sorted(limits, key=lambda name: known.index(name) if name in known else -1):
        limit = limits[name]
        columns = [column for column in now if column == name or column.startswith(f"{name}[")]
        if not columns:
            raise CriterionError(f"{LIMIT} limits {name!r}, but a check of kind {kind} measured {', '.join(now)}.")
        for column in columns:
            width = measure_of(kind, column).width
            within(f"{LIMIT} of {name}", limit, 0.0, LARGEST if width is None else width)
            asked.append(_question(kind, column, now[column], then[column], float(limit), units, alpha, seed))
    return asked


def _question(
    kind: str,
    column: str,
    now: npt.ArrayLike,
    then: npt.ArrayLike,
    limit: float,
    units: Units,
    alpha: float,
    seed: int,
) -> Question:
    measure = measure_of(kind, column)
    most, least, seen = worsening(measure, column, now, then, limit)
    same_length(column, seen, "the images kept", units.images)
    known = ~np.isnan(seen)
    return Question(
        column=column,
        measure=measure,
        limit=limit,
        worst=units.average(most),
        best=units.average(least),
        seen=defined(units.average(seen)),
        then=np.asarray(then, dtype=np.float64)[known],
        now=np.asarray(now, dtype=np.float64)[known],
        undefined=int((~known).sum()),
        ends=None if measure.width is None else (-measure.width, measure.width),
        seed=seed,
        alpha=alpha,
    )


@dataclass(frozen=True)
class Shift:
    """How the numbers of one column moved: means then and now, the mean worsening with both one-sided bounds."""

    then: float
    now: float
    worsening: float
    interval: Interval
    n: int
    undefined: int


def shift(
    kind: str,
    column: str,
    now: npt.ArrayLike,
    then: npt.ArrayLike,
    *,
    clusters: Sequence[Hashable] | None = None,
    alpha: float = 0.05,
    seed: int,
) -> Shift:
    """Return how the numbers of the same images moved; nothing is decided. At least one image is needed."""
    units = Units(len(np.asarray(now)), clusters)
    question = _question(kind, column, now, then, 0.0, units, alpha, seed)
    interval = question.interval(question.references())
    moved = mean_of(question.seen)
    return Shift(mean_of(question.then), mean_of(question.now), moved, interval, units.n, question.undefined)


def _check_attainable(asked: Sequence[Question], units: Units, baseline: int, alpha: float) -> None:
    needs = [(question, question.smallest_n()) for question in asked]
    known = [needed for _, needed in needs if needed is not None]
    if not units.n:
        raise NotAttainable(
            f"{KIND} has no image to compare: none of the {baseline} images of the baseline is kept now. Look at the"
            " predictions, and at what 'keep' of the check leaves.",
            n=0,
            needed=max(known, default=None),
        )
    for question, needed in needs:
        if needed is None:
            raise NotAttainable(
                f"{KIND} could not PASS with {LIMIT} {question.limit:g} for {question.column} however many images there"
                " are, because unchanged numbers lie on that limit and not within it; leave room between them.",
                n=units.n,
                needed=None,
            )
    short = [(question, needed) for question, needed in needs if needed is not None and units.n < needed]
    if short:
        wants = "; ".join(
            f"{LIMIT} {question.limit:g} for {question.column} needs {needed}" for question, needed in short
        )
        raise NotAttainable(
            f"{KIND} could not PASS with its {units.n} {units.word} even if nothing had changed: at alpha {alpha:g},"
            f" {wants}; there are {units.n}. Add images (n counts those that both runs kept) or widen the limit.",
            n=units.n,
            needed=max(needed for _, needed in short),
        )


def _lost(
    columns: Sequence[str], now: Mapping[str, npt.ArrayLike], then: Mapping[str, npt.ArrayLike], kept: int
) -> int:
    """Return how many images lack a number, then or now, in any of the limited columns."""
    lost = np.zeros(kept, dtype=np.bool_)
    for column in columns:
        for side in (now, then):
            lost |= np.isnan(np.asarray(side[column], dtype=np.float64))
    return int(lost.sum())


def _sensitivity(
    verdict: Verdict,
    asked: Sequence[Question],
    references: Mapping[str, tuple[compare.MeanReference, compare.MeanReference] | None],
    region: int | None,
    blocked: bool,
    alpha: float,
) -> Sensitivity:
    """Return which verdicts numbers within the tolerance of these give; the baseline's own stay as they were stored.

    If every number now is worse by t, that is the same as a limit smaller by t.
    """
    tolerances: dict[str, Tolerance] = {question.column: question.measure.off_by(region) for question in asked}

    def moved(way: int) -> Verdict:
        p_pass, p_fail = [], {}
        for question in asked:
            limit = question.limit - way * tolerances[question.column].mean
            one, other = question.p_values(limit, references[question.name])
            p_pass.append(one)
            p_fail[question.name] = other
        holds = all(p < alpha for p in p_pass) and not blocked
        return verdict_of(holds, any(p < alpha for p in holm(p_fail).values()))

    return reachable(tolerances, verdict, moved(-1), moved(1))


def _needed(asked: Sequence[Question], measures: Mapping[str, Measure], alpha: float) -> dict[str, int | None]:
    """Return for every measure with a range how many units would show that it holds, if things stay as they are."""
    found: dict[str, int | None] = {}
    for question in asked:
        entry = measures[question.name]
        gap = question.limit - entry.estimate
        if question.ends is not None and gap > 0.0:
            found[question.name] = power.betting_n(gap, entry.sd, question.ends[1] - question.ends[0], alpha)
    return found


def _spread(seen: FloatArray, alpha: float, seed: int) -> dict[str, object]:
    low, high = bca_mean(seen, alpha, seed)
    return {
        "mean": mean_of(seen),
        "median": median_of(seen),
        "sd": sd_of(seen),
        "bca": {"low": low, "high": high, "level": 1.0 - alpha},
        "share_worse": mean_of((seen > 0.0).astype(np.float64)),
        "n": int(seen.size),
    }


def _notes(gates: Gates, lost: int, ranged: bool) -> list[str]:
    notes = ["FAIL alarms of all limits are adjusted together (Holm); bounds are unadjusted"]
    if gates.left:
        notes.append(
            f"{words.several(gates.left, 'image')} of the baseline's {gates.baseline} left: not kept now, so not"
            " compared; if the model became worse on just these, it does not show here"
        )
    if lost and ranged:
        notes.append(f"{words.several(lost, 'undefined image')} counted as the worst value for PASS, the best for FAIL")
    elif lost:
        notes.append(
            f"{words.several(lost, 'undefined image')}: there is no worst value without a range, so for PASS a missing"
            " number counts as bad as the largest size seen on any image, then or now, and the change as at least the"
            " limit and the largest change seen; for FAIL the other way round"
        )
    if not ranged:
        notes.append(compare.ASSUMES)
    notes += gates.sentences()
    return notes
