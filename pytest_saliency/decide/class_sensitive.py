"""Do the maps depend on the class that is explained?

A_i is the agreement of the maps for the top-1 and the top-2 class. PASS rests on three legs: the published
Wilcoxon test (CASE paper, arXiv 2506.07327, eq. 8), the same hypothesis without Wilcoxon's symmetry, and proof that
the disagreement is not mere noise. FAIL needs the first two to reject the other way.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from pytest_saliency.decide import effort, power, ranks, rates, words
from pytest_saliency.decide.bootstrap import bca_mean
from pytest_saliency.decide.class_sensitive_words import CLASSES, Compared, Lost, headline, notes
from pytest_saliency.decide.decision import Decision, Interval, Leg, Measure, NotAttainable
from pytest_saliency.decide.tolerance import Sensitivity, Tolerance, Way, reachable, tolerance_of
from pytest_saliency.decide.values import (
    FloatArray,
    Units,
    checked,
    defined,
    filled,
    level,
    mean_of,
    median_of,
    same_length,
    sd_of,
    share_limit,
)
from pytest_saliency.decide.verdict import Verdict, verdict_of
from pytest_saliency.errors import CriterionError

KIND = "class_sensitive"
HALF = 0.5
BINS = 20
LARGE_REGIONS = tolerance_of("agreement")


def decide(
    agreement: npt.ArrayLike,
    self_agreement: npt.ArrayLike | None,
    *,
    max_agreement: float,
    alpha: float = 0.05,
    max_undefined: float = 0.05,
    rule: Literal["full", "published"] = "full",
    clusters: Sequence[Hashable] | None = None,
    other_image_agreement: npt.ArrayLike | None = None,
    prediction_changed: npt.ArrayLike | None = None,
    tolerance: Tolerance | None = None,
    compared: Compared = CLASSES,
    seed: int,
) -> Decision:
    """Decide whether the maps for top-1 and top-2 agree less than ``max_agreement``.

    Parameters
    ----------
    agreement, self_agreement
        (n,) in [0, 1], ordered by case id, NaN where undefined: the agreement of the top-1 map with the top-2 map,
        and with the top-1 map of the jittered image. Without the latter the full rule cannot PASS.
    rule
        ``full`` for all legs; ``published`` for the Wilcoxon test alone on the defined images.
    clusters
        One name per image; numbers are averaged within a cluster and the clusters are the units.
    other_image_agreement
        Agreement with another image's map: the chance level, a read-out.
    prediction_changed
        (n,) bool: where the jitter changed the predicted class, which leaves no repeat of the same explanation; says
        only why ``self_agreement`` is NaN there.
    tolerance
        By how much agreements of two runs may differ; that of large regions by default.
    compared
        What the two maps are for, in words.

    Raises
    ------
    NotAttainable
        If not even perfectly class-sensitive maps could PASS with these images.
    CriterionError
        If a number or a setting lies outside its range.
    """
    level(alpha)
    share_limit("max_agreement", max_agreement)
    share_limit("max_undefined", max_undefined)
    if rule not in ("full", "published"):
        raise CriterionError(f"the rule is {rule!r}; it must be 'full' or 'published'.")
    cross = checked("agreement", agreement, 0.0, 1.0)
    again = None
    if self_agreement is not None:
        again = checked("self_agreement", self_agreement, 0.0, 1.0)
        same_length("self_agreement", again, "agreement", cross.size)
    changed = np.zeros(cross.size, dtype=np.bool_)
    if prediction_changed is not None:
        changed = np.asarray(prediction_changed, dtype=np.bool_)
        same_length("prediction_changed", changed, "agreement", cross.size)
        changed = changed & ~np.isnan(cross)
    units = Units(cross.size, clusters)
    needed = _attainable(units, max_agreement, alpha)
    undefined = int(np.isnan(cross).sum())
    unsure = 0 if again is None else int(np.isnan(again).sum())
    lost = np.isnan(cross) if again is None else np.isnan(cross) | np.isnan(again)
    share = float(np.mean(lost))
    why = Lost(int(lost.sum()), int((changed & lost).sum()), cross.size, max_undefined, compared)
    seen = defined(units.average(cross))
    worst, best = _sides(units, cross, rule)

    p_less, p_greater = _wilcoxon(worst, best, max_agreement, needed)
    below, above = _counts(worst, best, max_agreement)
    published = Leg(
        "wilcoxon",
        f"the maps for {compared.both} agree less than {words.declared(max_agreement)} (Wilcoxon signed ranks)",
        p_less,
        p_less < alpha,
        ranks.hodges_lehmann(seen),
    )
    legs: tuple[Leg, ...] = (published,)
    measures = {"agreement": _agreement(worst, best, seen, undefined, max_agreement, alpha, units.n, compared)}
    fails = p_greater < alpha
    p_fail = p_greater
    if rule == "full":
        reach = _reach(worst, best, below, above, undefined, max_agreement, alpha)
        p_beyond = 1.0 if reach.p_fail is None else reach.p_fail
        fails, p_fail = fails and p_beyond < alpha, max(p_fail, p_beyond)
        measures["share_reaching_limit"] = reach
        noise, own = _not_noise(units, cross, again, unsure, alpha, compared)
        if own is not None:
            measures["self_agreement"] = own
        legs = (published, _reach_leg(reach, alpha), noise)
    blocked = rule == "full" and share > max_undefined
    holds = all(leg.holds for leg in legs) and not blocked
    verdict = verdict_of(holds, fails)
    p_pass = max(leg.p for leg in legs[:2])
    sensitive = verdict_of(all(leg.holds for leg in legs[:2]), fails)
    measures["agreement"] = replace(measures["agreement"], verdict=sensitive, p_pass=p_pass, p_fail=p_fail)
    within = _sensitivity(
        verdict, units, cross, again, rule, max_agreement, alpha, needed, blocked, tolerance or LARGE_REGIONS
    )
    return Decision(
        kind=KIND,
        verdict=verdict,
        headline=headline(verdict, measures["agreement"], legs, blocked, why, alpha, (units.n, units.images)),
        measures=measures,
        legs=legs,
        n=units.n,
        counts={
            "images": int(cross.size),
            units.word: units.n,
            "undefined": int(lost.sum()),
            "undefined agreement": undefined,
            "undefined self-agreement": unsure,
            **({} if prediction_changed is None else {"prediction changed by jitter": why.changed}),
        },
        undefined_share=share,
        effect_size={
            "rank_biserial": ranks.rank_biserial(seen - max_agreement),
            "share_below_limit": mean_of((seen < max_agreement - ranks.SAME).astype(np.float64)),
        },
        smallest_detectable=_detectable(seen, units.n, alpha),
        readouts={
            **_readouts(seen, other_image_agreement, max_agreement, alpha, seed),
            "p_fail_holm": {"agreement": p_fail},
        },
        notes=(*notes(rule, again is None, why, undefined, blocked), *within.notes(verdict)),
        alpha=alpha,
        rule=rule,
        seed=seed,
        within_tolerance=within,
    )


def _sides(units: Units, cross: FloatArray, rule: str) -> tuple[FloatArray, FloatArray]:
    """Return the units' agreements, undefined images at their worst and at their best for PASS."""
    if rule == "published":
        seen = defined(units.average(cross))
        return seen, seen
    return units.average(filled(cross, 1.0)), units.average(filled(cross, 0.0))


def _sensitivity(
    verdict: Verdict,
    units: Units,
    cross: FloatArray,
    again: FloatArray | None,
    rule: str,
    limit: float,
    alpha: float,
    needed: int,
    blocked: bool,
    tolerance: Tolerance,
) -> Sensitivity:
    """Return which verdicts agreements within the tolerance of these give."""
    if not effort.described():
        return reachable({"agreement": tolerance}, verdict, verdict, verdict)

    def moved(way: Way) -> Verdict:
        between = tolerance.moved(cross, way, limit, 0.0, 1.0)
        worst, best = _sides(units, between, rule)
        p_less, p_greater = _wilcoxon(worst, best, limit, needed)
        holds, fails = p_less < alpha, p_greater < alpha
        if rule == "full":
            below, above = _counts(worst, best, limit)
            n = units.n
            holds = holds and not blocked and rates.p_share_below(n - below, n, HALF) < alpha
            fails = fails and rates.p_share_above(above, n, HALF) < alpha
            if again is None:
                holds = False
            else:
                repeat = tolerance.moved(again, -way, filled(between, 1.0), 0.0, 1.0)
                holds = holds and ranks.sign_test(_wins(units, between, repeat), n) < alpha
        return verdict_of(holds, fails)

    return reachable({"agreement": tolerance}, verdict, moved(-1), moved(1))


def _counts(worst: FloatArray, best: FloatArray, limit: float) -> tuple[int, int]:
    """Return how many units lie surely below the limit, and how many surely above it."""
    return int(np.sum(worst < limit - ranks.SAME)), int(np.sum(best > limit + ranks.SAME))


def _wins(units: Units, cross: FloatArray, again: FloatArray) -> int:
    """Return how many units agree more with their own repeat; ties and undefined images count against."""
    return int(np.sum(units.average(filled(again, 0.0) - filled(cross, 1.0)) > ranks.SAME))


def _attainable(units: Units, max_agreement: float, alpha: float) -> int:
    """Return the smallest n that could PASS, or raise."""
    needed = rates.smallest_n_below(HALF, alpha) or 1
    if units.n == 0:
        raise NotAttainable(
            "class_sensitive has no image to decide on; check the cases and which of them 'keep' leaves.",
            n=0,
            needed=needed,
        )
    if max_agreement <= ranks.SAME:
        raise NotAttainable(
            "class_sensitive cannot PASS with max_agreement 0, because agreement is never below 0;"
            " declare a limit above 0.",
            n=units.n,
            needed=None,
        )
    if units.n < needed:
        raise NotAttainable(
            f"class_sensitive could not PASS with {words.several(units.n, units.word.removesuffix('s'))} even if all"
            " of them were perfect:"
            f" at alpha {alpha:g} it needs {needed}; add images, or raise alpha.",
            n=units.n,
            needed=needed,
        )
    return needed


def _wilcoxon(worst: FloatArray, best: FloatArray, limit: float, needed: int) -> tuple[float, float]:
    # Fewer defined images than any sample needs show nothing; the normal approximation for ties would claim more.
    if worst.size < needed:
        return 1.0, 1.0
    return ranks.wilcoxon(worst - limit, "less"), ranks.wilcoxon(best - limit, "greater")


def _agreement(
    worst: FloatArray,
    best: FloatArray,
    seen: FloatArray,
    undefined: int,
    limit: float,
    alpha: float,
    n: int,
    compared: Compared,
) -> Measure:
    high = rates.median_bounds(worst, alpha, 0.0, 1.0)[1] if worst.size else 1.0
    low = rates.median_bounds(best, alpha, 0.0, 1.0)[0] if best.size else 0.0
    return Measure(
        name="agreement",
        title=f"median agreement of the maps for {compared.both}",
        estimate=median_of(seen),
        interval=Interval(low, high, 1.0 - alpha, "order statistics (exact)"),
        limit=limit,
        side="<",
        n=n,
        undefined=undefined,
        sd=sd_of(seen),
    )


def _reach(
    worst: FloatArray, best: FloatArray, below: int, above: int, undefined: int, limit: float, alpha: float
) -> Measure:
    n = int(worst.size)
    p_pass = rates.p_share_below(n - below, n, HALF)
    p_fail = rates.p_share_above(above, n, HALF)
    return Measure(
        name="share_reaching_limit",
        title=f"share of images with maps too much alike (agreement {words.declared(limit)} or more)",
        estimate=(n - below) / n,
        interval=Interval(
            rates.lower_bound(int(np.sum(best >= limit - ranks.SAME)), n, alpha),
            rates.upper_bound(n - below, n, alpha),
            1.0 - alpha,
            "Clopper-Pearson",
        ),
        limit=HALF,
        side="<",
        n=n,
        undefined=undefined,
        sd=math.nan,
        verdict=verdict_of(p_pass < alpha, p_fail < alpha),
        p_pass=p_pass,
        p_fail=p_fail,
    )


def _reach_leg(reach: Measure, alpha: float) -> Leg:
    p = 1.0 if reach.p_pass is None else reach.p_pass
    return Leg(
        "share",
        "fewer than half of the images have maps too much alike (exact binomial)",
        p,
        p < alpha,
        reach.estimate,
        reach.interval.high,
    )


def _not_noise(
    units: Units, cross: FloatArray, again: FloatArray | None, unsure: int, alpha: float, compared: Compared
) -> tuple[Leg, Measure | None]:
    """Return leg 3 and its measure."""
    statement = (
        f"{compared.first} agrees more with its own repeat under jitter than with {compared.second} (exact sign test)"
    )
    if again is None:
        return Leg("not_noise", statement, 1.0, False), None
    wins = _wins(units, cross, again)
    p = ranks.sign_test(wins, units.n)
    low = rates.lower_bound(wins, units.n, alpha)
    own = defined(units.average(again))
    measure = Measure(
        name="self_agreement",
        title=f"share of images whose map is more like its own repeat than like {compared.second}",
        estimate=wins / units.n,
        interval=Interval(low, rates.upper_bound(wins, units.n, alpha), 1.0 - alpha, "Clopper-Pearson"),
        limit=HALF,
        side=">",
        n=units.n,
        undefined=unsure,
        sd=sd_of(own),
        verdict=verdict_of(p < alpha, False),
        p_pass=p,
    )
    return Leg("not_noise", statement, p, p < alpha, wins / units.n, low), measure


def _detectable(seen: FloatArray, n: int, alpha: float) -> dict[str, float]:
    sd = sd_of(seen)
    return {
        "share of images reaching the limit (exact)": power.share_below(n, HALF, alpha),
        "gap between agreement and limit (approximate)": power.wilcoxon_gap(seen.size, sd, alpha),
    }


def _readouts(
    seen: FloatArray, other: npt.ArrayLike | None, limit: float, alpha: float, seed: int
) -> dict[str, object]:
    counts, edges = np.histogram(seen, bins=BINS, range=(0.0, 1.0))
    low, high = bca_mean(seen, alpha, seed)
    readouts: dict[str, object] = {
        "mean": mean_of(seen),
        "mean_bca": {"low": low, "high": high, "level": 1.0 - alpha},
        "median": median_of(seen),
        "hodges_lehmann": ranks.hodges_lehmann(seen),
        "histogram": {"edges": [round(float(edge), 2) for edge in edges], "counts": counts.tolist(), "limit": limit},
    }
    if other is not None:
        chance = defined(checked("other_image_agreement", other, 0.0, 1.0))
        readouts["other_image_agreement"] = {
            "mean": mean_of(chance),
            "median": median_of(chance),
            "n": int(chance.size),
        }
    return readouts
