"""Do a method's regions carry more of the prediction than those of explainers that know nothing?

For every control and fill: the drop of an image's log-odds when its own region is removed, minus the drop when the
control's region is, on the same images. The mean difference is tested as any mean of numbers without a range
(compare.py, which tells what that assumes). PASS: for every control and fill the lower bound is above
``min_advantage``. FAIL: for any of them the upper bound is below it; as that asks several questions at once, the FAIL
alarms are adjusted together (Holm).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from pytest_saliency.decide import compare, power, words
from pytest_saliency.decide.decision import Decision, Interval, Leg, Measure, NotAttainable
from pytest_saliency.decide.holm import holm
from pytest_saliency.decide.reference import DRAWS
from pytest_saliency.decide.tolerance import Sensitivity, Tolerance, reachable, tolerance_of
from pytest_saliency.decide.values import Units, checked, defined, level, mean_of, sd_of, share_limit
from pytest_saliency.decide.verdict import Verdict, verdict_of
from pytest_saliency.errors import CriterionError

KIND = "beats_null_explainers"
Drops = Mapping[str, npt.ArrayLike]
Question = Callable[[float], tuple[float, float]]
"""The p-values of PASS and FAIL of one comparison, had every difference been larger by the argument."""


def decide(
    own: Drops,
    nulls: Mapping[str, Drops],
    *,
    min_advantage: float,
    alpha: float = 0.05,
    max_undefined: float = 0.05,
    clusters: Sequence[Hashable] | None = None,
    counts: Mapping[str, int] | None = None,
    readouts: Mapping[str, object] | None = None,
    notes: Sequence[str] = (),
    tolerance: Tolerance | None = None,
    seed: int,
) -> Decision:
    """Decide whether the method's regions matter more than every control's, for every fill.

    Parameters
    ----------
    own
        By fill the drop (n,) of the log-odds by the method's own regions, NaN where a map is undefined. A missing
        drop counts as large, against the method for PASS and in favour of it for FAIL (``compare.extremes``).
    nulls
        The same by control and fill, on the same images.
    min_advantage
        How much larger the mean drop must be, in log-odds.
    clusters
        One name per image; differences are averaged within a cluster and the clusters are the units.

    Raises
    ------
    NotAttainable
        There are too few images for p < alpha.
    CriterionError
        Numbers or settings do not fit together.
    """
    level(alpha)
    share_limit("max_undefined", max_undefined)
    if not math.isfinite(min_advantage):
        raise CriterionError(f"min_advantage is {min_advantage}; it must be a finite number of log-odds.")
    if not nulls or not own:
        raise CriterionError(f"{KIND} was given no control or no fill to compare with; declare at least one of each.")
    largest = float(np.finfo(np.float64).max)
    mine = {fill: checked(f"drop with {fill}", drops, -largest, largest) for fill, drops in own.items()}
    units = Units(next(iter(mine.values())).size, clusters)
    _check_attainable(units, alpha)

    measures: dict[str, Measure] = {}
    legs: list[Leg] = []
    questions: dict[str, Question] = {}
    detectable: dict[str, float] = {}
    told: dict[str, object] = dict(readouts or {})
    missing = np.zeros(units.images, dtype=np.bool_)
    for null, fills in nulls.items():
        if set(fills) != set(mine):
            raise CriterionError(f"{null} was measured with other fills than the method; give the same ones.")
        for fill, drops in fills.items():
            theirs = checked(f"drop of {null} with {fill}", drops, -largest, largest)
            if theirs.size != units.images:
                raise CriterionError(f"{null} holds {theirs.size} images and the method {units.images}; give the same.")
            missing |= np.isnan(mine[fill]) | np.isnan(theirs)
            measure, leg, gap, paired, asked = _comparison(
                null, fill, mine[fill], theirs, min_advantage, alpha, units, seed
            )
            measures[measure.name], questions[measure.name] = measure, asked
            legs.append(leg)
            detectable[f"{measure.name} above the margin (approximate)"] = gap
            told[f"paired_t {measure.name}"] = paired
    adjusted = holm({name: 1.0 if entry.p_fail is None else entry.p_fail for name, entry in measures.items()})
    shown = [name for name, p in sorted(adjusted.items(), key=lambda item: item[1]) if p < alpha]
    share = float(np.mean(missing))
    blocked = share > max_undefined
    verdict = verdict_of(all(leg.holds for leg in legs) and not blocked, bool(shown))
    within = _sensitivity(verdict, questions, blocked, alpha, tolerance or tolerance_of("log_odds_drop"))
    measures = {
        name: replace(entry, verdict=verdict_of(leg.holds, name in shown))
        for (name, entry), leg in zip(measures.items(), legs, strict=True)
    }
    told["p_fail_holm"] = adjusted
    remarks = ["the FAIL alarms of all controls and fills are adjusted together (Holm); bounds are unadjusted", *notes]
    if missing.any():
        remarks.append(
            f"{words.several(int(missing.sum()), 'undefined image')}: for PASS the missing score drop counts as large"
            " as the largest seen on any image, against the method, and the difference as at least the limit and the"
            " largest difference seen; for FAIL the other way round"
        )
    remarks.append(compare.ASSUMES)
    if blocked:
        remarks.append(f"undefined images exceed {words.percent(max_undefined)}, which blocks PASS")
    return Decision(
        kind=KIND,
        verdict=verdict,
        headline=_headline(verdict, measures, shown, share, max_undefined, units, alpha),
        measures=measures,
        legs=tuple(legs),
        n=units.n,
        counts={"images": units.images, units.word: units.n, "undefined": int(missing.sum()), **(counts or {})},
        undefined_share=share,
        effect_size={
            name: entry.estimate / entry.sd if entry.sd > 0.0 else math.nan for name, entry in measures.items()
        },
        smallest_detectable=detectable,
        readouts=told,
        notes=(*remarks, *within.notes(verdict)),
        alpha=alpha,
        seed=seed,
        within_tolerance=within,
    )


def _check_attainable(units: Units, alpha: float) -> None:
    needed = compare.smallest_n(alpha)
    if alpha * (DRAWS + 1) <= 1.0:
        raise NotAttainable(
            f"{KIND} could not PASS at alpha {alpha:g}: its test draws {DRAWS:,} sign patterns, so p is never below"
            f" {1 / (DRAWS + 1):g}; raise alpha.",
            n=units.n,
            needed=None,
        )
    if units.n < needed:
        raise NotAttainable(
            f"{KIND} could not PASS with {units.n} {units.word} even if all of them were perfect: at alpha {alpha:g} it"
            f" needs {needed}; add images (n counts after 'keep').",
            n=units.n,
            needed=needed,
        )


def _comparison(
    null: str,
    fill: str,
    mine: npt.NDArray[np.float64],
    theirs: npt.NDArray[np.float64],
    limit: float,
    alpha: float,
    units: Units,
    seed: int,
) -> tuple[Measure, Leg, float, dict[str, float], Question]:
    """Return measure, leg, smallest detectable advantage, paired t and p-values of one control and fill."""
    name = f"advantage[{null},{fill}]"
    differences = mine - theirs
    seen = defined(units.average(differences))
    most, least = (units.average(one) for one in compare.extremes(mine, theirs, limit))
    worst, best = compare.mean_reference(least, seed, seen), compare.mean_reference(most, seed, seen)

    def ask(by: float) -> tuple[float, float]:
        return worst.p_greater(limit - by), best.p_less(limit - by)

    p_pass, p_fail = ask(0.0)
    estimate = mean_of(seen)
    interval = Interval(worst.lower(alpha), best.upper(alpha), 1.0 - alpha, worst.method)
    measure = Measure(
        name=name,
        title=f"advantage over {null} with {fill} (log-odds)",
        estimate=estimate,
        interval=interval,
        limit=limit,
        side=">",
        n=units.n,
        undefined=int(np.isnan(differences).sum()),
        sd=sd_of(seen),
        p_pass=p_pass,
        p_fail=p_fail,
    )
    statement = (
        f"with {fill}, removing its own region costs an image more than {limit:g} log-odds beyond removing the region"
        f" of {null} (sign-flip permutation, confirmed as the notes say)"
    )
    leg = Leg(name, statement, p_pass, p_pass < alpha, estimate, interval.low)
    return measure, leg, power.normal_gap(worst.standard_error(), alpha), compare.paired_t(seen), ask


def _sensitivity(
    verdict: Verdict, questions: Mapping[str, Question], blocked: bool, alpha: float, tolerance: Tolerance
) -> Sensitivity:
    """Return which verdicts score drops within the tolerance of these give; a difference of two moves by twice that."""

    def moved(by: float) -> Verdict:
        answers = {name: ask(by) for name, ask in questions.items()}
        adjusted = holm({name: p_fail for name, (_, p_fail) in answers.items()})
        holds = all(p_pass < alpha for p_pass, _ in answers.values()) and not blocked
        return verdict_of(holds, any(p < alpha for p in adjusted.values()))

    by = 2.0 * tolerance.mean
    return reachable({"log_odds_drop": tolerance}, verdict, moved(by), moved(-by))


def _headline(
    verdict: Verdict,
    measures: Mapping[str, Measure],
    shown: Sequence[str],
    share: float,
    max_undefined: float,
    units: Units,
    alpha: float,
) -> str:
    """Return the verdict in words: the comparison that speaks most against the method, and how many there were."""
    tail = f", n = {units.n}{f', {words.percent(share)} undefined' if share else ''}"
    # The comparison that counts is the one nearest to its margin, or farthest beyond it.
    closest = max(measures.values(), key=lambda entry: (entry.p_pass or 0.0, -entry.interval.low))
    if verdict is Verdict.FAIL:
        more = f" (and {len(shown) - 1} of {len(measures)} comparisons more)" if len(shown) > 1 else ""
        fact = _fact(measures[shown[0]], alpha)
        return f"an explainer that knows nothing of the image does as well: {fact}{more}{tail}"
    if verdict is Verdict.PASS:
        among = f"the smallest of {len(measures)}: " if len(measures) > 1 else ""
        return f"the regions matter more than those of every control: {among}{_fact(closest, alpha)}{tail}"
    if share > max_undefined:
        return (
            f"not demonstrated: more than {words.percent(max_undefined)} of the images are undefined; their maps are"
            " blank, flat or not finite: check the weights, or choose another layer or method;"
            f" {_fact(closest, alpha)}{tail}"
        )
    missing = [entry for entry in measures.values() if entry.verdict is not Verdict.PASS]
    more = f" (and {len(missing) - 1} of {len(measures)} comparisons more)" if len(missing) > 1 else ""
    return f"not demonstrated: {_fact(closest, alpha)}{more}{tail}; more images or a smaller margin would help"


def _fact(measure: Measure, alpha: float) -> str:
    limit = 0.0 if measure.limit is None else measure.limit
    title = measure.title.removesuffix(" (log-odds)")
    interval = measure.interval
    return words.measured(title, measure.estimate, limit, interval.low, interval.high, alpha, "margin")
