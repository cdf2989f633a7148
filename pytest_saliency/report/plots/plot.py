"""One plot: a static SVG with its name, its title and the same in words."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Plot:
    """A plot of one record.

    Attributes
    ----------
    name
        Unique within the record and safe as part of a file name, as ``agreement`` or ``curves-blur-probability``.
    title
        What is plotted, as plain text; it is the SVG's ``<title>`` and not drawn, so that a page can set it.
    svg
        One ``<svg>`` element: no script, no reference to anything outside, colours as CSS variables with fallbacks.
    alt
        The numbers of the plot in sentences, as plain text.
    """

    name: str
    title: str
    svg: str
    alt: str


def plot_name(*parts: str) -> str:
    """Return parts joined to a safe name; one that had to be altered gets eight digits of its SHA-256."""
    whole = "-".join(parts)
    bare = re.sub(r"[^A-Za-z0-9+_-]+", "-", whole)[:60].strip("-")
    if bare == whole:
        return bare
    return f"{bare}-{hashlib.sha256(whole.encode(errors='backslashreplace')).hexdigest()[:8]}"
