"""A plot as a file of its own: with its title, on paper that follows the viewer's light or dark setting."""

from __future__ import annotations

import re
from html import unescape

from pytest_saliency.report.plots.plot import Plot
from pytest_saliency.report.plots.svg import TONES, WIDTH, coordinate, drawing, lines_of_text, rect

DARK = {
    "ink": "#e8e8e8",
    "faint": "#a9a9a9",
    "line": "#3b3b3b",
    "paper": "#161616",
    "accent": "#86b4ec",
    "bad": "#ff9187",
    "good": "#7fd29a",
}
MARGIN = 8


def standalone(plot: Plot, about: str = "") -> str:
    """Return ``plot`` as the text of an SVG file; ``about`` stands below its title, as the id of the check."""
    heading, y = lines_of_text(MARGIN, 4.0, plot.title, WIDTH - 2 * MARGIN, size=13, bold=True)
    if about:
        beneath, y = lines_of_text(MARGIN, y, about, WIDTH - 2 * MARGIN, tone="faint")
        heading += beneath
    height, inner = _opened(plot.svg)
    total = y + 4 + height
    body = [
        f"<style>{_scheme()}</style>",
        rect(0, 0, WIDTH, total, tone="paper"),
        *heading,
        f'<g transform="translate(0 {coordinate(y + 4)})">{inner}</g>',
    ]
    return drawing(total, plot.title, plot.alt, body) + "\n"


def _opened(svg: str) -> tuple[float, str]:
    """Return the height of a plot and what is inside of it, its title, description and style aside."""
    found = re.match(r'<svg [^>]*viewBox="0 0 [\d.]+ ([\d.]+)"[^>]*>', svg)
    assert found is not None, "not a plot of this package"
    inner = svg[found.end() :].removesuffix("</svg>")
    return float(unescape(found[1])), re.sub(
        r"^<title>.*?</title><desc>.*?</desc><style>.*?</style>", "", inner, flags=re.S
    )


def _scheme() -> str:
    """Return the page's colours, which a report would give."""
    light, dark = (";".join(f"--{name}:{colour}" for name, colour in tones.items()) for tones in (TONES, DARK))
    return f":root{{color-scheme:light dark;{light}}}@media (prefers-color-scheme:dark){{:root{{{dark}}}}}"
