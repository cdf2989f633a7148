"""XGrad-CAM: w_k = sum_p G A / sum_p A, L = sum_k w_k A_k (Fu et al., arXiv 2008.02312, eq. 8)."""

from __future__ import annotations

import torch

from pytest_saliency.engine.methods.evidence import Evidence, GradientMethod, RawMaps, weighted_sum

# A channel whose activations cancel to below this share of their absolute sum has no meaningful weight: 0.
RELATIVE_EPSILON = 1e-6


def _compute(evidence: Evidence) -> RawMaps:
    total = evidence.activations.sum(2)
    usable = total.abs() > RELATIVE_EPSILON * evidence.activations.abs().sum(2)
    weights = evidence.product.sum(2) / torch.where(usable, total, torch.ones_like(total))
    return RawMaps(weighted_sum(torch.where(usable, weights, torch.zeros_like(weights)), evidence.activations))


XGRADCAM = GradientMethod("xgradcam", 1, _compute, "arXiv 2008.02312, eq. 8")
