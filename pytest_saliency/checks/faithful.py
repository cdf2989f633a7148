"""``faithful``: does removing an image's own region hurt its prediction more than removing another's?

The swap test: D[i, j] = s(x_i) - s(x_i with the top region of image j removed), within blocks of images
of one predicted class. s is the log-odds of the predicted class. The decision is in ``decide.faithful``; the
softmax drop of CASE (arXiv 2506.07327, Table III) is reported beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from pytest_saliency.checks.parameters import Method, OpenShare, Parameters, method_name, one_or_many, unrepeated

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pytest_saliency.checks.numbers import Numbers
    from pytest_saliency.checks.result import Result
    from pytest_saliency.checks.worst import Ranked
    from pytest_saliency.decide.decision import Decision
    from pytest_saliency.decide.faithful import SwapBlock
    from pytest_saliency.engine.explained import Explained

FillName = Literal["blur", "mean", "zero", "noisy_linear"]


class FaithfulCriterion(Parameters):
    """What the verdict of ``faithful`` depends on; the margin and the region size have no default on purpose."""

    top_k: OpenShare = Field(description="share of positions that is removed")
    min_advantage: float = Field(
        description="removing an image's own region must lower its log-odds by more than this beyond removing"
        " other same-class images' regions"
    )
    fill: Annotated[tuple[FillName, ...], Field(min_length=1)] = Field(
        default=("blur", "mean"), strict=False, description="what removed positions become; all must hold"
    )
    against: Annotated[tuple[Method, ...], Field(min_length=1)] | None = Field(
        default=None, strict=False, description="methods to compare with on the same images"
    )
    max_disadvantage: Annotated[float, Field(ge=0.0)] | None = Field(
        default=None,
        description="with 'against': how much smaller the drop may be; without it the method must be better",
    )
    keep: Literal["correct", "all"] = Field(default="correct", description="which images the check looks at")
    blocks: Literal["within_class", "any"] = Field(
        default="within_class", description="'any' swaps regions between classes too"
    )

    _one_is_a_list_of_one = field_validator("fill", "against", mode="before")(one_or_many)
    _no_repeats = field_validator("fill", "against")(unrepeated)

    @field_validator("against")
    @classmethod
    def _methods_are_names(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return None if value is None else tuple(map(method_name, value))

    @model_validator(mode="after")
    def _margin_needs_a_peer(self) -> Self:
        if self.max_disadvantage is not None and self.against is None:
            raise ValueError("'max_disadvantage' says how 'against' is judged; declare 'against' too")
        if self.against is not None and self.method in self.against:
            raise ValueError(f"'against' names {self.method!r}, the method under test itself")
        return self


class FaithfulParameters(FaithfulCriterion):
    """Parameters of ``faithful``: the criterion, and what is reported beside it."""

    curves: bool | Annotated[int, Field(ge=2, le=100)] = Field(
        default=False,
        description="report deletion and insertion curves with this many steps (true: 10), their areas and the"
        " symmetric relevance gain; they decide nothing",
    )

    @property
    def criterion(self) -> FaithfulCriterion:
        """The parameters without the read-outs, so that asking for more to read draws no other blocks."""
        return FaithfulCriterion(**self.model_dump(include=set(FaithfulCriterion.model_fields)))

    @property
    def steps(self) -> int:
        """The steps of the curves; 0 for none."""
        return 10 if self.curves is True else int(self.curves)


def run(explained: Mapping[str, Explained], parameters: FaithfulParameters, check: str) -> Result:
    """Remove regions, score the images again, and decide."""
    import numpy as np

    from pytest_saliency.checks import common, swap
    from pytest_saliency.checks.curves import curves
    from pytest_saliency.checks.curves import planned as planned_curves
    from pytest_saliency.checks.gallery import Gallery, told
    from pytest_saliency.checks.numbers import Numbers, seed_of
    from pytest_saliency.checks.one_model import of_one_model
    from pytest_saliency.decide.faithful import make_blocks

    one = explained["model"]
    own = one.maps(parameters.method, "top1")
    mask = common.wanted(one, parameters.keep)
    kept = common.keep(one, mask, "not correct")
    common.refuse_degenerate(own, kept)
    seed = seed_of(parameters, one.cases.unordered_digest, check)
    kept, repeats = swap.one_per_cluster(one, kept, seed)
    watch = common.clock()
    predicted = one.judged[kept.indices]
    blocks = make_blocks(_classes(parameters, predicted), seed)
    others = {name: one.maps(name, "top1") for name in parameters.against or ()}
    blocked = sorted(i for block in blocks for i in block)
    planned = swap.planned(blocks, parameters.fill, others)
    if parameters.steps:
        usable = int(own.ok[kept.indices[blocked]].sum())
        planned += len(parameters.fill) * planned_curves(usable, parameters.steps)
    fills: tuple[str, ...] = parameters.fill

    def score() -> dict[str, Any]:
        return swap.score(one, kept, blocks, own, others, fills, parameters.top_k, seed).to_arrays()

    what = swap.identifying(kept, blocks, own, others, fills, parameters.top_k, seed)
    scored = swap.Scored.from_arrays(one.remember("swap", what, score))
    drawn = {}
    if parameters.steps:
        chosen = kept.indices[blocked]
        drawn = {fill: curves(one, parameters.method, "top1", fill, parameters.steps, chosen, seed) for fill in fills}
    columns = common.base_columns(one, kept)
    columns |= {"class": predicted.tolist(), "status": own.status[kept.indices].tolist()}
    place = {i: b for b, block in enumerate(blocks) for i in block}
    columns["block"] = [place.get(i, -1) for i in range(len(kept.indices))]
    for fill in fills:
        columns[f"drops[{fill}]"] = scored.rows(fill, blocks, len(kept.indices))
        columns[f"softmax_drop[{fill}]"] = scored.softmax[fill].tolist()
        for name in others:
            columns[f"drop_of_{name}[{fill}]"] = scored.other[name][fill].tolist()
        for measure, values in (drawn[fill].columns() if drawn else {}).items():
            column = np.full(len(kept.indices), np.nan)
            column[blocked] = values
            columns[f"{measure}[{fill}]"] = column.tolist()
    inputs = {
        "size": list(one.input_size),
        "curves": {fill: found.means() for fill, found in drawn.items()} or None,
        "warnings": common.warnings_of(kept, own, *others.values()),
    }
    numbers = Numbers.made(columns, common.everyone(explained, kept, mask, "not correct"), inputs, seed)
    with watch.stage("decide"):
        made = decision(parameters, numbers)
    order = ranked(parameters, numbers)
    advantage = order.shown["advantage"]
    cases = common.case_record(one, kept, repeats)

    def caption(i: int) -> list[str]:
        return [
            one.cases.ids[kept.indices[i]],
            f"{'label' if one.multi_label else 'predicted'} {one.cases.class_name(int(predicted[i]))}",
            told("advantage", advantage[i]),
        ]

    return of_one_model(
        "faithful",
        check,
        explained,
        own,
        kept,
        made,
        parameters,
        cases,
        numbers,
        order,
        Gallery(one, kept, order.badness, (own,), ("map",), caption, f"{check}: {made.verdict}, {own.method}"),
        watch.seconds,
        {"top1": own},
        counted={
            "planned_images": planned,
            "scored_images": scored.images + sum(found.images for found in drawn.values()),
        },
    )


def decision(parameters: FaithfulParameters, numbers: Numbers) -> Decision:
    """Decide from the numbers of a run, or of a record; the blocks are drawn again from the seed."""
    import numpy as np

    from pytest_saliency.decide.faithful import decide, make_blocks

    classes = _classes(parameters, np.asarray(numbers.per_image["class"], dtype=np.int64))
    blocks = make_blocks(classes, numbers.seed)
    blocked = sorted(i for block in blocks for i in block)
    grouped = _grouped(parameters, numbers, blocks)
    fills: tuple[str, ...] = parameters.fill
    own = {fill: np.full(len(classes), np.nan) for fill in fills}
    for fill in fills:
        for block in grouped[fill]:
            own[fill][list(block.rows)] = np.diag(block.drops)
    against = {
        name: {fill: (own[fill][blocked], numbers.column(f"drop_of_{name}[{fill}]")[blocked]) for fill in fills}
        for name in parameters.against or ()
    }
    made = decide(
        grouped,
        min_advantage=parameters.min_advantage,
        alpha=parameters.alpha,
        max_undefined=parameters.max_undefined,
        against=against or None,
        max_disadvantage=parameters.max_disadvantage,
        softmax_drop={fill: numbers.column(f"softmax_drop[{fill}]")[blocked] for fill in fills},
        counts={"kept": len(classes), "in blocks": len(blocked)},
        seed=numbers.seed,
    )
    if numbers.inputs["curves"] is not None:
        made = replace(made, readouts={**made.readouts, "curves": numbers.inputs["curves"]})
    return numbers.noted(made)


def ranked(parameters: FaithfulParameters, numbers: Numbers) -> Ranked:
    """Return the images by how little their own region matters more than others'; one in no block is not judged.

    From the numbers of a run or of a record. The advantage is the mean over the fills.
    """
    import numpy as np

    from pytest_saliency.checks.worst import Ranked
    from pytest_saliency.decide.faithful import make_blocks

    status = np.asarray(numbers.per_image["status"])
    blocks = make_blocks(_classes(parameters, np.asarray(numbers.per_image["class"], dtype=np.int64)), numbers.seed)
    grouped = _grouped(parameters, numbers, blocks)
    advantage = np.full(len(status), np.nan)
    for b, block in enumerate(blocks):
        advantage[list(block)] = np.mean([grouped[fill][b].advantages() for fill in parameters.fill], axis=0)
    return Ranked(np.where(np.isnan(advantage) & (status == "ok"), -np.inf, -advantage), {"advantage": advantage})


def _classes(parameters: FaithfulParameters, predicted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return what blocks are drawn within."""
    return predicted if parameters.blocks == "within_class" else predicted * 0


def _grouped(
    parameters: FaithfulParameters, numbers: Numbers, blocks: Sequence[Sequence[int]]
) -> dict[str, list[SwapBlock]]:
    """Return the swap blocks by fill."""
    import numpy as np

    from pytest_saliency.checks.numbers import floats
    from pytest_saliency.decide.faithful import SwapBlock

    unusable = np.asarray([status != "ok" for status in numbers.per_image["status"]], dtype=bool)
    made: dict[str, list[SwapBlock]] = {}
    for fill in parameters.fill:
        rows = numbers.per_image[f"drops[{fill}]"]
        made[fill] = [
            SwapBlock(tuple(block), np.stack([floats(rows[i]) for i in block]), unusable[list(block)])
            for block in blocks
        ]
    return made
