"""Which block moved the evidence, and at which share of the way: models between two checkpoints, measured as drift.

Nothing here decides: the numbers are means over a bounded number of images, without bounds.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_saliency.decide.decision import plain
from pytest_saliency.decide.drift import LIMITED, UNCHANGED
from pytest_saliency.errors import CriterionError, SubjectError

if TYPE_CHECKING:
    from pytest_saliency.checks.no_semantic_drift import NoSemanticDriftParameters
    from pytest_saliency.engine.blocks import Block, State
    from pytest_saliency.engine.cases import Cases
    from pytest_saliency.engine.explained import Explained
    from pytest_saliency.engine.maps import Maps
    from pytest_saliency.engine.subject import Subject

WAYS = ("alone", "up_to", "from", "without")
CLEAR = 0.5
"""A block with less than this share of the whole change did not move the evidence by itself."""

Means = Mapping[str, float]


@dataclass(frozen=True)
class BlockEffect:
    """A block: the measure with it alone swapped, and so on by way (``engine.blocks.cumulative``), and its effect.

    ``effect``: how much farther from unchanged the maps are with the block than without it, averaged over four places:
    in the model before, in the model after, and in the two orders of swapping one block after the other.
    """

    name: str
    values: Mapping[str, float]
    effect: float


@dataclass(frozen=True)
class Bisection:
    """What was found between two models.

    Attributes
    ----------
    measure, title, limit
        The declared limit that the model after comes closest to or exceeds most; ``limit`` None where limits bind
        an excess over a reference, which is not measured here.
    whole
        The means of all measures of the model after.
    blocks
        In the model's order.
    steps
        (share of the way, means, accuracy); a share that could not be explained has NaN.
    moved_at
        The share at which the limit is passed, on a straight line between the two steps around it; None if never.
    images, kept
        Looked at, and measured.
    failures
        Sentences of models in between that could not be explained.
    """

    measure: str
    title: str
    limit: float | None
    whole: Means
    blocks: tuple[BlockEffect, ...]
    steps: tuple[tuple[float, Means, float], ...]
    moved_at: float | None
    images: int
    kept: int
    models: int
    failures: tuple[str, ...]

    @property
    def moved_by(self) -> BlockEffect:
        """The block with the largest effect."""
        return max(self.blocks, key=lambda one: -math.inf if math.isnan(one.effect) else one.effect)

    @property
    def share(self) -> float:
        """The effect of that block as a share of the whole change; NaN where nothing changed."""
        whole = _distance(self.measure, self.whole)
        return self.moved_by.effect / whole if whole > 0.0 else math.nan

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain JSON."""
        made: dict[str, Any] = plain(
            {
                "measure": self.measure,
                "limit": self.limit,
                "whole": self.whole,
                "moved_by": {"block": self.moved_by.name, "share_of_change": self.share, "clear": self.share >= CLEAR},
                "blocks": [{"name": one.name, "effect": one.effect, **one.values} for one in self.blocks],
                "interpolation": [
                    {"share": share, "means": means, "accuracy": accuracy} for share, means, accuracy in self.steps
                ],
                "moved_at_share": self.moved_at,
                "images": self.images,
                "kept": self.kept,
                "models": self.models,
                "failures": list(self.failures),
            }
        )
        return made


def bisect(
    before: Subject,
    after: Subject,
    cases: Cases,
    parameters: NoSemanticDriftParameters,
    *,
    steps: int = 10,
    explain: Callable[[Subject, Cases], Explained],
    tell: Callable[[int, int], None] | None = None,
) -> Bisection:
    """Measure models between ``before`` and ``after`` against ``before``, over the images that ``keep`` leaves.

    The class of the label is explained throughout, whatever a model in between predicts. One such model is in memory
    at a time.

    Raises
    ------
    SaliencyError
        The architectures differ, nothing changed, no limit on maps is declared, or no image is kept.
    """
    from pytest_saliency.checks import drift
    from pytest_saliency.engine.blocks import between, blocks_of, cumulative, states_of, swapped

    if not any(
        entry.limit != "max_accuracy_drop" and getattr(parameters, entry.limit) is not None for entry in LIMITED
    ):
        raise CriterionError("bisect follows the maps, and the check declares no limit on maps.")
    one, two = states_of(before.model, after.model)
    blocks = blocks_of(before.model, one, two)
    first, last = explain(before, cases), explain(after, cases)
    mask, _ = drift.kept_mask(first, last, parameters.keep)
    rows = np.flatnonzero(mask)
    if not rows.size:
        raise CriterionError(f"'keep: {parameters.keep}' leaves none of {len(cases)} images to bisect on; take more.")
    size, a = drift.common_size(first, last), first.maps(parameters.method, "label")
    layer = first.layer.name
    measured: dict[frozenset[str], Means] = {}
    failures: list[str] = []
    planned = len({frozenset(b.name for b in chosen) for _, _, chosen in cumulative(blocks)} - {frozenset()}) + steps
    done = 0

    def means_of(explained: Explained) -> Means:
        maps: Maps = explained.maps(parameters.method, "label")
        made = drift.measure(a, maps, rows, parameters.top_fraction, size)
        return {name: _mean(column) for name, column in made.items()}

    def of_state(name: str, state: State) -> tuple[Means, float]:
        nonlocal done
        done += 1
        if tell is not None:
            tell(done, planned)
        try:
            explained = explain(_subject(before, state, layer, name), cases)
            return means_of(explained), float(explained.correct.mean())
        except SubjectError as error:
            failures.append(f"{name}: {error}")
            return dict.fromkeys(UNCHANGED, math.nan), math.nan

    def of_blocks(chosen: Sequence[Block]) -> Means:
        key = frozenset(block.name for block in chosen)
        if key not in measured:
            measured[key] = of_state("+".join(sorted(key)), swapped(one, two, chosen))[0]
        return measured[key]

    whole = means_of(last)
    measured[frozenset()] = dict(UNCHANGED)
    measured[frozenset(block.name for block in blocks)] = whole
    measure = _leading(parameters, whole)
    found: list[dict[str, float]] = [{} for _ in blocks]
    for way, i, chosen in cumulative(blocks):
        found[i][way] = of_blocks(chosen)[measure]
    path = [(k / steps, *of_state(f"{k}/{steps} of the way", between(one, two, k / steps))) for k in range(1, steps)]
    path = [(0.0, dict(UNCHANGED), float(first.correct.mean())), *path, (1.0, whole, float(last.correct.mean()))]
    entry = next(entry for entry in LIMITED if entry.name == measure)
    limit = float(getattr(parameters, entry.limit)) if parameters.reference == "absolute" else None
    return Bisection(
        measure=measure,
        title=entry.title,
        limit=limit,
        whole=whole,
        blocks=tuple(
            BlockEffect(block.name, values, _effect(measure, found, i))
            for i, (block, values) in enumerate(zip(blocks, found, strict=True))
        ),
        steps=tuple(path),
        moved_at=None if limit is None else _crossing(measure, path, limit),
        images=len(cases),
        kept=int(rows.size),
        models=done,
        failures=tuple(failures),
    )


def _subject(before: Subject, state: State, layer: str, name: str) -> Subject:
    """Return ``before`` with another state, read at the very layer."""
    from pytest_saliency.engine.blocks import with_state

    made = copy.copy(before)
    made.model = with_state(before.model, state)
    made.layer, made.name, made.weights_sha256, made._hashed = layer, name, None, {}
    return made


def _mean(column: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    seen = column[~np.isnan(column)]
    return float(seen.mean()) if seen.size else math.nan


def _distance(measure: str, means: Means) -> float:
    return abs(means[measure] - UNCHANGED[measure])


def _leading(parameters: NoSemanticDriftParameters, whole: Means) -> str:
    """Return the measure with the largest change in shares of what its limit allows."""

    def used(name: str, limit: float) -> float:
        allowed = abs(limit - UNCHANGED[name]) if parameters.reference == "absolute" else abs(limit)
        change = _distance(name, whole)
        return -1.0 if math.isnan(change) else change / max(allowed, 1e-9)

    declared = {
        entry.name: float(getattr(parameters, entry.limit))
        for entry in LIMITED
        if entry.name in UNCHANGED and getattr(parameters, entry.limit) is not None
    }
    return max(declared, key=lambda name: used(name, declared[name]))


def _effect(measure: str, found: Sequence[Mapping[str, float]], i: int) -> float:
    """Return what block ``i`` adds to the distance from unchanged, averaged over the places where it was added."""

    def at(k: int, way: str) -> float:
        return 0.0 if not 0 <= k < len(found) else abs(found[k][way] - UNCHANGED[measure])

    whole = at(len(found) - 1, "up_to")
    gains = [
        at(i, "alone"),
        whole - at(i, "without"),
        at(i, "up_to") - at(i - 1, "up_to"),
        at(i, "from") - at(i + 1, "from"),
    ]
    known = [gain for gain in gains if not math.isnan(gain)]
    return sum(known) / len(known) if known else math.nan


def _crossing(measure: str, path: Sequence[tuple[float, Means, float]], limit: float) -> float | None:
    """Return the first share of the way at which the mean passes the limit, interpolated; None if it never does."""
    allowed = abs(limit - UNCHANGED[measure])
    known = [(share, _distance(measure, means)) for share, means, _ in path if not math.isnan(means[measure])]
    for (left, low), (right, high) in pairwise(known):
        if high > allowed:
            return left if low >= allowed else left + (right - left) * (allowed - low) / (high - low)
    return None
