"""The measured numbers of a record as rows of text: measures with bounds and limit, tests, read-outs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pytest_saliency.report.grouped import group_rows_of
from pytest_saliency.report.html.labels import VALUES, label_of
from pytest_saliency.report.html.text import NOTHING, against_limit, amount, jointly, p_text, share
from pytest_saliency.report.html.verdicts import look, word
from pytest_saliency.report.measured import limited, measures_of, number, title_of
from pytest_saliency.report.trainings import training_rows_of

Record = Mapping[str, Any]
SIDES = {"<=": "≤", ">=": "≥", "<": "<", ">": ">", "abs<=": "≤"}
BOUNDS = frozenset(("low", "high", "level"))
ELSEWHERE = (
    "histogram",
    "curves",
    "softmax_drop",
    "advantage",
    "p_fail_holm",
    "measures",
    "groups",
    "trainings",
    "shown_training",
)
"""Read-outs that the report shows as a plot or in a table of their own."""


def measure_rows(record: Record) -> list[dict[str, Any]]:
    """Return the measures, those with a limit first, as text."""
    with_limit = limited(record)
    names = [measure["name"] for measure in with_limit]
    others = [measure for name, measure in sorted(measures_of(record).items()) if measure["name"] not in names]
    return [_row(measure) for measure in (*with_limit, *others)]


def limit_rows(record: Record) -> list[dict[str, Any]]:
    """Return the measures that have a limit, as text."""
    return [_row(measure) for measure in limited(record)]


def _row(measure: Mapping[str, Any]) -> dict[str, Any]:
    interval = measure["interval"]
    limit = measure.get("limit")
    estimate, low, high, limit_text = against_limit(
        number(measure["estimate"]), number(interval["low"]), number(interval["high"]), limit
    )
    verdict = measure.get("verdict")
    return {
        "title": title_of(measure),
        "estimate": estimate,
        "low": low,
        "high": high,
        "level": share(interval.get("level")),
        "interval_method": str(interval.get("method") or NOTHING),
        "limit": f"{SIDES.get(str(measure['side']), str(measure['side']))} {limit_text}" if limit is not None else "",
        "n": measure.get("n"),
        "undefined": measure.get("undefined"),
        "sd": amount(measure.get("sd")),
        "p": [
            f"{label}: {p_text(measure.get(key))}"
            for label, key in (("against the limit holding", "p_fail"), ("for the limit holding", "p_pass"))
            if measure.get(key) is not None
        ],
        "verdict": verdict,
        "word": word(verdict) if verdict else "",
        "look": look(verdict) if verdict else "",
    }


def training_rows(record: Record) -> list[dict[str, str]]:
    """Return the trainings that a check joins, each with its verdict, its measure against the limit, and in words."""
    return [
        {
            "name": row.name,
            "word": word(row.verdict),
            "look": look(row.verdict),
            "measure": row.measure,
            "estimate": row.estimate,
            "bound": row.bound,
            "limit": row.limit,
            "n": row.n,
            "headline": row.headline,
        }
        for row in training_rows_of(record)
    ]


def leg_rows(record: Record) -> list[dict[str, Any]]:
    """Return the tests that PASS rests on, in words."""
    decision = record.get("decision") or {}
    return [
        {"statement": leg["statement"], "holds": bool(leg["holds"]), "p": p_text(leg.get("p"))}
        for leg in decision.get("legs") or ()
    ]


def readout_rows(record: Record) -> list[tuple[str, str]]:
    """Return what was measured beside the criterion and decides nothing, as (name, value)."""
    readouts = (record.get("decision") or {}).get("readouts") or {}
    kept = {key: value for key, value in readouts.items() if key not in ELSEWHERE}
    return [(_named(path), VALUES.get(str(value)) or amount(value)) for path, value in _leaves(kept, ())]


def spread_rows(record: Record) -> list[dict[str, str]]:
    """Return how each measure is spread over the images, where the record says so."""
    found = ((record.get("decision") or {}).get("readouts") or {}).get("measures") or {}
    titles = {name: title_of(measure) for name, measure in measures_of(record).items()}
    rows = []
    for name in sorted(found):
        spread = found[name]
        bca, quartiles = spread.get("bca") or {}, spread.get("quartiles") or (None, None)
        wanted = (
            spread.get("mean"),
            bca.get("low"),
            bca.get("high"),
            spread.get("median"),
            *quartiles,
            spread.get("sd"),
        )
        mean, low, high, median, lower, upper, sd = jointly(*map(number, wanted))
        rows.append(
            {
                "title": titles.get(name, name.replace("_", " ")),
                "mean": mean,
                "bca": f"{low} .. {high}",
                "median": median,
                "quartiles": f"{lower} .. {upper}",
                "sd": sd,
                "n": amount(spread.get("n")),
            }
        )
    return rows


def group_rows(record: Record) -> list[dict[str, str]]:
    """Return the declared groups as text: estimate and bounds of each by itself."""
    rows = []
    for row in group_rows_of(record):
        estimate, low, high = jointly(number(row.get("estimate")), number(row.get("low")), number(row.get("high")))
        rows.append(
            {
                "title": str(row.get("title")),
                "group": str(row.get("group")),
                "n": amount(row.get("n")),
                "undefined": amount(row.get("undefined")),
                "estimate": estimate,
                "bounds": f"{low} .. {high}",
                "level": share(row.get("level")),
            }
        )
    return rows


def detectable_rows(record: Record) -> list[tuple[str, str]]:
    """Return the smallest effects that the check could tell with 80 % power at its n."""
    found = (record.get("decision") or {}).get("smallest_detectable") or {}
    return [(label_of(str(name)), amount(value)) for name, value in found.items()]


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, Mapping) and set(value) == BOUNDS:
        low, high = jointly(number(value["low"]), number(value["high"]))
        yield path, f"{low} .. {high} ({share(value['level'])})"
    elif isinstance(value, Mapping):
        for key in sorted(value):
            yield from _leaves(value[key], (*path, str(key)))
    elif isinstance(value, list):
        if 0 < len(value) <= 4 and not any(isinstance(entry, list | Mapping) for entry in value):
            yield path, " .. ".join(amount(entry) for entry in value)
    elif value is not None or path[-1:] != ("note",):
        yield path, value


def _named(path: tuple[str, ...]) -> str:
    return ": ".join(map(label_of, path))
