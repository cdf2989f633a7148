"""The declared groups in a record: what each measured, beside the decision, which does not look at them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_saliency.checks.numbers import Numbers


OF_LABEL = "of_label"
"""The column of label names, where images have several labels and the declared groups are others than these."""


def rows_by_group(kind: str, numbers: Numbers, alpha: float) -> list[dict[str, Any]]:
    """Return a row for each group and measure of a record of ``kind``: n, estimate, bounds, undefined.

    None where the kind's numbers are not those of single images. Behind declared groups come the labels, where images
    have several.
    """
    from pytest_saliency.checks.compared import comparable, compared_columns
    from pytest_saliency.decide.groups import group_rows
    from pytest_saliency.decide.worsening_measures import MEASURED, measure_of

    if kind not in MEASURED:
        return []
    rows = [i for i, has in enumerate(comparable(kind, numbers.per_image)) if has]
    named = [[str(numbers.per_image["group"][i]) for i in rows]]
    if OF_LABEL in numbers.per_image:
        named.append([f"label {numbers.per_image[OF_LABEL][i]}" for i in rows])
    clusters = numbers.units()
    within = None if clusters is None else [clusters[i] for i in rows]
    return [
        row.to_dict()
        for names in named
        for column, values in compared_columns(kind, numbers.per_image).items()
        for row in group_rows(measure_of(kind, column), column, values[rows], names, within, alpha, numbers.seed)
    ]
