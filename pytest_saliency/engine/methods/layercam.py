"""LayerCAM: L = sum_k ReLU(G) A (Jiang et al., doi 10.1109/TIP.2021.3089943, eq. 6-8)."""

from __future__ import annotations

from pytest_saliency.engine.methods.evidence import Evidence, GradientMethod, RawMaps


def _compute(evidence: Evidence) -> RawMaps:
    return RawMaps((evidence.gradients.clamp(min=0) * evidence.activations).sum(1))


LAYERCAM = GradientMethod("layercam", 1, _compute, "doi 10.1109/TIP.2021.3089943, eq. 6-8")
