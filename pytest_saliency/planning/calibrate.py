"""Limits that clean runs keep: what a further clean run would have to be allowed, so that it passes.

Each run is one clean training (another seed), decided by the same check. A check passes where the bound of its measure
lies inside the limit, so the limit proposed is a prediction bound for the bound of one run more. From m runs the most
extreme bound seen is exceeded by the next with a chance of 1 / (m + 1) at most, whatever the distribution, if the runs
are exchangeable: 19 runs give 95 %. With fewer, Student's prediction bound, mean + t sd sqrt(1 + 1/m), assumes that the
bounds of runs are about normal; it is never taken to be less than the most extreme bound seen. Limits are rounded
outwards. Each limit is for itself: a contract of many passes less often, unless the level is shared out among them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np

from pytest_saliency.checks.registry import KINDS
from pytest_saliency.decide.words import several
from pytest_saliency.errors import SaliencyError
from pytest_saliency.planning.pilot import Asked
from pytest_saliency.report.measured import key_of, limited, number

Record = Mapping[str, Any]

FEWEST = 3
DIGITS = 2
NOTHING = 1e-6  # bounds nearer to 0 than this are 0
FREE = "most extreme of {m} runs, no distribution assumed"
STUDENT = "Student's prediction bound from {m} runs, assumes normal bounds"


@dataclass(frozen=True)
class Proposal:
    """One limit. ``key`` as the contract writes it, ``name`` the measure (of a limit by measure), ``limit`` proposed.

    ``bounds``: of the runs, in their order. ``problem``: why nothing is proposed.
    """

    key: str
    name: str | None
    side: str
    declared: float
    limit: float | None
    bounds: tuple[float, ...]
    estimates: tuple[float, ...]
    rule: str
    problem: str = ""


@dataclass(frozen=True)
class Calibrated:
    """What is proposed for one check; ``passes`` counts how many of the runs pass with all of it.

    ``others`` says of each run that does not what keeps it: its place among the runs, and its headline.
    """

    check: str
    kind: str
    runs: int
    proposals: tuple[Proposal, ...]
    passes: int | None
    why: str = ""
    others: tuple[str, ...] = ()


def runs_needed(level: float) -> int:
    """Return how many runs a statement without a distribution takes: m / (m + 1) is ``level`` at least."""
    return math.ceil(level / (1.0 - level) - 1e-9)


def count_limits(asked: Sequence[Asked]) -> int:
    """Return how many limits there are to propose."""
    return sum(len(_limits(one.records[0])) for one in asked if len(distinct(one.records)) >= FEWEST)


def calibrated(asked: Asked, level: float) -> Calibrated:
    """Return limits for one check, each of them kept by a further clean run with a chance of ``level``."""
    item, records = asked.item, distinct(asked.records)
    if not _limits_of(records):
        if len(records) < FEWEST:
            return Calibrated(item.name, item.kind, len(records), (), None, _too_few(asked, len(records)))
        return Calibrated(item.name, item.kind, len(records), (), None, "it has no limit that a run could propose")
    if len(records) < FEWEST:
        return Calibrated(item.name, item.kind, len(records), (), None, _too_few(asked, len(records)))
    proposals = _proposed(records, level)
    again = [_again(asked, record, proposals) for record in records]
    passes, others = None, []
    if all(one is not None for one in again):
        # A share of images beyond a limit depends on that limit, so its bounds are those at the limits just proposed.
        second = _proposed([one for one in again if one is not None], level)
        renewed = {(one.key, one.name): one for one in second}
        proposals = [_renewed(one, renewed.get((one.key, one.name))) for one in proposals]
        final = [_again(asked, record, proposals) for record in records]
        for place, one in enumerate(final, start=1):
            if one is None:
                others.append(f"run {place} cannot be decided with them")
            elif one["decision"]["verdict"] != "PASS":
                others.append(f"run {place} is {one['decision']['verdict']}: {one['decision']['headline']}")
        passes = len(final) - len(others)
    return Calibrated(item.name, item.kind, len(records), tuple(proposals), passes, others=tuple(others))


def _renewed(old: Proposal, new: Proposal | None) -> Proposal:
    """Return the proposal whose bounds were taken at the limits that are proposed."""
    if new is None or new.limit is None or new.bounds == old.bounds:
        return old
    return replace(new, declared=old.declared)


def distinct(records: Sequence[Record]) -> list[Record]:
    """Return one record of each training: a model that ran twice says nothing about how trainings differ."""
    found: dict[str, Record] = {}
    for record in records:
        states = {
            role: one.get("state_sha256") or one.get("weights_sha256") for role, one in record["subjects"].items()
        }
        known = {role: state for role, state in sorted(states.items()) if state}
        found.setdefault(json.dumps(known) if known else str(len(found)), record)
    return list(found.values())


def _too_few(asked: Asked, usable: int) -> str:
    said = f"; {'; '.join(asked.missing[:3])}" if asked.missing else ""
    same = len(asked.records) - usable
    twice = f"; {several(same, 'run is', 'runs are')} of a model that another one looked at already" if same else ""
    return f"{usable} of the runs can be used, {FEWEST} are needed at least{said}{twice}"


def _limits_of(records: Sequence[Record]) -> list[tuple[str, str | None]]:
    return _limits(records[0]) if records else []


def _limits(record: Record) -> list[tuple[str, str | None]]:
    """Return the keys of the limits that a record has a measure for; of limits by measure, with the measure's name."""
    found: dict[tuple[str, str | None], None] = {}
    for measure in limited(record):
        place = _place(measure, record)
        if place is not None:
            found[place] = None
    order = list(KINDS[str(record["kind"])].parameters.model_fields)
    return sorted(found, key=lambda place: (order.index(place[0]), place[1] or ""))


def _place(measure: Mapping[str, Any], record: Record) -> tuple[str, str | None] | None:
    """Return where the limit of a measure is written: its key, and the measure's name in a limit by measure."""
    key = key_of(measure, record)
    name = str(measure["name"])
    criterion = record["criterion"]
    if key is None:
        key = next((k for k in ("max_worsening", "max_gap") if k in criterion and name.startswith(KEYS[k])), None)
    if key is None:
        return None
    if isinstance(criterion.get(key), Mapping):
        inner = name.partition("[")[2].rstrip("]").partition("[")[0]
        return (key, inner) if inner in criterion[key] else None
    return key, None


KEYS = {"max_worsening": "worsening[", "max_gap": "gap["}


def _proposed(records: Sequence[Record], level: float) -> list[Proposal]:
    made = []
    for key, name in _limits(records[0]):
        bounds, estimates, side, declared = [], [], "<=", math.nan
        for record in records:
            mine = [one for one in limited(record) if _place(one, record) == (key, name)]
            values = [_bound(one) for one in mine]
            side = str(mine[0]["side"]) if mine else side
            declared = float(mine[0]["limit"]) if mine else declared
            # Several columns under one limit (one a fill) must all keep it: the worst of them counts.
            worst = (min if _below(side) else max)(values, default=math.nan)
            bounds.append(worst)
            estimates.append(
                number(mine[values.index(worst)]["estimate"]) if mine and not math.isnan(worst) else math.nan
            )
        made.append(_askable(str(records[0]["kind"]), _proposal(key, name, side, declared, bounds, estimates, level)))
    return made


def _askable(kind: str, made: Proposal) -> Proposal:
    """Return the proposal, without its limit where that is beyond what a contract may ask.

    A few runs that differ much lead to a bound that the measure itself cannot reach: no limit there could fail.
    """
    from pydantic import TypeAdapter, ValidationError

    if made.limit is None or made.name is not None:
        return made
    field = KINDS[kind].parameters.model_fields[made.key]
    asked: Any = Annotated[field.annotation, field]
    try:
        TypeAdapter(asked).validate_python(made.limit)
    except ValidationError:
        said = f"the runs differ so much that the limit would be {made.limit:g}, which no contract can ask"
        return replace(made, limit=None, rule="", problem=f"{said}; use more runs, or choose a limit by hand")
    return made


def _below(side: str) -> bool:
    """Tell whether a limit is one that measures must not fall below."""
    return side in (">=", ">")


def _bound(measure: Mapping[str, Any]) -> float:
    """Return the bound that has to be inside the limit for PASS, whatever the verdict was."""
    low, high = number(measure["interval"]["low"]), number(measure["interval"]["high"])
    if measure["side"] == "abs<=":
        return max(abs(low), abs(high))
    return low if _below(str(measure["side"])) else high


def _proposal(
    key: str,
    name: str | None,
    side: str,
    declared: float,
    bounds: Sequence[float],
    estimates: Sequence[float],
    level: float,
) -> Proposal:
    shared: dict[str, Any] = {
        "key": key,
        "name": name,
        "side": side,
        "declared": declared,
        "bounds": tuple(bounds),
        "estimates": tuple(estimates),
    }
    if any(not math.isfinite(bound) for bound in bounds):
        return Proposal(limit=None, rule="", problem="a run has no finite bound of it; use more images", **shared)
    if max(abs(bound) for bound in bounds) < NOTHING:
        said = "all runs have the bound 0, which does not tell how far a further one may lie from it; keep the declared"
        return Proposal(limit=None, rule="", problem=f"{said} {declared:g}, or choose a limit by hand", **shared)
    sign = -1.0 if _below(side) else 1.0
    turned = sign * np.asarray(bounds, dtype=np.float64)
    limit, rule = prediction_bound(turned, level)
    return Proposal(limit=sign * rounded_up(limit, turned), rule=rule, **shared)


def prediction_bound(values: np.ndarray[Any, np.dtype[np.float64]], level: float) -> tuple[float, str]:
    """Return what one value more stays below with a chance of ``level``, and the rule in words."""
    from scipy.special import stdtrit

    m = int(values.size)
    largest = float(np.max(values))
    if m >= runs_needed(level):
        return largest, FREE.format(m=m)
    t = float(stdtrit(m - 1, level))
    student = float(np.mean(values)) + t * float(np.std(values, ddof=1)) * math.sqrt(1.0 + 1.0 / m)
    return max(student, largest), STUDENT.format(m=m)


def rounded_up(value: float, values: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    """Return ``value`` rounded upwards to two digits of what it is or of how the runs differ, whichever is finer.

    Always a little above, because a bound has to lie below its limit and not on it.
    """
    size = max(abs(value), NOTHING)
    unit = 10.0 ** (math.floor(math.log10(size)) - DIGITS + 1)
    up = math.ceil(value / unit + 1e-9) * unit
    up = up if up > value else up + unit
    return round(up, max(0, -math.floor(math.log10(unit))))


def _again(asked: Asked, record: Record, proposals: Sequence[Proposal]) -> dict[str, Any] | None:
    """Return the record decided with the proposed limits; None where it cannot be."""
    from pydantic import ValidationError

    from pytest_saliency.checks.numbers import Numbers
    from pytest_saliency.decide.effort import bare

    kind = KINDS[asked.item.kind]
    values: dict[str, Any] = dict(asked.item.parameters)
    for one in proposals:
        if one.limit is None:
            continue
        if one.name is None:
            values[one.key] = one.limit
        else:
            values[one.key] = {**values[one.key], one.name: one.limit}
    try:
        parameters = kind.parameters(**values)
        with bare():
            made = kind.decide(parameters, Numbers.of(record))
    except (SaliencyError, ValidationError):
        return None
    return {**record, "criterion": parameters.model_dump(mode="json"), "decision": made.to_dict()}
