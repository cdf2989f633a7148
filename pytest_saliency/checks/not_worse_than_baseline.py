"""``not_worse_than_baseline``: is the model at most so much worse than the approved one, on the same images?

Another check measures; its per-image numbers are paired with those that the baseline keeps. The decision is in
``decide.worsening``. Measures: the agreement of ``class_sensitive``, the advantage of ``faithful`` with every fill, and
IoU drop, displacement, correlation and size of the concentration change of ``no_semantic_drift``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, ValidationInfo, field_validator

from pytest_saliency.checks.parameters import Share
from pytest_saliency.checks.referring import Reference, ReferringParameters, known_measures, named
from pytest_saliency.decide.words import several
from pytest_saliency.decide.worsening_measures import COMPARED

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pytest_saliency.checks.numbers import Numbers, Table
    from pytest_saliency.checks.result import Result
    from pytest_saliency.checks.worst import Ranked
    from pytest_saliency.decide.decision import Decision
    from pytest_saliency.records.baseline_entry import Entry, Stored

KIND = "not_worse_than_baseline"
NOT_THERE = "not compared in the baseline"
LEFT = "no number now"


class NotWorseThanBaselineParameters(ReferringParameters):
    """Parameters of ``not_worse_than_baseline``; every limit is the user's own, and above 0."""

    max_worsening: Annotated[dict[str, Annotated[float, Field(gt=0.0)]], Field(min_length=1)] = Field(
        description="by measure of that check, how much worse it may be than the approved baseline, on average over the"
        " images, in the measure's own unit",
        json_schema_extra=named(COMPARED),
    )
    min_kept: Share = Field(
        default=0.5, description="a smaller share of the baseline's images that are still kept blocks PASS"
    )

    @classmethod
    def check_kind(cls, kind: str) -> str:
        """Return ``kind`` if its numbers can be compared; raises ValueError with a sentence otherwise."""
        if kind not in COMPARED:
            raise ValueError(f"is {kind!r}, whose numbers no baseline keeps; it can be {', '.join(COMPARED)}")
        return kind

    @field_validator("max_worsening")
    @classmethod
    def _measures_are_known(cls, value: dict[str, float], info: ValidationInfo) -> dict[str, float]:
        known_measures(info.data.get("of_kind"), value)
        return value


def by_reference(reference: Reference, parameters: NotWorseThanBaselineParameters, check: str) -> Result:
    """Measure as the check does that ``of`` names, under its name, and hold it against the approved baseline.

    Whatever can be told before a model runs is told before.
    """
    entry = reference.baseline()
    refuse_other_meaning(entry, parameters.of_kind, parameters.of_criterion)
    cases = reference.cases()
    refuse_other_cases(entry, {"unordered_digest": cases.unordered_digest, "n": len(cases), "source": cases.source})
    return compare(reference.measure(), entry, parameters, check)


def compare(result: Result, entry: Entry, parameters: NotWorseThanBaselineParameters, check: str) -> Result:
    """Hold what ``result`` measured against the approved ``entry``, and decide.

    Raises
    ------
    SaliencyError
        The two cannot be compared: other cases, another criterion or method, damaged arrays; or too few images.
    """
    from pytest_saliency.checks.baseline_gallery import gallery_against
    from pytest_saliency.checks.compared import compared_columns
    from pytest_saliency.checks.numbers import Numbers, seed_of
    from pytest_saliency.checks.worst import rows_of

    refuse_other_cases(entry, result.cases)
    refuse_other_meaning(entry, result.kind, result.parameters)
    _refuse_other_method(entry, result)
    stored = entry.load()
    pairs = paired(result.kind, result.per_image, stored, entry)
    now = compared_columns(result.kind, result.per_image)
    columns = {name: [result.per_image[name][i] for i in pairs.now] for name in _BASE if name in result.per_image}
    for name, values in now.items():
        columns[name] = values[pairs.now].tolist()
        columns[f"then_{name}"] = pairs.stored[name][pairs.then].tolist()
    inputs = {
        "of": result.check,
        "columns": list(now),
        "region": result.numbers.inputs.get("region"),
        "baseline": {
            "selector": entry.key.selector,
            "sha256": entry.sha256,
            "approved": dict(entry.approval or {}),
            "verdict": entry.data["verdict"],
            "images": pairs.baseline,
        },
        "new": pairs.new,
        "warnings": [*result.numbers.inputs["warnings"], *_differences(entry, result)],
    }
    inside = {result.per_image["id"][i] for i in pairs.now}
    everyone = dict(result.numbers.everyone)
    everyone["fate"] = [
        fate if fate != "kept" or one in inside else (LEFT if one in pairs.numberless else NOT_THERE)
        for one, fate in zip(everyone["id"], everyone["fate"], strict=True)
    ]
    seed = seed_of(parameters, str(result.cases["unordered_digest"]), check)
    numbers = Numbers.made(columns, everyone, inputs, seed)
    made = decision(parameters, numbers)
    order = ranked(parameters, numbers)
    measured = result.maps
    return replace(
        result,
        kind=KIND,
        check=check,
        decision=made,
        parameters=parameters.model_dump(mode="json"),
        cases=_cases(result, everyone["fate"]),
        numbers=numbers,
        worst=rows_of(order, numbers, result.cases.get("class_names") or {}),
        maps=None if measured is None else lambda: {name: values[pairs.now] for name, values in measured().items()},
        gallery=gallery_against(
            result,
            stored,
            pairs,
            order.badness,
            lambda i: _lines(parameters, numbers, i),
            f"{check}: {made.verdict}, {result.method}, then and now",
        ),
    )


_BASE = ("id", "label", "cluster", "group", "set")


def decision(parameters: NotWorseThanBaselineParameters, numbers: Numbers) -> Decision:
    """Decide from the numbers of a run, or of a record; the baseline itself is not needed any more."""
    from pytest_saliency.decide.worsening import decide

    inputs, baseline = numbers.inputs, numbers.inputs["baseline"]
    columns = [str(name) for name in inputs["columns"]]
    approved = baseline["approved"]
    made = decide(
        parameters.of_kind,
        {name: numbers.column(name) for name in columns},
        {name: numbers.column(f"then_{name}") for name in columns},
        limits=parameters.max_worsening,
        alpha=parameters.alpha,
        max_undefined=parameters.max_undefined,
        min_kept=parameters.min_kept,
        baseline=int(baseline["images"]),
        clusters=numbers.units(),
        region=None if inputs["region"] is None else int(inputs["region"]),
        counts={"new": int(inputs["new"])},
        notes=(
            f"baseline {baseline['selector']} (sha256 {str(baseline['sha256'])[:12]}..), approved by {approved['by']}"
            f" on {str(approved['at'])[:10]}: {approved['reason']}",
        ),
        seed=numbers.seed,
    )
    return numbers.noted(made)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Which images both have: positions now and in the baseline, in the order of the ids now.

    ``baseline`` counts the baseline's images with a number, ``new`` the images now that it does not know;
    ``numberless`` are ids that are kept now and have no number; ``stored`` the baseline's columns.
    """

    now: NDArray[np.int64]
    then: NDArray[np.int64]
    baseline: int
    new: int
    numberless: frozenset[str]
    stored: Mapping[str, NDArray[np.float64]]


def paired(kind: str, per_image: Table, stored: Stored, entry: Entry) -> Pairs:
    """Find each image of the baseline again, by its id.

    ``faithful`` looks at one drawn image of each cluster: there the cluster is what both runs share.

    Raises
    ------
    BaselineError
        The baseline lacks a column that this kind measures.
    """
    import numpy as np

    from pytest_saliency.checks.compared import comparable, compared_columns
    from pytest_saliency.records.baseline_entry import BaselineError

    wanted = compared_columns(kind, per_image)
    try:
        found = compared_columns(kind, stored.per_image)
        usable = comparable(kind, stored.per_image)
        by = "cluster" if kind == "faithful" and "cluster" in per_image else "id"
        names_then = [str(name) for name in stored.per_image[by]]
        missing = [name for name in wanted if name not in found]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise BaselineError(
            f"the baseline {entry.key.selector} cannot be used: {entry.arrays_path.name} does not hold what a check of"
            f" kind {kind} measures ({type(error).__name__}: {error}). Make it anew with --saliency-baseline update."
        ) from None
    if missing:
        raise BaselineError(
            f"the baseline {entry.key.selector} cannot be used: {entry.arrays_path.name} has no numbers of"
            f" {', '.join(missing)}. Make it anew with --saliency-baseline update."
        )
    place = {name: i for i, name in enumerate(names_then) if usable[i]}
    with_number = comparable(kind, per_image)
    names_now = [str(name) for name in per_image[by]]
    now = [i for i, name in enumerate(names_now) if with_number[i] and name in place]
    known = set(names_then)
    return Pairs(
        now=np.asarray(now, dtype=np.int64),
        then=np.asarray([place[names_now[i]] for i in now], dtype=np.int64),
        baseline=len(place),
        new=sum(name not in known for name in names_now),
        numberless=frozenset(str(one) for one, has in zip(per_image["id"], with_number, strict=True) if not has),
        stored=found,
    )


def refuse_other_cases(entry: Entry, cases: Mapping[str, Any]) -> None:
    """Raise a BaselineError unless the baseline is of the same images; ``cases`` has ``unordered_digest`` and ``n``."""
    from pytest_saliency.records.baseline_entry import BaselineError

    then = entry.data["cases"]
    if then.get("unordered_digest") != cases["unordered_digest"]:
        raise BaselineError(
            f"the baseline {entry.key.selector} is of other cases: {several(int(then.get('n') or 0), 'case')} of"
            f" {then.get('source')} then (digest {str(then.get('unordered_digest'))[:12]}..),"
            f" {several(int(cases['n']), 'case')} of {cases['source']} now (digest {cases['unordered_digest'][:12]}..);"
            " images, labels, ids or clusters differ. Compare on the same cases, or make a new baseline with"
            " --saliency-baseline update and have it approved."
        )


def refuse_other_meaning(entry: Entry, kind: str, criterion: Mapping[str, Any]) -> None:
    """Raise a BaselineError if the numbers of the baseline mean something else than those of ``criterion``."""
    from pytest_saliency.checks.compared import meaning
    from pytest_saliency.records.baseline_changes import changes
    from pytest_saliency.records.baseline_entry import BaselineError

    differences = [] if entry.kind == kind else [f"kind {entry.kind} -> {kind}"]
    differences += [change.text.rpartition(" (")[0] for change in changes(meaning(entry.criterion), meaning(criterion))]
    if differences:
        raise BaselineError(
            f"the baseline {entry.key.selector} was measured by another criterion, so its numbers mean something else:"
            f" {'; '.join(differences)}. Measure as it did, or make a new baseline with --saliency-baseline update and"
            " have it approved."
        )


def _refuse_other_method(entry: Entry, result: Result) -> None:
    from pytest_saliency.records.baseline_entry import BaselineError

    then, now = entry.data["method"], (result.method, result.method_version)
    if (then.get("name"), then.get("version")) != now:
        raise BaselineError(
            f"the baseline {entry.key.selector} was made with method {then.get('name')} version {then.get('version')},"
            f" and this run uses {now[0]} version {now[1]}; their numbers cannot be compared. Make a new baseline with"
            " --saliency-baseline update and have it approved."
        )


def _differences(entry: Entry, result: Result) -> list[str]:
    """Return what else is not as it was then and does not keep the numbers from being compared."""
    found = []
    for role, now in result.subjects.items():
        then = entry.data["subjects"].get(role) or {}
        found += [
            f"the {what} of '{role}' is not that of the baseline: {then.get(key)} then, {now.get(key)} now"
            for key, what in (("layer", "layer"), ("input_size", "input size"))
            if then.get(key) != now.get(key)
        ]
    return found


def ranked(parameters: NotWorseThanBaselineParameters, numbers: Numbers) -> Ranked:
    """Return the images by how much each became worse, in units of its limit; the largest of all measures counts."""
    import numpy as np

    from pytest_saliency.checks.worst import Ranked

    changes = _changes(parameters, numbers)
    rows = [values / parameters.max_worsening[name.partition("[")[0]] for name, values in changes]
    shown = {}
    for name, _ in changes:
        shown[f"{name} then"] = numbers.column(f"then_{name}")
        shown[f"{name} now"] = numbers.column(name)
    return Ranked(np.asarray(np.max(np.stack(rows), axis=0)), shown)


def _changes(parameters: NotWorseThanBaselineParameters, numbers: Numbers) -> list[tuple[str, NDArray[np.float64]]]:
    from pytest_saliency.decide.worsening import worsening
    from pytest_saliency.decide.worsening_measures import measure_of

    found = []
    for name in numbers.inputs["columns"]:
        if name.partition("[")[0] in parameters.max_worsening:
            measure = measure_of(parameters.of_kind, name)
            found.append((name, worsening(measure, name, numbers.column(name), numbers.column(f"then_{name}"))[2]))
    return found


def _lines(parameters: NotWorseThanBaselineParameters, numbers: Numbers, i: int) -> list[str]:
    """Return what stands beside the picture of an image: every limited number then and now."""
    shown = []
    for name, _ in _changes(parameters, numbers):
        then, now = (numbers.per_image[column][i] for column in (f"then_{name}", name))
        shown.append(f"{name} {_figure(then)} -> {_figure(now)}")
    return shown


def _figure(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.2f}"


def _cases(result: Result, fates: Sequence[str]) -> dict[str, Any]:
    counted = {fate: list(fates).count(fate) for fate in dict.fromkeys(fates) if fate != "kept"}
    return {**result.cases, "kept": list(fates).count("kept"), "dropped": counted}
