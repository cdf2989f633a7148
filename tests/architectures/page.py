"""The page ``docs/architectures.md``, from what was measured: ``python -m tests.architectures.page`` writes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from .exports import FILE
from .measuring import GRADIENT, METHODS, PERTURBING, VARIANTS, Measured, measure
from .planted import by_chance, places
from .registry import ARCHITECTURES, Architecture, key

PAGE = Path(__file__).parents[2] / "docs" / "architectures.md"
LEVEL = 1e-3
NOT_TRIED = "not tried"

HEAD = """# Architectures

Which layer `auto` takes in the networks that people use, and what was seen to work on it. The tests measure every row
of these tables anew and compare, the last column aside, which `python -m tests.architectures.exports` measures;
`python -m tests.architectures.page` writes the page. Weights are drawn at random: the rows are about reading a network,
not about how well a trained one is explained. A layer of your own model is shown by
`pytest-saliency layers`.

{first}

**`auto`** is held to what the design of each network asks for, written down by hand: the last grid that the scores
depend on, by the outermost name of what made it. It steps over modules that only hand a tensor on (dropout,
identity, a permutation of axes), over adaptive pooling that fits the grid to a head, and out of attention modules,
because queries, keys or values are each one part of what the module was given. **Grid** belongs to the input of the
row; larger images have larger grids. **`cam`**: "yes" where pooling and one linear layer follow, and there it is
Grad-CAM times the number of cells, as tested; elsewhere it refuses with one sentence. **Patch found**: see below.
**Wrapped**: by torch.compile around DataParallel, with the layer named as it is called in there, the maps are the same.
**Exported**: `torch.export.unflatten(torch.export.export(...))` gives the model's scores, for another number of images
too, and `auto` takes the same layer in it, unless the table names another: the classes of modules are lost in it, so
name the layer. Where the notes name fewer blocks, the patch, the wrapper and the export are those of that smaller
network, and only `auto` and the grid are those of the whole one. A program that was not unflattened has no layers and
is refused, and so is TorchScript.

## Methods

Every method gives finite maps of the layer's grid on every architecture above:
{methods}.
`cam` does so where the table says yes. All maps are usable (status `ok`), except that those named here may be `blank`,
without any positive value, on some images; `case` on one logit is `degenerate`, because the only other class is the
negative of the target.

{second}

## How the patch is found

Random weights do not localise by themselves: their head does not know the classes. So images of faint noise carry one
bright patch, whose texture tells the class, and the last linear layer is solved in closed form (ridge regression) from
the features of the network as it was drawn. Kernels are drawn with a strong middle, because kernels without one move a
feature about in a network that has not learnt; some batch norms get a bias, so that depth scrambles less. Where
averaging and one linear layer follow, the readout is solved from single cells. On 12 new images (8 where four places
tile the image) the map of the image's label is to have its highest cell inside the patch. The places tile the image, so
a map that does not depend on the patch hits one of them by chance. A method may be listed where that many hits have a
probability below 0.001 by chance. A method that is not listed gave a usable map and was not held to this: behind a few
large cells or a norm over tokens a random network leaves too little to tell. On the images with 14 labels two patches
are shown at once, and the map of each label must find its own.

## Other layers

A name takes any other layer with a grid. {third}
"""


def first_row(architecture: Architecture, made: Measured, exported: str) -> str:
    """Return the row of the first table."""
    layer = f"`{made.auto}`" + (f", {made.layout}" if made.layout != "channels_first" else "")
    chance = 1 / len(places(architecture.places))
    found = [name for name in architecture.finds if by_chance(made.hits[name], made.images, chance) < LEVEL]
    cells = (
        architecture.name, architecture.source, architecture.shown, layer, " x ".join(map(str, made.grid)),
        "refuses" if made.cam else "yes", ", ".join(found) or "nothing", "yes" if made.wrapped else "no", exported,
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def second_row(architecture: Architecture) -> str:
    """Return the row of the table of notes."""
    blank = ", ".join(f"`{name}`" for name in architecture.blank) or "none"
    return f"| {architecture.name} ({architecture.source}) | {blank} | {architecture.note} |"


def page(rows: Mapping[str, Measured]) -> str:
    """Return the page for what was measured of each architecture."""
    exported = json.loads(FILE.read_text(encoding="utf-8"))
    first = [
        "| architecture | from | input | `auto` | grid | `cam` | patch found by | wrapped | exported |",
        "|---|---|---|---|---|---|---|---|---|",
        *(first_row(one, rows[key(one)], exported.get(key(one), NOT_TRIED)) for one in ARCHITECTURES),
    ]
    second = [
        "| architecture | may be blank | note |",
        "|---|---|---|",
        *(second_row(one) for one in ARCHITECTURES if one.blank or one.note),
    ]
    others = [
        f"{one.name}: " + ", ".join(f"`{layer}` ({' x '.join(map(str, grid))})" for layer, grid in one.alternatives)
        for one in ARCHITECTURES
        if one.alternatives
    ]
    names = ", ".join(f"`{name}`" for name in (*GRADIENT, *VARIANTS, "eigencam", *PERTURBING))
    methods = names.replace(" `eigencam`", "\n`eigencam`")
    assert set(METHODS) == {*GRADIENT, *VARIANTS, "eigencam", *PERTURBING}
    return HEAD.format(first="\n".join(first), second="\n".join(second), third=". ".join(others) + ".", methods=methods)


def expected() -> dict[str, Measured]:
    """Return the rows as they are to be: what the tests hold every measurement to."""
    hits = dict.fromkeys((*GRADIENT, "eigencam"), 8)
    return {
        key(one): Measured(
            one.layer, one.grid, one.layout, 1.0, images=8, wrapped=True, cam="" if one.cam else "refuses", hits=hits
        )
        for one in ARCHITECTURES
    }


if __name__ == "__main__":
    PAGE.write_text(page({key(one): measure(one) for one in ARCHITECTURES}), encoding="utf-8")
