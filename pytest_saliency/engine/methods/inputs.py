"""Scores of inputs that a method made, and their gradients for several classes of each image from one forward pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pytest_saliency.engine.methods.perturbation import Site
from pytest_saliency.engine.outputs import two_sided
from pytest_saliency.engine.precision import at_least_float32
from pytest_saliency.engine.runner import guarded
from pytest_saliency.engine.sizing import out_of_memory
from pytest_saliency.errors import MethodError, first_line

GRAPHS = 8 * 224 * 224
"""Positions of inputs whose graphs lie in a CPU's memory together: of a ResNet-50 about 1 GB, seen once by hand."""


@dataclass(frozen=True)
class Slots:
    """The classes that a batch is explained for, without repeats.

    ``classes`` (k, n): the classes of each image, as many as the image with most different targets has; ``place`` says
    for each target word where each image's class stands among them, (n,).
    """

    classes: Tensor
    place: Mapping[str, Tensor]

    @classmethod
    def of(cls, targets: Mapping[str, Tensor]) -> Slots:
        """Return the slots of target words: a label that is the top-1 or top-2 class costs nothing of its own."""
        words = list(targets)
        given = torch.stack([targets[word] for word in words])
        first = (given.unsqueeze(0) == given.unsqueeze(1)).int().argmax(1)  # the first word of the same class
        new = first == torch.arange(len(words), device=given.device).unsqueeze(1)
        rank = new.int().cumsum(0) - 1
        place = rank.gather(0, first)
        classes = given[:1].repeat(int(rank[-1].max()) + 1, 1)
        classes.scatter_(0, place, given)
        return cls(classes, {word: place[i] for i, word in enumerate(words)})

    def pick(self, made: Tensor, word: str) -> Tensor:
        """Return what was made for ``word``: from ``made`` (k, n, ...) the rows (n, ...)."""
        at = self.place[word].to(made.device)
        return made[at, torch.arange(len(at), device=made.device)]

    @property
    def count(self) -> int:
        return len(self.classes)


def scored(site: Site, inputs: Tensor) -> tuple[Tensor, bool]:
    """Return scores (n, C) of normalised inputs under the caller's gradient mode, and whether the head has one logit.

    The inputs are copied, because the model's first layer may work in place, and brought to the model's own type.
    """
    runner = site.runner
    given = inputs.to(runner.device, runner.dtype, copy=True)
    if runner.memory_format == torch.channels_last and given.dim() == 4:
        given = given.contiguous(memory_format=torch.channels_last)
    output = guarded(runner.subject, given, lambda: runner.subject.model_output(given))
    scores, binary = two_sided(runner.subject.select(output, len(given)))
    return at_least_float32(scores), binary


def scores_of(site: Site, inputs: Tensor, what: str) -> tuple[Tensor, bool]:
    """Return the scores (n, C) of any number of inputs, a batch at a time, and whether the head has one logit."""

    def work(part: slice) -> tuple[Tensor, bool]:
        with torch.no_grad():
            scores, binary = scored(site, inputs[part])
        site.count(what, len(scores))
        return scores.detach().clone(), binary

    parts = site.size.each(len(inputs), work)
    return torch.cat([scores for scores, _ in parts]), parts[0][1]


def together(site: Site, inputs: Tensor) -> int:
    """Return how many of ``inputs`` (m, C, *S) are in work at once where gradients go all the way back to them.

    A CPU that runs out of memory ends the process, and there is nothing to halve afterwards; so fewer than in a forward
    pass, unless a number was asked for.
    """
    if site.size.wanted != "auto" or site.runner.device.type != "cpu":
        return site.size.current
    return max(1, min(site.size.current, GRAPHS // math.prod(inputs.shape[2:])))


def gradients_of(site: Site, inputs: Tensor, classes: Tensor, method: str) -> Tensor:
    """Return the gradients (k, m, C, *S) of the score of ``classes`` (k, m) with respect to ``inputs`` (m, C, *S).

    One forward pass of an input serves all its classes. They lie where ``inputs`` lie.

    Raises
    ------
    MethodError
        The scores cannot be differentiated as far back as the input.
    """

    def some(part: slice) -> Tensor:
        step = together(site, inputs)
        starts = range(part.start, part.stop, step)
        return torch.cat([work(slice(start, min(part.stop, start + step))) for start in starts], dim=1)

    def work(part: slice) -> Tensor:
        leaf = inputs[part].detach().to(site.runner.device).requires_grad_()
        with torch.enable_grad():
            scores, _ = scored(site, leaf)
            site.count("gradients", len(leaf))
            wanted = classes[:, part].to(scores.device)
            if not scores.requires_grad:
                raise MethodError(no_gradient(site, method, "the scores do not depend on it through autograd"))
            sums = [scores.gather(1, one.unsqueeze(1)).sum() for one in wanted]
            found = []
            for number, one in enumerate(sums):
                try:
                    (made,) = torch.autograd.grad(one, leaf, retain_graph=number + 1 < len(sums), allow_unused=True)
                except (RuntimeError, NotImplementedError) as error:
                    if out_of_memory(error):
                        raise
                    raise MethodError(no_gradient(site, method, first_line(error))) from error
                found.append(torch.zeros_like(leaf) if made is None else made)
        return torch.stack(found).detach().to(inputs.device)

    return torch.cat(site.size.each(inputs.shape[0], some), dim=1)


def no_gradient(site: Site, method: str, why: str) -> str:
    """Return the sentence for a model through which no gradient passes."""
    return (
        f"{method} differentiates the scores of model '{site.runner.subject.name}' with respect to its input, which"
        f" cannot be done: {why}. A forward under torch.no_grad, a detach or an operation without a derivative between"
        " input and scores is a common cause; use a method that needs no gradients, as captum:Occlusion or rise."
    )


def in_groups(site: Site, count: int, rows: int, work: Callable[[slice], Tensor], most: int | None = None) -> Tensor:
    """Return what ``work`` makes of groups of images, one behind the other along axis 1.

    Each image brings ``rows`` inputs, and a group has no more of them than fit (nor than ``most``), but at least one
    image.
    """
    made: list[Tensor] = []
    start = 0
    while start < count:
        fit = site.size.current if most is None else min(most, site.size.current)
        group = slice(start, min(count, start + max(1, fit // rows)))

        def attempt(group: slice = group) -> Tensor:
            return work(group)

        found = site.size.attempt(group.stop - group.start, attempt)
        if found is None:
            continue
        made += found
        start = group.stop
        site.progress(start / count)
    return torch.cat(made, dim=1)
