"""``explain``: a subject's maps over cases, computed when first asked for and kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pytest_saliency.engine.batches import jittered, load_pixels, stream
from pytest_saliency.engine.cases import Cases
from pytest_saliency.engine.contrast import confusion_table, explicit_table
from pytest_saliency.engine.devices import resolve_device
from pytest_saliency.engine.layers import LayerInfo, observe, resolve_layer
from pytest_saliency.engine.maps import Maps, judge
from pytest_saliency.engine.methods.controls import ControlInput
from pytest_saliency.engine.methods.evidence import GradientMethod
from pytest_saliency.engine.methods.registry import CONTROLS, GRADIENT_METHODS, unknown_method
from pytest_saliency.engine.outputs import two_sided
from pytest_saliency.engine.runner import Runner
from pytest_saliency.engine.subject import Subject
from pytest_saliency.engine.sweep import Plan, Swept, sweep
from pytest_saliency.errors import MethodError

TARGETS = ("top1", "top2", "label")
PROBED = 2  # images with which the target layer is found

Progress = Callable[[str, int, int], None]
"""Called with (stage, images done, images in all)."""


def explain(
    subject: Subject,
    cases: Cases,
    *,
    device: str = "auto",
    batch_size: int = 32,
    methods: Sequence[str] | None = None,
    targets: Sequence[str] = TARGETS,
    progress: Progress | None = None,
) -> Explained:
    """Return the explanations of ``subject`` over ``cases``; nothing is computed before it is asked for.

    Parameters
    ----------
    device
        ``auto``, ``cpu``, ``cuda[:n]`` or ``mps``.
    batch_size
        Images in memory at a time. Changes no number beyond float32 rounding.
    methods, targets
        What the first pass computes: by default every gradient method, for ``top1``, ``top2`` and ``label``,
        because together they cost little more than one. Anything else that is asked for later is one more pass.

    Raises
    ------
    DeviceError, MethodError
        At once for a device or method that is not there; everything about model and images when first computed.
    """
    if batch_size < 1:
        raise MethodError(f"batch_size={batch_size} must be at least 1.")
    for name in methods or ():
        if name not in GRADIENT_METHODS:
            raise unknown_method(name, ())
    for target in targets:
        _check_target(target)
    runner = Runner(subject, resolve_device(device))
    return Explained(runner, cases, batch_size, tuple(methods or GRADIENT_METHODS), tuple(targets), progress)


class Explained:
    """The maps, scores and predictions of one subject over one set of cases. Made by :func:`explain`."""

    def __init__(
        self,
        runner: Runner,
        cases: Cases,
        batch_size: int,
        methods: tuple[str, ...],
        targets: tuple[str, ...],
        progress: Progress | None,
    ) -> None:
        self._runner = runner
        self._methods = methods
        self._targets = targets
        self._progress = progress
        self._maps: dict[tuple[str, str], Maps] = {}
        self._brought: dict[str, dict[str, Maps]] = {}
        self._jittered_scores: Tensor | None = None
        self._probed: Tensor | None = None  # scores of the first images, from the pass that found the layer
        self.cases = cases
        self.batch_size = batch_size
        self.passes: dict[str, int] = {}
        self.seconds: dict[str, float] = {}

    # -- what the model said --------------------------------------------------------------------------------------

    @property
    def subject(self) -> Subject:
        """The subject."""
        return self._runner.subject

    @property
    def device(self) -> str:
        """The device the passes ran on."""
        return str(self._runner.device)

    @property
    def runner(self) -> Runner:
        """The model on its device, for measures that score changed images."""
        return self._runner

    @cached_property
    def layer(self) -> LayerInfo:
        """The target layer, found with the first images."""
        pixels = load_pixels(self.cases, range(min(PROBED, self.batch_size, len(self.cases))), self.subject.preprocess)
        with self._runner.session():
            torch.rand(1, device=self._runner.device)  # or a model that draws would draw the same in its first pass
            observed = observe(self._runner, pixels)
            found = resolve_layer(self._runner, pixels, observed)
            self._probed, _ = two_sided(self.subject.select(observed.output, len(pixels)).float().cpu())
        return found

    @property
    def logits(self) -> Tensor:
        """Class scores (N, C), float32 on the CPU; for a one-logit head z the columns are -z and z."""
        return self._first.scores

    @property
    def binary(self) -> bool:
        """Whether the head has one logit."""
        return self._first.binary

    @property
    def input_size(self) -> tuple[int, ...]:
        """Spatial size of the pixels that the maps belong to, after resize and crop."""
        return self._first.input_size

    @cached_property
    def predicted(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The top-1 class of each image, (N,); ties go to the lower index."""
        return _top1(self.logits)

    @cached_property
    def correct(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Where the prediction is the label, (N,)."""
        return np.asarray(self.predicted == np.asarray(self.cases.labels))

    def pixels(self, index: int) -> Tensor:
        """Return image ``index`` as the model sees it before normalisation, (C, *S) in [0, 1]."""
        return load_pixels(self.cases, [index], self.subject.preprocess)[0]

    # -- maps -----------------------------------------------------------------------------------------------------

    def maps(self, method: str, target: str | int = "top1") -> Maps:
        """Return the maps of ``method`` for ``target``: ``top1``, ``top2``, ``label`` or a class index.

        Raises
        ------
        MethodError
            The method is not known, or maps that were brought in lack this target.
        """
        word = str(target)
        if method in self._brought:
            if word not in self._brought[method]:
                raise MethodError(
                    f"method {method!r} was brought in by add_maps without {word}= maps; add them, or ask for"
                    f" {', '.join(self._brought[method])}."
                )
            return self._brought[method][word]
        return self._own(method, word, "")

    def maps_jittered(self, method: str) -> Maps | None:
        """Return the maps of each image's top-1 class on the image with 0.9 times the contrast.

        None where the method was brought in without its repeat (``again=``).
        """
        if method in self._brought:
            return self._brought[method].get("again")
        return self._own(method, "given", "jitter")

    @property
    def jitter_kept_prediction(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Where the image with 0.9 times the contrast has the same top-1 class, (N,); one pass with the maps."""
        if self._jittered_scores is None:
            self._own(self._methods[0], "given", "jitter")
        assert self._jittered_scores is not None
        return np.asarray(_top1(self._jittered_scores) == self.predicted)

    def add_maps(
        self,
        name: str,
        top1: Any,
        top2: Any = None,
        again: Any = None,
        label: Any = None,
        version: int = 1,
    ) -> None:
        """Bring in maps made elsewhere, after which ``method=name`` works everywhere.

        ``top1``, ``top2``, ``label``: (N, *grid) arrays in the order of the cases, raw and signed, at any
        resolution. ``again``: the top-1 maps of the images with 0.9 times the contrast (see ``jittered``), without
        which ``class_sensitive`` can at best be INCONCLUSIVE.

        Raises
        ------
        MethodError
            The name is taken by a method of the engine or by other maps, or the maps are not one a case, or differ
            in grid.
        """
        if name in GRADIENT_METHODS or name in CONTROLS:
            raise MethodError(f"add_maps: {name!r} is a method of the engine; choose another name.")
        given = {"top1": top1, "top2": top2, "again": again, "label": label}
        made: dict[str, Maps] = {}
        dimensions = len(self.input_size)
        for word, array in given.items():
            if array is None:
                continue
            values = torch.as_tensor(array if isinstance(array, Tensor) else np.asarray(array)).detach().cpu()
            values = values.to(torch.float32, copy=True)  # ours to keep, whatever the caller does to the array
            if values.dim() == dimensions + 2 and values.shape[1] == 1:
                values = values.squeeze(1)
            if values.dim() != dimensions + 1 or len(values) != len(self.cases):
                raise MethodError(
                    f"add_maps({name!r}): {word} has shape {tuple(values.shape)}; expected one map a case,"
                    f" ({len(self.cases)}, {', '.join(['side'] * dimensions)})."
                )
            first = next(iter(made.values()), None)
            if first is not None and first.values.shape[1:] != values.shape[1:]:
                raise MethodError(
                    f"add_maps({name!r}): {word} has a grid of {tuple(values.shape[1:])}, but top1 has"
                    f" {tuple(first.values.shape[1:])}."
                )
            classes = self._first.classes["top1" if word == "again" else word]
            made[word] = Maps(values, judge(values), name, version, word, classes.numpy(), self.cases.ids)
        if name in self._brought and not _same_maps(self._brought[name], made):
            # One Explained may serve many tests; their verdicts must not depend on the order of their add_maps.
            raise MethodError(f"add_maps: {name!r} was brought in before, with other maps; choose another name.")
        self._brought[name] = made

    def identity(self) -> dict[str, Any]:
        """Return what a record says of the subject: who it is, its layer, its input."""
        self._runner.check_unchanged()
        return {
            **self.subject.identity(),
            "layer": self.layer.name,
            "layer_kind": self.layer.kind,
            "layer_shape": list(self.layer.shape),
            "layer_layout": self.layer.layout.describe(),
            "input_size": list(self.input_size),
            "contrast": self.subject.contrast.describe(),
        }

    # -- passes ---------------------------------------------------------------------------------------------------

    @cached_property
    def _first(self) -> Swept:
        """The pass that everything else stands on."""
        targets = self._targets if "top1" in self._targets else ("top1", *self._targets)
        swept = self._pass("capture", self._methods, targets, "")
        if self._probed is not None:
            self._runner.check_repeated(self._probed, swept.scores[: len(self._probed)])
        return swept

    def _own(self, method: str, target: str, draw: str) -> Maps:
        key = (method, f"{draw}:{target}" if draw else target)
        if key not in self._maps:
            if method in CONTROLS:
                self._maps[key] = self._control(method, target, draw)
            elif method in GRADIENT_METHODS:
                self._gradient(method, target, draw)
            else:
                raise unknown_method(method, tuple(self._brought))
        return self._maps[key]

    def _gradient(self, method: str, target: str, draw: str) -> None:
        if draw:
            methods = self._methods if method in self._methods else (method,)
            swept = self._pass("jitter", methods, ("given",), draw, given=self._first.classes["top1"])
            self._jittered_scores = swept.scores
            return
        first = self._first  # makes its maps on the way
        if (method, target) not in self._maps:
            _check_target(target)
            methods = self._methods if target not in first.classes else (method,)
            self._pass("capture", tuple({*methods, method}), (target,), "")

    def _pass(
        self,
        stage: str,
        methods: tuple[str, ...],
        targets: tuple[str, ...],
        draw: str,
        given: Tensor | None = None,
    ) -> Swept:
        chosen = tuple(GRADIENT_METHODS[name] for name in GRADIENT_METHODS if name in methods)
        contrast = self.subject.contrast
        layer, held_out = self.layer, self._held_out if any(m.contrastive for m in chosen) else None

        def table(classes: int) -> Tensor | None:
            if contrast.select == "explicit":
                return explicit_table(contrast, classes)
            if held_out is not None:
                scores, labels = held_out
                return confusion_table(scores, labels, contrast.size(classes))
            return None

        plan = Plan(chosen, targets, contrast.size, table, given, jittered if draw else None)
        started = time.perf_counter()
        with self._runner.session():
            swept = sweep(self._runner, layer, self.cases, self.batch_size, plan, self._report(stage))
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started
        self.passes[stage] = self.passes.get(stage, 0) + swept.forward_passes
        for method in chosen:
            for target in targets:
                made = self._maps_of(method, target, swept)
                self._maps[method.name, f"{draw}:{target}" if draw else target] = made
        return swept

    def _maps_of(self, method: GradientMethod, target: str, swept: Swept) -> Maps:
        key = (method.name, target)
        label = method.name
        warnings: tuple[str, ...] = ()
        details = {name: value.numpy() for name, value in swept.details[key].items()}
        if method.contrastive:
            label = f"{method.name}[{self.subject.contrast.label(swept.scores.shape[1])}]"
            if (details["contrast"].sum(1) == 0).any():
                warnings = ("no_contrast",)
            details["contrast"] = details["contrast"].astype(bool)
        return Maps(
            values=swept.values[key],
            status=judge(swept.values[key], swept.degenerate.get(key)),
            method=label,
            version=method.version,
            target=target,
            classes=swept.classes[target].numpy(),
            ids=self.cases.ids,
            warnings=warnings,
            details=details,
        )

    def _control(self, method: str, target: str, draw: str) -> Maps:
        base = self._own("gradcam", target, draw)
        control = CONTROLS[method]
        word = "top1" if target == "given" else target
        values = control.compute(ControlInput(self.cases.ids, word, draw, torch.from_numpy(base.classes), base.values))
        return Maps(values, judge(values), control.label, control.version, target, base.classes, self.cases.ids)

    @cached_property
    def _held_out(self) -> tuple[Tensor, Tensor] | None:
        """Scores and labels of the held-out cases of a ``confusion`` contrast; None for other selections."""
        contrast = self.subject.contrast
        if contrast.select != "confusion" or contrast.cases is None:
            return None
        held = contrast.cases
        both = set(held.case_digests) & set(self.cases.case_digests)
        if both:
            example = next(c for c, d in zip(held.ids, held.case_digests, strict=True) if d in both)
            raise MethodError(
                f"contrast 'confusion' counts on cases of which {len(both)} are also under test (for one, '{example}');"
                " hold them out."
            )
        scores = []
        with self._runner.session():
            for batch in stream(held, self.subject.preprocess, self.batch_size):
                scores.append(self._runner.scores(batch.pixels).float().cpu())
                self.passes["confusion"] = self.passes.get("confusion", 0) + 1
        return torch.cat(scores), torch.tensor(held.labels)

    def _report(self, stage: str) -> Callable[[int, int], None] | None:
        if self._progress is None:
            return None
        progress = self._progress
        return lambda done, total: progress(f"{self.subject.name}: {stage}", done, total)


def _top1(scores: Tensor) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.asarray(torch.sort(scores, dim=1, descending=True, stable=True).indices[:, 0].numpy())


def _check_target(target: str) -> None:
    if target not in TARGETS and not (target.isascii() and target.isdecimal()):
        raise MethodError(f"target {target!r} is not known; use {', '.join(TARGETS)} or a class index.")


def _same_maps(one: dict[str, Maps], two: dict[str, Maps]) -> bool:
    return one.keys() == two.keys() and all(
        np.array_equal(one[word].values.numpy(), two[word].values.numpy(), equal_nan=True) for word in one
    )
