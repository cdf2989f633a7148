"""``no_semantic_drift``: how the change of the maps is spread over the images, one plot a measure."""

from __future__ import annotations

from pytest_saliency.report.plots.columns import Record, by_unit, column
from pytest_saliency.report.plots.histogram import Series, histogram
from pytest_saliency.report.plots.marks import marks_of
from pytest_saliency.report.plots.plot import Plot

MEASURES = (
    ("iou_drop", "IoU drop", "1 − IoU of the top regions (0: the same)", (0.0, 1.0)),
    ("displacement", "displacement", "displacement of the centre / image diagonal (0: none)", (0.0, 1.0)),
    ("correlation", "pattern correlation", "correlation of the two maps (1: the same)", (-1.0, 1.0)),
    (
        "concentration_change",
        "change of concentration",
        "change of the share in the top 10 % (0: none)",
        (-1.0, 1.0),
    ),
)


def drift_plots(record: Record) -> list[Plot]:
    """Return a histogram for each measured column, with its limit where one is declared; none for other kinds."""
    if record.get("kind") != "no_semantic_drift":
        return []
    made = []
    for name, title, label, between in MEASURES:
        values = column(record, name)
        if values is None:
            continue
        reference = column(record, f"{name}_reference")
        if reference is not None and len(reference) == len(values):
            values, between = values - reference, (between[0] - between[1], between[1] - between[0])
            label = f"{label.partition(' (')[0]}, less the reference's (0: no more than there)"
        found, unit = by_unit(record, values)
        marks = marks_of(record, name, "mean")
        plot = histogram(
            name.replace("_", "-"),
            f"{title[0].upper()}{title[1:]} between before and after",
            label,
            Series(title, found),
            marks,
            unit=unit,
            between=between,
            note="" if marks.limit is not None else "no limit declared",
        )
        if plot is not None:
            made.append(plot)
    return made
