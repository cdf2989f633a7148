"""The swap test: does an image's own region matter more to it than the regions of other images of its class?

D[i, j] = s(x_i) - s(x_i without the region of image j), within blocks of images of one predicted class. Regions of
other images have the same shapes, the same class prior, the same centre bias and the same fill artefacts, so that
under "own regions are no better" every exchange of regions within a block is equally likely. T = sum of D[i, i];
the reference permutes the regions within blocks.

Blocks hold 2 to 5 images. A block of m images costs m passes per image and fill, and five are the budget, so the
rest that a class leaves after blocks of 4 is not put into one block of up to 7 but spread over blocks of 5 (or, in
classes of 6, 7 and 11 images, over blocks of 3). Larger blocks that a caller brings, up to 7, are decided too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Literal

import numpy as np
import numpy.typing as npt

from pytest_saliency.decide.randomness import Stream
from pytest_saliency.decide.reference import DRAWS, Reference
from pytest_saliency.errors import CriterionError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

LARGEST_BLOCK = 7


@dataclass(frozen=True)
class SwapBlock:
    """One block: which images (``rows``, positions among the kept cases), their ``drops`` and ``undefined`` maps.

    ``drops`` is the (m, m) matrix D in log-odds; ``undefined`` (m,) marks images without a usable map of their
    own. Their diagonal entry is never read (it may be NaN); their column holds a seeded random region of the same
    size that they lend to the others.
    """

    rows: tuple[int, ...]
    drops: FloatArray
    undefined: npt.NDArray[np.bool_]

    def __post_init__(self) -> None:
        m = len(self.rows)
        drops = np.asarray(self.drops, dtype=np.float64)
        undefined = np.asarray(self.undefined, dtype=np.bool_)
        object.__setattr__(self, "drops", drops)
        object.__setattr__(self, "undefined", undefined)
        if not 2 <= m <= LARGEST_BLOCK:
            raise CriterionError(f"a swap block holds {m} images; it must hold 2 to {LARGEST_BLOCK}.")
        if drops.shape != (m, m) or undefined.shape != (m,):
            raise CriterionError(
                f"a swap block of {m} images needs {m} x {m} score drops and {m} marks of undefined maps;"
                f" it has the shapes {drops.shape} and {undefined.shape}."
            )
        needed = ~(np.eye(m, dtype=np.bool_) & undefined)
        if not bool(np.all(np.isfinite(drops[needed]))):
            row, column = (int(place) for place in np.argwhere(needed & ~np.isfinite(drops))[0])
            raise CriterionError(
                f"the score drop of image number {self.rows[row] + 1} without the region of image number"
                f" {self.rows[column] + 1} is not a finite number; check the model's logits."
            )

    def with_own(self, side: Literal["worst", "best"], margin: float = 0.0) -> FloatArray:
        """Return D with the numbers of undefined images at their worst or best for "own beats others by ``margin``".

        Worst (for PASS): an undefined image's own drop is its row's minimum, and the region that it lends costs every
        other image as much as the costliest region of its row. Best (for FAIL) is the mirror image. A lent region is
        scattered where maps are compact, so its measured cost would tell own regions from others for a map that
        knows nothing.

        Taking the undefined images out of a permutation of the block leaves one of the others, and every one of
        those arises equally often. A permutation counts against the claim whenever what is left of it does, so the
        p-value is never smaller than that of the test on the usable images alone.
        """
        worst = side == "worst"
        extreme, step = (np.min, min(0.0, margin)) if worst else (np.max, max(0.0, margin))
        opposite = np.max if worst else np.min
        drops = self.drops.copy()
        for place in range(len(self.rows)):
            if self.undefined[place]:
                drops[place, place] = extreme(np.delete(self.drops[place], place)) + step
            else:
                drops[place, self.undefined] = opposite([*self.drops[place], self.drops[place, place] - step])
        return drops

    def advantages(self) -> FloatArray:
        """Return (m,) each image's own drop minus the mean drop by the other usable regions; NaN where undefined."""
        usable = np.where(self.undefined, np.nan, self.drops)
        usable[self.undefined] = np.nan
        own, count = np.diag(usable), int((~self.undefined).sum())
        if count < 2:
            return np.full(len(self.rows), np.nan)
        advantages: FloatArray = own - (np.nansum(usable, axis=1) - own) / (count - 1)
        return advantages

    @property
    def weight(self) -> float:
        """Return how much an image of the block weighs in the estimate: its own region is no stranger to itself."""
        return 1.0 - 1.0 / max(1, int((~self.undefined).sum()))


def make_blocks(classes: npt.ArrayLike, seed: int) -> tuple[tuple[int, ...], ...]:
    """Group images of one class at random into blocks of 4, where a class leaves a rest also 5, 3 or 2.

    ``classes`` (n,) integers. Returns positions; classes appear in ascending order. An image alone in its class
    is in no block.
    """
    labels = np.asarray(classes, dtype=np.int64)
    blocks: list[tuple[int, ...]] = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        if members.size < 2:
            continue
        members = members[Stream(seed, "blocks", str(int(label))).permutation(members.size)]
        start = 0
        for size in block_sizes(int(members.size)):
            blocks.append(tuple(sorted(int(member) for member in members[start : start + size])))
            start += size
    return tuple(blocks)


def block_sizes(n: int) -> tuple[int, ...]:
    """Return the block sizes for ``n >= 2`` images of one class: fours and fives where they add up to n."""
    fives = n % 4
    if n >= 5 * fives and n >= 4:
        return (4,) * ((n - 5 * fives) // 4) + (5,) * fives
    return {2: (2,), 3: (3,), 6: (3, 3), 7: (4, 3), 11: (4, 4, 3)}[n]


def arrangements(sizes: Sequence[int]) -> int:
    """Return how many ways there are to permute regions within blocks of these sizes."""
    return math.prod(math.factorial(size) for size in sizes)


def smallest_n(alpha: float) -> int:
    """Return from which number of images of one class on their blocks have enough permutations for p < alpha.

    A single block of 5 has more permutations than two of 3, so it is the first number after which none fails.
    """
    enough = 2
    n = 2
    # From 12 on every image more multiplies the permutations, so that no gap follows.
    while n <= 12 or arrangements(block_sizes(n - 1)) <= 1.0 / alpha:
        if arrangements(block_sizes(n)) <= 1.0 / alpha:
            enough = n + 1
        n += 1
    return enough


def swap_reference(matrices: Sequence[FloatArray], seed: int) -> Reference:
    """Return the reference distribution of T = sum of own drops over blocks.

    All permutations within blocks where there are at most 10,000 of them, else 9,999 random ones beside the
    identity. ``matrices`` holds one D per block, without NaN.
    """
    sizes = [len(matrix) for matrix in matrices]
    tables = {size: np.array(list(permutations(range(size))), dtype=np.int64) for size in set(sizes)}
    listed = arrangements(sizes) <= DRAWS + 1
    totals = np.zeros(1 if listed else DRAWS + 1)
    fixed = np.zeros_like(totals)
    stream = Stream(seed, "swap")
    for matrix, size in zip(matrices, sizes, strict=True):
        table = tables[size]
        places = np.arange(size)
        scores = matrix[places, table].sum(axis=1)
        kept = (table == places).sum(axis=1).astype(np.float64)
        if listed:
            totals = (totals[:, None] + scores).ravel()
            fixed = (fixed[:, None] + kept).ravel()
        else:
            # Entry 0 of a table is the identity, and so is entry 0 of the reference.
            picked = np.concatenate(([0], stream.integers(len(table), DRAWS)))
            totals = totals + scores[picked]
            fixed = fixed + kept[picked]
    return Reference(
        observed=float(sum(np.trace(matrix) for matrix in matrices)),
        n=sum(sizes),
        totals=totals,
        fixed=fixed,
        scale=float(sum(np.abs(matrix).max(axis=1).sum() for matrix in matrices)),
        exact=listed,
    )
