"""``beats_null_explainers``: does removing the method's region hurt more than removing that of a control?

Controls are explainers that know nothing of what the model found in the image: the centre, the edges, the mean map of
all images or of the class, the map of a network that has learned nothing. For each image the log-odds of its predicted
class are measured with the method's own top region removed, and with each control's. ``faithful`` compares with other
images of the class, and so leaves out what is typical of the class; this check asks whether the method beats what is
to be had for nothing.

The average maps are those of the other images (and patients): with few images of a class a mean that held the image's
own map would know it. A control whose map shows nothing of an image guesses: it names a seeded random region. The share
of positions is the same for all; a map with fewer positive positions than that names a smaller region, which counts
against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from pytest_saliency.checks.faithful import FillName
from pytest_saliency.checks.parameters import OpenShare, Parameters, one_or_many, unrepeated

if TYPE_CHECKING:
    from pytest_saliency.checks.numbers import Numbers
    from pytest_saliency.checks.result import Result
    from pytest_saliency.checks.worst import Ranked
    from pytest_saliency.decide.decision import Decision
    from pytest_saliency.engine.explained import Explained
    from pytest_saliency.engine.maps import Maps

NullName = Literal["centre", "edges", "mean_map", "class_mean", "random_model", "random"]


class BeatsNullExplainersParameters(Parameters):
    """Parameters of ``beats_null_explainers``; the margin and the region size have no default on purpose."""

    top_k: OpenShare = Field(description="share of positions that is removed")
    min_advantage: float = Field(
        description="removing the method's region must lower an image's log-odds by more than this beyond removing"
        " that of any control"
    )
    nulls: Annotated[tuple[NullName, ...], Field(min_length=1)] = Field(
        default=("centre", "edges", "mean_map", "class_mean", "random_model"),
        strict=False,
        description="the controls; all must be beaten",
    )
    fill: Annotated[tuple[FillName, ...], Field(min_length=1)] = Field(
        default=("blur", "mean"), strict=False, description="what removed positions become; all must hold"
    )
    keep: Literal["correct", "all"] = Field(default="correct", description="which images the check looks at")

    _one_is_a_list_of_one = field_validator("nulls", "fill", mode="before")(one_or_many)
    _no_repeats = field_validator("nulls", "fill")(unrepeated)

    @model_validator(mode="after")
    def _not_itself(self) -> Self:
        if self.method in self.nulls:
            raise ValueError(f"'nulls' names {self.method!r}, the method under test itself")
        return self


def run(explained: Mapping[str, Explained], parameters: BeatsNullExplainersParameters, check: str) -> Result:
    """Remove the regions of the method and of the controls, score the images again, and decide."""

    from pytest_saliency.checks import common, swap
    from pytest_saliency.checks.gallery import Gallery, told
    from pytest_saliency.checks.numbers import Numbers, seed_of
    from pytest_saliency.checks.one_model import of_one_model

    one = explained["model"]
    own = one.maps(parameters.method, "top1")
    mask = common.wanted(one, parameters.keep)
    kept = common.keep(one, mask, "not correct")
    common.refuse_degenerate(own, kept)
    seed = seed_of(parameters, one.cases.unordered_digest, check)
    fills: tuple[str, ...] = parameters.fill
    controls = {null: one.maps(null, "top1") for null in parameters.nulls}
    guesses = {null: int((~maps.ok[kept.indices]).sum()) for null, maps in controls.items()}
    nulls: dict[str, Maps] = {null: _guessing(one, maps) for null, maps in controls.items()}
    watch = common.clock()
    # Every image is a block of its own: nothing is swapped, its own region and the controls' are removed.
    blocks = [[i] for i in range(len(kept.indices))]

    def score() -> dict[str, Any]:
        return swap.score(one, kept, blocks, own, nulls, fills, parameters.top_k, seed).to_arrays()

    what = swap.identifying(kept, blocks, own, nulls, fills, parameters.top_k, seed)
    scored = swap.Scored.from_arrays(one.remember("swap", what, score))
    columns = common.base_columns(one, kept)
    columns |= {"class": one.judged[kept.indices].tolist(), "status": own.status[kept.indices].tolist()}
    for fill in fills:
        columns[f"drop[{fill}]"] = scored.own[fill].tolist()
        columns[f"softmax_drop[{fill}]"] = scored.softmax[fill].tolist()
        for null in nulls:
            columns[f"drop_of_{null}[{fill}]"] = scored.other[null][fill].tolist()
    inputs = {
        "size": list(one.input_size),
        "guesses": guesses,
        "warnings": common.warnings_of(kept, own),
    }
    numbers = Numbers.made(columns, common.everyone(explained, kept, mask, "not correct"), inputs, seed)
    with watch.stage("decide"):
        made = decision(parameters, numbers)
    order = ranked(parameters, numbers)
    (advantage,) = order.shown.values()
    cases = common.case_record(one, kept)

    def caption(i: int) -> list[str]:
        return [
            one.cases.ids[kept.indices[i]],
            f"{'label' if one.multi_label else 'predicted'} {one.cases.class_name(int(one.judged[kept.indices[i]]))}",
            told("advantage over the best control", advantage[i]),
        ]

    closest = nulls[_strongest(parameters, numbers)]
    return of_one_model(
        "beats_null_explainers",
        check,
        explained,
        own,
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
            (own, closest),
            ("map", f"control {_strongest(parameters, numbers)}"),
            caption,
            f"{check}: {made.verdict}, {own.method}",
        ),
        watch.seconds,
        {"top1": own},
        counted={
            "planned_images": swap.planned(blocks, fills, nulls),
            "scored_images": scored.images,
        },
    )


def _guessing(one: Explained, maps: Maps) -> Maps:
    """Return a control's maps with random ones where they show nothing."""
    from dataclasses import replace

    import numpy as np
    import torch

    if maps.ok.all():
        return maps
    random = one.maps("random", "top1")
    usable = torch.from_numpy(maps.ok).reshape(-1, *(1,) * (maps.values.dim() - 1))
    return replace(
        maps,
        values=torch.where(usable, maps.values, random.values),
        status=np.where(maps.ok, maps.status, random.status),
    )


def decision(parameters: BeatsNullExplainersParameters, numbers: Numbers) -> Decision:
    """Decide from the numbers of a run, or of a record."""
    from pytest_saliency.decide.null_explainers import decide
    from pytest_saliency.decide.values import defined, mean_of

    fills: tuple[str, ...] = parameters.fill
    own = {fill: numbers.column(f"drop[{fill}]") for fill in fills}
    names: tuple[str, ...] = parameters.nulls
    nulls = {null: {fill: numbers.column(f"drop_of_{null}[{fill}]") for fill in fills} for null in names}
    guesses = {null: count for null, count in numbers.inputs["guesses"].items() if count}
    said = ", ".join(f"{null} {count}" for null, count in guesses.items())
    made = decide(
        own,
        nulls,
        min_advantage=parameters.min_advantage,
        alpha=parameters.alpha,
        max_undefined=parameters.max_undefined,
        clusters=numbers.clusters(),
        counts={"kept": len(numbers.per_image["id"]), "cases": len(numbers.everyone["id"])},
        readouts={
            "drop": {fill: mean_of(defined(own[fill])) for fill in fills},
            "drop_of_controls": {null: {fill: mean_of(defined(nulls[null][fill])) for fill in fills} for null in names},
            "softmax_drop": {fill: mean_of(defined(numbers.column(f"softmax_drop[{fill}]"))) for fill in fills},
        },
        notes=[f"controls that show nothing of an image name a random region of it ({said})"] if said else (),
        seed=numbers.seed,
    )
    return numbers.noted(made)


def ranked(parameters: BeatsNullExplainersParameters, numbers: Numbers) -> Ranked:
    """Return the images by how little the own region matters more than the best control's, on the mean over the fills.

    From the numbers of a run or of a record.
    """
    import numpy as np

    from pytest_saliency.checks.worst import Ranked

    advantages = [
        np.mean(
            [numbers.column(f"drop[{fill}]") - numbers.column(f"drop_of_{null}[{fill}]") for fill in parameters.fill],
            axis=0,
        )
        for null in parameters.nulls
    ]
    least = np.min(np.stack(advantages), axis=0)
    return Ranked(-least, {"advantage over the best control": least})


def _strongest(parameters: BeatsNullExplainersParameters, numbers: Numbers) -> str:
    """Return the control whose regions cost most on average."""
    from pytest_saliency.decide.values import defined, mean_of

    def cost(null: str) -> float:
        return sum(mean_of(defined(numbers.column(f"drop_of_{null}[{fill}]"))) for fill in parameters.fill)

    return max(parameters.nulls, key=cost)
