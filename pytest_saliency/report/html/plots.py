"""Plots in the report: SVG that is looked at before it is put in, so that no name in a label becomes an element."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

ALLOWED = frozenset(
    (
        *("svg", "g", "defs", "title", "desc", "text", "tspan", "image", "use", "symbol", "style", "stop"),
        *("path", "line", "polyline", "polygon", "rect", "circle", "ellipse"),
        *("clipPath", "mask", "pattern", "marker", "linearGradient"),
    )
)
SVG = "{http://www.w3.org/2000/svg}"
LINK = "{http://www.w3.org/1999/xlink}href"
REMOTE = re.compile(r"url\(\s*['\"]?(?!#)|@import|expression\(|javascript:", re.IGNORECASE)
OWN_PIXELS = "data:image/png;base64,"


@dataclass(frozen=True)
class Drawn:
    """One plot: ``svg`` is markup, or None where ``problem`` says why it was left out."""

    title: str
    alt: str
    svg: Markup | None
    problem: str


def plots_shown(record: Mapping[str, Any], pixels: bool) -> list[Drawn]:
    """Return the plots of a record; without ``pixels`` those that are made of any are left out."""
    from pytest_saliency.report.plots.registry import plots_of

    made = []
    for plot in plots_of(record):
        problem = problem_of(plot.svg, pixels)
        made.append(Drawn(plot.title, plot.alt, None if problem else Markup(plot.svg), problem))
    return made


def problem_of(svg: str, pixels: bool = True) -> str:
    """Return why ``svg`` must not stand in the report; "" where it may."""
    from xml.etree import ElementTree

    if "<!" in svg.replace("<!--", ""):
        return "it declares a document type"
    try:
        root = ElementTree.fromstring(svg)
    except ElementTree.ParseError as error:
        return f"it is not well-formed ({error})"
    for element in root.iter():
        tag = str(element.tag)
        if not tag.startswith(SVG) or tag.removeprefix(SVG) not in ALLOWED:
            return f"it has an element '{tag.removeprefix(SVG)[:40]}'"
        if tag == f"{SVG}style" and REMOTE.search(element.text or ""):
            return "its style refers to something outside of it"
        for key, value in element.attrib.items():
            if key.lower().startswith("on") or REMOTE.search(value):
                return f"its attribute '{key[:40]}' does more than draw"
            if key in ("href", LINK) and not value.startswith("#") and not (pixels and value.startswith(OWN_PIXELS)):
                return "it refers to something outside of it"
    return ""
