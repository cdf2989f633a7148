"""CASE: contrastive activation for saliency estimation (Williamson et al., arXiv 2506.07327, eq. 2-6, Alg. 1).

The pooled gradient of the target class, g_u, loses its projection on g_bar, the mean pooled gradient of the contrast
set: g_perp = g_u - <g_u, g_bar> g_bar / |g_bar|^2, and L = sum_k g_perp_k A_k.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pytest_saliency.engine.methods.evidence import Evidence, GradientMethod, RawMaps, weighted_sum

# Below this share of the squared norm nothing but rounding is left of g_u: the two directions are one.
NOTHING_LEFT = 1e-10


def perpendicular(target: Tensor, shared: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``target`` (N, K) without its projection on ``shared`` (N, K), and the projection's length (N,).

    The unit vector is formed before anything is squared: the stabiliser is relative to the vector's own size, so a
    tiny gradient at an early layer is treated like any other, and a zero vector removes nothing. Source: eq. 5.
    """
    size = shared.abs().amax(1, keepdim=True)
    scaled = shared / torch.where(size > 0, size, torch.ones_like(size))
    norm = scaled.norm(dim=1, keepdim=True)
    unit = scaled / torch.where(norm > 0, norm, torch.ones_like(norm))
    along = (target * unit).sum(1, keepdim=True)
    return target - along * unit, along.squeeze(1)


def _compute(evidence: Evidence) -> RawMaps:
    if evidence.shared is None or evidence.contrast is None:
        raise ValueError("CASE needs the contrast gradients of its capture pass")
    precise = torch.float32 if evidence.pooled.device.type == "mps" else torch.float64
    target = evidence.pooled.to(precise)
    left, along = perpendicular(target, evidence.shared.mean(2).to(precise))
    length = target.norm(dim=1)
    divisor = torch.where(length > 0, length, torch.ones_like(length))
    kept = (left.norm(dim=1) / divisor).square()
    has_contrast = evidence.contrast.sum(1) > 0
    degenerate = has_contrast & (length > 0) & (kept <= NOTHING_LEFT)
    values = weighted_sum(left.to(evidence.activations.dtype), evidence.activations)
    details = {"cosine": along / divisor, "kept": kept, "contrast": evidence.contrast}
    return RawMaps(values, degenerate, details)


CASE = GradientMethod("case", 1, _compute, "arXiv 2506.07327, eq. 2-6, Alg. 1", contrastive=True)
