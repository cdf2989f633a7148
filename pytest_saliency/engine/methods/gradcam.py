"""Grad-CAM: L = sum_k g_k A_k (Selvaraju et al., arXiv 1610.02391, eq. 1-2, without its ReLU)."""

from __future__ import annotations

from pytest_saliency.engine.methods.evidence import Evidence, GradientMethod, RawMaps, weighted_sum


def _compute(evidence: Evidence) -> RawMaps:
    return RawMaps(weighted_sum(evidence.pooled, evidence.activations))


GRADCAM = GradientMethod("gradcam", 1, _compute, "arXiv 1610.02391, eq. 1-2")
