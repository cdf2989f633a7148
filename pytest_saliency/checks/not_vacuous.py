"""``not_vacuous``: is there anything on the maps?

A map that is blank, flat, not finite, of a single position, or of a method without meaning on its image shows nothing.
Other checks count such maps as undefined; this one says how many there are, and that they are few.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pytest_saliency.checks.parameters import OpenShare, Parameters

if TYPE_CHECKING:
    from pytest_saliency.checks.numbers import Numbers
    from pytest_saliency.checks.result import Result
    from pytest_saliency.checks.worst import Ranked
    from pytest_saliency.decide.decision import Decision
    from pytest_saliency.engine.explained import Explained


class NotVacuousParameters(Parameters):
    """Parameters of ``not_vacuous``."""

    max_share: OpenShare = Field(description="share of the images whose map may show nothing, with no default")
    target: Literal["top1", "top2", "label"] = Field(default="top1", description="the class the maps are for")
    keep: Literal["correct", "all"] = Field(default="all", description="which images the check looks at")


def run(explained: Mapping[str, Explained], parameters: NotVacuousParameters, check: str) -> Result:
    """Count the maps that show nothing, and decide."""

    from pytest_saliency.checks import common
    from pytest_saliency.checks.gallery import Gallery
    from pytest_saliency.checks.numbers import Numbers, seed_of
    from pytest_saliency.checks.one_model import of_one_model

    one = explained["model"]
    maps = one.maps(parameters.method, parameters.target)
    mask = common.wanted(one, parameters.keep)
    kept = common.keep(one, mask, "not correct")
    rows = kept.indices
    grid = tuple(int(side) for side in maps.values.shape[1:])
    watch = common.clock()
    columns = common.base_columns(one, kept) | {
        "class": maps.classes[rows].tolist(),
        "status": maps.status[rows].tolist(),
        "vacuous": [float(status != "ok" or prod(grid) == 1) for status in maps.status[rows]],
    }
    numbers = Numbers.made(
        columns,
        common.everyone(explained, kept, mask, "not correct"),
        {"grid": list(grid), "warnings": common.warnings_of(kept, maps)},
        seed_of(parameters, one.cases.unordered_digest, check),
    )
    with watch.stage("decide"):
        made = decision(parameters, numbers)
    cases = common.case_record(one, kept)

    def caption(i: int) -> list[str]:
        return [one.cases.ids[rows[i]], one.cases.class_name(int(maps.classes[rows[i]])), str(maps.status[rows[i]])]

    order = ranked(parameters, numbers)
    return of_one_model(
        "not_vacuous",
        check,
        explained,
        maps,
        kept,
        made,
        parameters,
        cases,
        numbers,
        order,
        Gallery(one, kept, order.badness, (maps,), ("map",), caption, f"{check}: {made.verdict}, {maps.method}"),
        watch.seconds,
        {"top1": maps},
    )


def decision(parameters: NotVacuousParameters, numbers: Numbers) -> Decision:
    """Decide from the numbers of a run, or of a record."""
    from collections import Counter

    from pytest_saliency.decide import limits
    from pytest_saliency.decide.vacuous import QUESTION

    made = limits.decide(
        QUESTION,
        {"vacuous": numbers.column("vacuous")},
        limits={"max_share": parameters.max_share},
        alpha=parameters.alpha,
        max_undefined=parameters.max_undefined,
        kept=len(numbers.per_image["id"]),
        total=len(numbers.everyone["id"]),
        clusters=numbers.clusters(),
        readouts={"statuses": dict(sorted(Counter(numbers.per_image["status"]).items()))},
        seed=numbers.seed,
    )
    return numbers.noted(made)


def ranked(parameters: NotVacuousParameters, numbers: Numbers) -> Ranked:
    """Return the images with the maps that show nothing first, from the numbers of a run or of a record."""
    from pytest_saliency.checks.worst import Ranked

    vacuous = numbers.column("vacuous")
    return Ranked(vacuous, {"shows nothing": vacuous})
