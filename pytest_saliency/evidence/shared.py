"""What holds between the columns of kinds that show, remove or compare several images at once.

Which images share others follows from seed, labels and clusters; and a map that shows nothing has no number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_saliency.checks.numbers import Numbers
from pytest_saliency.evidence.compared import first_difference

Criterion = Mapping[str, Any]
FOLLOWS = "as seed, labels and clusters give it"


def planted_evidence(criterion: Criterion, numbers: Numbers) -> list[str]:
    """Return a sentence for every column of ``planted_evidence`` that contradicts the others."""
    from pytest_saliency.decide.sets import mosaic_sets, numbered, tiles_of

    table, cells = numbers.per_image, int(criterion["cells"])
    labels = [int(label) for label in table["label"]]
    sets = mosaic_sets(labels, numbers.clusters(), cells, numbers.seed)
    place = {tiles[own]: own for one in sets for tiles, own in tiles_of(one, labels, cells)}
    found = [
        first_difference(list(table["set"]), numbered(sets, len(labels)), "set"),
        first_difference(list(table["cell"]), [place[i] for i in range(len(labels))], "cell"),
    ]
    return [
        *(f"{one}, {FOLLOWS}" for one in found if one is not None),
        *(line for column in ("own_share", "largest_other_share") for line in _of_status(numbers, column)),
    ]


def model_dependent(criterion: Criterion, numbers: Numbers) -> list[str]:
    """Return a sentence for every column of ``model_dependent`` that contradicts the others."""
    from pytest_saliency.checks.model_dependent import compared_rows
    from pytest_saliency.decide.sets import compared_of, floor_sets, numbered

    table, most = numbers.per_image, int(criterion["images"])
    count = len(table["id"])
    sets = floor_sets(count, numbers.clusters(), most, numbers.seed)
    compared = compared_rows(table)
    found = [
        first_difference(list(table["set"]), numbered(sets, count), "set"),
        first_difference(compared, compared_of(sets, most), "the rows of the compared images"),
    ]
    lost = [i for i in compared if table["status"][i] != "ok" and table["similarity"][i] is not None]
    return [
        *(f"{one}, {FOLLOWS}" for one in found if one is not None),
        *(f"similarity[{i}] is a number, and its map shows nothing" for i in lost[:1]),
    ]


def beats_null_explainers(criterion: Criterion, numbers: Numbers) -> list[str]:
    """Return a sentence for every column of ``beats_null_explainers`` that contradicts the status of the maps."""
    return [
        line
        for fill in criterion["fill"]
        for column in (f"drop[{fill}]", f"softmax_drop[{fill}]")
        for line in _of_status(numbers, column)
    ]


def _of_status(numbers: Numbers, column: str) -> list[str]:
    """Return a sentence where a map that shows nothing has a number, or a usable one has none."""
    for row, (status, value) in enumerate(zip(numbers.per_image["status"], numbers.per_image[column], strict=True)):
        if (status == "ok") != (value is not None):
            said = "no number" if value is None else "a number"
            return [f"{column}[{row}] is {said}, and the status of its map is {status!r}"]
    return []
