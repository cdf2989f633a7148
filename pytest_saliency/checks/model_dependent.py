"""``model_dependent``: do the maps change when what the model has learned is taken away?

All parameters are drawn anew, under several seeds, and each image's map is compared with the trained model's for the
same class: IoU of the top regions, averaged over seeds. What two maps share anyway (a bias to the centre, large
regions) is what the map of an image shares with the trained maps of other images: the floor. The measure is the excess
of the first over the second. A map that does not depend on the model (an edge detector) exceeds it by far.

An image's floor is taken within its set, and each image is in one set (``decide/sets.py``). The sets are the units of
the decision: with twice as many kept images as are compared there is one compared image in each, with fewer there are
two.

Beside it, and deciding nothing, a cascade: parameters drawn anew from the top layer down, stage by stage.

Source: Adebayo et al., "Sanity checks for saliency maps", NeurIPS 2018; the floor and the decision are this project's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from pytest_saliency.checks.parameters import OpenShare, Parameters, Share

if TYPE_CHECKING:
    from pytest_saliency.checks.numbers import Numbers, Table
    from pytest_saliency.checks.result import Result
    from pytest_saliency.checks.worst import Ranked
    from pytest_saliency.decide.decision import Decision
    from pytest_saliency.engine.explained import Explained


class ModelDependentCriterion(Parameters):
    """What the verdict of ``model_dependent`` depends on; the limit has no default on purpose."""

    max_excess: Share = Field(
        description="IoU of an image's map with those of randomised models, beyond its IoU with other images' maps, on"
        " average"
    )
    seeds: Annotated[int, Field(ge=20, le=1000)] = Field(
        default=20, description="how many randomised models each map is compared with"
    )
    images: Annotated[int, Field(ge=2)] = Field(
        default=50, description="at most this many of the kept images are explained by randomised models"
    )
    top_fraction: OpenShare = Field(default=0.20, description="share of positions that forms a map's top region")
    keep: Literal["correct", "all"] = Field(default="correct", description="which images the check looks at")


class ModelDependentParameters(ModelDependentCriterion):
    """Parameters of ``model_dependent``: the criterion, and what is reported beside it."""

    stages: Annotated[int, Field(ge=0, le=20)] = Field(
        default=4,
        description="stages of the cascade from the top layer down that are reported, with three seeds each; they"
        " decide nothing",
    )

    @property
    def criterion(self) -> ModelDependentCriterion:
        """The parameters without the read-outs, so that asking for more to read draws no other models."""
        return ModelDependentCriterion(**self.model_dump(include=set(ModelDependentCriterion.model_fields)))


def run(explained: Mapping[str, Explained], parameters: ModelDependentParameters, check: str) -> Result:
    """Explain randomised models, compare their maps with the trained model's, and decide."""
    from math import prod

    import numpy as np

    from pytest_saliency.checks import common, randomised
    from pytest_saliency.checks.gallery import Gallery
    from pytest_saliency.checks.numbers import Numbers, seed_of
    from pytest_saliency.checks.one_model import of_one_model
    from pytest_saliency.decide.sets import compared_of, floor_sets, numbered, partners_of
    from pytest_saliency.measure.region_size import region_size

    one = explained["model"]
    maps = one.maps(parameters.method, "top1")
    mask = common.wanted(one, parameters.keep)
    kept = common.keep(one, mask, "not correct")
    common.refuse_degenerate(maps, kept)
    seed = seed_of(parameters, one.cases.unordered_digest, check)
    base = common.base_columns(one, kept)
    sets = floor_sets(len(kept.indices), base.get("cluster"), parameters.images, seed)
    chosen = np.asarray(compared_of(sets, parameters.images), dtype=np.int64)
    partners = partners_of(sets, base.get("cluster"))
    rows = kept.indices[chosen]
    found = randomised.compare(
        one,
        parameters.method,
        rows,
        seeds=parameters.seeds,
        stages=parameters.stages,
        fraction=parameters.top_fraction,
        seed=seed,
    )
    watch = common.clock()
    with watch.stage("measure"):
        others = [[int(kept.indices[j]) for j in partners[int(i)]] for i in chosen]
        floor = randomised.floor(maps, rows, others, parameters.top_fraction, one.input_size)
        likeness = randomised.likeness(maps, rows, parameters.top_fraction, one.input_size)

    def over_all(values: common.Floats) -> list[float]:
        column = np.full(len(kept.indices), np.nan)
        column[chosen] = values
        return [float(value) for value in column]

    columns = base | {
        "set": numbered(sets, len(kept.indices)),
        "class": maps.classes[kept.indices].tolist(),
        "status": maps.status[kept.indices].tolist(),
        "similarity": over_all(found.similarity),
        "floor": over_all(floor),
        "likeness": over_all(likeness),
        "unusable_draws": over_all(found.unusable.astype(np.float64)),
    }
    inputs = {
        "size": list(one.input_size),
        "region": region_size(parameters.top_fraction, prod(one.input_size)),
        "cascade": found.told,
        "warnings": common.warnings_of(kept, maps),
    }
    numbers = Numbers.made(columns, common.everyone(explained, kept, mask, "not correct"), inputs, seed)
    with watch.stage("decide"):
        made = decision(parameters, numbers)
    cases = common.case_record(one, kept)
    order = ranked(parameters, numbers)
    values = order.shown["IoU with randomised models"]

    def caption(i: int) -> list[str]:
        return [
            one.cases.ids[kept.indices[i]],
            one.cases.class_name(int(maps.classes[kept.indices[i]])),
            f"IoU {values[i]:.2f}, with other images' {columns['floor'][i]:.2f}",
        ]

    return of_one_model(
        "model_dependent",
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
            (maps, found.example(maps, rows)),
            ("map", "a randomised model's map"),
            caption,
            f"{check}: {made.verdict}, {maps.method}",
        ),
        watch.seconds,
        {"top1": maps},
        counted={
            "planned_images": found.planned,
            "scored_images": found.images,
        },
    )


def compared_rows(per_image: Table) -> list[int]:
    """Return the rows of the images that randomised models explained."""
    return [i for i, draws in enumerate(per_image["unusable_draws"]) if draws is not None]


def decision(parameters: ModelDependentParameters, numbers: Numbers) -> Decision:
    """Decide from the numbers of a run, or of a record."""
    import numpy as np

    from pytest_saliency.decide import limits
    from pytest_saliency.decide.randomised import QUESTION, telling
    from pytest_saliency.decide.values import Unit, defined, mean_of

    total = len(numbers.per_image["id"])
    chosen = compared_rows(numbers.per_image)
    similarity, floor, likeness = (numbers.column(name)[chosen] for name in ("similarity", "floor", "likeness"))
    alike = int((~np.isnan(similarity) & ~(1.0 - likeness > parameters.max_excess)).sum())
    counts: dict[str, int] = {"cases": len(numbers.everyone["id"]), "randomised models": parameters.seeds}
    notes = [
        f"the bound is about these {parameters.seeds} randomised models, which all images share, and tells how images"
        " differ; other seeds move the mean too, and more 'seeds' move it less"
    ]
    if alike:
        counts["maps like those of other images"] = alike
        notes.append(
            f"{alike} of {len(chosen)} maps are so like those of other images that an unchanged map would be within"
            " the limit; such an image is undefined"
        )
    unusable = mean_of(defined(numbers.column("unusable_draws")[chosen]))
    if unusable > 0.0:
        notes.append(
            f"{100.0 * unusable:.2g} % of the randomised models' maps are blank, flat or not finite; such a map has"
            " nothing in common with the trained model's (IoU 0)"
        )
    readouts: dict[str, Any] = {
        "similarity": mean_of(defined(similarity)),
        "floor": mean_of(defined(floor)),
        "unusable_draws": unusable,
        "cascade": numbers.inputs["cascade"],
    }
    made = limits.decide(
        QUESTION,
        {"excess": telling(similarity, floor, likeness, parameters.max_excess)},
        limits={"max_excess": parameters.max_excess},
        alpha=parameters.alpha,
        max_undefined=parameters.max_undefined,
        kept=len(chosen),
        total=total,
        clusters=[numbers.per_image["set"][i] for i in chosen],
        unit=Unit("sets", f"sets with {len(chosen)} compared images"),
        counts=counts,
        notes=notes,
        readouts=readouts,
        seed=numbers.seed,
    )
    return numbers.noted(made)


def ranked(parameters: ModelDependentParameters, numbers: Numbers) -> Ranked:
    """Return the images whose map changes least first; those that were not compared are not judged.

    From the numbers of a run or of a record.
    """
    import numpy as np

    from pytest_saliency.checks.worst import Ranked

    similarity, floor = numbers.column("similarity"), numbers.column("floor")
    excess = np.full(len(similarity), -np.inf)
    chosen = compared_rows(numbers.per_image)
    excess[chosen] = (similarity - floor)[chosen]
    return Ranked(excess, {"IoU with randomised models": similarity, "IoU with other images": floor})
