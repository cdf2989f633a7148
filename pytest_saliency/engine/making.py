"""From passes to maps: which pass a method needs, its status, its full name."""

from __future__ import annotations

import torch
from torch import Tensor

from pytest_saliency.engine.batches import jittered, load_pixels
from pytest_saliency.engine.maps import Maps, judge
from pytest_saliency.engine.methods.controls import Control, ControlInput
from pytest_saliency.engine.methods.evidence import GradientMethod
from pytest_saliency.engine.methods.own import OwnMethod
from pytest_saliency.engine.methods.perturbation import PerturbationMethod
from pytest_saliency.engine.methods.registry import find_method
from pytest_saliency.engine.passes import Passes
from pytest_saliency.engine.swept import Swept

AnyMethod = GradientMethod | PerturbationMethod | Control | OwnMethod


class Making:
    """Makes the maps of one model over its cases, each once. ``draw`` is "" or ``jitter``."""

    def __init__(self, passes: Passes) -> None:
        self.passes = passes
        self._maps: dict[tuple[str, str, str], Maps] = {}
        self._jittered_scores: Tensor | None = None

    def maps(self, method: AnyMethod, target: str, draw: str) -> Maps:
        """Return the maps of ``method`` for ``target``; with ``draw`` of the jittered images, for their top-1 class."""
        key = (method.name, target, draw)
        if key not in self._maps:
            if isinstance(method, GradientMethod):
                self._gradient(method, target, draw)
            elif isinstance(method, PerturbationMethod):
                self._keep((method,), self.passes.perturbation(method, target, draw), draw)
            elif isinstance(method, Control):
                self._maps[key] = self._control(method, target, draw)
            else:
                self._maps[key] = self._own(method, target, draw)
        return self._maps[key]

    @property
    def jittered_scores(self) -> Tensor:
        """Scores (N, C) of the images with 0.9 times the contrast."""
        if self._jittered_scores is None:
            self._gradient(self.passes.methods[0], "given", "jitter")
        assert self._jittered_scores is not None
        return self._jittered_scores

    def classes(self, target: str) -> Tensor:
        """Return the class (N,) that ``target`` stands for in each image."""
        first = self.passes.first
        if target == "given":
            return first.classes["top1"]
        if target in first.classes:
            return first.classes[target]
        others = self.passes.cases.others
        if target == "top2" and others is not None:
            return torch.tensor(others)
        if target == "top2":
            return torch.sort(first.scores, dim=1, descending=True, stable=True).indices[:, 1]
        if target == "label":
            return torch.tensor(self.passes.cases.labels)
        return torch.full((len(first.scores),), int(target))

    def _gradient(self, method: GradientMethod, target: str, draw: str) -> None:
        passes = self.passes
        if not draw:
            self._keep(passes.methods, passes.first, "")
            if (method.name, target, "") in self._maps:
                return
        planned = {one.name for one in passes.methods}
        missed = target not in passes.first.classes or bool(draw)
        # What the first pass left out is made for all of its methods at once, because it costs one pass either way.
        wanted = passes.methods if missed and method.name in planned else (method,)
        swept = passes.gradient(wanted, target, draw)
        if draw:
            self._jittered_scores = swept.scores
        self._keep(wanted, swept, draw)

    def _keep(self, methods: tuple[GradientMethod, ...] | tuple[PerturbationMethod], swept: Swept, draw: str) -> None:
        for method in methods:
            for target in swept.classes:
                key = (method.name, target, draw)
                if key not in self._maps and (method.name, target) in swept.values:
                    self._maps[key] = self._maps_of(method, target, swept)

    def _maps_of(self, method: GradientMethod | PerturbationMethod, target: str, swept: Swept) -> Maps:
        key = (method.name, target)
        label = (method.label if isinstance(method, PerturbationMethod) else "") or method.name
        warnings: tuple[str, ...] = ()
        details = {name: value.numpy() for name, value in swept.details[key].items()}
        if isinstance(method, GradientMethod) and method.contrastive:
            base, bracket, variants = method.name.partition("[")
            contrast = self.passes.runner.subject.contrast.label(swept.scores.shape[1])
            label = f"{base}[{contrast}{',' + variants if bracket else ']'}"
            if (details["contrast"].sum(1) == 0).any():
                warnings = ("no_contrast",)
            if self.passes.runner.subject.contrast.select != "soft":
                details["contrast"] = details["contrast"].astype(bool)
        return Maps(
            values=swept.values[key],
            status=judge(swept.values[key], swept.degenerate.get(key)),
            method=label,
            version=method.version,
            target=target,
            classes=swept.classes[target].numpy(),
            ids=self.passes.cases.ids,
            warnings=warnings,
            details=details,
        )

    def _control(self, control: Control, target: str, draw: str) -> Maps:
        gradcam = find_method("gradcam")
        base = self.maps(gradcam, target, draw)
        passes = self.passes
        classes = torch.from_numpy(base.classes)

        def pixels(index: int) -> Tensor:
            made = load_pixels(passes.cases, [index], passes.runner.subject.preprocess)
            return (jittered(made) if draw else made)[0]

        def reinitialised(seed: int) -> Tensor:
            return passes.reinitialised(classes, seed, draw)

        word = "top1" if target == "given" else target
        values = control.compute(
            ControlInput(
                passes.cases.ids, word, draw, classes, base.values, pixels, reinitialised, passes.cases.clusters
            )
        )
        return Maps(values, judge(values), control.label, control.version, target, base.classes, passes.cases.ids)

    def _own(self, method: OwnMethod, target: str, draw: str) -> Maps:
        classes = self.classes(target)
        values = self.passes.own(method, classes, draw)
        return Maps(values, judge(values), method.name, method.version, target, classes.numpy(), self.passes.cases.ids)
