"""One pass over the cases: all requested methods and targets of a batch from one capture."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor

from pytest_saliency.engine.batches import stream_chunks
from pytest_saliency.engine.capture import Capture, Tap
from pytest_saliency.engine.cases import Cases
from pytest_saliency.engine.head import head_rows
from pytest_saliency.engine.layers import LayerInfo
from pytest_saliency.engine.methods.evidence import Evidence, GradientMethod, RawMaps
from pytest_saliency.engine.runner import Runner
from pytest_saliency.engine.sizing import BatchSize
from pytest_saliency.engine.spread import Spread, sharing
from pytest_saliency.engine.swept import Gathering, Key, Part, Swept, on_cpu
from pytest_saliency.engine.targets import Targets
from pytest_saliency.errors import SubjectError
from pytest_saliency.measure.activity import THRESHOLD, channel_activity, pooled

T = TypeVar("T")

Report = Callable[[int, int], None]
"""Called with (images done, images in all)."""


class UnreachedError(SubjectError):
    """No gradient reaches the target layer on any image."""


@dataclass(frozen=True)
class Ground:
    """What a pass goes over: the model on its device, its layer, the cases, and how they are taken.

    ``order`` are the positions of the cases, ``transform`` is done to the pixels after geometry.
    """

    runner: Runner
    layer: LayerInfo
    cases: Cases
    size: BatchSize
    order: Sequence[int]
    transform: Callable[[Tensor], Tensor] | None = None
    report: Report | None = None

    def each(self, work: Callable[[tuple[int, ...], Tensor], T]) -> list[T]:
        """Return what ``work`` makes of the positions and pixels of batch after batch.

        A batch that does not fit into memory is taken in halves.
        """
        made: list[T] = []
        done = 0
        for batch in stream_chunks(self.cases, self.runner.subject.preprocess, self._chunks(), self.runner.device):
            pixels = batch.pixels if self.transform is None else self.transform(batch.pixels)

            def piece(at: slice, indices: tuple[int, ...] = batch.indices, pixels: Tensor = pixels) -> T:
                return work(indices[at], pixels[at])

            made += self.size.each(len(batch.indices), piece)
            done += len(batch.indices)
            if self.report is not None:
                self.report(done, len(self.order))
        return made

    def _chunks(self) -> Iterator[tuple[int, ...]]:
        start = 0
        while start < len(self.order):
            stop = start + self.size.current  # asked anew for each batch: it may have shrunk or grown
            yield tuple(self.order[start:stop])
            start = stop


@dataclass(frozen=True)
class Plan:
    """What a capture pass computes. ``sets`` returns the contrast weights (n, C) for scores and target classes.

    ``reached``: whether it is an error where no gradient reaches the layer on any image.
    """

    methods: tuple[GradientMethod, ...]
    targets: Targets
    sets: Callable[[Tensor, Tensor], Tensor]
    reached: bool = True


@dataclass
class Counted:
    """How often the model ran in a pass: forward calls, and images by what for."""

    passes: int = 0
    images: dict[str, int] = field(default_factory=dict)


def sweep(ground: Ground, plan: Plan, counted: Counted) -> Swept:
    """Compute every gradient method of ``plan`` for every target; call it inside the runner's session.

    Raises
    ------
    CasesError
        An image that cannot be read, or a label beyond the model's classes.
    SubjectError
        Scores that are not finite (names the images), or anything the model raised.
    """
    tap = Tap(ground.runner, ground.layer.name, ground.layer.layout)
    model = ground.runner.subject.model
    channels = 0

    def work(indices: tuple[int, ...], pixels: Tensor) -> Part:
        nonlocal channels
        before = tap.passes
        shared = sharing(ground.cases, indices)
        try:
            made = tap(pixels) if shared is None else Spread.over(tap(pixels[list(shared.first)]), shared)
        finally:
            counted.passes += tap.passes - before
        images = len(indices) if shared is None else len(shared.first)
        counted.images["capture"] = counted.images.get("capture", 0) + images
        channels = made.activations.shape[1]
        classes = plan.targets.classes(indices, made.scores)
        rows = None
        if any(method.head for method in plan.methods):
            rows = head_rows(model, ground.runner.subject.name, made.scores, made.activations)
        return _part(made, classes, plan, rows, tuple(pixels.shape[2:]))

    gathering = Gathering(len(ground.order))
    ground.each(lambda indices, pixels: gathering.add(work(indices, pixels)))
    if plan.reached:
        refuse_unreached(ground, gathering.reached)
    return gathering.swept(channels)


def refuse_unreached(ground: Ground, reached: bool) -> None:
    """Raise an UnreachedError unless a gradient reached the target layer on some image."""
    if not reached:
        raise UnreachedError(
            f"the scores of model '{ground.runner.subject.name}' do not change with layer '{ground.layer.name}' on any"
            f" of the {len(ground.order)} images: every gradient there is zero, so every map would be blank. Choose"
            " another layer, or check that the weights are trained ones."
        )


def _part(made: Capture, classes: Mapping[str, Tensor], plan: Plan, rows: Tensor | None, size: tuple[int, ...]) -> Part:
    """Compute a batch's maps."""
    scores = made.scores
    # A label that is already top-1 or top-2 needs no products of its own, and mostly it is.
    shared_label = "label" in classes and _covered(classes)
    computed = [word for word in classes if not (word == "label" and shared_label)]
    contrastive = any(method.contrastive for method in plan.methods)
    cotangents, sets = [], {}
    for word in computed:
        cotangents.append(torch.zeros_like(scores).scatter_(1, classes[word].unsqueeze(1), 1.0))
        if contrastive:
            sets[word] = plan.sets(scores, classes[word])
            # The mean of the contrast gradients is the gradient of the mean contrast score: one product, not k.
            total = sets[word].sum(1, keepdim=True)
            cotangents.append(sets[word] / torch.where(total > 0, total, torch.ones_like(total)))
    gradients = made.gradients(torch.stack(cotangents)).flatten(3)
    activations = made.activations.flatten(2)
    step = 2 if contrastive else 1
    grid = made.activations.shape[2:]
    maps: dict[Key, RawMaps] = {}
    once: dict[str, RawMaps] = {}
    for position, word in enumerate(computed):
        evidence = Evidence(
            activations,
            gradients[position * step],
            gradients[position * step + 1] if contrastive else None,
            sets.get(word),
            None if rows is None else rows[classes[word]].to(activations),
        )
        for method in plan.methods:
            made_once = once.get(method.name)
            maps[method.name, word] = made_once or on_cpu(method.compute(evidence), grid)
            if method.classless:
                once[method.name] = maps[method.name, word]
    if shared_label:
        maps |= _label_maps(plan, classes, maps)
    return Part(
        scores=scores.float().cpu(),
        binary=made.binary,
        size=size,
        classes={word: found.cpu() for word, found in classes.items()},
        maps=maps,
        active=torch.from_numpy(channel_activity(pooled(activations), THRESHOLD).counts),
        reached=bool((gradients != 0).any()),
    )


def _covered(classes: Mapping[str, Tensor]) -> bool:
    if "top1" not in classes or "top2" not in classes:
        return False
    label = classes["label"]
    return bool(((label == classes["top1"]) | (label == classes["top2"])).all())


def _label_maps(plan: Plan, classes: Mapping[str, Tensor], maps: Mapping[Key, RawMaps]) -> dict[Key, RawMaps]:
    """Return the maps of labels, each of which is the image's top-1 or top-2 class."""
    second = (classes["label"] == classes["top2"]).cpu()

    def pick(first: Tensor, other: Tensor) -> Tensor:
        return torch.where(second.reshape(-1, *(1,) * (first.dim() - 1)), other, first)

    made: dict[Key, RawMaps] = {}
    for method in plan.methods:
        one, two = maps[method.name, "top1"], maps[method.name, "top2"]
        degenerate = None
        if one.degenerate is not None and two.degenerate is not None:
            degenerate = pick(one.degenerate, two.degenerate)
        details = {name: pick(one.details[name], two.details[name]) for name in one.details}
        made[method.name, "label"] = RawMaps(pick(one.values, two.values), degenerate, details)
    return made
