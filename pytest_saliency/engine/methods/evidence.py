"""What a gradient method sees of a batch: activations, gradients, and the contrast gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from torch import Tensor

from pytest_saliency.engine.precision import outside_autocast


@dataclass(frozen=True, eq=False)
class Evidence:
    """A batch at the target layer, for one target class an image.

    Attributes
    ----------
    activations
        A, (N, K, P): K channels, P positions.
    gradients
        G = ds/dA, (N, K, P).
    shared
        Mean gradient over the contrast set, (N, K, P); None where the method asked for none.
    contrast
        Weights (N, C) of the contrast classes, 0 for all others; rows may be empty.
    head
        Rows (N, K) of the linear layer behind the pooling, for the target class; None unless the method needs them.
    """

    activations: Tensor
    gradients: Tensor
    shared: Tensor | None = None
    contrast: Tensor | None = None
    head: Tensor | None = None

    @cached_property
    def pooled(self) -> Tensor:
        """g, the mean of G over positions, (N, K)."""
        return self.gradients.mean(2)

    @cached_property
    def product(self) -> Tensor:
        """G * A, (N, K, P): used by several methods of one pass, computed once."""
        return self.gradients * self.activations


@dataclass(frozen=True, eq=False)
class RawMaps:
    """What a method returns: maps (N, P), who is degenerate (N,), and numbers to record per image."""

    values: Tensor
    degenerate: Tensor | None = None
    details: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class GradientMethod:
    """A method computed from one capture pass. ``version`` changes whenever its numbers do.

    ``contrastive`` methods get the contrast gradients, those that need the ``head`` the rows of the linear layer
    behind the pooling (an error where the model is not built that way). One that is ``classless`` ignores the class and
    is computed once for all targets.
    """

    name: str
    version: int
    compute: Callable[[Evidence], RawMaps]
    source: str
    contrastive: bool = False
    head: bool = False
    classless: bool = False


def weighted_sum(weights: Tensor, activations: Tensor) -> Tensor:
    """Return ``sum_k w[n, k] A[n, k, p]``, (N, P)."""
    with outside_autocast(activations):
        return (weights.unsqueeze(1) @ activations).squeeze(1)
