"""Methods that need forward passes of their own, mostly to see what the scores do when something is taken away."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor

from pytest_saliency.engine.methods.evidence import RawMaps

if TYPE_CHECKING:
    from pytest_saliency.engine.layers import LayerInfo
    from pytest_saliency.engine.runner import Runner
    from pytest_saliency.engine.sizing import BatchSize

TargetsOf = Callable[[Tensor], Mapping[str, Tensor]]
"""Given a batch's scores (n, C), the class (n,) that each target word stands for."""


@dataclass
class Site:
    """Where a method works: the model, its layer, how much fits into memory, and what it leaves between batches.

    Attributes
    ----------
    images
        Images that went through the whole model, by what for; ``tail`` counts those that went only through what
        follows the target layer.
    notes
        Sentences for the user, each once.
    state
        What the method keeps from one batch of a pass to the next.
    progress
        Told which share of the present batch is done.
    ids, draw
        The cases of the present batch, and which repeat this is: empty, or ``jitter``. What a method draws at random
        for an image hangs on these two alone, so that neither order nor batches change it.
    sigmoid
        Whether labels do not exclude each other: each one's probability is then its own sigmoid.
    """

    runner: Runner
    layer: LayerInfo
    size: BatchSize
    images: dict[str, int] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)
    progress: Callable[[float], None] = lambda share: None
    ids: tuple[str, ...] = ()
    draw: str = ""
    sigmoid: bool = False

    def count(self, what: str, images: int) -> None:
        """Add ``images`` that went through the model for ``what``."""
        self.images[what] = self.images.get(what, 0) + images


@dataclass(frozen=True)
class Perturbed:
    """A batch's scores (n, C) before anything was taken away, and its maps for every target."""

    scores: Tensor
    binary: bool
    maps: Mapping[str, RawMaps]


@dataclass(frozen=True)
class PerturbationMethod:
    """A method with forward passes of its own.

    ``compute`` gets the site, a batch of pixels (n, C, *S) after geometry, and a function from scores to the classes
    of all targets; it is called inside the runner's session, batch by batch, for all targets at once. Values are
    (n, *grid) or (n, P). ``version`` changes whenever its numbers do. ``label`` is what its maps are called, if that
    is more than ``name``: with all defaults. ``package`` computes it, if it is not this one.
    """

    name: str
    version: int
    compute: Callable[[Site, Tensor, TargetsOf], Perturbed]
    source: str
    label: str = ""
    package: str = ""
