"""How often the prediction follows a pasted region, against a control region and against the model before."""

from __future__ import annotations

from pytest_saliency.report.plots.axes import Scale, x_axis
from pytest_saliency.report.plots.columns import Record, figure, finite, part, several
from pytest_saliency.report.plots.legend import MARGIN, interval
from pytest_saliency.report.plots.plot import Plot
from pytest_saliency.report.plots.svg import WIDTH, dot, drawing, lines_of_text, rect

LEFT, RIGHT = 22, 34
ROWS = (
    ("region", "newly used region pasted into an image of another class", "bad"),
    ("control", "control region of the same size, from elsewhere in the same image", "accent"),
    ("model_before", "newly used region, and the model before predicts", "ink"),
)


def pasting_plots(record: Record) -> list[Plot]:
    """Return the shares with their bounds; none where nothing was pasted."""
    found = part(record, "decision", "readouts", "pasted_regions")
    if record.get("kind") != "no_semantic_drift" or not found:
        return []
    scale = Scale(0.0, 1.0, LEFT, WIDTH - RIGHT)
    y, body, said = 6.0, [], []
    for name, words, tone in ROWS:
        share = finite(part(found, name).get("share"))
        bounds = part(found, name, "bounds")
        low, high = finite(bounds.get("low")), finite(bounds.get("high"))
        if share is None or low is None or high is None:
            continue
        shown = f"{figure(100 * share, 1)} % ({figure(100 * low, 1)} to {figure(100 * high, 1)} %)"
        row, y = lines_of_text(LEFT, y, f"{words}: {shown} follow", WIDTH - 2 * LEFT)
        body += [
            *row,
            rect(scale(0.0), y + 3, max(scale(share) - scale(0.0), 0.5), 12, tone=tone, opacity=0.45),
            *interval(scale(low), scale(high), y + 9),
            dot(scale(share), y + 9),
        ]
        said.append(f"{words}: {shown} follow.")
        y += 22
    count = finite(found.get("n"))
    if not said or count is None:
        return []
    axis, y = x_axis(scale, y, "share of images whose prediction becomes the class of the pasted region", percent=True)
    p = finite(found.get("p"))
    word = "confirmed" if found.get("confirmed") is True else "not confirmed"
    note = f"n = {several(int(count), 'pair')} · exact paired test p = {'undefined' if p is None else f'{p:.2g}'}"
    note += f" · shortcut {word} · bounds one-sided, Clopper-Pearson"
    foot, y = lines_of_text(MARGIN, y, note, WIDTH - 2 * MARGIN, tone="faint")
    title = f"Does the prediction follow the newly used region? Shortcut {word}"
    alt = f"{' '.join(f'{one[0].upper()}{one[1:]}' for one in said)} {note}."
    return [Plot("pasted-regions", title, drawing(y + 6, title, alt, [*body, *axis, *foot]), alt)]
