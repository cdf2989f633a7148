"""A model's contrast set in use: what does not depend on the image is computed once, and all of it can be pickled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from pytest_saliency.engine.contrast import Contrast, contrast_sets, contrast_table


@dataclass
class ContrastSets:
    """Called with scores (n, C) and target classes (n,), it returns the contrast weights (n, C).

    ``held_out`` are scores and labels of the held-out cases, ``sigmoid``: labels do not exclude each other.
    """

    contrast: Contrast
    held_out: tuple[Tensor, Tensor] | None
    sigmoid: bool = False
    rows: Tensor | None = None
    _tables: dict[int, Tensor | None] = field(default_factory=dict)

    def settle(self, rows: Callable[[], Tensor]) -> None:
        """Ask for the classifier's rows (C, F), if they are needed; inside the runner's session."""
        if self.contrast.select == "similar_weights":
            self.rows = rows()

    def __call__(self, scores: Tensor, targets: Tensor) -> Tensor:
        classes = scores.shape[1]
        if classes not in self._tables:
            self._tables[classes] = contrast_table(self.contrast, classes, self.held_out, self._known_rows)
        return contrast_sets(self.contrast, self._tables[classes], scores, targets, self.sigmoid)

    def _known_rows(self) -> Tensor:
        if self.rows is None:
            raise ValueError("settle comes before the first batch")
        return self.rows
