"""Is the model as good for every group? The largest difference between the means of declared groups.

PASS: the upper bound of the largest difference is below the limit, for every limited measure. FAIL: its lower bound is
above one; these alarms are adjusted together by Holm. Numbers with a range are bounded by betting, which holds at every
n; the advantage of faithfulness has none, and is bounded as ``compare`` says. A group's own images are averaged within
clusters first. A group that is smaller than ``min_group``, or of which nothing was kept, blocks PASS and is named; FAIL
stays possible, because what the other groups show does not become less by it.

An undefined image counts at both ends of the range at once: for PASS and for FAIL alike the bounds of its group are
the wider by it. Without a range it counts beyond the largest number seen by more than the limit.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pytest_saliency.decide import between, compare, effort, means, power, words
from pytest_saliency.decide.decision import Decision, Interval, Leg, Measure
from pytest_saliency.decide.groups import GroupRow, group_rows, members_of
from pytest_saliency.decide.holm import holm
from pytest_saliency.decide.subgroups_words import Gates, headline
from pytest_saliency.decide.tolerance import Tolerance, reachable
from pytest_saliency.decide.values import FloatArray, Units, defined, filled, level, mean_of, sd_of, share_limit, within
from pytest_saliency.decide.verdict import Verdict, verdict_of
from pytest_saliency.decide.worsening_measures import LARGEST, Compared, measure_names, measure_of
from pytest_saliency.errors import CriterionError

KIND = "no_subgroup_gap"
LIMIT = "max_gap"
MOST = 50
BETTING = "betting (Waudby-Smith and Ramdas 2024), the level split between groups"


@dataclass(frozen=True, eq=False)
class Question:
    """One limited column: the groups' means as PASS and as FAIL ask for them, and what was seen."""

    column: str
    measure: Compared
    limit: float
    for_pass: list[between.Mean]
    for_fail: list[between.Mean]
    seen: list[FloatArray]
    undefined: int

    @property
    def name(self) -> str:
        """What the measure is called in the decision."""
        return f"gap[{self.column}]"

    @property
    def title(self) -> str:
        """What it is called in words."""
        return f"largest difference between groups in {self.measure.called(self.column)}"

    @property
    def estimate(self) -> float:
        """Return the largest difference of two groups' means that was seen; NaN with fewer than two of them."""
        found = [mean_of(values) for values in self.seen if values.size]
        return max(found) - min(found) if len(found) > 1 else math.nan

    def p_values(self, limit: float) -> tuple[float, float]:
        """Return the p-values of "the largest difference is at least ``limit``" (for PASS) and "it is at most"."""
        places = range(len(self.seen))
        pairs = [(i, j) for i in places for j in places if i != j]
        return (
            max(between.p_difference_below(self.for_pass[i], self.for_pass[j], limit) for i, j in pairs),
            min(
                between.p_difference_above(self.for_fail[i], self.for_fail[j], limit, 2 * len(self.seen))
                for i, j in pairs
            ),
        )


def decide(
    kind: str,
    values: Mapping[str, npt.ArrayLike],
    groups: Sequence[str],
    *,
    limits: Mapping[str, float],
    min_group: int,
    declared: Mapping[str, int],
    alpha: float = 0.05,
    max_undefined: float = 0.05,
    clusters: Sequence[Hashable] | None = None,
    region: int | None = None,
    counts: Mapping[str, int] | None = None,
    seed: int,
) -> Decision:
    """Decide whether the means of the groups differ by less than the limits.

    Parameters
    ----------
    kind
        The kind of the check that the numbers come from; it says what the measures are.
    values
        By column the number of each kept image, ordered by case id, NaN where undefined.
    groups, clusters
        One name per kept image.
    limits
        By measure, in its own unit; a measure with several columns (one a fill) is limited in each.
    min_group
        A group with fewer units blocks PASS.
    declared
        How many images each group has, also those that were not kept.
    region
        Positions in a top region, for the tolerance between machines.

    Raises
    ------
    CriterionError
        Fewer than two groups are declared or left, or numbers and settings do not fit together.
    """
    level(alpha)
    share_limit("max_undefined", max_undefined)
    _check_groups(groups, declared)
    members = members_of(groups)
    if len(members) < 2:
        raise CriterionError(
            f"{KIND} compares groups, and images of only one were kept: '{next(iter(members), '')}'. Look at the"
            " predictions, and at what 'keep' of the check leaves."
        )
    units = {name: Units(len(rows), _picked(clusters, rows)) for name, rows in members.items()}
    asked = _questions(kind, values, limits, members, units, alpha, seed)
    measures: dict[str, Measure] = {}
    legs: list[Leg] = []
    total = Units(len(groups), clusters).n  # a cluster may be in several groups; it is one all the same
    for question in asked:
        p_pass, p_fail = question.p_values(question.limit)
        low = between.largest_lower(question.for_fail, alpha)
        high = between.largest_upper(question.for_pass, alpha)
        spread = _within_sd(question.seen)
        method = BETTING if question.measure.ends is not None else "sign flips and Hall, the level split between groups"
        measures[question.name] = Measure(
            name=question.name,
            title=question.title,
            estimate=question.estimate,
            interval=Interval(low, high, 1.0 - alpha, method),
            limit=question.limit,
            side="<=",
            n=total,
            undefined=question.undefined,
            sd=spread,
            p_pass=p_pass,
            p_fail=p_fail,
        )
        statement = f"{question.title} is at most {question.limit:g}"
        legs.append(Leg(f"{LIMIT}[{question.column}]", statement, p_pass, p_pass < alpha, question.estimate, high))
    adjusted = holm({name: 1.0 if entry.p_fail is None else entry.p_fail for name, entry in measures.items()})
    shown = [name for name in sorted(adjusted, key=lambda name: (adjusted[name], name)) if adjusted[name] < alpha]
    kept = len(groups)
    lost = _lost([question.column for question in asked], values, kept)
    sizes = {name: units[name].n if name in units else 0 for name in sorted(declared)}
    gates = Gates(lost / kept, max_undefined, sizes, dict(declared), min_group)
    verdict = verdict_of(all(leg.holds for leg in legs) and not gates.block, bool(shown))
    tolerances = {question.column: question.measure.off_by(region) for question in asked}
    sensitivity = reachable(
        tolerances,
        verdict,
        _moved(asked, tolerances, gates.block, alpha, -1),
        _moved(asked, tolerances, gates.block, alpha, 1),
    )
    measures = {
        name: replace(entry, verdict=verdict_of(leg.holds, name in shown))
        for (name, entry), leg in zip(measures.items(), legs, strict=True)
    }
    rows = _rows(kind, asked, values, groups, clusters, alpha, seed) if effort.described() else []
    word = next(iter(units.values())).word
    return Decision(
        kind=KIND,
        verdict=verdict,
        headline=headline(verdict, measures, shown, gates, alpha, rows),
        measures=measures,
        legs=tuple(legs),
        n=total,
        counts={"kept": kept, "groups": len(declared), word: total, "undefined": lost, **(counts or {})},
        undefined_share=lost / kept,
        effect_size={f"{name}: gap / sd within groups": _ratio(entry) for name, entry in measures.items()},
        smallest_detectable={
            f"{question.name}: gap to the limit (approximate)": _detectable(question, alpha) for question in asked
        },
        readouts={"groups": [row.to_dict() for row in rows], "p_fail_holm": adjusted},
        notes=(*_notes(asked, lost, gates), *sensitivity.notes(verdict)),
        alpha=alpha,
        seed=seed,
        within_tolerance=sensitivity,
    )


def _check_groups(groups: Sequence[str], declared: Mapping[str, int]) -> None:
    if len(declared) < 2:
        which = f"the cases declare one group only, '{next(iter(declared))}'" if declared else "the cases declare none"
        raise CriterionError(
            f"{KIND} compares groups, and {which}; name the group of each case in the cases' metadata."
        )
    if len(declared) > MOST:
        raise CriterionError(
            f"{KIND} compares each group with each other one, and the cases declare {len(declared)} of them, more than"
            f" {MOST}; declare groups that are larger."
        )
    unknown = [name for name in groups if name not in declared]
    if unknown:
        raise CriterionError(f"an image is of the group {unknown[0]!r}, which no case declares.")


def _questions(
    kind: str,
    values: Mapping[str, npt.ArrayLike],
    limits: Mapping[str, float],
    members: Mapping[str, list[int]],
    units: Mapping[str, Units],
    alpha: float,
    seed: int,
) -> list[Question]:
    if not limits:
        raise CriterionError(f"{KIND} declares no limit, so nothing could fail; add one to {LIMIT}.")
    known = measure_names(kind)
    asked = []
    # In the order of the measures, whatever the order in which a file has the limits.
    for name in sorted(limits, key=lambda name: known.index(name) if name in known else -1):
        columns = [column for column in values if column == name or column.startswith(f"{name}[")]
        if not columns:
            raise CriterionError(f"{LIMIT} limits {name!r}, but a check of kind {kind} measured {', '.join(values)}.")
        for column in columns:
            width = measure_of(kind, column).width
            within(f"{LIMIT} of {name}", limits[name], 0.0, LARGEST if width is None else width)
            asked.append(_question(kind, column, values[column], float(limits[name]), members, units, alpha, seed))
    return asked


def _question(
    kind: str,
    column: str,
    values: npt.ArrayLike,
    limit: float,
    members: Mapping[str, list[int]],
    units: Mapping[str, Units],
    alpha: float,
    seed: int,
) -> Question:
    measure = measure_of(kind, column)
    # The way that is worse does not matter for a difference; the range and the size of signed numbers do.
    array = measure.worse * measure.badness(column, np.asarray(values, dtype=np.float64))
    parts = {name: array[rows] for name, rows in members.items()}
    seen = [defined(units[name].average(part)) for name, part in parts.items()]
    ends = measure.range
    if ends is None:
        reach = float(np.max(np.abs(defined(array)), initial=0.0)) + limit
        flips = [_unranged(units[name], part, reach, seed) for name, part in parts.items()]
        return Question(column, measure, limit, [*flips], [*flips], seen, int(np.isnan(array).sum()))
    sides = [
        tuple(means.canonical(units[name].average(filled(part, end)), seed) for end in ends)
        for name, part in parts.items()
    ]
    return Question(
        column=column,
        measure=measure,
        limit=limit,
        for_pass=[between.Betting(down, up, ends, alpha / 2.0) for down, up in sides],
        for_fail=[between.Betting(down, up, ends, alpha / (2.0 * len(sides))) for down, up in sides],
        seen=seen,
        undefined=int(np.isnan(array).sum()),
    )


def _unranged(units: Units, part: FloatArray, reach: float, seed: int) -> between.Mean:
    seen = defined(units.average(part))
    down, up = (units.average(filled(part, end)) for end in (-reach, reach))
    lower = compare.mean_reference(down, seed, seen)
    same = bool(np.array_equal(down, up))
    return between.Unranged(lower, lower if same else compare.mean_reference(up, seed, seen), reach)


def _moved(
    asked: Sequence[Question], tolerances: Mapping[str, Tolerance], blocked: bool, alpha: float, way: int
) -> Verdict:
    """Return the verdict had every difference been larger (1) or smaller (-1) by what two means may be off."""
    p_pass, p_fail = [], {}
    for question in asked:
        one, other = question.p_values(question.limit - 2.0 * way * tolerances[question.column].mean)
        p_pass.append(one)
        p_fail[question.name] = other
    return verdict_of(all(p < alpha for p in p_pass) and not blocked, any(p < alpha for p in holm(p_fail).values()))


def _rows(
    kind: str,
    asked: Sequence[Question],
    values: Mapping[str, npt.ArrayLike],
    groups: Sequence[str],
    clusters: Sequence[Hashable] | None,
    alpha: float,
    seed: int,
) -> list[GroupRow]:
    made = []
    for question in asked:
        array = np.asarray(values[question.column], dtype=np.float64)
        made += group_rows(question.measure, question.column, array, groups, clusters, alpha, seed)
    return made


def _detectable(question: Question, alpha: float) -> float:
    """Return the room between the largest difference and its limit that could be told with 80 % power, about."""
    gaps = []
    for values in question.seen:
        ends = question.measure.range
        if ends is not None:
            gaps.append(power.betting_gap(values.size, sd_of(values), ends[1] - ends[0], alpha / 2.0))
        elif values.size > 1:
            gaps.append(power.normal_gap(sd_of(values) / math.sqrt(values.size), alpha / 2.0))
        else:
            gaps.append(math.nan)
    widest = sorted(gaps, key=lambda gap: -math.inf if math.isnan(gap) else gap)[-2:]
    return math.nan if any(math.isnan(gap) for gap in gaps) else sum(widest)


def _within_sd(seen: Sequence[FloatArray]) -> float:
    """Return the standard deviation within groups, pooled."""
    freedom = sum(max(0, values.size - 1) for values in seen)
    squares = sum(float(np.sum((values - values.mean()) ** 2)) for values in seen if values.size)
    return math.sqrt(squares / freedom) if freedom else math.nan


def _ratio(measure: Measure) -> float:
    return measure.estimate / measure.sd if measure.sd > 0.0 else math.nan


def _picked(clusters: Sequence[Hashable] | None, rows: Sequence[int]) -> list[Hashable] | None:
    return None if clusters is None else [clusters[i] for i in rows]


def _lost(columns: Sequence[str], values: Mapping[str, npt.ArrayLike], kept: int) -> int:
    lost = np.zeros(kept, dtype=np.bool_)
    for column in columns:
        lost |= np.isnan(np.asarray(values[column], dtype=np.float64))
    return int(lost.sum())


def _notes(asked: Sequence[Question], lost: int, gates: Gates) -> list[str]:
    notes = [
        "bounds hold for the largest difference of all pairs of groups at once; FAIL alarms of several limits are"
        " adjusted together (Holm)"
    ]
    if lost:
        notes.append(
            f"{words.several(lost, 'undefined image')} counted at both ends: bounds of its group are the wider"
        )
    if any(question.measure.range is None for question in asked):
        notes.append(compare.ASSUMES)
    return [*notes, *gates.sentences()]
