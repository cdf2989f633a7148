"""``no_subgroup_gap``: is what another check measures alike for every declared group of cases?

A mean over all images hides a scanner or a kind of patient for which the model looks elsewhere. The other check
measures; its per-image numbers are compared between the groups that the cases declare. The decision is in
``decide.subgroups``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, ValidationInfo, field_validator

from pytest_saliency.checks.referring import Reference, ReferringParameters, known_measures, named
from pytest_saliency.decide.worsening_measures import MEASURED

if TYPE_CHECKING:
    from pytest_saliency.checks.numbers import Numbers
    from pytest_saliency.checks.result import Result
    from pytest_saliency.checks.worst import Ranked
    from pytest_saliency.decide.decision import Decision

KIND = "no_subgroup_gap"


class NoSubgroupGapParameters(ReferringParameters):
    """Parameters of ``no_subgroup_gap``; every limit is the user's own, and above 0."""

    max_gap: Annotated[dict[str, Annotated[float, Field(gt=0.0)]], Field(min_length=1)] = Field(
        description="by measure of that check, how far the means of any two groups may lie apart, in the measure's own"
        " unit",
        json_schema_extra=named(MEASURED),
    )
    min_group: Annotated[int, Field(ge=1)] = Field(
        default=10, description="a group with fewer images (or clusters) than this blocks PASS"
    )

    @classmethod
    def check_kind(cls, kind: str) -> str:
        """Return ``kind`` if it has numbers to compare; raises ValueError with a sentence otherwise."""
        if kind not in MEASURED:
            raise ValueError(f"is {kind!r}, which has no numbers of single images; it can be {', '.join(MEASURED)}")
        return kind

    @field_validator("max_gap")
    @classmethod
    def _measures_are_known(cls, value: dict[str, float], info: ValidationInfo) -> dict[str, float]:
        known_measures(info.data.get("of_kind"), value)
        return value


def by_reference(reference: Reference, parameters: NoSubgroupGapParameters, check: str) -> Result:
    """Measure as the check does that ``of`` names, and compare the groups of its images."""
    from pytest_saliency.errors import CasesError

    cases = reference.cases()
    if cases.groups is None:
        raise CasesError(
            f"{KIND} compares groups, and the cases of {cases.source} declare none; name the group of each case in the"
            " cases' metadata."
        )
    return compare(reference.measure(), parameters, check)


def compare(result: Result, parameters: NoSubgroupGapParameters, check: str) -> Result:
    """Compare the groups in what ``result`` measured, and decide.

    Raises
    ------
    SaliencyError
        There are no two groups to compare.
    """
    from pytest_saliency.checks.compared import comparable, compared_columns
    from pytest_saliency.checks.numbers import Numbers, seed_of
    from pytest_saliency.checks.worst import rows_of
    from pytest_saliency.errors import CasesError

    if "group" not in result.numbers.everyone:
        raise CasesError(
            f"{KIND} compares groups, and the cases of {result.cases['source']} declare none; name the group of each"
            " case in the cases' metadata."
        )
    columns: dict[str, Any] = {
        name: list(result.per_image[name])
        for name in ("id", "label", "cluster", "group", "set")
        if name in result.per_image
    }
    measured = compared_columns(result.kind, result.per_image, result.parameters)
    columns |= {name: values.tolist() for name, values in measured.items()}
    # An image that has no number by the way of measuring (alone in its class) is not lost: it is not asked.
    columns["asked"] = comparable(result.kind, result.per_image).tolist()
    inputs = {
        "of": result.check,
        "columns": list(measured),
        "region": result.numbers.inputs.get("region"),
        "warnings": list(result.numbers.inputs["warnings"]),
    }
    seed = seed_of(parameters, str(result.cases["unordered_digest"]), check)
    numbers = Numbers.made(columns, result.numbers.everyone, inputs, seed)
    made = decision(parameters, numbers)
    gallery = result.gallery
    return replace(
        result,
        kind=KIND,
        check=check,
        decision=made,
        parameters=parameters.model_dump(mode="json"),
        numbers=numbers,
        worst=rows_of(ranked(parameters, numbers), numbers, result.cases.get("class_names") or {}),
        gallery=None if gallery is None else replace(gallery, heading=f"{check}: {made.verdict}, {result.method}"),
        maps=None,
    )


def decision(parameters: NoSubgroupGapParameters, numbers: Numbers) -> Decision:
    """Decide from the numbers of a run, or of a record."""
    from collections import Counter

    from pytest_saliency.decide.subgroups import decide

    inputs = numbers.inputs
    rows = [i for i, asked in enumerate(numbers.per_image["asked"]) if asked]
    clusters = numbers.units()
    made = decide(
        parameters.of_kind,
        {str(name): numbers.column(str(name))[rows] for name in inputs["columns"]},
        [str(numbers.per_image["group"][i]) for i in rows],
        limits=parameters.max_gap,
        min_group=parameters.min_group,
        declared=Counter(str(name) for name in numbers.everyone["group"]),
        alpha=parameters.alpha,
        max_undefined=parameters.max_undefined,
        clusters=None if clusters is None else [clusters[i] for i in rows],
        region=None if inputs["region"] is None else int(inputs["region"]),
        counts={"total": len(numbers.everyone["id"])},
        seed=numbers.seed,
    )
    return numbers.noted(made)


def ranked(parameters: NoSubgroupGapParameters, numbers: Numbers) -> Ranked:
    """Return the images by how bad they are by the limited measures, in units of the limits; the largest counts."""
    import numpy as np

    from pytest_saliency.checks.worst import Ranked
    from pytest_saliency.decide.worsening_measures import measure_of

    rows, shown = [], {}
    for name in map(str, numbers.inputs["columns"]):
        limit = parameters.max_gap.get(name.partition("[")[0])
        if limit is not None:
            shown[name] = numbers.column(name)
            rows.append(measure_of(parameters.of_kind, name).badness(name, shown[name]) / limit)
    asked = np.asarray(numbers.per_image["asked"], dtype=bool)
    worst = np.where(asked, np.max(np.stack(rows), axis=0), -np.inf)
    return Ranked(worst, shown)
