"""Grad-CAM written by hand, and its mutants: each wrong in one way, as own methods of the package.

All are functions (subject, images, targets) -> maps over one batch; what a mutant does to an image depends on the batch
only where that is what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Method = Callable[[Any, Tensor, Tensor], Tensor]


def gradcam(subject: Any, images: Tensor, targets: Tensor) -> Tensor:
    """Return the channels' mean gradients times their activations, summed, (n, *grid); signed."""
    model: nn.Module = subject.model
    kept: list[Tensor] = []
    handle = model.get_submodule(subject.layer).register_forward_hook(lambda _m, _i, output: kept.append(output))
    try:
        logits = model(subject.preprocess.normalise(images))
    finally:
        handle.remove()
    chosen = logits.gather(1, targets[:, None]).sum()
    (gradient,) = torch.autograd.grad(chosen, kept[0])
    return (gradient.mean((2, 3), keepdim=True) * kept[0]).sum(1).detach()


def predicted(subject: Any, images: Tensor) -> Tensor:
    with torch.no_grad():
        classes: Tensor = subject.model(subject.preprocess.normalise(images)).argmax(1)
    return classes


def blank(subject: Any, images: Tensor, targets: Tensor) -> Tensor:
    return torch.zeros_like(gradcam(subject, images, targets))


def nan(subject: Any, images: Tensor, targets: Tensor) -> Tensor:
    return torch.full_like(gradcam(subject, images, targets), torch.nan)


def constant(subject: Any, images: Tensor, targets: Tensor) -> Tensor:
    return torch.ones_like(gradcam(subject, images, targets))


def noise(subject: Any, images: Tensor, targets: Tensor) -> Tensor:
    return torch.rand_like(gradcam(subject, images, targets))


def agnostic(subject: Any, images: Tensor, targets: Tensor) -> Tensor:
    """The class that is asked for is ignored."""
    return gradcam(subject, images, predicted(subject, images))


def half_agnostic(subject: Any, images: Tensor, targets: Tensor) -> Tensor:
    """The class that is asked for is ignored on every other image, by what is on it."""
    odd = (images.double().sum((1, 2, 3)) * 1e4).round().long() % 2 == 1
    return gradcam(subject, images, torch.where(odd, predicted(subject, images), targets))


def transposed(subject: Any, images: Tensor, targets: Tensor) -> Tensor:
    return gradcam(subject, images, targets).transpose(-1, -2)


def flipped(subject: Any, images: Tensor, targets: Tensor) -> Tensor:
    return -gradcam(subject, images, targets)


def another(subject: Any, images: Tensor, targets: Tensor) -> Tensor:
    """Every image gets the map of the image beside it in the batch."""
    return gradcam(subject, images, targets).roll(1, dims=0)


def first_target(subject: Any, images: Tensor, targets: Tensor) -> Tensor:
    """The whole batch is explained for the first image's class."""
    return gradcam(subject, images, targets[:1].expand_as(targets))


def one_position(subject: Any, images: Tensor, targets: Tensor) -> Tensor:
    """What is left of a layer behind the pooling: one position."""
    return gradcam(subject, images, targets).clamp(min=0.0).mean((-1, -2), keepdim=True)


@dataclass(frozen=True)
class Mutant:
    """A mutant with the kinds that must reject it. Without a function it is a control of the engine."""

    name: str
    what: str
    rejected_by: tuple[str, ...]
    function: Method | None = None

    @property
    def method(self) -> str:
        """Return the name by which checks know it."""
        return self.name if self.function is None else f"mutant-{self.name}"


MUTANTS = (
    Mutant("blank", "all zero", ("not_vacuous",), blank),
    Mutant("nan", "not a number", ("not_vacuous",), nan),
    Mutant("constant", "one value everywhere", ("not_vacuous",), constant),
    Mutant("noise", "drawn anew for every call", ("class_sensitive", "faithful"), noise),
    Mutant("centre", "a disc in the middle", ("class_sensitive", "faithful", "planted_evidence")),
    Mutant("edges", "edges of the image", ("class_sensitive", "planted_evidence")),
    Mutant("agnostic", "the class is ignored", ("class_sensitive", "planted_evidence"), agnostic),
    Mutant("class_mean", "the mean map of its class", ("faithful", "planted_evidence")),
    Mutant("transposed", "rows and columns exchanged", ("faithful",), transposed),
    Mutant("flipped", "its sign turned", ("faithful", "planted_evidence"), flipped),
    Mutant("another", "another image's map", ("faithful",), another),
    Mutant("first-target", "the first image's class for its batch", ("faithful",), first_target),
    Mutant("one-position", "a layer of 1x1", ("not_vacuous",), one_position),
    Mutant("half-agnostic", "the class is ignored on half of the images", ("class_sensitive",), half_agnostic),
)
GOOD = Mutant("gradcam", "no mutant: Grad-CAM written by hand", (), gradcam)


def register() -> None:
    """Make the mutants known to the package."""
    from pytest_saliency import register_method

    for mutant in (*MUTANTS, GOOD):
        if mutant.function is not None:
            register_method(mutant.method, mutant.function)
