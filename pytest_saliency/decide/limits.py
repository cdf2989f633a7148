"""Limits on means and shares of bounded numbers: the decision that most check kinds share.

Non-inferiority: PASS when for every declared limit the one-sided bound of the mean lies on the right side (betting,
means.py; Clopper-Pearson for counts, shares.py), and the Clopper-Pearson bound of the share of single images beyond any
limit below its own. FAIL when the opposite bound lies beyond a limit; these alarms are adjusted together by Holm, so
that a check whose limits all hold is failed with probability at most alpha. The bounds shown are unadjusted.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from pytest_saliency.decide import effort, power, rates, shares, words
from pytest_saliency.decide.bootstrap import bca_mean
from pytest_saliency.decide.decision import Decision, Interval, Leg, Measure
from pytest_saliency.decide.holm import holm
from pytest_saliency.decide.limited import Beyond, Limited, Question
from pytest_saliency.decide.limits_attainable import check_attainable
from pytest_saliency.decide.limits_words import Gates, headline
from pytest_saliency.decide.means import canonical
from pytest_saliency.decide.tolerance import Sensitivity, Tolerance, Way, reachable
from pytest_saliency.decide.values import (
    BoolArray,
    FloatArray,
    Unit,
    Units,
    checked,
    defined,
    filled,
    level,
    mean_of,
    median_of,
    sd_of,
    share_limit,
    within,
)
from pytest_saliency.decide.verdict import Verdict, verdict_of
from pytest_saliency.errors import CriterionError

BETTING = "betting (Waudby-Smith and Ramdas 2024)"
EXACT = "Clopper-Pearson"
HOLM = "FAIL alarms of all limits are adjusted together (Holm); bounds are unadjusted"


def decide(
    question: Question,
    values: Mapping[str, npt.ArrayLike],
    *,
    limits: Mapping[str, float],
    alpha: float = 0.05,
    max_undefined: float = 0.05,
    max_beyond: float | None = None,
    min_kept: float = 0.0,
    kept: int,
    total: int,
    clusters: Sequence[Hashable] | None = None,
    unit: Unit | None = None,
    apart: Mapping[str, Units] | None = None,
    counts: Mapping[str, int] | None = None,
    notes: Sequence[str] = (),
    readouts: Mapping[str, object] | None = None,
    tolerances: Mapping[str, Tolerance] | None = None,
    also: Mapping[str, float] | None = None,
    blocked: Sequence[str] = (),
    seed: int,
    described: bool = True,
) -> Decision:
    """Decide whether every declared limit holds.

    Parameters
    ----------
    question
        The measures that may be limited, and the words.
    values
        By measure one number per kept image, ordered by case id, NaN where undefined. Measures without a limit become
        read-outs.
    limits
        By name of the limit, as in ``{"max_iou_drop": 0.4}``: at least one.
    max_beyond
        Share of images that may each lie beyond any of the declared limits (measures in ``apart`` aside).
    min_kept, kept, total
        PASS is blocked when fewer than ``min_kept`` of the ``total`` cases were kept.
    clusters
        One name per kept image; numbers are averaged within a cluster and the clusters are the units.
    unit
        What the units are called, where that is neither "images" nor "clusters".
    apart
        Units of measures that have images of their own, as accuracy over all cases.
    counts, notes, readouts
        Further entries of the decision.
    tolerances
        By how much the numbers of two runs may differ, by name of the measure; what the question says by default.
    also
        By measure a further p-value that an alarm needs too: FAIL is shown by the larger of the two.
    blocked
        Sentences about what else blocks PASS: what was asked for and not seen.
    described
        False leaves out what decides nothing (bootstrap intervals, other verdicts within the tolerance), for
        simulations that ask for many verdicts.

    Raises
    ------
    NotAttainable
        If not even perfect images could PASS with this number of them.
    CriterionError
        If values, limits or settings do not fit together.
    """
    described = described and effort.described()
    level(alpha)
    share_limit("max_undefined", max_undefined)
    share_limit("min_kept", min_kept)
    own = dict(apart or {})
    _check_limits(question, values, limits, max_beyond, own)
    arrays = {
        entry.name: checked(entry.name, values[entry.name], entry.low, entry.high)
        for entry in question.entries
        if entry.name in values
    }
    for name, array in arrays.items():
        if name not in own and array.size != kept:
            raise CriterionError(f"{name} holds {array.size} numbers, but {kept} images were kept; give one for each.")
    if not 0 <= kept <= total:
        raise CriterionError(f"{kept} of {total} images were kept; that is impossible, check the counts.")
    units = Units(kept, clusters, unit)
    each = {name: own.get(name, units) for name in arrays}
    declared = [entry for entry in question.entries if entry.limit in limits]
    single = [entry for entry in declared if entry.name not in own]
    check_attainable(question, declared, limits, each, max_beyond, units, total, alpha)

    measures: dict[str, Measure] = {}
    legs: list[Leg] = []
    for name, array in arrays.items():
        entry = question.entry(name)
        measure, leg = _mean(entry, array, limits.get(entry.limit), each[name], alpha, seed)
        measures[name] = _with_further(measure, (also or {}).get(name))
        legs += [] if leg is None else [leg]
    if max_beyond is not None and question.beyond is not None:
        measures[question.beyond.name], leg = _share(question.beyond, single, arrays, limits, max_beyond, units, alpha)
        legs.append(leg)
    adjusted = holm({name: entry.p_fail for name, entry in measures.items() if entry.p_fail is not None})
    shown = tuple(name for name, p in sorted(adjusted.items(), key=lambda item: item[1]) if p < alpha)
    lost = np.zeros(kept, dtype=np.bool_)
    for entry in single:
        lost |= np.isnan(arrays[entry.name])
    undefined = float(np.mean(lost)) if kept else 0.0
    # What has images of its own blocks PASS by the same rule where a number is missing.
    for entry in declared:
        if entry.name in own:
            undefined = max(undefined, float(np.mean(np.isnan(arrays[entry.name]))))
    gates = Gates(
        question, undefined, max_undefined, kept, total, min_kept, tuple(blocked), "" if unit is None else unit.told
    )
    verdict = verdict_of(all(leg.holds for leg in legs) and not gates.block, bool(shown))
    nearby = None
    if described:
        asked = {entry.name: (tolerances or {}).get(entry.name, entry.tolerated()) for entry in declared}
        nearby = _sensitivity(
            question,
            verdict,
            declared,
            single,
            arrays,
            limits,
            max_beyond,
            each,
            units,
            gates.block,
            alpha,
            seed,
            asked,
            also or {},
        )
    measures = {name: _judged(question, entry, legs, name in shown) for name, entry in measures.items()}
    spread = {name: _spread(each[name].average(array), alpha, seed) for name, array in arrays.items() if described}
    return Decision(
        kind=question.kind,
        verdict=verdict,
        headline=headline(question, verdict, measures, tuple(legs), shown, gates, alpha),
        measures=measures,
        legs=tuple(legs),
        n=units.n,
        counts={
            "total": total,
            "kept": kept,
            units.word: units.n,
            "undefined": int(lost.sum()),
            **(counts or {}),
        },
        undefined_share=undefined,
        effect_size={
            f"{entry.name}: margin / sd": _standardised(entry, measures[entry.name], limits[entry.limit])
            for entry in declared
        },
        smallest_detectable=_detectable(question, declared, measures, limits, max_beyond, each, units.n, alpha),
        readouts={"measures": spread, "p_fail_holm": adjusted, **(readouts or {})},
        notes=(*_notes(gates, int(lost.sum()), notes), *(nearby.notes(verdict) if nearby else ())),
        alpha=alpha,
        seed=seed,
        within_tolerance=nearby,
    )


def _sensitivity(
    question: Question,
    verdict: Verdict,
    declared: Sequence[Limited],
    single: Sequence[Limited],
    arrays: Mapping[str, FloatArray],
    limits: Mapping[str, float],
    max_share: float | None,
    each: Mapping[str, Units],
    units: Units,
    blocked: bool,
    alpha: float,
    seed: int,
    tolerances: Mapping[str, Tolerance],
    also: Mapping[str, float],
) -> Sensitivity:
    """Return which verdicts numbers within the tolerance of these give, all of them moved the same way.

    Numbers that are larger by t mean the same as a limit smaller by t. The limit is what is moved for the means: a
    betting p-value is monotone in it exactly, but in single numbers only nearly, as they size the bets after them.
    An undefined image is moved like the others, which is more than could happen to it.
    """
    ordered = {entry.name: _ordered(entry, arrays[entry.name], each[entry.name], seed) for entry in declared}

    def moved(worse: Way) -> Verdict:
        p_pass, p_fail = [], {}
        for entry in declared:
            limit = entry.widened(limits[entry.limit], -worse * tolerances[entry.name].mean)
            down, up, best = ordered[entry.name]
            by = entry.bounds(each[entry.name])
            p_pass.append(entry.p_pass(down, up, limit, alpha, by))
            p_fail[entry.name] = max(entry.p_fail(best, limit, alpha, by), also.get(entry.name, 0.0))
        if max_share is not None and question.beyond is not None:
            shifted = {
                entry.name: entry.shifted(arrays[entry.name], worse, limits[entry.limit], tolerances[entry.name])
                for entry in single
            }
            surely, perhaps = _beyond(single, shifted, limits, units)
            p_pass.append(rates.p_share_below(int(perhaps.sum()), units.n, max_share))
            p_fail[question.beyond.name] = rates.p_share_above(int(surely.sum()), units.n, max_share)
        holds = all(p < alpha for p in p_pass) and not blocked
        return verdict_of(holds, any(p < alpha for p in holm(p_fail).values()))

    return reachable(tolerances, verdict, moved(-1), moved(1))


def _with_further(measure: Measure, p: float | None) -> Measure:
    return measure if p is None or measure.p_fail is None else replace(measure, p_fail=max(measure.p_fail, p))


def _ordered(entry: Limited, array: FloatArray, units: Units, seed: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the numbers as they are bet on, undefined images at the low end, the high end, and unchanged."""
    down, up, best = (
        canonical(units.average(filled(array, value)), seed) for value in (entry.low, entry.high, entry.perfect)
    )
    return down, up, best


def _check_limits(
    question: Question,
    values: Mapping[str, npt.ArrayLike],
    limits: Mapping[str, float],
    max_beyond: float | None,
    apart: Mapping[str, Units],
) -> None:
    kind, known = question.kind, {entry.limit: entry for entry in question.entries}
    names = {entry.name for entry in known.values()}
    for name in values:
        if name not in names:
            raise CriterionError(f"{kind} knows no measure {name!r}; it knows {', '.join(sorted(names))}.")
    if not limits:
        raise CriterionError(
            f"{kind} declares no limit, so nothing could fail; add at least one of {', '.join(known)}."
        )
    for name, limit in limits.items():
        if name not in known:
            raise CriterionError(f"{kind} knows no limit {name!r}; it knows {', '.join(known)}.")
        entry = known[name]
        # An upper limit below zero would ask for an improvement, which is another question.
        within(name, limit, entry.low if entry.side == ">=" else max(0.0, entry.low), entry.high)
        if entry.name not in values:
            raise CriterionError(f"{name} is declared, but {entry.name} was not measured.")
    if max_beyond is not None and question.beyond is not None:
        share_limit(question.beyond.limit, max_beyond)
        if all(known[name].name in apart for name in limits):
            what = " and ".join(known[name].title for name in limits)
            raise CriterionError(
                f"{question.beyond.limit} counts images beyond a limit, and {what} has none per image; declare another"
                " limit too."
            )


def _mean(
    entry: Limited, array: FloatArray, limit: float | None, units: Units, alpha: float, seed: int
) -> tuple[Measure, Leg | None]:
    """Return the measure of one mean and, if it has a limit, the leg of PASS."""
    down, up, best = _ordered(entry, array, units, seed)
    if limit is None or entry.side == "abs<=":
        low_from, high_from = down, up
    else:
        low_from, high_from = (best, up) if entry.side == "<=" else (down, best)
    seen = defined(units.average(array))
    known, by = units.n > 0, entry.bounds(units)
    low = by.lower_bound(low_from, entry.low, entry.high, alpha) if known else entry.low
    high = by.upper_bound(high_from, entry.low, entry.high, alpha) if known else entry.high
    p_pass = p_fail = None
    if limit is not None:
        p_pass = entry.p_pass(down, up, limit, alpha, by)
        p_fail = entry.p_fail(best, limit, alpha, by)
    measure = Measure(
        name=entry.name,
        title=entry.title,
        estimate=mean_of(seen),
        interval=Interval(low, high, 1.0 - alpha, EXACT if by is shares else BETTING),
        limit=limit,
        side="" if limit is None else entry.side,
        n=units.n,
        undefined=int(np.isnan(array).sum()),
        sd=sd_of(seen),
        p_pass=p_pass,
        p_fail=p_fail,
    )
    if limit is None or p_pass is None:
        return measure, None
    words_of_side = {"<=": "is at most", ">=": "is at least", "abs<=": "lies, up or down, within"}
    statement = f"{entry.title} {words_of_side[entry.side]} {limit:g}"
    bound = low if entry.side == ">=" else high
    if entry.side == "abs<=":
        bound = max(high, -low)
    return measure, Leg(entry.limit, statement, p_pass, p_pass < alpha, measure.estimate, bound)


def _share(
    beyond: Beyond,
    declared: Sequence[Limited],
    arrays: Mapping[str, FloatArray],
    limits: Mapping[str, float],
    max_share: float,
    units: Units,
    alpha: float,
) -> tuple[Measure, Leg]:
    """Return measure and leg of the share of images beyond any limit."""
    surely, perhaps = _beyond(declared, arrays, limits, units)
    most, least = int(perhaps.sum()), int(surely.sum())
    p_pass = rates.p_share_below(most, units.n, max_share)
    p_fail = rates.p_share_above(least, units.n, max_share)
    whole = ~perhaps | surely
    measure = Measure(
        name=beyond.name,
        title=beyond.title,
        estimate=mean_of(surely[whole].astype(np.float64)),
        interval=Interval(
            rates.lower_bound(least, units.n, alpha),
            rates.upper_bound(most, units.n, alpha),
            1.0 - alpha,
            EXACT,
        ),
        limit=max_share,
        side="<=",
        n=units.n,
        undefined=int((~whole).sum()),
        sd=math.nan,
        p_pass=p_pass,
        p_fail=p_fail,
    )
    statement = f"at most {words.percent(max_share)} of the {units.word} lie beyond a limit (Clopper-Pearson)"
    return measure, Leg(beyond.limit, statement, p_pass, p_pass < alpha, measure.estimate, measure.interval.high)


def _beyond(
    declared: Sequence[Limited], arrays: Mapping[str, FloatArray], limits: Mapping[str, float], units: Units
) -> tuple[BoolArray, BoolArray]:
    """Return which units lie surely, and which perhaps, beyond any limit; undefined ones count as beyond for PASS."""
    surely = np.zeros(units.n, dtype=np.bool_)
    perhaps = np.zeros(units.n, dtype=np.bool_)
    for entry in declared:
        limit = limits[entry.limit]
        surely |= entry.beyond(units.average(filled(arrays[entry.name], entry.perfect)), limit)
        for worst in (entry.low, entry.high):
            substituted = units.average(filled(arrays[entry.name], worst))
            perhaps |= entry.beyond(substituted, limit)
        perhaps |= units.average(np.isnan(arrays[entry.name]).astype(np.float64)) == 1.0
    return surely, perhaps


def _judged(question: Question, measure: Measure, legs: Sequence[Leg], failed: bool) -> Measure:
    limits = {entry.name: entry.limit for entry in question.entries}
    if question.beyond is not None:
        limits[question.beyond.name] = question.beyond.limit
    mine = [leg for leg in legs if leg.name == limits[measure.name]]
    return replace(measure, verdict=verdict_of(mine[0].holds, failed)) if mine else measure


def _standardised(entry: Limited, measure: Measure, limit: float) -> float:
    return entry.margin(measure.estimate, limit) / measure.sd if measure.sd > 0.0 else math.nan


def _detectable(
    question: Question,
    declared: Sequence[Limited],
    measures: Mapping[str, Measure],
    limits: Mapping[str, float],
    max_share: float | None,
    each: Mapping[str, Units],
    n: int,
    alpha: float,
) -> dict[str, float]:
    found = {}
    for entry in declared:
        measure = measures[entry.name]
        if entry.bounds(each[entry.name]) is shares:
            below = entry.side == "<="
            limit = limits[entry.limit]
            share = power.share_below(measure.n, limit if below else 1.0 - limit, alpha)
            found[f"{entry.name}: share (exact)"] = share if below else 1.0 - share
        else:
            found[f"{entry.name}: gap to the limit (approximate)"] = power.betting_gap(
                measure.n, measure.sd, entry.high - entry.low, alpha
            )
    if max_share is not None and question.beyond is not None:
        found[f"{question.beyond.name}: share (exact)"] = power.share_below(n, max_share, alpha)
    return found


def _spread(array: FloatArray, alpha: float, seed: int) -> dict[str, object]:
    seen = defined(array)
    low, high = bca_mean(seen, alpha, seed)
    quartiles = [float(value) for value in np.quantile(seen, [0.25, 0.75])] if seen.size else [math.nan] * 2
    return {
        "mean": mean_of(seen),
        "median": median_of(seen),
        "quartiles": quartiles,
        "sd": sd_of(seen),
        "bca": {"low": low, "high": high, "level": 1.0 - alpha},
        "n": int(seen.size),
        "undefined": int(array.size - seen.size),
    }


def _notes(gates: Gates, lost: int, further: Sequence[str]) -> list[str]:
    notes = [HOLM]
    if lost:
        notes.append(f"{words.several(lost, 'undefined image')} counted as the worst value for PASS, the best for FAIL")
    return [*notes, *further, *gates.sentences()]
