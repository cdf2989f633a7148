"""How a record's measured values read in one line: "mean IoU drop 0.12 (bound 0.15) <= 0.40"."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_saliency.decide.words import figures

Record = Mapping[str, Any]
MeasureDict = Mapping[str, Any]

OPPOSITE = {"<=": ">", ">=": "<", "<": ">=", ">": "<=", "abs<=": ">"}
NEAR_LIMIT = "(near the limit)"
LINED_UP = 6
"""As many measures are told in one line; of more only those that count."""
STATISTICS = ("mean ", "median ", "share ", "largest ")


def measures_of(record: Record) -> dict[str, MeasureDict]:
    """Return the record's measures by name; empty where the check reached no verdict."""
    decision = record.get("decision") or {}
    found = dict(decision.get("measures") or {})
    return {name: measure for name, measure in found.items() if isinstance(measure, Mapping)}


def limited(record: Record) -> list[MeasureDict]:
    """Return the measures that have a limit, those that do not hold first."""
    found = [measure for measure in measures_of(record).values() if measure.get("limit") is not None]
    order = {"FAIL": 0, "INCONCLUSIVE": 1}
    return sorted(found, key=lambda measure: order.get(str(measure.get("verdict")), 2))


def violated(record: Record) -> list[MeasureDict]:
    """Return the measures whose limit was not shown to hold."""
    return [measure for measure in limited(record) if measure.get("verdict") not in (None, "PASS")]


def number(value: float | None) -> float:
    """Return a record's number; None stands for NaN."""
    return math.nan if value is None else float(value)


def bound_of(measure: MeasureDict) -> float:
    """Return the bound that decides: for an upper limit the upper one, on FAIL the lower one; else the other way."""
    low, high = number(measure["interval"]["low"]), number(measure["interval"]["high"])
    failed = measure.get("verdict") == "FAIL"
    if measure["side"] == "abs<=":
        return max(low, -high) if failed else max(abs(low), abs(high))
    return high if (measure["side"] in ("<=", "<")) is not failed else low


def relation(measure: MeasureDict) -> str:
    """Return the words between what was measured and the limit: "<=", on FAIL ">", undecided "not shown <="."""
    side = str(measure["side"])
    if measure.get("verdict") == "FAIL":
        return OPPOSITE[side]
    declared = side.removeprefix("abs")
    return f"not shown {declared}" if measure.get("verdict") == "INCONCLUSIVE" else declared


def shown(measure: MeasureDict) -> tuple[str, str, str]:
    """Return estimate, bound and limit with as many decimals as it takes to tell them from the limit."""
    limit = number(measure["limit"])
    estimate, limit_text, bound = figures(number(measure["estimate"]), limit, bound_of(measure))
    return estimate, bound, limit_text


def title_of(measure: MeasureDict) -> str:
    """Return the title with the statistic in front: "mean IoU drop"."""
    title = str(measure["title"])
    if measure["side"] == "abs<=":
        return title if title.startswith("|") else f"|{_mean(title)}|"
    return _mean(title)


def _mean(title: str) -> str:
    return title if title.startswith(STATISTICS) else f"mean {title}"


def measured_text(record: Record) -> str:
    """Return the measures with a declared limit in one line, with bound and limit; else the headline.

    What a decision tests beside them (that a map is not noise, say) is in the block of a failure and in the record.
    A verdict that another machine's numbers could turn is marked; the record's notes say what to do about it.
    Of more than ``LINED_UP`` measures the two with the least certain bounds are told, as the others are in the report.
    """
    told = [
        measure
        for measure in limited(record)
        if key_of(measure, record) is not None or str(measure["name"]).startswith("against")
    ]
    parts = []
    for measure in _tightest(told):
        estimate, bound, limit = shown(measure)
        parts.append(f"{title_of(measure)} {estimate} (bound {bound}) {relation(measure)} {limit}")
    if len(told) > len(parts):
        parts.append(f"and {len(told) - len(parts)} more in the report")
    text = ", ".join(parts) if parts else str(record.get("headline") or "")
    return f"{text} {NEAR_LIMIT}".lstrip() if near_limit(record) else text


def _tightest(measures: Sequence[MeasureDict]) -> Sequence[MeasureDict]:
    """Return all of a few measures, of many the two with the largest p-values of PASS."""
    if len(measures) <= LINED_UP:
        return measures
    return sorted(measures, key=lambda measure: -float(measure.get("p_pass") or 0.0))[:2]


def near_limit(record: Record) -> bool:
    """Say whether numbers within the tolerance of the record's could give another verdict."""
    within = (record.get("decision") or {}).get("within_tolerance") or {}
    return len(within.get("verdicts") or ()) > 1


def short_text(record: Record) -> str:
    """Return the first measure that does not hold against its limit, or the headline where all of them do."""
    for measure in violated(record):
        estimate, bound, limit = shown(measure)
        if measure.get("verdict") == "FAIL":
            return f"{title_of(measure)} {estimate} {relation(measure)} {limit}"
        return f"{title_of(measure)} {estimate} (bound {bound}) {relation(measure)} {limit}"
    return str(record.get("headline") or "")


def key_of(measure: MeasureDict, record: Record) -> str | None:
    """Return the parameter that declares the measure's limit, as ``max_iou_drop`` for ``iou_drop``."""
    criterion = record.get("criterion") or {}
    base = str(measure["name"]).split("[")[0]
    for key in (f"min_{base}", f"max_{base}") if measure.get("side") == ">=" else (f"max_{base}", f"min_{base}"):
        if key in criterion:
            return key
    # A limit may be called otherwise than its measure; its leg says what was found of the same measure.
    found = (measure.get("estimate"), measure.get("p_pass"))
    legs = (record.get("decision") or {}).get("legs") or ()
    named = (
        str(leg.get("name")) for leg in legs if found[1] is not None and (leg.get("estimate"), leg.get("p")) == found
    )
    return next((name for name in named if name in criterion), None)


def detectable_text(record: Record) -> str:
    """Return "iou_drop: gap to the limit (approximate) 0.05", the smallest effects with 80 % power; "" for none."""
    found = (record.get("decision") or {}).get("smallest_detectable") or {}
    known = [(name, value) for name, value in found.items() if isinstance(value, int | float)]
    more = ""
    if len(known) > LINED_UP:
        more = f", and {len(known) - 2} more in the report"
        known = sorted(known, key=lambda one: -float(one[1]))[:2]
    return ", ".join(f"{name} {figures(float(value), 0.0)[0]}" for name, value in known) + more
