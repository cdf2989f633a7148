"""Did the evidence stay where it was?

Non-inferiority: PASS when for every declared limit the one-sided betting bound of the mean (means.py) lies on the
right side, and the Clopper-Pearson bound of the share of images beyond any limit below ``max_drifted_share``.
FAIL when the opposite bound lies beyond a limit; these alarms are adjusted together by Holm, so that a check whose
limits all hold is failed with probability at most alpha. The bounds shown are unadjusted.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from pytest_saliency.decide import means, power, rates, words
from pytest_saliency.decide.bootstrap import bca_mean
from pytest_saliency.decide.decision import Decision, Interval, Leg, Measure
from pytest_saliency.decide.drift_attainable import check_attainable
from pytest_saliency.decide.drift_limits import LIMITED, SHARE, SHARE_LIMIT, SHARE_TITLE, Limited
from pytest_saliency.decide.drift_words import Gates, headline
from pytest_saliency.decide.holm import holm
from pytest_saliency.decide.tolerance import Sensitivity, Tolerance, Way, reachable, tolerance_of
from pytest_saliency.decide.values import (
    BoolArray,
    FloatArray,
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

KIND = "no_semantic_drift"
ACCURACY = "accuracy_drop"


def decide(
    values: Mapping[str, npt.ArrayLike],
    *,
    limits: Mapping[str, float],
    alpha: float = 0.05,
    max_undefined: float = 0.05,
    max_drifted_share: float | None = None,
    min_kept: float = 0.5,
    kept: int,
    total: int,
    clusters: Sequence[Hashable] | None = None,
    all_clusters: Sequence[Hashable] | None = None,
    blank_after: int = 0,
    readouts: Mapping[str, object] | None = None,
    tolerances: Mapping[str, Tolerance] | None = None,
    seed: int,
) -> Decision:
    """Decide whether the change of the maps stays within the declared limits.

    Parameters
    ----------
    values
        One number per kept image, ordered by case id, NaN where the map before was unusable: ``iou_drop`` and
        ``displacement`` in [0, 1], ``correlation`` in [-1, 1], ``concentration_change`` in [-1, 1] signed. Measures
        without a limit become read-outs. ``accuracy_drop`` holds correct before minus correct after (-1, 0 or 1)
        for all cases, so its length may differ.
    limits
        ``max_iou_drop``, ``max_displacement``, ``min_correlation``, ``max_concentration_change``,
        ``max_accuracy_drop``: at least one.
    max_drifted_share
        Share of images that may each lie beyond any of the declared limits (accuracy aside).
    min_kept, kept, total
        PASS is blocked when fewer than ``min_kept`` of the ``total`` cases were kept.
    clusters
        One name per kept image; numbers are averaged within a cluster and the clusters are the units.
    all_clusters
        The same with one name per number of ``accuracy_drop``; needed where ``clusters`` are given and accuracy is
        over more images than the kept ones.
    blank_after
        How many kept images lost their map: those count as drift, not as undefined. Recorded only.
    readouts
        Further entries for the decision's read-outs.
    tolerances
        By how much the numbers of two runs may differ, by name of the measure; those of large regions by default.

    Raises
    ------
    NotAttainable
        If not even unchanged maps could PASS with these images.
    CriterionError
        If values, limits or settings do not fit together.
    """
    level(alpha)
    share_limit("max_undefined", max_undefined)
    share_limit("min_kept", min_kept)
    known = {entry.limit: entry for entry in LIMITED}
    _check_limits(values, limits, known, max_drifted_share)
    arrays = {
        entry.name: checked(entry.name, values[entry.name], entry.low, entry.high)
        for entry in LIMITED
        if entry.name in values
    }
    per_image = {name: array for name, array in arrays.items() if name != ACCURACY}
    for name, array in per_image.items():
        if array.size != kept:
            raise CriterionError(f"{name} holds {array.size} numbers, but {kept} images were kept; give one for each.")
    if not 0 <= kept <= total:
        raise CriterionError(f"{kept} of {total} images were kept; that is impossible, check the counts.")
    units = Units(kept, clusters)
    each = dict.fromkeys(arrays, units)
    if ACCURACY in arrays:
        each[ACCURACY] = _accuracy_units(arrays[ACCURACY].size, units, all_clusters)
    sizes = {name: each[name].n for name in arrays}
    declared = [known[name] for name in known if name in limits]
    check_attainable(declared, limits, sizes, max_drifted_share, units, total, alpha)

    measures: dict[str, Measure] = {}
    legs: list[Leg] = []
    for name, array in arrays.items():
        entry = next(limited for limited in LIMITED if limited.name == name)
        measure, leg = _mean(entry, array, limits.get(entry.limit), each[name], alpha, seed)
        measures[name] = measure
        legs += [] if leg is None else [leg]
    if max_drifted_share is not None:
        per_image_limits = [entry for entry in declared if entry.name != ACCURACY]
        measures[SHARE], leg = _drifted(per_image_limits, arrays, limits, max_drifted_share, units, alpha)
        legs.append(leg)
    adjusted = holm({name: entry.p_fail for name, entry in measures.items() if entry.p_fail is not None})
    shown = tuple(name for name, p in sorted(adjusted.items(), key=lambda item: item[1]) if p < alpha)
    lost = np.zeros(kept, dtype=np.bool_)
    for entry in declared:
        if entry.name != ACCURACY:
            lost |= np.isnan(arrays[entry.name])
    share = float(np.mean(lost)) if kept else 0.0
    # Accuracy has its own images; a missing outcome there blocks PASS by the same rule.
    if ACCURACY in arrays and known["max_accuracy_drop"] in declared:
        share = max(share, float(np.mean(np.isnan(arrays[ACCURACY]))))
    gates = Gates(share, max_undefined, kept, total, min_kept)
    verdict = verdict_of(all(leg.holds for leg in legs) and not gates.block, bool(shown))
    asked = {entry.name: (tolerances or {}).get(entry.name, tolerance_of(entry.name)) for entry in declared}
    within = _sensitivity(
        verdict, declared, arrays, limits, max_drifted_share, each, units, gates.block, alpha, seed, asked
    )
    measures = {name: _judged(entry, legs, name in shown) for name, entry in measures.items()}
    return Decision(
        kind=KIND,
        verdict=verdict,
        headline=headline(verdict, measures, tuple(legs), shown, gates, alpha),
        measures=measures,
        legs=tuple(legs),
        n=units.n,
        counts={
            "total": total,
            "kept": kept,
            units.word: units.n,
            "undefined": int(lost.sum()),
            "blank after": blank_after,
        },
        undefined_share=share,
        effect_size={
            f"{entry.name}: margin / sd": _standardised(entry, measures[entry.name], limits[entry.limit])
            for entry in declared
        },
        smallest_detectable=_detectable(declared, measures, max_drifted_share, units.n, alpha),
        readouts={
            "measures": {name: _spread(each[name].average(array), alpha, seed) for name, array in arrays.items()},
            "p_fail_holm": adjusted,
            **(readouts or {}),
        },
        notes=(*_notes(gates, int(lost.sum()), blank_after), *within.notes(verdict)),
        alpha=alpha,
        seed=seed,
        within_tolerance=within,
    )


def _sensitivity(
    verdict: Verdict,
    declared: Sequence[Limited],
    arrays: Mapping[str, FloatArray],
    limits: Mapping[str, float],
    max_share: float | None,
    each: Mapping[str, Units],
    units: Units,
    blocked: bool,
    alpha: float,
    seed: int,
    tolerances: Mapping[str, Tolerance],
) -> Sensitivity:
    """Return which verdicts numbers within the tolerance of these give, all of them moved the same way.

    Numbers that are larger by t mean the same as a limit smaller by t. The limit is what is moved for the means: a
    betting p-value is monotone in it exactly, but in single numbers only nearly, as they size the bets after them.
    An undefined image is moved like the others, which is more than could happen to it.
    """
    ordered = {entry.name: _ordered(entry, arrays[entry.name], each[entry.name], seed) for entry in declared}
    single = [entry for entry in declared if entry.name != ACCURACY]

    def moved(drift: Way) -> Verdict:
        p_pass, p_fail = [], {}
        for entry in declared:
            limit = entry.widened(limits[entry.limit], -drift * tolerances[entry.name].mean)
            down, up, best = ordered[entry.name]
            p_pass.append(entry.p_pass(down, up, limit, alpha))
            p_fail[entry.name] = entry.p_fail(best, limit, alpha)
        if max_share is not None:
            shifted = {
                entry.name: entry.shifted(arrays[entry.name], drift, limits[entry.limit], tolerances[entry.name])
                for entry in single
            }
            surely, perhaps = _beyond(single, shifted, limits, units)
            p_pass.append(rates.p_share_below(int(perhaps.sum()), units.n, max_share))
            p_fail[SHARE] = rates.p_share_above(int(surely.sum()), units.n, max_share)
        holds = all(p < alpha for p in p_pass) and not blocked
        return verdict_of(holds, any(p < alpha for p in holm(p_fail).values()))

    return reachable(tolerances, verdict, moved(-1), moved(1))


def _ordered(entry: Limited, array: FloatArray, units: Units, seed: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the numbers as they are bet on, undefined images at the low end, the high end, and unchanged."""
    down, up, best = (
        means.canonical(units.average(filled(array, value)), seed) for value in (entry.low, entry.high, entry.perfect)
    )
    return down, up, best


def _check_limits(
    values: Mapping[str, npt.ArrayLike],
    limits: Mapping[str, float],
    known: Mapping[str, Limited],
    max_drifted_share: float | None,
) -> None:
    names = {entry.name for entry in known.values()}
    for name in values:
        if name not in names:
            raise CriterionError(f"no_semantic_drift knows no measure {name!r}; it knows {', '.join(sorted(names))}.")
    if not limits:
        raise CriterionError(
            f"no_semantic_drift declares no limit, so nothing could fail; add at least one of {', '.join(known)}."
        )
    for name, limit in limits.items():
        if name not in known:
            raise CriterionError(f"no_semantic_drift knows no limit {name!r}; it knows {', '.join(known)}.")
        within(name, limit, -1.0 if known[name].side == ">=" else 0.0, 1.0)
        if known[name].name not in values:
            raise CriterionError(f"{name} is declared, but {known[name].name} was not measured.")
    if max_drifted_share is not None:
        share_limit(SHARE_LIMIT, max_drifted_share)
        if set(limits) == {"max_accuracy_drop"}:
            raise CriterionError(
                f"{SHARE_LIMIT} counts images beyond a limit, and accuracy has none per image;"
                " declare another limit too."
            )


def _accuracy_units(size: int, units: Units, clusters: Sequence[Hashable] | None) -> Units:
    """Return the units of accuracy, which is judged on all cases: clusters wherever the other measures have them."""
    if clusters is not None:
        return Units(size, clusters)
    if size == units.images:
        return units
    if units.clustered:
        raise CriterionError(
            f"{ACCURACY} holds {size} numbers and clusters {units.images} names; give all_clusters, one name for each"
            " case, because images of one cluster are not independent for accuracy either."
        )
    return Units(size, None)


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
    known = units.n > 0
    low = means.lower_bound(low_from, entry.low, entry.high, alpha) if known else entry.low
    high = means.upper_bound(high_from, entry.low, entry.high, alpha) if known else entry.high
    p_pass = p_fail = None
    if limit is not None:
        p_pass = entry.p_pass(down, up, limit, alpha)
        p_fail = entry.p_fail(best, limit, alpha)
    measure = Measure(
        name=entry.name,
        title=entry.title,
        estimate=mean_of(seen),
        interval=Interval(low, high, 1.0 - alpha, "betting (Waudby-Smith and Ramdas 2024)"),
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


def _drifted(
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
        name=SHARE,
        title=SHARE_TITLE,
        estimate=mean_of(surely[whole].astype(np.float64)),
        interval=Interval(
            rates.lower_bound(least, units.n, alpha),
            rates.upper_bound(most, units.n, alpha),
            1.0 - alpha,
            "Clopper-Pearson",
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
    return measure, Leg(SHARE_LIMIT, statement, p_pass, p_pass < alpha, measure.estimate, measure.interval.high)


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


def _judged(measure: Measure, legs: Sequence[Leg], failed: bool) -> Measure:
    limits = {entry.name: entry.limit for entry in LIMITED} | {SHARE: SHARE_LIMIT}
    mine = [leg for leg in legs if leg.name == limits[measure.name]]
    return replace(measure, verdict=verdict_of(mine[0].holds, failed)) if mine else measure


def _standardised(entry: Limited, measure: Measure, limit: float) -> float:
    return entry.margin(measure.estimate, limit) / measure.sd if measure.sd > 0.0 else math.nan


def _detectable(
    declared: Sequence[Limited], measures: Mapping[str, Measure], max_share: float | None, n: int, alpha: float
) -> dict[str, float]:
    found = {
        f"{entry.name}: gap to the limit (approximate)": power.betting_gap(
            measures[entry.name].n, measures[entry.name].sd, entry.high - entry.low, alpha
        )
        for entry in declared
    }
    if max_share is not None:
        found[f"{SHARE}: share (exact)"] = power.share_below(n, max_share, alpha)
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


def _notes(gates: Gates, lost: int, blank_after: int) -> list[str]:
    notes = ["FAIL alarms of all limits are adjusted together (Holm); bounds are unadjusted"]
    if lost:
        notes.append(f"{words.several(lost, 'undefined image')} counted as the worst value for PASS, the best for FAIL")
    if blank_after:
        notes.append(f"{words.several(blank_after, 'image')} had a map before and none after: counted as full drift")
    notes += gates.sentences()
    return notes
