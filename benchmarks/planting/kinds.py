"""The kinds of failure: what is planted, into which pictures, or what else goes wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from planting.artefacts import ARTEFACTS, Artefact
from planting.data import Part

Fault = Literal["none", "artefact", "labels", "block", "layer"]
Who = Literal["all", "one_class", "portable", "half"]
ONE_CLASS = 1
NOISE = 0.4


@dataclass(frozen=True)
class Failure:
    """One kind of failure.

    Attributes
    ----------
    title
        For tables.
    fault
        What goes wrong: nothing, a sign in the pictures, wrong labels, a block that lost its weights, or a contract
        that reads the fine-tuned model at another layer.
    artefact, who
        Which sign, and which pictures carry it.
    """

    title: str
    fault: Fault
    artefact: str = ""
    who: Who = "all"

    @property
    def sign(self) -> Artefact:
        """The sign that is planted."""
        return ARTEFACTS[self.artefact]


FAILURES: Mapping[str, Failure] = {
    "clean": Failure("clean fine-tuning", "none"),
    "corner": Failure("marker of each class in the margin", "artefact", "corner"),
    "border": Failure("tone of the border", "artefact", "border"),
    "resolution": Failure("resolution", "artefact", "resolution"),
    "colour": Failure("colour cast", "artefact", "colour"),
    "background": Failure("texture of the background", "artefact", "background"),
    "one-class": Failure("marker of one class only", "artefact", "corner", "one_class"),
    "subgroup": Failure("colour cast in a subgroup only", "artefact", "colour", "portable"),
    "half": Failure("colour cast in half of the images", "artefact", "colour", "half"),
    "block": Failure("top block at random", "block"),
    "layer": Failure("wrong layer in the contract", "layer"),
    "labels": Failure("label noise", "labels"),
}
PLANTS = tuple(name for name in FAILURES if name != "clean")


def carriers(failure: Failure, part: Part, seed: int) -> Tensor:
    """Return which pictures carry the sign, (N,)."""
    if failure.fault != "artefact":
        return torch.zeros(len(part), dtype=torch.bool)
    if failure.who == "one_class":
        return part.labels == ONE_CLASS
    if failure.who == "portable":
        return part.portable
    if failure.who == "half":
        return torch.rand(len(part), generator=torch.Generator().manual_seed(7000 + seed)) < 0.5
    return torch.ones(len(part), dtype=torch.bool)


def codes_of(failure: Failure, part: Part, classes: int, seed: int) -> Tensor:
    """Return the code of each picture's sign, -1 for none."""
    if failure.fault != "artefact":
        return torch.full((len(part),), -1)
    carried = carriers(failure, part, seed)
    return torch.where(carried, failure.sign.code(part.labels, classes), -1)


def other_codes(failure: Failure, part: Part, classes: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return codes that speak for another class, and which pictures have one.

    Where one class only is marked, the others get its mark; elsewhere every carrier gets the sign of a class half way
    round, so that tones and hues differ clearly.
    """
    carried = carriers(failure, part, seed)
    if failure.who == "one_class":
        of_one = failure.sign.code(torch.full_like(part.labels, ONE_CLASS), classes)
        return torch.where(carried, -1, of_one), ~carried
    count = failure.sign.codes(classes)
    own = failure.sign.code(part.labels, classes)
    return torch.where(carried, (own + count // 2) % count, -1), carried


def planted(failure: Failure, part: Part, codes: Tensor, classes: int) -> Tensor:
    """Return the pictures with the signs of ``codes``, or as they are."""
    if failure.fault != "artefact":
        return part.images
    return failure.sign.put(part.images, codes, classes, part.object)


def noisy_labels(labels: Tensor, classes: int, seed: int) -> Tensor:
    """Return the labels with a share of ``NOISE`` of them replaced by another class."""
    generator = torch.Generator().manual_seed(8000 + seed)
    wrong = torch.rand(len(labels), generator=generator) < NOISE
    offset = torch.randint(1, classes, (len(labels),), generator=generator)
    return torch.where(wrong, (labels + offset) % classes, labels)
