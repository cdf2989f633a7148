"""CASE: contrastive activation for saliency estimation (Williamson et al., arXiv 2506.07327, eq. 2-6, Alg. 1).

The pooled gradient of the target class, g_u, loses its projection on g_bar, the mean pooled gradient of the contrast
set: g_perp = g_u - <g_u, g_bar> g_bar / |g_bar|^2, and L = sum_k g_perp_k A_k.

Variants, which combine:

``elementwise``
    Algorithm 1 as it is written: gamma_u and gamma_bar are whole gradient tensors (K channels x P positions), and the
    projection is taken between those. The paper then computes weights from the orthogonal component (fig. 2) for a
    weighted sum over the activation maps (eq. 6), so what is left is averaged over positions before it weights the
    channels, as Grad-CAM does. The two forms differ wherever the gradient varies over positions.
``shared_only``
    Where the cosine of the two gradients is negative there is no shared evidence, and subtracting the projection would
    add the contrast classes' gradient to the target's. Nothing is subtracted there, which leaves Grad-CAM.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pytest_saliency.engine.methods.evidence import Evidence, GradientMethod, RawMaps, weighted_sum
from pytest_saliency.engine.methods.names import MethodName

# Below this share of the squared norm nothing but rounding is left of g_u: the two directions are one.
NOTHING_LEFT = 1e-10
TOGETHER = 2**22  # entries of whole gradient tensors in work at a time


@dataclass(frozen=True)
class Projection:
    """How much of the contrast direction is removed from each image's gradient.

    Attributes
    ----------
    factor
        What the contrast gradient is multiplied with before it is subtracted, (N,).
    cosine
        Of the two gradients, (N,); 0 where one of them is zero.
    kept
        Share of the squared norm that is left, (N,).
    """

    factor: Tensor
    cosine: Tensor
    kept: Tensor


def project(target: Tensor, shared: Tensor, *, shared_only: bool = False) -> Projection:
    """Return the projection of ``target`` (N, D) on ``shared`` (N, D), in float64. Source: eq. 5.

    Both are scaled before anything is squared: the stabiliser is relative to the gradients' own size, so tiny gradients
    at an early layer are treated like any other, and a zero vector removes nothing.
    """
    own, ours = _scaled(target)
    other, theirs = _scaled(shared)
    own_square, other_square = (own * own).sum(1), (other * other).sum(1)
    along = (own * other).sum(1)
    factor = along / _or_one(other_square)
    cosine = along / _or_one((own_square * other_square).sqrt())
    if shared_only:
        factor = factor.clamp(min=0.0)
    kept = (own - factor[:, None] * other).square().sum(1) / _or_one(own_square)
    return Projection(factor * (ours / _or_one(theirs)), cosine, kept)


def case_method(variants: tuple[str, ...]) -> GradientMethod:
    """Return CASE with ``variants`` (``elementwise``, ``shared_only``) out of ``names.VARIANTS``."""
    elementwise, shared_only = "elementwise" in variants, "shared_only" in variants

    def compute(evidence: Evidence) -> RawMaps:
        if evidence.shared is None or evidence.contrast is None:
            raise ValueError("CASE needs the contrast gradients of its capture pass")
        precise = _precise(evidence.gradients)
        target, shared = evidence.gradients.mean(2, dtype=precise), evidence.shared.mean(2, dtype=precise)
        if elementwise:
            found = _in_parts(evidence.gradients.flatten(1), evidence.shared.flatten(1), shared_only=shared_only)
        else:
            found = project(target, shared, shared_only=shared_only)
        weights = target - found.factor[:, None] * shared
        length, left = target.norm(dim=1), weights.norm(dim=1)
        # In the elementwise form something may be left of the gradient and yet nothing of its mean over positions.
        nothing = (found.kept <= NOTHING_LEFT) | (left <= NOTHING_LEFT**0.5 * length)
        degenerate = (evidence.contrast.sum(1) > 0) & (length > 0) & nothing
        values = weighted_sum(weights.to(evidence.activations.dtype), evidence.activations)
        details = {"cosine": found.cosine, "kept": found.kept, "contrast": evidence.contrast}
        return RawMaps(values, degenerate, details)

    name = str(MethodName("case", variants))
    return GradientMethod(name, 1, compute, "arXiv 2506.07327, eq. 2-6, Alg. 1", contrastive=True)


def _in_parts(target: Tensor, shared: Tensor, *, shared_only: bool) -> Projection:
    """Do as :func:`project` does, with few enough images at a time that their copies in float64 stay small."""
    step = max(1, TOGETHER // max(1, target.shape[1]))
    parts = [
        project(target[start : start + step], shared[start : start + step], shared_only=shared_only)
        for start in range(0, len(target), step)
    ]
    return Projection(
        factor=torch.cat([part.factor for part in parts]),
        cosine=torch.cat([part.cosine for part in parts]),
        kept=torch.cat([part.kept for part in parts]),
    )


def _scaled(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Return each row divided by its largest magnitude, and that magnitude (N,); rows of zeros stay as they are."""
    exact = vectors.to(_precise(vectors))
    size = exact.abs().amax(1)
    return exact / _or_one(size)[:, None], size


def _or_one(divisor: Tensor) -> Tensor:
    return torch.where(divisor > 0, divisor, torch.ones_like(divisor))


def _precise(tensor: Tensor) -> torch.dtype:
    """Return float64, or float32 on the one device that has none."""
    return torch.float32 if tensor.device.type == "mps" else torch.float64


CASE = case_method(())
