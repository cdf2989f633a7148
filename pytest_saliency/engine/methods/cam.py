"""CAM: L = sum_k W[c, k] A_k (Zhou et al., arXiv 1512.04150, eq. 2), where pooling and one linear layer follow.

There it is Grad-CAM times the number of positions; ``engine.head`` refuses it everywhere else.
"""

from __future__ import annotations

from pytest_saliency.engine.methods.evidence import Evidence, GradientMethod, RawMaps, weighted_sum


def _compute(evidence: Evidence) -> RawMaps:
    if evidence.head is None:
        raise ValueError("CAM needs the rows of the linear layer behind the pooling")
    return RawMaps(weighted_sum(evidence.head, evidence.activations))


CAM = GradientMethod("cam", 1, _compute, "arXiv 1512.04150, eq. 2", head=True)
