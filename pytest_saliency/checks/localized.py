"""``localized``: does the evidence lie inside the masks that come with the images?

``mass_inside`` is the share of a map's positive mass inside its image's mask, ``hit`` whether the map's maximum lies
inside (the pointing game, arXiv 1608.00507). Both are measured at the size of the model's input.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from pytest_saliency.checks.parameters import Parameters, Share

if TYPE_CHECKING:
    from pytest_saliency.checks.numbers import Numbers
    from pytest_saliency.checks.result import Result
    from pytest_saliency.checks.worst import Ranked
    from pytest_saliency.decide.decision import Decision
    from pytest_saliency.engine.explained import Explained

LIMITS = ("min_mass", "min_hits")


class LocalizedParameters(Parameters):
    """Parameters of ``localized``; no limit has a default, and at least one must be declared."""

    min_mass: Share | None = Field(
        default=None, description="share of the map's positive mass inside the image's mask, on average"
    )
    min_hits: Share | None = Field(default=None, description="share of images whose map has its maximum in the mask")
    keep: Literal["correct", "all"] = Field(default="correct", description="which images the check looks at")
    target: Literal["top1", "top2", "label"] = Field(default="label", description="the class the maps are for")

    @model_validator(mode="after")
    def _some_limit(self) -> Self:
        if all(getattr(self, name) is None for name in LIMITS):
            raise ValueError(f"declares no limit, so nothing could fail; add at least one of {', '.join(LIMITS)}")
        return self

    @property
    def limits(self) -> dict[str, float]:
        """The limits that are declared, by name."""
        return {name: value for name in LIMITS if (value := getattr(self, name)) is not None}


def run(explained: Mapping[str, Explained], parameters: LocalizedParameters, check: str) -> Result:
    """Measure how much of each map lies inside its mask, and decide."""

    from pytest_saliency.checks import common, inside
    from pytest_saliency.checks.gallery import Gallery, told
    from pytest_saliency.checks.numbers import Numbers, seed_of
    from pytest_saliency.checks.one_model import of_one_model

    one = explained["model"]
    inside.need_masks(one.cases, "localized")
    maps = one.maps(parameters.method, parameters.target)
    mask = common.wanted(one, parameters.keep)
    kept = common.keep(one, mask, "not correct")
    common.refuse_degenerate(maps, kept)
    rows = kept.indices
    watch = common.clock()
    with watch.stage("measure"):
        found = inside.measured(maps, rows, maps.ok, one.mask)
    columns = common.base_columns(one, kept) | {
        "class": maps.classes[rows].tolist(),
        "status": maps.status[rows].tolist(),
        **{name: values.tolist() for name, values in found.items()},
    }
    numbers = Numbers.made(
        columns,
        common.everyone(explained, kept, mask, "not correct"),
        {"size": list(one.input_size), "warnings": common.warnings_of(kept, maps)},
        seed_of(parameters, one.cases.unordered_digest, check),
    )
    with watch.stage("decide"):
        made = decision(parameters, numbers)
    cases = common.case_record(one, kept)

    def caption(i: int) -> list[str]:
        return [
            one.cases.ids[rows[i]],
            one.cases.class_name(int(maps.classes[rows[i]])),
            told("mass inside", found["mass_inside"][i]),
            f"mask covers {found['region_share'][i]:.2f}",
        ]

    order = ranked(parameters, numbers)
    return of_one_model(
        "localized",
        check,
        explained,
        maps,
        kept,
        made,
        parameters,
        cases,
        numbers,
        order,
        Gallery(
            one,
            kept,
            order.badness,
            (maps,),
            ("map",),
            caption,
            f"{check}: {made.verdict}, {maps.method}; outlined: {inside.outlined(one.cases)}",
            outline=lambda i: one.mask(int(rows[i])).numpy(),
        ),
        watch.seconds,
        {"map": maps},
    )


def decision(parameters: LocalizedParameters, numbers: Numbers) -> Decision:
    """Decide from the numbers of a run, or of a record."""
    import numpy as np

    from pytest_saliency.checks.inside import chance_of, notes_on, readouts_of
    from pytest_saliency.decide import limits
    from pytest_saliency.decide.inside import localized

    states, shares = np.asarray(numbers.per_image["region"]), numbers.column("region_share")
    made = limits.decide(
        localized(chance_of(numbers)),
        {name: numbers.column(name) for name in ("mass_inside", "hit")},
        limits=parameters.limits,
        alpha=parameters.alpha,
        max_undefined=parameters.max_undefined,
        kept=len(numbers.per_image["id"]),
        total=len(numbers.everyone["id"]),
        clusters=numbers.clusters(),
        notes=notes_on(states, shares, parameters.limits, ">="),
        readouts=readouts_of(numbers),
        seed=numbers.seed,
    )
    return numbers.noted(made)


def ranked(parameters: LocalizedParameters, numbers: Numbers) -> Ranked:
    """Return the images with the least mass inside first, from the numbers of a run or of a record."""
    from pytest_saliency.checks.worst import Ranked

    mass = numbers.column("mass_inside")
    shown = {"mass inside": mass, "maximum inside": numbers.column("hit"), "mask": numbers.column("region_share")}
    return Ranked(-mass, shown)
