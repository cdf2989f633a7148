"""Maps of models that have forgotten, compared with the trained model's: the numbers of ``model_dependent``."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.parameter import is_lazy

from pytest_saliency.checks.changes import told
from pytest_saliency.checks.common import Floats, Indices
from pytest_saliency.decide.randomness import seed_from
from pytest_saliency.decide.sets import OTHERS
from pytest_saliency.engine.batches import load_pixels
from pytest_saliency.engine.beside import explain_beside, images_of, refuse_brought
from pytest_saliency.engine.cascade import from_the_top, stages_of
from pytest_saliency.engine.cases import Cases
from pytest_saliency.engine.explained import Explained
from pytest_saliency.engine.identity import callable_digest
from pytest_saliency.engine.maps import Maps
from pytest_saliency.engine.methods.own import OwnMethod
from pytest_saliency.engine.methods.registry import find_method
from pytest_saliency.engine.reinitialise import reinitialised_subject
from pytest_saliency.engine.sweep import UnreachedError
from pytest_saliency.errors import MethodError
from pytest_saliency.measure import pairs

KIND = "model_dependent"
VERSION = 1
"""Rises whenever the same model, maps and seeds would give other numbers."""

STAGE_SEEDS = 3


@dataclass(frozen=True)
class Compared:
    """What randomised models' maps have in common with the trained model's, over the chosen images.

    Attributes
    ----------
    similarity
        (n,) mean IoU over the seeds, all parameters drawn anew; NaN where the trained map is unusable.
    unusable
        (n,) share of the randomised maps that show nothing.
    told
        For each stage of the cascade, the last of which is the whole model: how many modules are drawn anew, the name
        of the lowest, how many seeds, and quartiles and mean of the images' mean IoU.
    first
        (n, *grid) maps of the first model whose parameters are all drawn anew, to be looked at.
    planned, images
        How many images all randomised models explain, and how many went through a model for these numbers.
    """

    similarity: Floats
    unusable: Floats
    told: list[dict[str, Any]]
    first: Tensor
    planned: int
    images: int

    def example(self, maps: Maps, rows: Indices) -> Maps:
        """Return the first randomised model's maps as those of all cases, zero where there are none."""
        values = torch.zeros(len(maps), *self.first.shape[1:])
        values[torch.from_numpy(rows)] = self.first
        return replace(maps, values=values)


def compare(
    one: Explained, method: str, rows: Indices, *, seeds: int, stages: int, fraction: float, seed: int
) -> Compared:
    """Explain ``seeds`` randomised models and the stages of a cascade over the cases at ``rows``.

    Every model is a copy; the user's own is not touched.

    Raises
    ------
    MethodError
        The model cannot be copied or has no parameters, most of it is in buffers, or the method's maps were brought in.
    SubjectError, CasesError
        What an ordinary pass would raise.
    """
    refuse_brought(one, method)
    _refuse_buffers(one)
    maps = one.maps(method, "top1")
    # The classes that the trained model named, whatever the others would say.
    labels = tuple(int(maps.classes[i]) for i in rows)
    cases = replace(one.cases.subset([int(i) for i in rows]), labels=labels)
    with one.runner.session():
        order = from_the_top(one.runner, load_pixels(cases, [0], one.runner.subject.preprocess), KIND)
    parts = [*((part, STAGE_SEEDS) for part in stages_of(order, stages)), (order, seeds)]
    planned = len(rows) * sum(count for _, count in parts)

    def make() -> dict[str, NDArray[Any]]:
        made: dict[str, NDArray[Any]] = {}
        scored = 0
        report, done = one.report("randomised models"), 0
        with one.stage("randomised models") as cost:
            for number, (part, count) in enumerate(parts):
                only = None if part is order else part
                similar, unusable = np.full((count, len(rows)), np.nan), np.zeros((count, len(rows)))
                for draw in range(count):
                    drawn = seed_from(KIND, f"{seed:x}", str(len(part)), str(draw))
                    other, images, passes = _explained(one, method, cases, only, drawn)
                    similar[draw], unusable[draw] = _similarity(one, maps, rows, other, fraction)
                    cost.count("randomised", images)
                    cost.passes += passes
                    scored += images
                    done += len(rows)
                    if report is not None:
                        report(done, planned)
                    if only is None and draw == 0:
                        made["first"] = other.values.numpy()
                made[f"similarity/{number}"], made[f"unusable/{number}"] = similar, unusable
        return {**made, "images": np.asarray(scored, dtype=np.int64)}

    what = _identifying(method, maps, rows, parts, fraction, seed)
    found = make() if what is None else one.remember(KIND, what, make)
    last = len(parts) - 1
    return Compared(
        similarity=found[f"similarity/{last}"].mean(axis=0),
        unusable=found[f"unusable/{last}"].mean(axis=0),
        told=[_stage(part, found[f"similarity/{number}"]) for number, (part, _) in enumerate(parts)],
        first=torch.from_numpy(found["first"]),
        planned=planned,
        images=int(found["images"]),
    )


def _refuse_buffers(one: Explained) -> None:
    """Raise where most of what the model knows is not in parameters, so that drawing those anew takes little away."""
    model = one.runner.subject.model
    statistics = {
        id(buffer) for module in model.modules() if isinstance(module, _NormBase) for buffer in module.buffers()
    }
    # What has no memory yet has no count either.
    drawn, left = (
        sum(tensor.numel() for tensor in tensors if tensor.is_floating_point() and not is_lazy(tensor))
        for tensors in (model.parameters(), (one for one in model.buffers() if id(one) not in statistics))
    )
    if left > drawn:
        raise MethodError(
            f"{KIND} draws the parameters of model '{one.subject.name}' anew, but {left} of its {left + drawn} numbers"
            " are in buffers, which stay: what was learned would still be there. Make the learned tensors parameters"
            " (requires_grad=False keeps them from training)."
        )


def floor(
    maps: Maps, rows: Indices, partners: Sequence[Sequence[int]], fraction: float, size: tuple[int, ...]
) -> Floats:
    """Return the mean IoU (n,) of the maps at ``rows`` with those of their partners, NaN where undefined."""
    n = len(rows)
    total, count = np.zeros(n), np.zeros(n)
    for turn in range(max(len(one) for one in partners)):
        having = np.asarray([i for i in range(n) if turn < len(partners[i])], dtype=np.int64)
        own, others = rows[having], np.asarray([partners[i][turn] for i in having], dtype=np.int64)
        found = _iou(maps.values[own], maps.values[others], fraction, size)
        seen = maps.ok[own] & maps.ok[others] & ~np.isnan(found)
        total[having[seen]] += found[seen]
        count[having[seen]] += 1
    mean: Floats = np.divide(total, count, out=np.full(n, np.nan), where=count > 0)
    return mean


def likeness(maps: Maps, rows: Indices, fraction: float, size: tuple[int, ...]) -> Floats:
    """Return the mean IoU (n,) of each image's map with up to ``OTHERS`` other images' maps, NaN where undefined.

    Images share these others, so that the numbers are not independent and nothing is bound by them.
    """
    n = len(rows)
    total, count = np.zeros(n), np.zeros(n)
    usable = maps.ok[rows]
    for step in _steps(n):
        others = np.roll(np.arange(n), -step)
        found = _iou(maps.values[rows], maps.values[rows[others]], fraction, size)
        seen = usable & usable[others] & ~np.isnan(found)
        total[seen] += found[seen]
        count[seen] += 1
    mean: Floats = np.divide(total, count, out=np.full(n, np.nan), where=count > 0)
    return mean


def _steps(n: int) -> list[int]:
    """Return how far other images lie in the order of ids: spread evenly, as images of one class may follow another."""
    count = min(OTHERS, n - 1)
    return [1 + index * (n - 1) // count for index in range(count)]


def _explained(
    one: Explained, method: str, cases: Cases, only: Collection[str] | None, seed: int
) -> tuple[Maps, int, int]:
    """Return a randomised model's maps for the trained model's classes, and the images and passes they took."""
    subject = reinitialised_subject(one.runner, one.layer.name, cases, seed, only, KIND)
    beside = explain_beside(one, subject, cases, method, quiet=True)
    try:
        found = beside.maps(method, "label")
    except UnreachedError:  # nothing of it reaches the layer: it shows nothing
        maps = one.maps(method, "top1")
        blank = torch.zeros(len(cases), *maps.values.shape[1:])
        found = replace(
            maps, values=blank, status=np.full(len(cases), "blank", dtype="<U10"), ids=cases.ids, details={}
        )
    return found, images_of(beside), sum(beside.passes.values())


def _similarity(
    one: Explained, maps: Maps, rows: Indices, other: Maps, fraction: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the IoU (n,) with the trained maps, 0 where the other shows nothing, and where that is so."""
    if other.values.shape[1:] != maps.values.shape[1:]:
        raise MethodError(
            f"method {maps.method!r} gives maps of a grid of {tuple(maps.values.shape[1:])} for the trained model and"
            f" of {tuple(other.values.shape[1:])} for a randomised one; they cannot be compared."
        )
    made = _iou(maps.values[rows], other.values, fraction, one.input_size)
    return np.where(maps.ok[rows], np.where(other.ok, made, 0.0), np.nan), ~other.ok


def _iou(one: Tensor, other: Tensor, fraction: float, size: tuple[int, ...]) -> Floats:
    found: Floats = pairs.compare(one, other, ["iou"], fraction=fraction, size=size)["iou"].numpy()
    return found


def _stage(part: list[str], similar: NDArray[np.float64]) -> dict[str, Any]:
    images = similar.mean(axis=0)
    seen = images[~np.isnan(images)]
    low, middle, high = np.quantile(seen, [0.25, 0.5, 0.75]) if seen.size else (np.nan,) * 3
    return {
        "modules": len(part),
        "down_to": part[-1] or "the model itself",
        "seeds": len(similar),
        "mean": float(seen.mean()) if seen.size else None,
        "quartiles": [float(low), float(middle), float(high)] if seen.size else None,
    }


def _identifying(
    asked: str,
    maps: Maps,
    rows: Indices,
    parts: list[tuple[list[str], int]],
    fraction: float,
    seed: int,
) -> Mapping[str, Any] | None:
    """Return, as JSON, what the numbers depend on besides model, pixels and precision; None where that is not known."""
    method = find_method(asked)
    source = None
    if isinstance(method, OwnMethod):
        source = callable_digest(method.function)
        if source is None:
            return None
    return {
        "version": VERSION,
        "maps": told(maps, rows),
        "source": source,
        "ids": [maps.ids[i] for i in rows],
        "parts": [[part, count] for part, count in parts],
        "fraction": fraction,
        "seed": f"{seed:016x}",
    }
