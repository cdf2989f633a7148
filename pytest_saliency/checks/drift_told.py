"""What the further numbers of a drift record mean: reference, trajectory, pasted regions. From a record alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_saliency.checks.drift_excess import excess, reference_column

if TYPE_CHECKING:
    from pytest_saliency.checks.no_semantic_drift import NoSemanticDriftParameters
    from pytest_saliency.checks.numbers import Numbers
    from pytest_saliency.decide.decision import Decision

ACCURACY = "max_accuracy_drop"
DRIVES = "the newly used region drives the prediction; whether it is a marker or evidence, the pictures show"


def path_column(measure: str) -> str:
    """Return the column of the record that holds a measure over the checkpoints."""
    return f"trajectory[{measure}]"


def referred(
    parameters: NoSemanticDriftParameters, numbers: Numbers, limits: Mapping[str, float]
) -> tuple[dict[str, float], list[str], dict[str, Any]]:
    """Return what the reference adds to the decision: further p-values of alarms, notes, read-outs.

    Raises
    ------
    NotAttainable
        With these nulls nothing could fail.
    """
    from pytest_saliency.decide.decision import plain
    from pytest_saliency.decide.drift import LIMITED
    from pytest_saliency.decide.drift_reference import check_nulls, further_p, rank

    if parameters.reference == "absolute":
        return {}, [], {}
    shares = {entry.name: _mean(numbers, reference_column(entry.name)) for entry in LIMITED if entry.limit != ACCURACY}
    if parameters.reference == "noise":
        note = (
            "limits bind what is left of each image's change when the change of the model before under a jitter (0.9"
            " times the contrast) is subtracted; accuracy is absolute"
        )
        return {}, [note], {"reference": shares, "cause": "change beyond the jitter's, cause not identified"}
    normal = parameters.null_test == "normal"
    means = numbers.inputs["nulls"]["means"]
    m = len(numbers.inputs["nulls"]["kept"])
    check_nulls(m, len(limits), parameters.alpha, normal)
    found = {}
    for entry in LIMITED:
        if entry.limit in limits and entry.limit != ACCURACY:
            nulls = [np.nan if one is None else one for one in means[entry.name]]
            found[entry.name] = rank(_own(numbers, entry.name), nulls, entry.side, parameters.alpha)
    by = (
        "lies beyond the t prediction bound of the nulls, which assumes that means of trainings are normal"
        if normal
        else f"ranks beyond the {m} nulls (p = (1 + nulls at least as bad) / {m + 1}, no distribution assumed)"
    )
    note = (
        "limits bind what is left of each image's change when the mean change in the nulls is subtracted; FAIL also"
        f" needs that the candidate {by}; accuracy is absolute"
    )
    readouts = {
        "reference": shares,
        "nulls": {name: one.to_dict(parameters.alpha) for name, one in found.items()},
        "cause": "change beyond clean fine-tunings, cause not identified",
    }
    return further_p(found, normal), [note], plain(readouts)


def _own(numbers: Numbers, measure: str) -> float:
    """Return the candidate's mean, over the images with a number, as the nulls' means are taken."""
    column = numbers.column(measure)
    seen = column[~np.isnan(column)]
    return float(seen.mean()) if seen.size else float("nan")


def _mean(numbers: Numbers, column: str) -> float | None:
    values = numbers.column(column)
    seen = values[~np.isnan(values)]
    return float(seen.mean()) if seen.size else None


def with_path(
    made: Decision, parameters: NoSemanticDriftParameters, numbers: Numbers, limits: Mapping[str, float]
) -> Decision:
    """Return the decision with the trajectory in read-outs, notes and, for a FAIL, in the headline."""
    points = numbers.inputs.get("trajectory")
    if not points or not limits:
        return made
    from pytest_saliency.checks.numbers import floats
    from pytest_saliency.decide.decision import plain
    from pytest_saliency.decide.drift import UNCHANGED, question_of
    from pytest_saliency.decide.drift_path import follow, readout, told
    from pytest_saliency.decide.verdict import Verdict

    question = question_of(parameters.reference)
    columns, start = {}, {}
    for name, nothing in UNCHANGED.items():
        table = [floats(row) for row in numbers.per_image[path_column(name)]]
        values = [np.asarray([row[k] for row in table], dtype=np.float64) for k in range(len(points))]
        start[name] = nothing
        if parameters.reference != "absolute":
            values = [excess(name, column, numbers, limits) for column in values]
            still = excess(name, np.full(len(table), nothing), numbers, limits)
            known = still[~np.isnan(still)]
            start[name] = float(known.mean()) if known.size else nothing
        columns[name] = values
    path = follow(
        question,
        [str(point["name"]) for point in points],
        columns,
        limits=limits,
        alpha=parameters.alpha,
        clusters=numbers.clusters(),
        start=start,
        seed=numbers.seed,
    )
    accuracies = [point.get("accuracy") for point in points]
    headline = made.headline
    if made.verdict is Verdict.FAIL and path.moved is not None:
        headline = f"{headline}; the evidence moved at {path.points[path.moved].name}"
    return replace(
        made,
        headline=headline,
        readouts={**made.readouts, "trajectory": plain(readout(path, accuracies))},
        notes=(*made.notes, told(path, accuracies, question, limits)),
    )


def with_rank(made: Decision, further: Mapping[str, float]) -> Decision:
    """Return the decision with a note for every limit that the images alone would have exceeded, and the nulls do not.

    More images would not change that, so the headline's advice is not left to stand alone.
    """
    notes = []
    for name, p in further.items():
        measure = made.measures[name]
        limit = measure.limit or 0.0
        low, high = measure.interval.low, measure.interval.high
        beyond = {"<=": low > limit, ">=": high < limit, "abs<=": low > limit or high < -limit}.get(measure.side, False)
        if beyond and not p < made.alpha:
            notes.append(
                f"{measure.title} is beyond its limit over these images, but the candidate is not told from the nulls"
                f" (p = {p:.2g}): clean fine-tunings drift as far, so this is no alarm, and more images would not make"
                " it one"
            )
    return replace(made, notes=(*made.notes, *notes)) if notes else made


def with_pasting(made: Decision, numbers: Numbers) -> Decision:
    """Return the decision with what pasted regions showed, where they were tried."""
    if "follows_region" not in numbers.per_image:
        return made
    from pytest_saliency.decide.decision import plain
    from pytest_saliency.decide.pasting import judge

    before = numbers.column("before_follows_region")
    found = judge(
        numbers.column("follows_region"),
        numbers.column("follows_control"),
        None if bool(np.isnan(before).all()) else before,
        made.alpha,
    )
    cost = numbers.inputs["pasting"]
    sentence = f"{found.sentence()}; {cost['images']} changed images were scored for it"
    readouts = {**made.readouts, "pasted_regions": plain(found.readout())}
    if found.confirmed:
        readouts["cause"] = DRIVES
    return replace(
        made,
        headline=f"{made.headline}; {found.sentence().partition(' (n = ')[0]}",
        readouts=readouts,
        notes=(*made.notes, sentence),
    )
