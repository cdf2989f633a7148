"""Reads numbers back out of a plot, by nothing but what a viewer sees: its axes, bars, lines and dots."""

from __future__ import annotations

import re
from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

SVG = "{http://www.w3.org/2000/svg}"


@dataclass(frozen=True)
class Read:
    """A parsed plot."""

    root: ElementTree.Element

    @classmethod
    def of(cls, svg: str) -> Read:
        return cls(ElementTree.fromstring(svg))

    def all(self, tag: str, css: str = "") -> list[ElementTree.Element]:
        """Return the elements with a tag and a class."""
        found = self.root.iter(f"{SVG}{tag}")
        return [one for one in found if not css or css in one.get("class", "").split()]

    def words(self) -> str:
        """Return all text that is drawn, in one line."""
        return " ".join("".join(one.itertext()) for one in self.all("text"))

    def axis(self, which: str) -> tuple[float, float]:
        """Return (a, b) so that value = a * place + b, from the numbers at the ``x`` or ``y`` axis."""
        anchor = "middle" if which == "x" else "end"
        places, values = [], []
        for one in self.all("text", "f-faint"):
            words = "".join(one.itertext()).replace("−", "-")
            found = re.fullmatch(r"(-?\d+(?:\.\d+)?)( %)?", words)
            if one.get("text-anchor") == anchor and found:
                values.append(float(found[1]) / (100.0 if found[2] else 1.0))
                places.append(float(one.get(which, "nan")) - (0.0 if which == "x" else 4.0))
        a, b = np.polyfit(places, values, 1)
        np.testing.assert_allclose(np.polyval([a, b], places), values, atol=2e-3 * (max(values) - min(values)))
        return float(a), float(b)

    def bars(self) -> list[tuple[float, float, float]]:
        """Return (left, right, share) of each bar but the sample in the legend, in the units of the axes."""
        (ax, bx), (ay, by) = self.axis("x"), self.axis("y")
        made = []
        for one in self.all("rect", "s-accent")[1:]:
            x, y, width, height = (float(one.get(key, "nan")) for key in ("x", "y", "width", "height"))
            np.testing.assert_allclose(ay * (y + height) + by, 0.0, atol=1e-3)
            made.append((ax * (x - 0.5) + bx, ax * (x + width + 0.5) + bx, ay * y + by))
        return made

    def lines(self, css: str) -> list[NDArray[np.float64]]:
        """Return the corners (m, 2) of each path with a class, in units of the drawing."""
        return [
            np.asarray(re.findall(r"-?[\d.]+", one.get("d", "")), dtype=float).reshape(-1, 2)
            for one in self.all("path", css)
        ]

    def dots(self, css: str) -> NDArray[np.float64]:
        """Return the places (m, 2) of the dots with a class in the units of the axes."""
        (ax, bx), (ay, by) = self.axis("x"), self.axis("y")
        found = [(float(one.get("cx", "nan")), float(one.get("cy", "nan"))) for one in self.all("circle", css)]
        return np.asarray([(ax * x + bx, ay * y + by) for x, y in found])
