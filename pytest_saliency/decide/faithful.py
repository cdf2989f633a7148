"""Do the regions carry the image's own evidence, and more of it than another method's regions?

The swap test (swap.py) decides for every fill. PASS: for every fill p < alpha and the lower bound of the advantage
above ``min_advantage``, and every comparison with another method holds. FAIL: for any fill the upper bound below
``min_advantage``, or another method shown to be better (by more than the margin).

Inverting the swap test takes every image's advantage to be one and the same. Where advantages vary between images, its
bounds are too narrow (wrong PASS of 10-13 % at alpha 0.05 in simulation), so a second leg has to agree: the sign-flip
permutation test of the images' own advantages about the margin, which Hall's transformation for skewness and random
weights with room for an unseen tail have to confirm (compare.py, which tells what they assume and what was seen). All
must reject, on either side, and the bounds shown are the widest ones. Masks that blocks share make the second leg
conservative, never liberal.

"For any" asks several questions at once, so the FAIL alarms of one check are adjusted together by Holm: a check
whose fills and comparisons all hold is failed with probability at most alpha. The bounds shown are unadjusted.

The advantage is an image's own drop minus the mean drop by the other images' regions of its block. The mean leaves
the own region out: with it, one and the same effect would shrink by 1/2 in blocks of two and by 1/5 in blocks of
five, and the limit would mean something else in every class.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from pytest_saliency.decide import compare, power, words
from pytest_saliency.decide.decision import Decision, Interval, Leg, Measure, NotAttainable
from pytest_saliency.decide.faithful_words import headline
from pytest_saliency.decide.holm import holm
from pytest_saliency.decide.reference import DRAWS, Reference
from pytest_saliency.decide.swap import (
    SwapBlock,
    arrangements,
    make_blocks,
    smallest_n,
    swap_reference,
)
from pytest_saliency.decide.tolerance import Sensitivity, Tolerance, reachable, tolerance_of
from pytest_saliency.decide.values import FloatArray, checked, defined, level, mean_of, median_of, sd_of, share_limit
from pytest_saliency.decide.verdict import Verdict, verdict_of
from pytest_saliency.errors import CriterionError

__all__ = ["SwapBlock", "decide", "make_blocks"]

KIND = "faithful"
Pairs = Mapping[str, Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]]]
Question = Callable[[float], tuple[float, float]]
"""The p-values of PASS and FAIL of one fill or comparison, had every advantage been larger by the argument."""


def decide(
    blocks: Mapping[str, Sequence[SwapBlock]],
    *,
    min_advantage: float,
    alpha: float = 0.05,
    max_undefined: float = 0.05,
    against: Pairs | None = None,
    max_disadvantage: float | None = None,
    softmax_drop: Mapping[str, npt.ArrayLike] | None = None,
    counts: Mapping[str, int] | None = None,
    tolerance: Tolerance | None = None,
    seed: int,
) -> Decision:
    """Decide whether removing its own region costs an image more than removing other images' regions does.

    Parameters
    ----------
    blocks
        For every fill the swap blocks, the same images in each; score drops in log-odds.
    min_advantage
        The advantage that must be exceeded, in log-odds.
    against
        For every other method and fill the pair (own, other) of (n,) score drops by the own region, on the same
        images, NaN where a map is undefined. A missing drop counts as large, against the method for PASS and in
        favour of it for FAIL, as the largest seen (``compare.extremes``), so it can help neither.
    max_disadvantage
        How much smaller the mean drop may be than the other method's; ``None``: it must be larger.
    softmax_drop
        For every fill the signed drop of the softmax probability (n,), as in the CASE paper's Table III; a read-out.
    counts
        Images by fate, taken over into the decision.
    tolerance
        By how much score drops of two runs may differ; that of ``log_odds_drop`` by default.

    Raises
    ------
    NotAttainable
        If the blocks have too few permutations, or there are too few pairs, for p < alpha.
    CriterionError
        If blocks, numbers or settings do not fit together.
    """
    level(alpha)
    share_limit("max_undefined", max_undefined)
    if not math.isfinite(min_advantage):
        raise CriterionError(f"min_advantage is {min_advantage}; it must be a finite number of log-odds.")
    if max_disadvantage is not None and not 0.0 <= max_disadvantage < math.inf:
        raise CriterionError(f"max_disadvantage is {max_disadvantage}; it must be 0 or more log-odds, or left out.")
    first = _checked(blocks, alpha)
    n = sum(len(block.rows) for block in first)

    measures: dict[str, Measure] = {}
    legs: list[Leg] = []
    effects: dict[str, float] = {}
    detectable: dict[str, float] = {}
    readouts: dict[str, object] = {}
    questions: dict[str, Question] = {}
    lost: set[int] = set()
    for fill, own in blocks.items():
        lost |= {row for block in own for row, missing in zip(block.rows, block.undefined, strict=True) if missing}
        measure, tested, spread, asked = _advantage(fill, own, min_advantage, alpha, seed)
        measures[measure.name], questions[measure.name] = measure, asked
        legs += tested
        effects[measure.name] = measure.estimate / measure.sd if measure.sd > 0.0 else math.nan
        detectable[f"{measure.name} above the margin (approximate)"] = spread
    limit = 0.0 if max_disadvantage is None else -max_disadvantage
    thin, unpaired = False, 0
    for method, fills in (against or {}).items():
        for fill, (own_drop, other_drop) in fills.items():
            measure, leg, spread, paired, asked = _comparison(method, fill, own_drop, other_drop, limit, alpha, seed)
            measures[measure.name], questions[measure.name] = measure, asked
            legs.append(leg)
            effects[measure.name] = measure.estimate / measure.sd if measure.sd > 0.0 else math.nan
            detectable[f"{measure.name} above the margin (approximate)"] = spread
            readouts[f"paired_t {measure.name}"] = paired
            thin = thin or measure.undefined / measure.n > max_undefined
            unpaired = max(unpaired, measure.undefined)
    adjusted = holm({name: 1.0 if entry.p_fail is None else entry.p_fail for name, entry in measures.items()})
    shown = {name: entry for name, entry in measures.items() if adjusted[name] < alpha}
    share = len(lost) / n
    blocked = share > max_undefined or thin
    verdict = verdict_of(all(leg.holds for leg in legs) and not blocked, bool(shown))
    within = _sensitivity(verdict, questions, blocked, alpha, tolerance or tolerance_of("log_odds_drop"))
    measures = {name: _judged(entry, legs, adjusted[name] < alpha) for name, entry in measures.items()}
    readouts["p_fail_holm"] = adjusted
    readouts["advantage"] = {fill: _spread_of(own) for fill, own in blocks.items()}
    if softmax_drop is not None:
        readouts["softmax_drop"] = {fill: _softmax(fill, drops) for fill, drops in softmax_drop.items()}
    notes = ["the FAIL alarms of all fills and comparisons are adjusted together (Holm); bounds are unadjusted"]
    if lost:
        notes.append(
            f"{words.several(len(lost), 'undefined image')} counted with the row's smallest drop for PASS and the"
            " largest for FAIL, and their random regions the other way"
        )
    if unpaired:
        notes.append(
            f"up to {words.several(unpaired, 'image')} without a map of this or of another method: for PASS the missing"
            " score drop counts as large as the largest seen on any image, against this method, and the difference as"
            " at least the limit and the largest difference seen; for FAIL the other way round"
        )
    notes.append(compare.ASSUMES)
    if blocked:
        notes.append(f"undefined images exceed {words.percent(max_undefined)}, which blocks PASS")
    return Decision(
        kind=KIND,
        verdict=verdict,
        headline=headline(verdict, measures, tuple(legs), tuple(shown), share, max_undefined, blocked, n, alpha),
        measures=measures,
        legs=tuple(legs),
        n=n,
        counts={"images": n, "blocks": len(first), "undefined": len(lost), **(counts or {})},
        undefined_share=share,
        effect_size=effects,
        smallest_detectable=detectable,
        readouts=readouts,
        notes=(*notes, *within.notes(verdict)),
        alpha=alpha,
        seed=seed,
        within_tolerance=within,
    )


def _sensitivity(
    verdict: Verdict, questions: Mapping[str, Question], blocked: bool, alpha: float, tolerance: Tolerance
) -> Sensitivity:
    """Return which verdicts score drops within the tolerance of these give.

    An advantage is a difference of drops, which may both be off, so it moves by twice the tolerance. If every own
    drop is lower by t and every other one higher, each permutation loses 2 t for each region it moves: the same
    permutations at a margin higher by 2 t. So the references that are there answer, and nothing is drawn again.
    An undefined image has no drop of its own; it is moved like the others, which is more than could happen to it.
    """

    def moved(by: float) -> Verdict:
        answers = {name: ask(by) for name, ask in questions.items()}
        adjusted = holm({name: p_fail for name, (_, p_fail) in answers.items()})
        holds = all(p_pass < alpha for p_pass, _ in answers.values()) and not blocked
        return verdict_of(holds, any(p < alpha for p in adjusted.values()))

    # Whichever images are off by more, a sum of drops is off by their mean.
    by = 2.0 * tolerance.mean
    return reachable({"log_odds_drop": tolerance}, verdict, moved(by), moved(-by))


def _checked(blocks: Mapping[str, Sequence[SwapBlock]], alpha: float) -> Sequence[SwapBlock]:
    """Return the blocks of the first fill after checking that all fills hold the same images and enough of them."""
    if not blocks:
        raise CriterionError("faithful was given no fill; declare at least one, such as blur.")
    first_fill = next(iter(blocks))
    first = blocks[first_fill]
    for fill, own in blocks.items():
        if [block.rows for block in own] != [block.rows for block in first]:
            raise CriterionError(f"the swap blocks of fill {fill} hold other images than those of {first_fill}.")
    rows = [row for block in first for row in block.rows]
    if len(set(rows)) != len(rows):
        raise CriterionError("an image is in two swap blocks; each image must be in one.")
    needed = max(smallest_n(alpha), compare.smallest_n(alpha))
    if not rows:
        raise NotAttainable(
            "faithful has no two images of one predicted class to swap regions between; it needs"
            f" {needed} of one class, or a few of each. Add images, and check which of them 'keep' leaves.",
            n=0,
            needed=needed,
        )
    if alpha * (DRAWS + 1) <= 1.0:
        raise NotAttainable(
            f"faithful could not PASS at alpha {alpha:g}: its test draws {DRAWS:,} permutations, so p is never below"
            f" {1 / (DRAWS + 1):g}; raise alpha.",
            n=len(rows),
            needed=None,
        )
    ways = arrangements([len(block.rows) for block in first])
    if ways <= 1.0 / alpha or len(rows) < compare.smallest_n(alpha):
        raise NotAttainable(
            f"faithful could not PASS with {len(rows)} images in {words.several(len(first), 'block')} even if all of"
            f" them were perfect: {ways} ways to swap regions and {2 ** len(rows)} sign patterns cannot both give"
            f" p < {alpha:g}; it needs {needed} images of one predicted class, or more classes with several each.",
            n=len(rows),
            needed=needed,
        )
    return first


def _advantage(
    fill: str, blocks: Sequence[SwapBlock], min_advantage: float, alpha: float, seed: int
) -> tuple[Measure, list[Leg], float, Question]:
    """Return measure, legs, smallest detectable advantage and p-values of one fill."""
    worst = swap_reference([block.with_own("worst", min_advantage) for block in blocks], seed)
    best = worst
    if any(bool(block.undefined.any()) for block in blocks):
        best = swap_reference([block.with_own("best", min_advantage) for block in blocks], seed)
    own = np.concatenate([block.advantages() for block in blocks])
    weights = np.concatenate([np.full(len(block.rows), block.weight) for block in blocks])
    seen = ~np.isnan(own)
    estimate = float(np.average(own[seen], weights=weights[seen])) if bool(seen.any()) else math.nan
    spread_worst = _between_images(blocks, "worst", min_advantage, seed)
    spread_best = _between_images(blocks, "best", min_advantage, seed)

    def ask(by: float) -> tuple[float, float]:
        margin = min_advantage - by
        p_pass = max(worst.p_greater(-by), worst.p_greater(margin), spread_worst.p_greater(margin))
        return p_pass, max(best.p_less(margin), spread_best.p_less(margin))

    p_zero, p_margin = worst.p_greater(0.0), worst.p_greater(min_advantage)
    p_images = spread_worst.p_greater(min_advantage)
    p_pass, p_fail = ask(0.0)
    measure = Measure(
        name=f"advantage[{fill}]",
        title=f"advantage with {fill} (log-odds)",
        estimate=estimate,
        interval=_wider(worst, best, spread_worst, spread_best, alpha),
        limit=min_advantage,
        side=">",
        n=int(own.size),
        undefined=sum(int(block.undefined.sum()) for block in blocks),
        sd=sd_of(own[seen]),
        p_pass=p_pass,
        p_fail=p_fail,
    )
    low = measure.interval.low
    legs = [
        Leg(
            f"swap[{fill}]",
            f"with {fill}, removing its own region costs an image more than removing other images' regions"
            " (permutation test)",
            p_zero,
            p_zero < alpha,
            estimate,
        )
    ]
    if min_advantage != 0.0:
        statement = f"with {fill}, the advantage is above {min_advantage:g} log-odds (inverted permutation test)"
        legs.append(Leg(f"margin[{fill}]", statement, p_margin, p_margin < alpha, estimate, low))
    statement = (
        f"with {fill}, the advantage is above {min_advantage:g} log-odds although it varies between images"
        " (sign flips, Hall's transformation and random weights)"
    )
    legs.append(Leg(f"images[{fill}]", statement, p_images, p_images < alpha, estimate, low))
    errors = [worst.standard_error(worst.estimate()), spread_worst.standard_error()]
    return measure, legs, power.normal_gap(max(errors), alpha), ask


def _between_images(
    blocks: Sequence[SwapBlock], side: Literal["worst", "best"], margin: float, seed: int
) -> compare.MeanReference:
    """Return the reference of the mean of the images' advantages, undefined images at their worst or best."""
    advantages = []
    for block in blocks:
        matrix = block.with_own(side, margin)
        own = np.diag(matrix)
        advantages.append(own - (matrix.sum(axis=1) - own) / (len(own) - 1))
    usable = defined(np.concatenate([block.advantages() for block in blocks]))
    return compare.mean_reference(np.concatenate(advantages), seed, usable)


def _wider(
    worst: Reference,
    best: Reference,
    spread_worst: compare.MeanReference,
    spread_best: compare.MeanReference,
    alpha: float,
) -> Interval:
    kind = "all permutations" if worst.exact else f"{DRAWS:,} permutations"
    return Interval(
        min(worst.lower(alpha), spread_worst.lower(alpha)),
        max(best.upper(alpha), spread_best.upper(alpha)),
        1.0 - alpha,
        f"inverted permutation test ({kind}); sign flips, Hall's transformation and random weights between images; the"
        " widest",
    )


def _comparison(
    method: str, fill: str, own: npt.ArrayLike, other: npt.ArrayLike, limit: float, alpha: float, seed: int
) -> tuple[Measure, Leg, float, dict[str, float], Question]:
    """Return measure, leg, smallest detectable difference, paired t and p-values of one method and fill."""
    name = f"against[{method},{fill}]"
    mine = checked(f"{name} own drop", own, -np.finfo(np.float64).max, np.finfo(np.float64).max)
    theirs = checked(f"{name} other drop", other, -np.finfo(np.float64).max, np.finfo(np.float64).max)
    if mine.size != theirs.size:
        raise CriterionError(f"{name} compares {mine.size} images with {theirs.size}; give the same images.")
    differences = mine - theirs
    seen = defined(differences)
    needed = compare.smallest_n(alpha)
    if differences.size < needed:
        raise NotAttainable(
            f"faithful could not show a difference to {method} with {differences.size} images even if all of them were"
            f" perfect: at alpha {alpha:g} it needs {needed}; add images.",
            n=int(differences.size),
            needed=needed,
        )
    most, least = compare.extremes(mine, theirs, limit)
    worst, best = compare.mean_reference(least, seed, seen), compare.mean_reference(most, seed, seen)

    def ask(by: float) -> tuple[float, float]:
        return worst.p_greater(limit - by), best.p_less(limit - by)

    p_pass, p_fail = ask(0.0)
    estimate = mean_of(seen)
    wanted = "a larger score drop" if limit == 0.0 else f"a score drop at most {-limit:g} log-odds smaller"
    measure = Measure(
        name=name,
        title=f"score drop beyond {method}'s with {fill} (log-odds)",
        estimate=estimate,
        interval=Interval(worst.lower(alpha), best.upper(alpha), 1.0 - alpha, worst.method),
        limit=limit,
        side=">",
        n=int(differences.size),
        undefined=int(differences.size - seen.size),
        sd=sd_of(seen),
        p_pass=p_pass,
        p_fail=p_fail,
    )
    leg = Leg(
        name,
        f"with {fill}, {wanted} than {method} on the same images (sign flips, Hall's transformation, random weights)",
        p_pass,
        p_pass < alpha,
        estimate,
        measure.interval.low,
    )
    spread = power.normal_gap(worst.standard_error(), alpha)
    return measure, leg, spread, compare.paired_t(seen), ask


def _judged(measure: Measure, legs: Sequence[Leg], failed: bool) -> Measure:
    _, _, key = measure.name.partition("[")
    names = (measure.name, f"swap[{key}", f"margin[{key}", f"images[{key}")
    mine = [leg for leg in legs if leg.name in names]
    return replace(measure, verdict=verdict_of(all(leg.holds for leg in mine), failed))


def _spread_of(blocks: Sequence[SwapBlock]) -> dict[str, float]:
    own = defined(np.concatenate([block.advantages() for block in blocks]))
    return {
        "median": median_of(own),
        "sd": sd_of(own),
        "share_positive": mean_of((own > 0.0).astype(np.float64)),
        "n": own.size,
    }


def _softmax(fill: str, drops: npt.ArrayLike) -> dict[str, float]:
    seen: FloatArray = defined(checked(f"softmax_drop of {fill}", drops, -1.0, 1.0))
    return {"mean": mean_of(seen), "median": median_of(seen), "sd": sd_of(seen), "n": seen.size}
