"""The images a check shows: the worst ones and fixed percentiles between worst and best, never hand-picked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_saliency.checks.common import Floats, Kept
from pytest_saliency.checks.worst import WORST, order_of
from pytest_saliency.engine.explained import Explained
from pytest_saliency.engine.maps import Maps

if TYPE_CHECKING:
    from pytest_saliency.report.gallery import GalleryRow

PERCENTILES = (5, 25, 50, 75, 95)
"""Shown beside the worst: 95 means that 95 % of the images speak less against the criterion than this one."""


def told(words: str, value: float) -> str:
    """Return a line of a caption: ``value`` to two digits, or that it is undefined."""
    return f"{words} {value:.2f}" if np.isfinite(value) else f"{words} undefined"


@dataclass(frozen=True)
class Gallery:
    """What is drawn of a check, and in which order.

    Attributes
    ----------
    badness
        One number a kept image, the larger the worse; NaN, an unusable map, is worst; -inf is never shown.
    maps, titles
        The columns beside the image. With two maps the report adds their difference.
    caption
        Lines for the image at a position in ``kept``, its id first.
    heading
        Stands above the sheet.
    outline
        Returns the region (*S) around which a line is drawn, for the image at a position in ``kept``.
    further
        Rows behind those, for the report alone.
    """

    explained: Explained
    kept: Kept
    badness: Floats
    maps: Sequence[Maps]
    titles: Sequence[str]
    caption: Callable[[int], Sequence[str]]
    heading: str
    outline: Callable[[int], Any] | None = None
    further: Sequence[GalleryRow] = ()

    def chosen(self) -> list[tuple[int, str]]:
        """Return positions in ``kept`` with why each is shown: the worst, then percentiles of the defined ones."""
        worst = order_of(self.badness)[:WORST]
        picked = [(i, f"worst {place}") for place, i in enumerate(worst, start=1)]
        defined = [int(i) for i in np.argsort(self.badness, kind="stable") if np.isfinite(self.badness[i])]
        for percent in reversed(PERCENTILES):
            if defined:
                i = defined[round(percent / 100 * (len(defined) - 1))]
                if all(i != shown for shown, _ in picked):
                    picked.append((i, f"percentile {percent}"))
        return picked

    def sheet(self, path: Path) -> Path | None:
        """Write the worst images as one PNG and return where; None if there are none."""
        from pytest_saliency.report.pictures import PictureRow, write_sheet

        rows = order_of(self.badness)[:WORST]
        if not rows:
            return None
        made = [
            PictureRow(self._image(i), self._maps(i), tuple(self.caption(i)), outline=self._outline(i)) for i in rows
        ]
        return write_sheet(path, made, ("image", *self.titles), self.heading)

    def tiles(self, folder: Path) -> list[dict[str, Any]]:
        """Write a picture file for each cell of the report's gallery into ``folder``; returns its rows, as JSON."""
        from pytest_saliency.report.gallery import GalleryRow, write_gallery

        cases = self.explained.cases
        rows = []
        for i, why in self.chosen():
            case = int(self.kept.indices[i])
            rows.append(
                GalleryRow(
                    id=cases.ids[case],
                    label=cases.class_name(cases.labels[case]),
                    why=why,
                    caption=tuple(self.caption(i)),
                    image=self._image(i),
                    maps=self._maps(i),
                    outline=self._outline(i),
                )
            )
        return write_gallery(folder, [*rows, *self.further], tuple(self.titles))

    def _image(self, position: int) -> Any:
        return self.explained.pixels(int(self.kept.indices[position])).numpy()

    def _outline(self, position: int) -> Any:
        return None if self.outline is None else self.outline(position)

    def _maps(self, position: int) -> tuple[Any, ...]:
        index = int(self.kept.indices[position])
        return tuple(one.values[index].numpy() for one in self.maps)
