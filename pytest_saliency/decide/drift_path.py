"""Where between two checkpoints did the evidence move? The measures of ``no_semantic_drift`` over a training.

"From this checkpoint on a limit is exceeded" is a claim about that checkpoint and all that follow it. So they are
tested from the last one backwards, each at the full level, and the first that is not shown ends it: a fixed sequence,
in which the probability of naming a checkpoint too early is at most alpha, however many there are (Maurer, Hothorn and
Lehmacher 1995). Several limits at one checkpoint share its level (Holm, whose smallest p decides).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pytest_saliency.decide import limits as limits_on
from pytest_saliency.decide.decision import Measure
from pytest_saliency.decide.holm import holm
from pytest_saliency.decide.limited import Question
from pytest_saliency.decide.values import defined, mean_of

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Point:
    """One checkpoint: means of all measures, bounds of the limited ones, and whether a limit is shown to be passed."""

    name: str
    means: Mapping[str, float]
    limited: Mapping[str, Measure]
    p: float
    first: str
    """The measure with the smallest p-value."""


@dataclass(frozen=True)
class Path:
    """The checkpoints in order, which of them begins the part where a limit is exceeded, and the largest step.

    ``step`` (None where nothing is defined): position of the checkpoint that the step leads to, and its size, in the
    ``measure`` that moved most in shares of its limit; a step to the first one starts at no change at all.
    """

    points: tuple[Point, ...]
    moved: int | None
    measure: str
    step: tuple[int, float] | None


def follow(
    question: Question,
    names: Sequence[str],
    columns: Mapping[str, Sequence[FloatArray]],
    *,
    limits: Mapping[str, float],
    alpha: float,
    clusters: Sequence[str] | None,
    start: Mapping[str, float],
    seed: int,
) -> Path:
    """Return the path over checkpoints ``names``.

    Parameters
    ----------
    columns
        By measure one array (n,) a checkpoint, over the same images, NaN where undefined.
    limits
        Those of measures that ``columns`` holds, at least one.
    start
        What each measure is where nothing changed: the point before the first checkpoint.
    """
    points = tuple(
        _point(question, name, {key: column[k] for key, column in columns.items()}, limits, alpha, clusters, seed)
        for k, name in enumerate(names)
    )
    moved = None
    for k in range(len(points) - 1, -1, -1):
        if not points[k].p < alpha:
            break
        moved = k
    measure = points[moved].first if moved is not None else next(iter(points[-1].limited))
    return Path(points, moved, measure, _largest_step(points, measure, start[measure]))


def _point(
    question: Question,
    name: str,
    values: Mapping[str, FloatArray],
    limits: Mapping[str, float],
    alpha: float,
    clusters: Sequence[str] | None,
    seed: int,
) -> Point:
    limited = {entry.name: values[entry.name] for entry in question.entries if entry.limit in limits}
    n = len(next(iter(limited.values())))
    made = limits_on.decide(
        question, limited, limits=limits, alpha=alpha, kept=n, total=n, clusters=clusters, seed=seed, described=False
    )
    adjusted = holm({key: float(m.p_fail) for key, m in made.measures.items() if m.p_fail is not None})
    first = min(adjusted, key=lambda key: adjusted[key])
    return Point(
        name, {key: mean_of(defined(column)) for key, column in values.items()}, made.measures, adjusted[first], first
    )


def _largest_step(points: Sequence[Point], measure: str, start: float) -> tuple[int, float] | None:
    """Return where the mean moved most from one checkpoint to the next, in either direction from ``start``."""
    means = [start, *(point.means[measure] for point in points)]
    steps = [abs(b - start) - abs(a - start) for a, b in itertools.pairwise(means)]
    known = [(k, step) for k, step in enumerate(steps) if not math.isnan(step)]
    if not known:
        return None
    return max(known, key=lambda one: one[1])


def told(path: Path, accuracies: Sequence[float | None], question: Question, limits: Mapping[str, float]) -> str:
    """Return the path in one sentence."""
    title = question.entry(path.measure).title
    limit = limits[question.entry(path.measure).limit]
    last = path.points[-1]
    if path.moved is None:
        return (
            f"trajectory of {len(path.points)} checkpoints: no limit is shown to be exceeded from any of them on"
            f" ({title} {_figure(last.means[path.measure])} at {last.name}, limit {limit:g}){_step(path)}"
        )
    point = path.points[path.moved]
    sentence = (
        f"the evidence moved at {point.name}: from there on a limit is shown to be exceeded ({title}"
        f" {_figure(point.means[path.measure])}, limit {limit:g}"
    )
    if path.moved:
        sentence += f", {_figure(path.points[path.moved - 1].means[path.measure])} at the checkpoint before"
    return f"{sentence}){_accuracy(path, accuracies)}{_step(path)}"


def _step(path: Path) -> str:
    if path.step is None:
        return ""
    place, size = path.step
    return f"; the largest step, {size:.2f}, leads to {path.points[place].name}"


def _figure(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.2f}"


def _accuracy(path: Path, accuracies: Sequence[float | None]) -> str:
    assert path.moved is not None
    there, last = accuracies[path.moved], accuracies[-1]
    if there is None or last is None:
        return ""
    before = accuracies[path.moved - 1] if path.moved else None
    came = "" if before is None else f"{100 * before:.1f} % before it, "
    return f", while accuracy was {came}{100 * there:.1f} % there and {100 * last:.1f} % at the end"


def readout(path: Path, accuracies: Sequence[float | None]) -> dict[str, object]:
    """Return the path as the decision's read-out."""
    rows = []
    for point, accuracy in zip(path.points, accuracies, strict=True):
        rows.append(
            {
                "name": point.name,
                "accuracy": accuracy,
                "means": dict(point.means),
                "bounds": {
                    key: {"low": one.interval.low, "high": one.interval.high} for key, one in point.limited.items()
                },
                "p_beyond": point.p,
            }
        )
    return {
        "points": rows,
        "moved_at": None if path.moved is None else path.points[path.moved].name,
        "measure": path.measure,
        "largest_step": None if path.step is None else {"to": path.points[path.step[0]].name, "size": path.step[1]},
    }
