"""Deletion and insertion curves of a method over cases: what a score does as evidence goes and comes back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pytest_saliency.checks.changes import ChangedScores, noise_of, told, untouched_scores
from pytest_saliency.checks.common import Floats, Indices
from pytest_saliency.engine.batches import Batch, stream_chunks
from pytest_saliency.engine.explained import Explained
from pytest_saliency.engine.maps import Maps
from pytest_saliency.errors import CriterionError
from pytest_saliency.measure.curves import Ranking, area, relevance_gain, shares_of
from pytest_saliency.measure.removal import Remover, fill_named

STEPS = 10
VERSION = 1
"""Rises whenever the same maps and pixels would give other numbers."""

Score = Literal["probability", "log_odds"]
SCORES: tuple[Score, ...] = ("probability", "log_odds")


@dataclass(frozen=True, eq=False)
class Curves:
    """Curves of one method, target and fill.

    Attributes
    ----------
    indices, ids
        The n images, as indices into the cases and by id.
    method, method_version, target, fill
        Whose maps order the positions, for which class, and what takes the place of removed ones.
    shares
        (T,) from 0 to 1.
    deletion, insertion
        By score (``probability`` of the softmax, ``log_odds`` in nats), (n, T): the score of the target's class with
        the strongest share removed; and with nothing but the strongest share there. NaN for an unusable map.
    images
        How many images the model scored.
    """

    indices: Indices
    ids: tuple[str, ...]
    method: str
    method_version: int
    target: str
    fill: str
    shares: Floats
    deletion: Mapping[Score, Floats]
    insertion: Mapping[Score, Floats]
    images: int

    def deletion_area(self, score: Score = "probability", *, relative: bool = False) -> Floats:
        """Return the area under each deletion curve, (n,): the smaller, the better.

        ``relative`` divides it by the untouched image's probability, so that a sure and an unsure prediction weigh
        the same; log-odds have no such scale.
        """
        return area(self.shares, self.deletion[score]) / self._scale(score, relative)

    def insertion_area(self, score: Score = "probability", *, relative: bool = False) -> Floats:
        """Return the area under each insertion curve, (n,): the larger, the better."""
        return area(self.shares, self.insertion[score]) / self._scale(score, relative)

    def srg(self, score: Score = "probability", *, relative: bool = False) -> Floats:
        """Return the symmetric relevance gain of each image, (n,): the larger, the better, and 0 for no knowledge."""
        gain = relevance_gain(self.shares, self.deletion[score], self.insertion[score])
        return gain / self._scale(score, relative)

    def columns(self) -> dict[str, Floats]:
        """Return the areas and gains of each image by the name of the measure."""
        made = {}
        for score in SCORES:
            tail = "" if score == "probability" else "_log_odds"
            made[f"deletion_area{tail}"] = self.deletion_area(score)
            made[f"insertion_area{tail}"] = self.insertion_area(score)
            made[f"srg{tail}"] = self.srg(score)
        return made

    def means(self) -> dict[str, Any]:
        """Return the means over images with a usable map, of the areas and of the curves; ``n`` says how many."""
        usable = ~np.isnan(self.deletion["probability"][:, 0])

        def mean(values: Floats) -> Any:
            return values[usable].mean(axis=0).tolist() if usable.any() else np.full(values.shape[1:], np.nan).tolist()

        return {
            "n": int(usable.sum()),
            "shares": self.shares.tolist(),
            **{name: mean(values) for name, values in self.columns().items()},
            "deletion_area_relative": mean(self.deletion_area(relative=True)),
            "insertion_area_relative": mean(self.insertion_area(relative=True)),
            "deletion": {score: mean(self.deletion[score]) for score in SCORES},
            "insertion": {score: mean(self.insertion[score]) for score in SCORES},
        }

    def _scale(self, score: Score, relative: bool) -> Floats:
        if not relative:
            return np.ones(len(self.indices))
        if score != "probability":
            raise CriterionError("Log-odds may be negative, so no area is relative to them; use probability.")
        return self.deletion[score][:, 0]


def planned(images: int, steps: int = STEPS) -> int:
    """Return how many images the model will score for the curves of ``images`` images with a usable map, one fill.

    Both curves share their ends: the whole image, which is scored already, and nothing but the fill.
    """
    return images * (2 * (len(shares_of(steps)) - 2) + 1)


def curves(
    explained: Explained,
    method: str,
    target: str | int = "top1",
    fill: str = "blur",
    steps: int = STEPS,
    indices: Sequence[int] | Indices | None = None,
    seed: int = 0,
) -> Curves:
    """Return the deletion and insertion curves of ``method``; costs ``2 steps - 1`` passes an image.

    Parameters
    ----------
    target
        Whose maps order the positions; the score is that of the class they are for.
    fill
        ``blur``, ``mean``, ``zero`` or ``noisy_linear``.
    steps
        The curves have this many equal steps, and one point more.
    indices
        The cases to look at, all without it.
    seed
        Of the noise of ``noisy_linear``.

    Raises
    ------
    CriterionError
        An unknown fill, fewer than two steps, or indices beyond the cases.
    MethodError, SubjectError
        As for maps; or scores of a changed image that are not finite.
    """
    shares = shares_of(steps)
    fill_named(fill)
    chosen = _checked(explained, indices)
    maps = explained.maps(method, target)
    usable = np.flatnonzero(maps.ok[chosen])
    count, points = len(chosen), len(shares)
    classes = maps.classes[chosen]
    odds, probability = untouched_scores(explained, chosen, classes)
    scored = explained.remember(
        "curves",
        _identifying(maps, chosen, fill, shares, seed),
        lambda: _scored(explained, maps, chosen, fill, shares, seed),
    )
    made: dict[str, dict[Score, Floats]] = {"deletion": {}, "insertion": {}}
    found: tuple[tuple[Score, Floats, Floats], ...] = (
        ("log_odds", odds, scored["odds"]),
        ("probability", probability, scored["probability"]),
    )
    inner = points - 2
    for score, before, rows in found:
        deletion, insertion = np.full((count, points), np.nan), np.full((count, points), np.nan)
        deletion[usable] = np.column_stack([before[usable], rows[:, :inner], rows[:, -1]])
        insertion[usable] = np.column_stack([rows[:, -1], rows[:, inner:-1], before[usable]])
        made["deletion"][score], made["insertion"][score] = deletion, insertion
    return Curves(
        indices=chosen,
        ids=tuple(explained.cases.ids[i] for i in chosen),
        method=maps.method,
        method_version=maps.version,
        target=maps.target,
        fill=fill,
        shares=shares,
        deletion=made["deletion"],
        insertion=made["insertion"],
        images=scored["odds"].size,
    )


def _identifying(maps: Maps, chosen: Indices, fill: str, shares: Floats, seed: int) -> dict[str, Any]:
    """Return, as JSON, what the numbers of :func:`_scored` depend on besides model, pixels and precision."""
    return {
        "version": VERSION,
        "ids": [maps.ids[i] for i in chosen],
        "classes": maps.classes[chosen].tolist(),
        "maps": told(maps, chosen),
        "fill": [fill, fill_named(fill).version],
        "shares": shares.tolist(),
        "seed": f"{seed:016x}",
    }


def _scored(
    explained: Explained, maps: Maps, chosen: Indices, fill: str, shares: Floats, seed: int
) -> dict[str, NDArray[Any]]:
    """Return log-odds and probability of every changed image, one row for each of the images with a usable map."""
    usable = np.flatnonzero(maps.ok[chosen])
    classes = maps.classes[chosen]
    # One row of numbers an image: deletion at the inner shares, insertion at the inner shares, nothing but the fill.
    width = planned(1, len(shares) - 1)
    slots = np.arange(len(usable) * width).reshape(len(usable), width)
    scores = ChangedScores(explained, np.repeat(chosen[usable], width), np.repeat(classes[usable], width), "curves")
    step = scores.loaded
    chunks = [tuple(chosen[usable[start : start + step]].tolist()) for start in range(0, len(usable), step)]
    with explained.stage("curves") as cost, explained.runner.session():
        done = 0
        for batch in stream_chunks(explained.cases, explained.subject.preprocess, chunks):
            _put(scores, explained, maps, fill, shares, seed, batch, slots[done : done + len(batch.indices)])
            done += len(batch.indices)
        scores.finish()
        cost.count("curves", scores.images)
        cost.passes += len(scores.batches)
    return {"odds": scores.odds[slots], "probability": scores.probability[slots]}


def _checked(explained: Explained, indices: Sequence[int] | Indices | None) -> Indices:
    chosen = np.arange(len(explained.cases)) if indices is None else np.asarray(indices, dtype=np.int64)
    if chosen.ndim != 1 or not chosen.size or chosen.min() < 0 or chosen.max() >= len(explained.cases):
        raise CriterionError(
            f"Curves need the indices of some of the {len(explained.cases)} cases, counted from 0, not"
            f" {np.asarray(indices).tolist()}."
        )
    return chosen


def _put(
    scores: ChangedScores,
    explained: Explained,
    maps: Maps,
    fill: str,
    shares: Floats,
    seed: int,
    batch: Batch,
    slots: NDArray[np.int64],
) -> None:
    """Hand on all changed images of a chunk; one that does not fit in memory is halved."""
    count = len(batch.indices)

    def load() -> tuple[Ranking, Remover]:
        pixels = batch.pixels.to(explained.runner.device, non_blocking=True)
        noise = noise_of(explained, seed, batch.indices, tuple(pixels.shape[1:]))
        ranking = Ranking(maps.values[list(batch.indices)].to(pixels.device), tuple(pixels.shape[2:]))
        return ranking, Remover(pixels, fill, noise)

    loaded = scores.size.attempt(count, load)
    if loaded is not None:
        ranking, remover = loaded[0]
        for column, weights in enumerate(_removals(ranking, shares)):
            _put_column(scores, remover, weights.to(explained.runner.device), slots[:, column])
        return
    for start, stop in pairwise((0, count // 2, count)):
        part = Batch(batch.indices[start:stop], batch.pixels[start:stop])
        _put(scores, explained, maps, fill, shares, seed, part, slots[start:stop])


def _removals(ranking: Ranking, shares: Floats) -> Iterator[Tensor]:
    """Yield the weights (n, positions) of what is removed, in the order of the slots of an image."""
    for share in shares[1:-1]:
        yield ranking.strongest(float(share))
    for share in shares[1:-1]:
        yield 1.0 - ranking.strongest(float(share))
    yield ranking.strongest(1.0)


def _put_column(scores: ChangedScores, remover: Remover, weights: Tensor, slots: NDArray[np.int64]) -> None:
    def build(part: slice) -> Tensor:
        return remover(range(part.start, part.stop), weights[part])

    scores.put(np.ascontiguousarray(slots), build)
