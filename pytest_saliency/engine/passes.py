"""The passes of one model over one set of cases: each is made once, when first needed, and shared by all who ask."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from pytest_saliency.engine.batches import jittered, load_pixels, stream
from pytest_saliency.engine.cases import Cases
from pytest_saliency.engine.contrast import logit_sets, refuse_contrast
from pytest_saliency.engine.contrast_use import ContrastSets
from pytest_saliency.engine.difference import COMPARED, difference
from pytest_saliency.engine.executors.executor import Executor, Work
from pytest_saliency.engine.executors.local import Local
from pytest_saliency.engine.executors.works import ActivityWork, CaptureWork, OwnWork, PerturbationWork
from pytest_saliency.engine.head import classifier_rows
from pytest_saliency.engine.identity import callable_digest
from pytest_saliency.engine.installed import version_of
from pytest_saliency.engine.layers import LayerInfo, observe, resolve_layer
from pytest_saliency.engine.layout import Layout
from pytest_saliency.engine.methods.controls import RANDOM_MODEL
from pytest_saliency.engine.methods.evidence import GradientMethod
from pytest_saliency.engine.methods.gradcam import GRADCAM
from pytest_saliency.engine.methods.own import OwnMethod
from pytest_saliency.engine.methods.perturbation import PerturbationMethod
from pytest_saliency.engine.outputs import two_sided
from pytest_saliency.engine.reinitialise import reinitialised_gradcam
from pytest_saliency.engine.remembered import Arrays, Beside, Remembered, digest_of
from pytest_saliency.engine.runner import Runner
from pytest_saliency.engine.sizing import BatchSize
from pytest_saliency.engine.sweep import Counted, Ground, Plan, Report
from pytest_saliency.engine.swept import Key, Swept
from pytest_saliency.engine.targets import Targets
from pytest_saliency.errors import MethodError, SaliencyError
from pytest_saliency.measure.activity import THRESHOLD

if TYPE_CHECKING:
    from pytest_saliency.records.cache import Cache

_NUMBERS = itertools.count()
PROBED = 2  # images with which the target layer is found

T = TypeVar("T")

Progress = Callable[[str, int, int], None]
"""Called with (stage, images done, images in all)."""


@dataclass
class Stage:
    """What a stage cost: forward calls of the whole model, images by what for, seconds."""

    passes: int = 0
    seconds: float = 0.0
    images: dict[str, int] = field(default_factory=dict)

    def count(self, what: str, images: int) -> None:
        """Add ``images`` that went through the model for ``what``."""
        self.images[what] = self.images.get(what, 0) + images

    def to_dict(self) -> dict[str, Any]:
        return {"passes": self.passes, "images": dict(self.images), "seconds": self.seconds}


class Passes:
    """Everything computed for one model over one set of cases. Not for use by several threads at once."""

    def __init__(
        self,
        runner: Runner,
        cases: Cases,
        size: BatchSize,
        methods: tuple[GradientMethod, ...],
        targets: tuple[str, ...],
        progress: Progress | None = None,
        cache: Cache | None = None,
        layer: LayerInfo | None = None,
        executor: Executor | None = None,
    ) -> None:
        self.runner = runner
        self.cases = cases
        self.executor: Executor = Local() if executor is None else executor
        self.size = self.executor.settled(size)
        self.methods = methods
        self.targets = targets if "top1" in targets else ("top1", *targets)
        self.stages: dict[str, Stage] = {}
        self.remembered = Remembered(cache, runner, cases, self.executor.device_type(runner))
        self._id = f"{os.getpid()}-{next(_NUMBERS)}"  # checks that share this work tell of it under one name
        self._progress = progress
        self._layer: LayerInfo | None = layer
        self._told_layer = layer is not None  # by passes over other images, which have tried the model out
        self._probed: Tensor | None = None  # scores of the first images, from the pass that found the layer
        self._difference: dict[str, Any] | None = None
        self._beside: Arrays = {}  # what the contrast set is made from, where that takes passes of its own

    def holds(self) -> bool:
        """Tell whether a model that no longer looks the same still gives what the first pass found.

        It may if its own forward changes its attributes (a counter, the last activations): then the source says
        nothing, and a sample of the images is computed again. Otherwise somebody else changed the model.
        """
        if not self.runner.code.restless or "first" not in vars(self):
            return False
        indices = self.remembered.sample()
        targets = Targets(self.runner.subject, self.cases, self.targets)
        try:
            again = self._sweep("canary", self.methods, targets, order=indices)
        except SaliencyError:  # told to whoever explains the model as it is now
            return False
        return self.remembered.agreement.of_passes(again, self.first.rows(indices))

    # -- the layer ------------------------------------------------------------------------------------------------

    @property
    def layer(self) -> LayerInfo:
        """The target layer: found with the first images, or known from an earlier run."""
        if self._layer is None and "first" not in vars(self) and self.remembered.known(self._first_parts):
            _ = self.first
        if self._layer is None:
            self._find_layer()
        assert self._layer is not None
        return self._layer

    def _find_layer(self) -> None:
        runner, subject = self.runner, self.runner.subject
        few = range(min(PROBED, self.size.current, len(self.cases)))
        with self.stage("layer") as stage:
            pixels = load_pixels(self.cases, few, subject.preprocess)

            def look(at: slice) -> tuple[LayerInfo | None, Tensor]:
                piece = pixels[at]
                stage.count("layer", len(piece))
                if at.start > 0:  # two images at once did not fit, and the layer was found with the first
                    return None, runner.scores(piece).float().cpu()
                observed = observe(runner, piece)
                scores, _ = two_sided(subject.select(observed.output, len(piece)).float().cpu())
                return resolve_layer(runner, piece, observed), scores

            with runner.session():
                torch.rand(1, device=runner.device)  # or a model that draws would draw the same in its first pass
                found = self.size.each(len(pixels), look)
        self._layer = found[0][0]
        self._probed = torch.cat([scores for _, scores in found])

    # -- gradients ------------------------------------------------------------------------------------------------

    @cached_property
    def first(self) -> Swept:
        """The pass that everything else stands on: scores, classes, and the maps of all gradient methods."""

        def make() -> Beside:
            self._beside = {}
            # Also where a layer was known from an earlier run that is not believed.
            if self._probed is None and not self._told_layer:
                self._find_layer()
            swept = self._sweep("capture", self.methods, Targets(self.runner.subject, self.cases, self.targets))
            if self._probed is not None:
                self.runner.check_repeated(self._probed, swept.scores[: len(self._probed)])
            extra = {
                "layer": _layer_to_dict(self.layer),
                "methods": _versions(self.methods),
                "memory_format": str(self.runner.memory_format),
                "precision": self._half_against_full(swept),
            }
            return Beside(swept, extra, self._beside)

        def understood(found: Beside) -> None:
            _layer_from_dict(found.extra["layer"], self.runner)
            _ = found.extra["precision"], found.extra["memory_format"], dict(found.extra["methods"])

        found = self.remembered.first(self._first_parts, make, self._again, understood)
        self._difference = found.extra["precision"]
        return self._completed(found.swept, found.extra, self.methods, self.targets, None, "")

    @property
    def _first_parts(self) -> dict[str, Any]:
        return {"first": True, **self._parts("capture", (), self.targets)}

    def _again(self, found: Beside, indices: list[int]) -> Swept:
        """Compute some images of an earlier run again."""
        self._layer = _layer_from_dict(found.extra["layer"], self.runner)
        self._beside = dict(found.arrays)
        last = found.extra["memory_format"] == str(torch.channels_last)
        object.__setattr__(self.runner, "memory_format", torch.channels_last if last else torch.contiguous_format)
        current = tuple(method for method in self.methods if _holds(found.extra, method))
        targets = Targets(self.runner.subject, self.cases, self.targets)
        return self._sweep("canary", current or self.methods, targets, order=indices)

    def gradient(self, methods: tuple[GradientMethod, ...], target: str, draw: str) -> Swept:
        """Return a pass of its own for what the first one did not hold, or for the jittered images."""
        _ = self.first  # before anything is looked up: what was kept must stand on it
        words, given = self._words(target, draw)
        swept, extra = self._further(methods, words, given, draw, ())
        return self._completed(swept, extra, methods, words, given, draw)

    def _further(
        self,
        methods: tuple[GradientMethod, ...],
        words: tuple[str, ...],
        given: Tensor | None,
        draw: str,
        named: tuple[GradientMethod, ...],
    ) -> tuple[Swept, Mapping[str, Any]]:
        """Return a pass, found or made; whichever methods it was made with if none are ``named`` in its address."""
        targets = Targets(self.runner.subject, self.cases, words, given)
        stage = draw or "capture"

        def make() -> tuple[Swept, dict[str, Any]]:
            swept = self._sweep(stage, methods, targets, transform=jittered if draw else None)
            return swept, {"methods": _versions(methods)}

        return self.remembered.swept(self._parts(stage, named, words, given), make)

    def _completed(
        self,
        swept: Swept,
        extra: Mapping[str, Any],
        methods: tuple[GradientMethod, ...],
        words: tuple[str, ...],
        given: Tensor | None,
        draw: str,
    ) -> Swept:
        """Add what an earlier run had no use for: other contracts plan other methods, and versions rise."""
        missing = tuple(method for method in methods if not _holds(extra, method))
        if not missing:
            return swept
        more, _ = self._further(missing, words, given, draw, missing)
        names = {method.name for method in missing}

        def both(one: Mapping[Key, T], two: Mapping[Key, T]) -> dict[Key, T]:
            return {key: value for key, value in one.items() if key[0] not in names} | dict(two)

        return replace(
            swept,
            values=both(swept.values, more.values),
            degenerate=both(swept.degenerate, more.degenerate),
            details=both(swept.details, more.details),
        )

    def _half_against_full(self, swept: Swept) -> dict[str, Any] | None:
        """Explain a few images in float32 too; None where nothing runs in half precision."""
        if self.runner.precision == "float32":
            return None
        few = range(min(COMPARED, len(self.cases)))
        targets = Targets(self.runner.subject, self.cases, self.targets)
        full = self._sweep("float32", self.methods, targets, order=few, runner=self.runner.precise())
        return difference(swept.rows(few), full)

    def _words(self, target: str, draw: str) -> tuple[tuple[str, ...], Tensor | None]:
        """Return the targets of a pass: those of the first one, because more of them cost little; else this one."""
        if draw:
            return ("given",), self.first.classes["top1"]
        return (self.targets if target in self.targets else (target,)), None

    def _sweep(
        self,
        stage: str,
        methods: tuple[GradientMethod, ...],
        targets: Targets,
        *,
        order: Sequence[int] | None = None,
        transform: Callable[[Tensor], Tensor] | None = None,
        runner: Runner | None = None,
    ) -> Swept:
        runner = runner or self.runner
        sets = self._sets() if any(method.contrastive for method in methods) else partial(logit_sets, k=1)
        with self._counted(stage, runner) as counted:
            if isinstance(sets, ContrastSets):
                sets.settle(self._rows)
            ground = replace(self._ground(stage, order, transform), runner=runner)
            # Of a few images it may be true that no gradient reaches the layer.
            plan = Plan(methods, targets, sets, reached=order is None and not self._told_layer)
            return self._over(CaptureWork(plan), ground, counted, order)

    def _over(self, work: Work[T], ground: Ground, counted: Counted, order: Sequence[int] | None = None) -> T:
        """Do a pass; over a few images, to compare, always in this process."""
        return (self.executor if order is None else Local()).over(work, ground, counted)

    @contextmanager
    def _counted(self, stage: str, runner: Runner | None = None) -> Iterator[Counted]:
        """Hold the model in evaluation, and put what is counted to the costs of ``stage``."""
        counted = Counted()
        with self.stage(stage) as cost, (runner or self.runner).session():
            try:
                yield counted
            finally:
                cost.passes += counted.passes
                for what, images in counted.images.items():
                    cost.count(what, images)

    def _ground(
        self,
        stage: str,
        order: Sequence[int] | None = None,
        transform: Callable[[Tensor], Tensor] | None = None,
    ) -> Ground:
        positions = range(len(self.cases)) if order is None else order
        return Ground(self.runner, self.layer, self.cases, self.size, positions, transform, self.report(stage))

    def _sets(self) -> ContrastSets:
        """Return what selects the contrast classes of a batch; what does not depend on the image is computed once."""
        contrast = self.runner.subject.contrast
        refuse_contrast(contrast, self.cases)
        return ContrastSets(contrast, self._held_out(), self.cases.others is not None)

    def _rows(self) -> Tensor:
        """Return the classifier's rows (C, F)."""
        if "rows" not in self._beside:
            few = range(min(PROBED, self.size.current, len(self.cases)))
            pixels = load_pixels(self.cases, few, self.runner.subject.preprocess)
            rows = classifier_rows(self.runner.subject.model, lambda: self.runner.scores(pixels))
            self._beside["rows"] = rows.numpy()
        return torch.from_numpy(self._beside["rows"])

    def _held_out(self) -> tuple[Tensor, Tensor] | None:
        """Return scores and labels of the held-out cases of the contrast; None where no scores are needed."""
        held = self.runner.subject.contrast.cases
        if held is None:
            return None
        if "held_out" in self._beside:
            return torch.from_numpy(self._beside["held_out"]), torch.tensor(held.labels)
        both = set(held.case_digests) & set(self.cases.case_digests)
        if both:
            example = next(c for c, d in zip(held.ids, held.case_digests, strict=True) if d in both)
            raise MethodError(
                f"contrast '{self.runner.subject.contrast.select}' counts on cases of which {len(both)} are also under"
                f" test (for one, '{example}'); hold them out."
            )
        if self.runner.subject.contrast.select == "cooccurrence":
            return None
        scores = []
        with self.stage("confusion") as cost, self.runner.session():
            for batch in stream(held, self.runner.subject.preprocess, self.size, self.runner.device):

                def piece(at: slice, pixels: Tensor = batch.pixels) -> Tensor:
                    return self.runner.scores(pixels[at]).float().cpu()

                pieces = self.size.each(len(batch.indices), piece)
                scores += pieces
                cost.passes += len(pieces)
                cost.count("held out", len(batch.indices))
        self._beside["held_out"] = torch.cat(scores).numpy()
        return torch.cat(scores), torch.tensor(held.labels)

    # -- other methods --------------------------------------------------------------------------------------------

    def perturbation(self, method: PerturbationMethod, target: str, draw: str) -> Swept:
        """Return a pass of a perturbation method."""
        _ = self.first
        words, given = self._words(target, draw)
        targets = Targets(self.runner.subject, self.cases, words, given)
        stage = f"{draw}: {method.name}" if draw else method.name

        def make() -> tuple[Swept, dict[str, Any]]:
            with self._counted(stage) as counted:
                ground = self._ground(stage, None, jittered if draw else None)
                swept, notes = self._over(PerturbationWork(method, targets), ground, counted)
            return swept, {"notes": list(notes)}

        parts = self._parts(draw or "capture", (method,), words, given)
        if method.package:
            parts["package"] = [method.package, version_of(method.package)]
        swept, _ = self.remembered.swept(parts, make)
        return swept

    def own(self, method: OwnMethod, classes: Tensor, draw: str) -> Tensor:
        """Return the maps (N, *grid) of one of the user's own methods."""
        stage = f"{draw}: {method.name}" if draw else method.name
        _ = self.first

        def over(order: Sequence[int] | None, size: BatchSize, name: str) -> Tensor:
            with self._counted(name) as counted:
                ground = replace(self._ground(name, order, jittered if draw else None), size=size)
                return self._over(OwnWork(method, classes), ground, counted, order)

        def make() -> tuple[Tensor, int]:
            maps = over(None, self.size, stage)
            return maps, self.size.current

        def again(order: list[int], batch: int) -> Tensor:
            return over(order, BatchSize(batch, self.runner.device), f"canary: {method.name}")

        if self.remembered.parts is None:
            return make()[0]
        source = callable_digest(method.function)
        if source is None:
            self.remembered.notes[
                f"nothing was kept of own method '{method.name}': it cannot be told from another one by its source"
            ] = None
            return make()[0]
        parts = {"own": method.name, "version": method.version, "source": source, "draw": draw}
        parts["classes"] = digest_of(classes)
        told = f"own method '{method.name}' of model '{self.runner.subject.name}'"
        return self.remembered.checked(parts, make, again, told)

    def reinitialised(self, classes: Tensor, seed: int, draw: str) -> Tensor:
        """Return Grad-CAM maps (N, *grid) of a re-initialised copy of the model for ``classes`` (N,)."""
        name = "random_model"
        _ = self.first

        def make() -> Arrays:
            with self.stage(name) as cost:
                transform = jittered if draw else None
                cost.count("capture", len(self.cases))
                maps = reinitialised_gradcam(
                    self.runner, self.layer, self.cases, self.size, classes, seed, transform, self.report(name)
                )
            return {"maps": maps.numpy()}

        parts = {
            "control": [RANDOM_MODEL.name, RANDOM_MODEL.version, GRADCAM.version],
            "seed": f"{seed:x}",
            "draw": draw,
            "classes": digest_of(classes),
        }
        return torch.from_numpy(self.remembered.arrays(parts, make)["maps"])

    def activity(self, threshold: float) -> tuple[Tensor, int]:
        """Return how many channels of the target layer are active in each image, (N,), and how many there are."""
        first = self.first
        if threshold == THRESHOLD and first.active is not None:
            return first.active, first.channels

        def make() -> Arrays:
            with self._counted("activity") as counted:
                active, _ = self._over(ActivityWork(threshold), self._ground("activity"), counted)
            return {"active": active.numpy()}

        found = self.remembered.arrays({"activity": float(threshold).hex()}, make)
        return torch.from_numpy(found["active"]), first.channels

    # -- numbers, costs -------------------------------------------------------------------------------------------

    def remember(self, parts: Mapping[str, Any], make: Callable[[], Arrays]) -> Arrays:
        """Return numbers made from this model and these cases, from an earlier run where they are known."""
        _ = self.first
        return self.remembered.arrays({"numbers": dict(parts)}, make)

    @contextmanager
    def stage(self, name: str) -> Iterator[Stage]:
        """Add the time spent inside to stage ``name``, and hand it out to be counted on."""
        cost = self.stages.setdefault(name, Stage())
        started = time.perf_counter()
        try:
            yield cost
        finally:
            cost.seconds += time.perf_counter() - started

    def report(self, stage: str) -> Report | None:
        """Return what is to be called with (images done, images in all) of a stage; None where nobody watches."""
        if self._progress is None:
            return None
        return partial(self._progress, f"{self.runner.subject.name}: {stage}")

    def costs(self) -> dict[str, Any]:
        """Return stages with their images, passes and seconds, what the cache did, and notes for the user."""
        cache = None
        if self.remembered.cache is not None:
            cache = {"found": self.remembered.found, "made": self.remembered.made}
        by = self.executor.describe()
        return {
            **({} if by is None else {"executor": by}),
            "id": self._id,
            "subject": self.runner.subject.name,
            "stages": {name: stage.to_dict() for name, stage in self.stages.items()},
            "cache": cache,
            "precision": self._difference,
            "notes": list(self.remembered.notes),
        }

    def _parts(
        self,
        draw: str,
        methods: Sequence[GradientMethod | PerturbationMethod],
        words: tuple[str, ...],
        given: Tensor | None = None,
    ) -> dict[str, Any]:
        return {
            "draw": draw,
            "methods": [[method.name, method.version] for method in methods],
            "targets": list(words),
            "given": None if given is None else digest_of(given),
        }


def _versions(methods: Sequence[GradientMethod]) -> dict[str, int]:
    return {method.name: method.version for method in methods}


def _holds(extra: Mapping[str, Any], method: GradientMethod) -> bool:
    return bool(extra["methods"].get(method.name) == method.version)


def _layer_to_dict(layer: LayerInfo) -> dict[str, Any]:
    return {
        "name": layer.name,
        "kind": layer.kind,
        "shape": list(layer.shape),
        "grid": list(layer.grid),
        "layout": [layer.layout.kind, list(layer.layout.grid), layer.layout.prefix],
    }


def _layer_from_dict(found: Mapping[str, Any], runner: Runner) -> LayerInfo:
    kind, grid, prefix = found["layout"]
    reshape = runner.subject.reshape
    layout = Layout(kind, tuple(grid), prefix, reshape if callable(reshape) else None)
    return LayerInfo(found["name"], found["kind"], tuple(found["shape"]), tuple(found["grid"]), layout, 0, 0, 0)
