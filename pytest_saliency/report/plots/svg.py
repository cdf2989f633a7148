"""SVG written by hand: escaped text, numbers in one spelling, colours that follow the page they stand on.

Every colour is a class whose rule reads a CSS variable (``--ink`` and so on) with a fallback, and an attribute beside
it for viewers that know no variables. Nothing is told by colour alone. No ids: many plots share a page.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from xml.sax.saxutils import escape, quoteattr

TONES: Mapping[str, str] = {
    "ink": "#1a1a1a",
    "faint": "#5f5f5f",
    "line": "#d6d6d6",
    "paper": "#ffffff",
    "accent": "#2a5d9f",
    "bad": "#b3261e",
    "good": "#1b6e3c",
}
WIDTH = 340
"""Of every plot in its own units: a phone shows it at its natural size."""

SMALL = 12
FONT = "system-ui,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif"
LEADING = 1.3

_STYLE = (
    ".saliency-plot{max-width:100%;height:auto}"
    + "".join(f".saliency-plot .f-{tone}{{fill:var(--{tone},{colour})}}" for tone, colour in TONES.items())
    + "".join(f".saliency-plot .s-{tone}{{stroke:var(--{tone},{colour})}}" for tone, colour in TONES.items())
)
_UNSEEN = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]")
"""Marks that turn or hide text: they could make a name read as another."""


def plain(text: object, longest: int = 80) -> str:
    """Return ``text`` in one line without control characters, marks of direction and half surrogates, cut off."""
    single = " ".join(str(text).split())
    seen = "".join(
        "\ufffd" if unicodedata.category(char) in ("Cc", "Cs", "Cn", "Co") or _UNSEEN.match(char) else char
        for char in single
    )
    return seen if len(seen) <= longest else seen[: longest - 1].rstrip() + "…"


def coordinate(value: float) -> str:
    """Return a length with two decimals at most, and never "-0"."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def element(name: str, attributes: Mapping[str, object], *children: str) -> str:
    """Return one element; attribute values are escaped, children are markup already."""
    given = "".join(
        f" {key}={quoteattr(coordinate(value) if isinstance(value, int | float) else str(value))}"
        for key, value in attributes.items()
        if value is not None and value != ""
    )
    return f"<{name}{given}>{''.join(children)}</{name}>" if children else f"<{name}{given}/>"


def text(
    x: float,
    y: float,
    words: str,
    *,
    tone: str = "ink",
    size: int = SMALL,
    anchor: str = "start",
    bold: bool = False,
    upright: bool = False,
) -> str:
    """Return a line of text with its baseline at ``y``, and a rim of paper so that it can cross lines.

    ``upright``: turned so that it reads from below to above, as beside an axis.
    """
    attributes: dict[str, object] = {
        "class": f"f-{tone} s-paper",
        "x": x,
        "y": y,
        "font-size": size,
        "text-anchor": None if anchor == "start" else anchor,
        "font-weight": "bold" if bold else None,
        "fill": TONES[tone],
        "stroke": TONES["paper"],
        "stroke-width": 3,
        "stroke-linejoin": "round",
        "paint-order": "stroke",
        "transform": f"rotate(-90 {coordinate(x)} {coordinate(y)})" if upright else None,
    }
    return element("text", attributes, escape(plain(words, 200)))


def line(x1: float, y1: float, x2: float, y2: float, *, tone: str = "ink", width: float = 1.0, dash: str = "") -> str:
    """Return a straight line."""
    return path([(x1, y1), (x2, y2)], tone=tone, width=width, dash=dash)


def path(points: Sequence[tuple[float, float]], *, tone: str = "ink", width: float = 1.5, dash: str = "") -> str:
    """Return a line through ``points``; ``dash`` as SVG knows it, "" for an unbroken line."""
    way = "M" + "L".join(f"{coordinate(x)} {coordinate(y)}" for x, y in points)
    return element(
        "path",
        {
            "class": f"s-{tone}",
            "d": way,
            "fill": "none",
            "stroke": TONES[tone],
            "stroke-width": width,
            "stroke-dasharray": dash,
            "stroke-linejoin": "round",
        },
    )


def rect(
    x: float, y: float, width: float, height: float, *, tone: str = "accent", opacity: float = 1.0, rim: bool = False
) -> str:
    """Return a filled rectangle; ``rim`` draws its edge in the same tone."""
    return element(
        "rect",
        {
            "class": f"f-{tone}" + (f" s-{tone}" if rim else ""),
            "x": x,
            "y": y,
            "width": width,
            "height": height,
            "fill": TONES[tone],
            "fill-opacity": None if opacity == 1.0 else opacity,
            "stroke": TONES[tone] if rim else None,
            "stroke-width": 1 if rim else None,
        },
    )


def dot(x: float, y: float, radius: float = 3.5, *, tone: str = "ink", hollow: bool = False) -> str:
    """Return a round mark; a hollow one shows the paper inside."""
    return element(
        "circle",
        {
            "class": f"f-{'paper' if hollow else tone} s-{tone}",
            "cx": x,
            "cy": y,
            "r": radius,
            "fill": TONES["paper" if hollow else tone],
            "stroke": TONES[tone],
            "stroke-width": 1.5,
        },
    )


def diamond(x: float, y: float, radius: float = 4.5, *, tone: str = "ink") -> str:
    """Return a hollow mark that stands on its corner."""
    corners = [(x, y - radius), (x + radius, y), (x, y + radius), (x - radius, y)]
    way = "M" + "L".join(f"{coordinate(a)} {coordinate(b)}" for a, b in corners) + "Z"
    attributes = {"class": f"f-paper s-{tone}", "d": way, "fill": TONES["paper"], "stroke": TONES[tone]}
    return element("path", {**attributes, "stroke-width": 1.5})


def width_of(words: str, size: int, bold: bool = False) -> float:
    """Return about how wide a line of text is in a wide font (DejaVu Sans); others need less room."""
    return size * sum(map(_advance, words)) * (1.12 if bold else 1.0)


def _advance(char: str) -> float:
    if char in "iljI'|!.,:; ·":
        return 0.33
    if char in "frt()[]-":
        return 0.41
    if unicodedata.east_asian_width(char) in "WF":
        return 1.05
    if char in "mwMW%" or unicodedata.category(char) == "Sm":
        return 0.95
    return 0.75 if char.isupper() else 0.63


def wrapped(words: str, width: float, size: int, bold: bool = False) -> list[str]:
    """Return ``words`` as lines no wider than ``width``; a word that is wider is cut."""
    lines: list[str] = []
    current = ""
    for word in words.split():
        while width_of(word, size, bold) > width and len(word) > 1:
            fit = len(word) - 1
            while fit > 1 and width_of(word[:fit], size, bold) > width:
                fit -= 1
            if current:
                lines.append(current)
                current = ""
            lines.append(word[:fit])
            word = word[fit:]
        wider = f"{current} {word}".strip()
        if current and width_of(wider, size, bold) > width:
            lines.append(current)
            current = word
        else:
            current = wider
    return [*lines, current] if current else lines


def lines_of_text(
    x: float,
    y: float,
    words: str,
    width: float,
    *,
    tone: str = "ink",
    size: int = SMALL,
    bold: bool = False,
    anchor: str = "start",
) -> tuple[list[str], float]:
    """Return ``words`` set in lines from the top ``y`` downwards, and the y below them."""
    made = []
    for one in wrapped(plain(words, 400), width, size, bold):
        y += round(size * LEADING)
        made.append(text(x, y - 3, one, tone=tone, size=size, bold=bold, anchor=anchor))
    return made, y


def drawing(height: float, title: str, said: str, body: Iterable[str]) -> str:
    """Return the whole ``<svg>``: ``title`` and ``said`` are what a screen reader reads."""
    return element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "class": "saliency-plot",
            "role": "img",
            "viewBox": f"0 0 {WIDTH} {coordinate(height)}",
            "width": WIDTH,
            "height": height,
            "font-family": FONT,
        },
        element("title", {}, escape(plain(title, 400))),
        element("desc", {}, escape(plain(said, 4000))),
        element("style", {}, _STYLE),
        *body,
    )
