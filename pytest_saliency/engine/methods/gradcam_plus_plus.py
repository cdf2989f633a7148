"""Grad-CAM++: w_k = sum_p alpha ReLU(G), L = sum_k w_k A_k (Chattopadhay et al., arXiv 1710.11063, eq. 19).

alpha = G^2 / (2 G^2 + S_k G^3) with S_k = sum_p A[k, p], which is 1 / (2 + G S_k) where G is not 0 and counts as 0
where it is. The short form keeps alpha exact where G^2 is far below any additive constant. The factor exp(s) of the
paper is positive and the same for the whole map, so it is left out.
"""

from __future__ import annotations

import torch

from pytest_saliency.engine.methods.evidence import Evidence, GradientMethod, RawMaps, weighted_sum


def _compute(evidence: Evidence) -> RawMaps:
    gradients = evidence.gradients
    total = evidence.activations.sum(2, keepdim=True)
    # Where G <= 0 the ReLU makes the term 0 whatever alpha is, so alpha needs no case of its own there.
    alpha = 1.0 / (2.0 + gradients * total)
    terms = torch.where(gradients > 0, alpha * gradients, torch.zeros_like(gradients))
    return RawMaps(weighted_sum(terms.sum(2), evidence.activations))


GRADCAM_PLUS_PLUS = GradientMethod("gradcam++", 1, _compute, "arXiv 1710.11063, eq. 19")
