"""``avoids``: does the model leave a region alone, as the border of the images, burnt-in text, a mask of each image?

``mass_inside`` is the share of a map's positive mass inside the region, measured at the size of the model's input.
Where the edge of a border or a box crosses a pixel, the pixel counts by the share that lies inside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_serializer,
)

from pytest_saliency.checks.parameters import OpenShare, Parameters, Share

if TYPE_CHECKING:
    from torch import Tensor

    from pytest_saliency.checks.numbers import Numbers
    from pytest_saliency.checks.result import Result
    from pytest_saliency.checks.worst import Ranked
    from pytest_saliency.decide.decision import Decision
    from pytest_saliency.engine.explained import Explained

FORMS = "masks, {border: 0.1} or {box: [left, top, right, bottom]} in shares of the image"


class Border(BaseModel):
    """The outer share of every side."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    border: Annotated[float, Field(gt=0.0, lt=0.5)] = Field(description="share of each side, from the edge inwards")


class Box(BaseModel):
    """A rectangle."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    box: Annotated[tuple[Share, Share, Share, Share], Field(strict=False)] = Field(
        description="left, top, right and bottom edge as shares of width and height, from the top left corner"
    )

    @field_serializer("box")
    def _as_list(self, box: tuple[float, ...]) -> list[float]:
        """Locks and records compare with what JSON gives back."""
        return list(box)


def _region(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    """One sentence for whatever is no region, where pydantic would give one error a form."""
    try:
        made = handler(value)
    except ValidationError:
        raise ValueError(f"must be {FORMS} (borders below 0.5)") from None
    if isinstance(made, Box):
        left, top, right, bottom = made.box
        if not (left < right and top < bottom):
            raise ValueError(
                "has a box without area; the order is [left, top, right, bottom], with left < right and top < bottom"
            )
        if made.box == (0.0, 0.0, 1.0, 1.0):
            raise ValueError("is a box around the whole image, where every map has all of its mass")
    return made


Region = Annotated[Literal["masks"] | Border | Box, WrapValidator(_region)]


class AvoidsParameters(Parameters):
    """Parameters of ``avoids``; limit and region have no default."""

    max_mass: Share = Field(description="share of the map's positive mass inside the region, on average")
    region: Region = Field(description=f"where the model must not look: {FORMS}")
    max_share: OpenShare | None = Field(
        default=None, description="share of images that may each have more mass in the region than max_mass"
    )
    keep: Literal["correct", "all"] = Field(default="correct", description="which images the check looks at")
    target: Literal["top1", "top2", "label"] = Field(default="top1", description="the class the maps are for")


def weights_of(region: Border | Box, size: tuple[int, ...]) -> Tensor:
    """Return (1, *size): the share of each position inside the region.

    Raises
    ------
    CriterionError
        A box is declared for volumes.
    """
    from pytest_saliency.errors import CriterionError
    from pytest_saliency.measure.inside import border_weights, box_weights

    if isinstance(region, Border):
        return border_weights(size, region.border)
    if len(size) != 2:
        raise CriterionError(
            f"avoids: a box is for images, but these have {len(size)} spatial dimensions; give masks or a border."
        )
    left, top, right, bottom = region.box
    return box_weights(size, ((top, bottom), (left, right)))


def run(explained: Mapping[str, Explained], parameters: AvoidsParameters, check: str) -> Result:
    """Measure how much of each map lies inside the region, and decide."""
    import numpy as np

    from pytest_saliency.checks import common, inside
    from pytest_saliency.checks.gallery import Gallery, told
    from pytest_saliency.checks.numbers import Numbers, seed_of
    from pytest_saliency.checks.one_model import of_one_model

    one = explained["model"]
    if parameters.region == "masks":
        inside.need_masks(one.cases, "avoids with region: masks")
    maps = one.maps(parameters.method, parameters.target)
    mask = common.wanted(one, parameters.keep)
    kept = common.keep(one, mask, "not correct")
    common.refuse_degenerate(maps, kept)
    rows = kept.indices
    watch = common.clock()
    region: Callable[[int], Tensor]
    of_label = ", the mask of the label" if parameters.region == "masks" and one.cases.label_masks else ""
    if isinstance(parameters.region, Border | Box):
        weights = weights_of(parameters.region, one.input_size)[0]
        region = lambda i: weights  # noqa: E731
    else:
        region = one.mask
    with watch.stage("measure"):
        found = inside.measured(maps, rows, maps.ok, region)
    columns = common.base_columns(one, kept) | {
        "class": maps.classes[rows].tolist(),
        "status": maps.status[rows].tolist(),
        **{name: found[name].tolist() for name in ("mass_inside", "region_share", "region")},
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
            told("mass in the region", found["mass_inside"][i]),
        ]

    order = ranked(parameters, numbers)
    return of_one_model(
        "avoids",
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
            f"{check}: {made.verdict}, {maps.method}; outlined: the region to avoid{of_label}",
            outline=lambda i: np.asarray(region(int(rows[i])).numpy() >= 0.5),
        ),
        watch.seconds,
        {"map": maps},
    )


def decision(parameters: AvoidsParameters, numbers: Numbers) -> Decision:
    """Decide from the numbers of a run, or of a record."""
    import numpy as np

    from pytest_saliency.checks.inside import chance_of, notes_on, readouts_of
    from pytest_saliency.decide import limits
    from pytest_saliency.decide.inside import avoids

    states, shares = np.asarray(numbers.per_image["region"]), numbers.column("region_share")
    made = limits.decide(
        avoids(chance_of(numbers), parameters.max_mass),
        {"mass_inside": numbers.column("mass_inside")},
        limits={"max_mass": parameters.max_mass},
        alpha=parameters.alpha,
        max_undefined=parameters.max_undefined,
        max_beyond=parameters.max_share,
        kept=len(numbers.per_image["id"]),
        total=len(numbers.everyone["id"]),
        clusters=numbers.clusters(),
        notes=notes_on(states, shares, {"max_mass": parameters.max_mass}, "<="),
        readouts=readouts_of(numbers),
        seed=numbers.seed,
    )
    return numbers.noted(made)


def ranked(parameters: AvoidsParameters, numbers: Numbers) -> Ranked:
    """Return the images with the most mass in the region first, from the numbers of a run or of a record."""
    from pytest_saliency.checks.worst import Ranked

    mass = numbers.column("mass_inside")
    return Ranked(mass, {"mass in the region": mass, "region": numbers.column("region_share")})
