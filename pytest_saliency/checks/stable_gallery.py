"""Pictures of ``stable``: an image, the same changed, its map, and the map of the changed image laid back on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pytest_saliency.checks.gallery import Gallery
from pytest_saliency.checks.worst import WORST, order_of
from pytest_saliency.engine.perturb import Perturbation
from pytest_saliency.measure.grid import spread

CHANGED, LAID_BACK = "changed image", "map of the changed image, laid back"
SMALLEST = "smallest counter-example"


@dataclass(frozen=True, eq=False)
class Sight:
    """A change of one image, the raw map (*s) of the changed image, and the agreement of that map with the own one."""

    change: Perturbation
    map: NDArray[Any]
    agreement: float

    def laid_back(self, size: tuple[int, ...]) -> NDArray[Any]:
        """Return the map at the image's size and place; zero where the changed image does not show the place."""
        raw = torch.from_numpy(np.ascontiguousarray(self.map))[None]
        values, known = self.change.lay_back(spread(raw, size).values.reshape(1, *size))
        return np.asarray(torch.where(known, values[0], 0.0).numpy())

    def said(self) -> list[str]:
        """Return the lines of a caption."""
        return [str(self.change), f"agreement {self.agreement:.3f}"]


@dataclass(frozen=True)
class StableGallery(Gallery):
    """The worst images with the change under which their map agreed least, after the smallest counter-examples.

    Attributes
    ----------
    lowest
        That change of the image at a position; None where none could be compared.
    found
        By position, the smallest counter-example.
    """

    lowest: Callable[[int], Sight | None] = field(default=lambda _: None)
    found: Mapping[int, Sight] = field(default_factory=dict)

    def sheet(self, path: Path) -> Path | None:
        """Write counter-examples and worst images as one PNG and return where; None if there are none."""
        from pytest_saliency.report.pictures import PictureRow, write_sheet

        wanted: list[tuple[int, Sight | None, str]] = [(i, sight, SMALLEST) for i, sight in self.found.items()]
        wanted += [(i, self.lowest(i), "") for i in order_of(self.badness) if i not in self.found]
        rows = []
        for i, sight, why in wanted[:WORST]:
            image = self._image(i)
            caption = (*self.caption(i), *([f"{why}:"] if why else []), *(sight.said() if sight is not None else []))
            changed = image if sight is None else sight.change.apply(image)
            rows.append(PictureRow(image, self._both(i, sight), caption, also=(changed,)))
        if not rows:
            return None
        return write_sheet(path, rows, ("image", CHANGED, self.titles[0], LAID_BACK), self.heading)

    def tiles(self, folder: Path) -> list[dict[str, Any]]:
        """Write a picture file for each cell of the report's gallery into ``folder``; returns its rows, as JSON."""
        from pytest_saliency.report.gallery import GalleryRow, write_gallery

        wanted: list[tuple[int, Sight | None, str]] = [(i, sight, SMALLEST) for i, sight in self.found.items()]
        wanted += [(i, self.lowest(i), why) for i, why in self.chosen()]
        cases, rows = self.explained.cases, []
        for i, sight, why in wanted:
            case, image = int(self.kept.indices[i]), self._image(i)
            rows.append(
                GalleryRow(
                    id=cases.ids[case],
                    label=cases.class_name(cases.labels[case]),
                    why=why,
                    caption=(*self.caption(i), *(sight.said() if sight is not None else [])),
                    image=image,
                    maps=self._both(i, sight),
                    pictures=() if sight is None else ((CHANGED, sight.change.apply(image)),),
                )
            )
        return write_gallery(folder, rows, (self.titles[0], LAID_BACK))

    def _both(self, position: int, sight: Sight | None) -> tuple[Any, ...]:
        return (*self._maps(position), None if sight is None else sight.laid_back(self.explained.input_size))
