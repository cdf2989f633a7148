"""``planted_evidence``: where it is known what belongs to a class, does the map lie there?

Four images of different classes are put side by side, and the map is made for the class of one of them: evidence for
it is in that cell, whatever it is, so no annotation is needed. The measure is the share of the map's positive mass in
the cell; a map that does not know the image has 1 in 4 there on average.

Images share mosaics within a set only, and each image is in one set (``decide/sets.py``). The sets are the units of the
decision: the shares of their images are averaged.

The images are those that the model gets right. Whether it still knows them inside a mosaic is found out, not assumed:
putting the next cell's image in its place must lower the log-odds of its class. Mosaics of which that is not so hold
nothing to be found; they are left out whatever their maps show, and ``min_seen`` bounds how many they may be.

Mosaics are twice as high and wide as an image where the model accepts that, because objects then have the size at
which the model learnt them, and the target layer's grid divides evenly into cells. Models that take one size only get
images of half the size.

Source: the grid of images is that of the pointing game of Boehle et al. (CVPR 2021), with one target a mosaic.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from pytest_saliency.checks.parameters import OpenShare, Parameters, Share

if TYPE_CHECKING:
    from pytest_saliency.checks.numbers import Numbers
    from pytest_saliency.checks.result import Result
    from pytest_saliency.checks.worst import Ranked
    from pytest_saliency.decide.decision import Decision
    from pytest_saliency.engine.explained import Explained


class PlantedEvidenceParameters(Parameters):
    """Parameters of ``planted_evidence``; the limit has no default on purpose."""

    min_share: OpenShare = Field(
        description="share of a map's positive mass that lies in the cell of its class, on average, with no default"
    )
    cells: Literal[4, 9] = Field(default=4, description="images in a mosaic: 2x2 or 3x3")
    scale: Literal["auto", "double", "input"] = Field(
        default="auto",
        description="size of a mosaic: whole images side by side ('double'), or made smaller so that the mosaic has"
        " the size of one ('input'); 'auto' takes the first that the model accepts",
    )
    min_seen: Share = Field(
        default=0.5, description="fewer images than this share that the model sees in their mosaic block PASS"
    )
    keep: Literal["correct"] = Field(default="correct", description="which images the check looks at")

    @model_validator(mode="after")
    def _more_than_chance(self) -> Self:
        if self.min_share * self.cells <= 1.0:
            raise ValueError(
                f"'min_share' {self.min_share:g} is what a map has by chance with {self.cells} cells"
                f" ({1 / self.cells:.2g}); ask for more"
            )
        return self


def run(explained: Mapping[str, Explained], parameters: PlantedEvidenceParameters, check: str) -> Result:
    """Make mosaics, explain them, measure where the maps lie, and decide."""
    from math import isqrt

    import numpy as np
    import torch

    from pytest_saliency.checks import common, mosaics
    from pytest_saliency.checks.gallery import Gallery
    from pytest_saliency.checks.numbers import Numbers, seed_of
    from pytest_saliency.checks.one_model import of_one_model
    from pytest_saliency.decide.sets import mosaic_sets, numbered
    from pytest_saliency.engine.beside import images_of
    from pytest_saliency.measure.planted import cell_shares, cell_spans

    one = explained["model"]
    common.refuse_several_labels(
        one,
        "planted_evidence",
        "a cell of a mosaic must be evidence for one class and none of the others. Use localized.",
    )
    kept = common.keep(one, one.correct, "not correct")
    seed = seed_of(parameters, one.cases.unordered_digest, check)
    base = common.base_columns(one, kept)
    sets = mosaic_sets(base["label"], base.get("cluster"), parameters.cells, seed)
    planned = mosaics.planned(kept, one.cases.labels, sets, parameters.cells)
    with one.stage("mosaics") as cost:
        over, scale = mosaics.explain_mosaics(one, planned, parameters.method, parameters.scale)
        maps = over.maps(parameters.method, "label")
        drops = mosaics.cell_drops(over, planned)
        scored = images_of(over)
        cost.count("mosaic", scored)
        cost.passes += sum(over.passes.values())
    # Mosaics are read in their own order, columns are in that of the ids.
    place = {mosaic.target: row for row, mosaic in enumerate(planned)}
    rows = np.asarray([place[int(i)] for i in kept.indices], dtype=np.int64)
    inside = common.Kept(rows, kept.total, kept.dropped)
    common.refuse_degenerate(maps, inside)
    watch = common.clock()
    with watch.stage("measure"):
        shares = cell_shares(maps.values, over.input_size, parameters.cells)[torch.from_numpy(rows)].numpy()
    own = np.asarray([planned[row].own for row in rows], dtype=np.int64)
    usable = maps.ok[rows]
    own_share = np.where(usable, shares[np.arange(len(rows)), own], np.nan)
    elsewhere = np.where(np.arange(parameters.cells) == own[:, None], -1.0, shares).max(axis=1)
    columns = base | {
        "set": numbered(sets, len(rows)),
        "status": maps.status[rows].tolist(),
        "cell": own.tolist(),
        "cell_drop": drops[rows].tolist(),
        "own_share": own_share.tolist(),
        "largest_other_share": np.where(usable, elsewhere, np.nan).tolist(),
    }
    inputs = {
        "scale": scale,
        "size": list(over.input_size),
        "grid": [int(side) for side in maps.values.shape[1:]],
        "warnings": [*common.warnings_of(inside, maps), *_resized(one, scale)],
    }
    numbers = Numbers.made(columns, common.everyone(explained, kept, one.correct, "not correct"), inputs, seed)
    with watch.stage("decide"):
        made = decision(parameters, numbers)
    cases = common.case_record(one, kept)
    order = ranked(parameters, numbers)

    def own_cell(i: int) -> object:
        side = isqrt(parameters.cells)
        row, column = divmod(int(own[i]), side)
        made = np.zeros(over.input_size, dtype=bool)
        made[..., cell_spans(made.shape[-2], side)[row], cell_spans(made.shape[-1], side)[column]] = True
        return made

    def caption(i: int) -> list[str]:
        return [
            one.cases.ids[kept.indices[i]],
            f"{one.cases.class_name(one.cases.labels[kept.indices[i]])} in {_place(int(own[i]), parameters.cells)}",
            f"{100.0 * own_share[i]:.0f} % in its cell" if usable[i] else str(maps.status[rows[i]]),
        ]

    return of_one_model(
        "planted_evidence",
        check,
        explained,
        maps,
        inside,
        made,
        parameters,
        cases,
        numbers,
        order,
        Gallery(
            over,
            inside,
            order.badness,
            (maps,),
            ("map",),
            caption,
            f"{check}: {made.verdict}, {maps.method}; outlined: the cell of the class",
            outline=own_cell,
        ),
        watch.seconds,
        {"mosaic": maps},
        counted={
            "planned_images": 2 * len(planned),
            "scored_images": scored,
        },
    )


def _resized(one: Explained, scale: str) -> list[str]:
    """Return a warning where mosaics of whole images go through a function that may make them smaller again."""
    held = one.subject.preprocess
    if scale != "double" or held.function is None or held.keeps_size:
        return []
    return [
        "preprocess is a function, and mosaics go through it as images do: where it resizes, their cells are smaller"
        " than the images that the model learnt from; scale: input says so, and a declared resize avoids it"
    ]


def _place(cell: int, cells: int) -> str:
    """Return where a cell is: "row 1, column 2"."""
    row, column = divmod(cell, {4: 2, 9: 3}[cells])
    return f"row {row + 1}, column {column + 1}"


def decision(parameters: PlantedEvidenceParameters, numbers: Numbers) -> Decision:
    """Decide from the numbers of a run, or of a record: over the images that the model sees in their mosaics."""
    import numpy as np

    from pytest_saliency.decide import limits
    from pytest_saliency.decide.decision import NotAttainable
    from pytest_saliency.decide.planted import QUESTION, SEEN, seen_of
    from pytest_saliency.decide.values import Unit, defined, mean_of

    seen = seen_of(numbers.column("cell_drop"))
    share, other = numbers.column("own_share"), numbers.column("largest_other_share")
    if not seen.any():
        raise NotAttainable(
            f"planted_evidence has nothing to find: in none of {len(seen)} mosaics does another image in its cell lower"
            f" the log-odds of the class by more than {SEEN:g}. The model may not know images at this scale, or looks"
            " at fixed places; try another 'scale', or look at the model.",
            n=0,
            needed=None,
        )
    sets = [name for name, one in zip(numbers.per_image["set"], seen, strict=True) if one]
    told = f"{int(seen.sum())} of {len(seen)} images"
    cells = np.asarray(numbers.per_image["cell"])
    by_cell = {
        _place(cell, parameters.cells): mean_of(defined(share[seen & (cells == cell)]))
        for cell in range(parameters.cells)
    }
    usable = seen & ~np.isnan(share)
    made = limits.decide(
        QUESTION,
        {"own_share": share[seen]},
        limits={"min_share": parameters.min_share},
        alpha=parameters.alpha,
        max_undefined=parameters.max_undefined,
        min_kept=parameters.min_seen,
        kept=int(seen.sum()),
        total=len(seen),
        clusters=sets,
        unit=Unit("sets", f"sets with {told}"),
        counts={"cases": len(numbers.everyone["id"]), "not seen in the mosaic": int((~seen).sum())},
        notes=[
            f"{told} count: in their mosaics the log-odds of the class fall when another image takes the place of their"
            f" own ('min_seen' {parameters.min_seen:g}); images that share mosaics are one set, and sets are the units"
        ],
        readouts={
            "chance": 1.0 / parameters.cells,
            "scale": numbers.inputs["scale"],
            "most_in_own_cell": mean_of((share[usable] > other[usable]).astype(np.float64)),
            "own_share_by_cell": by_cell,
            "own_share_of_all_images": mean_of(defined(share)),
        },
        seed=numbers.seed,
    )
    return numbers.noted(made)


def ranked(parameters: PlantedEvidenceParameters, numbers: Numbers) -> Ranked:
    """Return the images by how little of the map lies in their cell; those that the model does not see are not judged.

    From the numbers of a run or of a record.
    """
    import numpy as np

    from pytest_saliency.checks.worst import Ranked
    from pytest_saliency.decide.planted import seen_of

    share = numbers.column("own_share")
    seen = seen_of(numbers.column("cell_drop"))
    return Ranked(np.where(seen, -share, -np.inf), {"share in its cell": share})
