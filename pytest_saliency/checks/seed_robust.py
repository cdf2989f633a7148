"""``seed_robust``: does what another check says hold for each of several trainings of the model?

A statement about one trained network may be one about its seed (CASE, arXiv 2506.07327, section V-A1, repeats its test
over trained seeds). The named check is decided for each training by itself; ``decide.trainings`` joins the verdicts.
The record keeps the numbers of every training in one table, in columns that end in ``.1``, ``.2`` and so on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import Field

from pytest_saliency.checks.parameters import OpenShare
from pytest_saliency.checks.referring import Reference, ReferringParameters

if TYPE_CHECKING:
    from pytest_saliency.checks.gallery import Gallery
    from pytest_saliency.checks.numbers import Numbers, Table
    from pytest_saliency.checks.result import Result
    from pytest_saliency.checks.worst import Ranked
    from pytest_saliency.decide.decision import Decision

KIND = "seed_robust"
SHARED = ("id", "label", "cluster", "group")
KEPT = "kept"


class SeedRobustParameters(ReferringParameters):
    """Parameters of ``seed_robust``."""

    min_share: OpenShare = Field(
        default=1.0, description="share of the trainings for which the other check must hold; 1 asks for all of them"
    )


def by_reference(reference: Reference, parameters: SeedRobustParameters, check: str) -> Result:
    """Measure as the check does that ``of`` names for each training, and decide."""
    from pytest_saliency.checks.registry import KINDS

    place = KINDS[parameters.of_kind].roles[-1]
    names = [name for role, name in reference.models.items() if role.startswith("models.")]
    return join([_measured(reference, place, name) for name in names], parameters, check)


def _measured(reference: Reference, place: str, name: str) -> Result:
    from pytest_saliency.errors import SaliencyError

    try:
        return reference.measure({place: name})
    except SaliencyError as error:
        if name not in str(error):  # which of the trainings is not to be decided
            error.args = (f"training '{name}': {error}",)
        raise


def join(results: Sequence[Result], parameters: SeedRobustParameters, check: str) -> Result:
    """Return one result from those of the same check over several trainings.

    Raises
    ------
    SaliencyError
        They are fewer than two, of one and the same training, or of other cases.
    """
    from pytest_saliency.checks.numbers import Numbers, seed_of
    from pytest_saliency.checks.registry import KINDS
    from pytest_saliency.checks.worst import rows_of
    from pytest_saliency.decide.trainings import shown_of

    place = KINDS[parameters.of_kind].roles[-1]
    _refuse(results, place)
    first = results[0]
    per_image, everyone = _tables(results)
    inputs = {
        "of": first.check,
        "names": [str(result.subjects[place]["name"]) for result in results],
        "trainings": [{"inputs": result.numbers.inputs, "seed": f"{result.numbers.seed:016x}"} for result in results],
        "warnings": [],
    }
    seed = seed_of(parameters, str(first.cases["unordered_digest"]), check)
    numbers = Numbers.made(per_image, everyone, inputs, seed)
    made = decision(parameters, numbers)
    shown = results[shown_of([result.verdict for result in results])]
    subjects = {role: subject for role, subject in first.subjects.items() if role != place}
    subjects |= {f"models.{k}": result.subjects[place] for k, result in enumerate(results, start=1)}
    fates = list(numbers.everyone["fate"])
    dropped = {fate: fates.count(fate) for fate in dict.fromkeys(fates) if fate != KEPT}
    names = first.cases.get("class_names") or {}
    return replace(
        first,
        kind=KIND,
        check=check,
        decision=made,
        parameters=parameters.model_dump(mode="json"),
        subjects=subjects,
        cases={**first.cases, "kept": fates.count(KEPT), "dropped": dropped},
        numbers=numbers,
        worst=rows_of(ranked(parameters, numbers), numbers, names),
        execution=_execution(results, place),
        method_details={},
        gallery=_gallery(shown, str(shown.subjects[place]["name"]), f"{check}: {made.verdict}"),
        maps=None,
    )


def decision(parameters: SeedRobustParameters, numbers: Numbers) -> Decision:
    """Decide from the numbers of a run, or of a record: every training again, then all of them."""
    from pytest_saliency.checks.registry import KINDS
    from pytest_saliency.decide.trainings import Training, decide

    kind, measured = KINDS[parameters.of_kind], parameters.measured
    trainings = [
        Training(str(name), kind.decide(measured, part))
        for name, part in zip(numbers.inputs["names"], parts_of(numbers), strict=True)
    ]
    made = decide(
        parameters.of,
        trainings,
        min_share=parameters.min_share,
        alpha=parameters.alpha,
        counts={"total": len(numbers.everyone["id"]), KEPT: len(numbers.per_image["id"])},
        seed=numbers.seed,
    )
    return numbers.noted(made)


def ranked(parameters: SeedRobustParameters, numbers: Numbers) -> Ranked:
    """Return the images of one training, as its own check ranks them: of the first that does not PASS, or the first.

    Images that this training does not look at are not judged. So the numbers are those of the pictures.
    """
    import numpy as np

    from pytest_saliency.checks.registry import KINDS
    from pytest_saliency.checks.worst import Ranked
    from pytest_saliency.decide.effort import bare
    from pytest_saliency.decide.trainings import shown_of

    kind, measured, parts = KINDS[parameters.of_kind], parameters.measured, parts_of(numbers)
    with bare():
        part = parts[shown_of([kind.decide(measured, part).verdict for part in parts])]
    made = kind.ranked(measured, part)
    row = {one: i for i, one in enumerate(part.per_image["id"])}
    places = [row.get(one) for one in numbers.per_image["id"]]

    def spread(values: Any, absent: float) -> Any:
        return np.array([absent if place is None else float(values[place]) for place in places], dtype=np.float64)

    return Ranked(
        spread(made.badness, -np.inf), {title: spread(values, np.nan) for title, values in made.shown.items()}
    )


def parts_of(numbers: Numbers) -> list[Numbers]:
    """Return the numbers of each training as its own check would keep them."""
    from pytest_saliency.checks.numbers import Numbers

    made = []
    for k, training in enumerate(numbers.inputs["trainings"], start=1):
        tail = f".{k}"
        inside = [bool(kept) for kept in numbers.per_image[f"{KEPT}{tail}"]]
        per_image = {
            name: [value for value, kept in zip(column, inside, strict=True) if kept]
            for name, column in _of(numbers.per_image, tail).items()
            if name != KEPT
        }
        made.append(Numbers(per_image, _of(numbers.everyone, tail), training["inputs"], int(training["seed"], 16)))
    return made


def _of(table: Table, tail: str) -> dict[str, Sequence[Any]]:
    found: dict[str, Sequence[Any]] = {name: table[name] for name in SHARED if name in table}
    return found | {name.removesuffix(tail): table[name] for name in table if name.endswith(tail)}


def _tables(results: Sequence[Result]) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """Return both tables: images that any training kept, and all cases."""
    whole = results[0].numbers.everyone
    inside = {one for result in results for one in result.numbers.per_image["id"]}
    rows = [i for i, one in enumerate(whole["id"]) if one in inside]
    per_image: dict[str, list[Any]] = {name: [whole[name][i] for i in rows] for name in SHARED if name in whole}
    everyone: dict[str, list[Any]] = {name: list(whole[name]) for name in SHARED if name in whole}
    everyone["fate"] = [KEPT if one in inside else fate for one, fate in zip(whole["id"], whole["fate"], strict=True)]
    for k, result in enumerate(results, start=1):
        mine = result.numbers
        place = {one: i for i, one in enumerate(mine.per_image["id"])}
        per_image[f"{KEPT}.{k}"] = [one in place for one in per_image["id"]]
        for name, column in mine.per_image.items():
            if name not in SHARED:
                per_image[f"{name}.{k}"] = [column[place[one]] if one in place else None for one in per_image["id"]]
        everyone |= {f"{name}.{k}": list(column) for name, column in mine.everyone.items() if name not in SHARED}
    return per_image, everyone


def _refuse(results: Sequence[Result], place: str) -> None:
    from pytest_saliency.errors import CasesError, SubjectError

    if len(results) < 2:
        raise SubjectError(
            f"{KIND} looks at several trainings of a model, and was given {len(results)}; give two or more."
        )
    seen: dict[str, str] = {}
    for result in results:
        subject = result.subjects[place]
        name, digest = str(subject["name"]), subject.get("state_sha256") or subject.get("weights_sha256")
        if digest is not None and digest in seen:
            raise SubjectError(
                f"{KIND} counts trainings, and '{seen[digest]}' and '{name}' are one: they have the same numbers"
                f" (SHA-256 {str(digest)[:12]}..). Name models that were trained with other seeds."
            )
        if digest is not None:
            seen[str(digest)] = name
        if result.cases["digest"] != results[0].cases["digest"]:
            raise CasesError(f"{KIND} looks at the same cases for each training, and those of '{name}' are others.")


def _gallery(shown: Result, name: str, said: str) -> Gallery | None:
    """Return the pictures of one training, which the heading and each caption name."""
    drawn = shown.gallery
    if drawn is None:
        return None
    caption = drawn.caption

    def named(position: int) -> Sequence[str]:
        return [*caption(position), f"training {name}"]

    return replace(drawn, heading=f"{said}; maps of training {name}, which is {shown.verdict}", caption=named)


def _execution(results: Sequence[Result], place: str) -> dict[str, Any]:
    first = results[0].execution
    work: dict[str, Any] = {role: cost for role, cost in (first.get("work") or {}).items() if role != place}
    seconds: dict[str, float] = {}
    for k, result in enumerate(results, start=1):
        work[f"models.{k}"] = (result.execution.get("work") or {}).get(place)
        for stage, spent in _seconds(result.execution).items():
            seconds[stage] = seconds.get(stage, 0.0) + spent
    made = {key: value for key, value in first.items() if key not in ("work", "check_seconds")}
    return {**made, "work": {role: cost for role, cost in work.items() if cost}, "check_seconds": seconds}


def _seconds(execution: Mapping[str, Any]) -> Mapping[str, float]:
    return execution.get("check_seconds") or {}
