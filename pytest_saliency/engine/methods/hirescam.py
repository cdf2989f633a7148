"""HiResCAM: L = sum_k G A (Draelos and Carin, arXiv 2011.08891, eq. 3)."""

from __future__ import annotations

from pytest_saliency.engine.methods.evidence import Evidence, GradientMethod, RawMaps


def _compute(evidence: Evidence) -> RawMaps:
    return RawMaps(evidence.product.sum(1))


HIRESCAM = GradientMethod("hirescam", 1, _compute, "arXiv 2011.08891, eq. 3")
