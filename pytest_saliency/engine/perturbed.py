"""The same model over changed images: every image and change is a case of its own, so that batches are always full.

Changes are made to the pixels that the maps belong to, behind the subject's resize and crop. What explains them is the
engine as it is: any method, the cache, halving when memory runs out.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pytest_saliency.engine.cases import Cases
from pytest_saliency.engine.explained import Explained
from pytest_saliency.engine.maps import Maps
from pytest_saliency.engine.methods.controls import Control
from pytest_saliency.engine.methods.evidence import GradientMethod
from pytest_saliency.engine.methods.gradcam import GRADCAM
from pytest_saliency.engine.methods.registry import find_method
from pytest_saliency.engine.passes import Passes
from pytest_saliency.engine.perturb import VERSION, Perturbation
from pytest_saliency.engine.preprocess import Preprocess
from pytest_saliency.engine.runner import Runner
from pytest_saliency.errors import MethodError

Plan = Sequence[tuple[int, Perturbation]]
"""Which case is changed, and how. Changes of one case stand together, so that it is read once."""


@dataclass
class _Held:
    """Reads images behind resize and crop, and holds the last one."""

    cases: Cases
    preprocess: Preprocess
    last: tuple[int, Tensor] | None = field(default=None, repr=False)

    def pixels(self, index: int) -> Tensor:
        last = self.last
        if last is None or last[0] != index:
            last = (index, self.preprocess.geometry(self.cases.image(index), self.cases.ids[index]))
            self.last = last
        return last[1]


@dataclass(frozen=True)
class _ChangedImage:
    """A case's pixels with one change; an ``ImageSource``."""

    held: _Held
    index: int
    change: Perturbation

    def load(self, case: str) -> Tensor:
        made: Tensor = self.change.apply(self.held.pixels(self.index))
        return made

    def digest(self, case: str) -> str:
        own = self.held.cases.case_digests[self.index]
        told = [VERSION, own, repr(self.change), self.held.preprocess.describe()]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()


@dataclass(frozen=True)
class Changed:
    """Top-1 maps of changed images, in the order of the plan, and what the model said of them (n,)."""

    maps: Maps
    predicted: NDArray[np.int64]


def alone(method: str) -> bool:
    """Tell whether a method explains one image by itself: without the other images, and without another model."""
    found = find_method(method)
    return not isinstance(found, Control) or found.name in ("random", "centre", "edges")


def explain_changed(explained: Explained, method: str, plan: Plan, stage: str, *, few: bool = False) -> Changed:
    """Return the top-1 maps of ``method`` on the changed images of ``plan``.

    Images, passes and progress are counted on ``stage``. ``few`` is for a handful of images at a time: nothing is
    kept between runs, and it is no error that no gradient reaches the layer.

    Raises
    ------
    MethodError
        The maps were brought in from outside, where they cannot be made again.
    SaliencyError
        Whatever keeps changed images from being explained; names the image and its change.
    """
    if method in explained._brought:
        raise MethodError(
            f"method {method!r} was brought in by add_maps, so that its maps of changed images cannot be made; register"
            " it as a method (pytest_saliency.register_method) to see whether it is stable."
        )
    found = find_method(method)
    work = explained._work
    told = None if few else explained.report(stage)
    passes = Passes(
        _without_geometry(work.runner),
        _cases_of(explained, plan),
        explained.size,
        (found,) if isinstance(found, GradientMethod) else (GRADCAM,),
        ("top1",),
        None if told is None else lambda _, done, total: told(done, total),
        None if few else work.remembered.cache,
        explained.layer,
    )
    made = Explained(passes, passes.runner.subject, passes.cases)
    with explained.stage(stage) as cost:
        maps = made.maps(method, "top1")
        predicted = made.predicted
        cost.passes += sum(one.passes for one in passes.stages.values())
        if passes.stages:
            cost.count("changed", sum(one.images.get("capture", 0) for one in passes.stages.values()) or len(plan))
    return Changed(maps, predicted)


def _without_geometry(runner: Runner) -> Runner:
    """Return a runner of the same model that takes pixels as they are; its memory format is the one found before."""
    subject = copy.copy(runner.subject)
    subject.preprocess = replace(subject.preprocess, resize=None, center_crop=None, channels=None)
    # Copied, not made anew: the state that it stands for, and the memory format, are those of the runner.
    made = copy.copy(runner)
    object.__setattr__(made, "subject", subject)
    return made


def _cases_of(explained: Explained, plan: Plan) -> Cases:
    cases = explained.cases
    held = _Held(cases, explained.subject.preprocess)
    return Cases(
        # What follows the id is read in errors; the number keeps apart changes that happen to be the same.
        ids=tuple(f"{cases.ids[index]} ({change}, change {n})" for n, (index, change) in enumerate(plan, start=1)),
        labels=tuple(cases.labels[index] for index, _ in plan),
        images=tuple(_ChangedImage(held, index, change) for index, change in plan),
        class_names=cases.class_names,
        others=None if cases.others is None else tuple(cases.others[index] for index, _ in plan),
        thresholds=None if cases.thresholds is None else tuple(cases.thresholds[index] for index, _ in plan),
        source=f"changed images of {cases.source}",
    )
