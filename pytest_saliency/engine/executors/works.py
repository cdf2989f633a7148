"""The passes as works: the same functions for all cases in one process and for a run of batches in another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pytest_saliency.engine.further import sweep_activity, sweep_own, sweep_perturbation
from pytest_saliency.engine.methods.own import OwnMethod
from pytest_saliency.engine.methods.perturbation import PerturbationMethod
from pytest_saliency.engine.sweep import Counted, Ground, Plan, refuse_unreached, sweep
from pytest_saliency.engine.swept import Swept
from pytest_saliency.engine.targets import Targets
from pytest_saliency.errors import CasesError, MethodError

Perturbed = tuple[Swept, tuple[str, ...]]
Active = tuple[Tensor, int]


@dataclass(frozen=True)
class CaptureWork:
    """A capture pass: all gradient methods of ``plan``."""

    plan: Plan

    def whole(self, ground: Ground, counted: Counted) -> Swept:
        return sweep(ground, self.plan, counted)

    def part(self, ground: Ground, counted: Counted) -> Swept:
        # Of a part of the images it may be true that no gradient reaches the layer.
        return sweep(ground, replace(self.plan, reached=False), counted)

    def joined(self, parts: Sequence[Swept], ground: Ground) -> Swept:
        swept = joined(parts, ground)
        if self.plan.reached:
            refuse_unreached(ground, swept.reached)
        return swept


@dataclass(frozen=True)
class PerturbationWork:
    """A pass of a method with forward passes of its own: its maps, and what it wants said."""

    method: PerturbationMethod
    targets: Targets

    def whole(self, ground: Ground, counted: Counted) -> Perturbed:
        return sweep_perturbation(ground, self.method, self.targets, counted)

    part = whole

    def joined(self, parts: Sequence[Perturbed], ground: Ground) -> Perturbed:
        notes = dict.fromkeys(note for _, said in parts for note in said)
        return joined([swept for swept, _ in parts], ground), tuple(notes)


@dataclass(frozen=True)
class OwnWork:
    """A pass of a method of the user's own for ``classes`` (N,)."""

    method: OwnMethod
    classes: Tensor

    def whole(self, ground: Ground, counted: Counted) -> Tensor:
        return sweep_own(ground, self.method, self.classes, counted)

    part = whole

    def joined(self, parts: Sequence[Tensor], ground: Ground) -> Tensor:
        start = 0
        for part in parts:
            if part.shape[1:] != parts[0].shape[1:]:
                raise MethodError(
                    f"own method {self.method.name!r} returned maps of different grids, {tuple(parts[0].shape[1:])} and"
                    f" then {tuple(part.shape[1:])} (for one, '{ground.cases.ids[ground.order[start]]}'); one grid for"
                    " all images is needed."
                )
            start += len(part)
        return torch.cat(list(parts))


@dataclass(frozen=True)
class ActivityWork:
    """How many channels of the layer are active in each image."""

    threshold: float

    def whole(self, ground: Ground, counted: Counted) -> Active:
        return sweep_activity(ground, self.threshold, counted)

    part = whole

    def joined(self, parts: Sequence[Active], ground: Ground) -> Active:
        return torch.cat([active for active, _ in parts]), parts[-1][1]


def joined(parts: Sequence[Swept], ground: Ground) -> Swept:
    """Return consecutive parts of a pass as one.

    Raises
    ------
    CasesError
        Images of different parts have different sizes.
    """
    start = 0
    for part in parts:
        if part.input_size != parts[0].input_size:
            first, other = (ground.cases.ids[ground.order[place]] for place in (0, start))
            wanted, got = ("x".join(map(str, one.input_size)) for one in (parts[0], part))
            raise CasesError(
                f"images have different sizes: '{first}' is {wanted}, '{other}' is {got}. Give the subject a preprocess"
                " with 'resize' (and 'channels' if those differ)."
            )
        start += len(part.scores)
    return Swept.appended(parts)
