"""Copies of the contracts for narrow networks: the same checks and layers, smaller networks and pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from drift_paper.networks import NARROW, SIDE

FOLDER = Path(__file__).resolve().parent.parent / "contracts"
PAPER = ("drift.saliency.yaml", "drift-last-grid.saliency.yaml", "future-all-epochs.saliency.yaml")
"""Contracts that need the paper's three architectures only."""
TRANSFORMERS = "future-transformers.saliency.yaml"
EXPLAINERS = "future-explainers.saliency.yaml"
LAYERS: Mapping[str, str] = {"blocks.11.norm1": "blocks.2.norm1"}
"""The narrow ViT has three blocks instead of twelve."""
CHEAPER: Mapping[str, str] = {
    "rise[masks:1000]": "rise[masks:64,cells:4]",
    "captum:GradientShap": "captum:GradientShap[samples:8,grid:12]",
    "captum:IntegratedGradients": "captum:IntegratedGradients[steps:16,grid:12]",
}
"""Explainers draw fewer masks and samples, and take fewer steps; maps of 48 pixels are summed to 12x12."""


def text_of(name: str, narrow: bool) -> str:
    """Return the contract ``name`` as it stands, or for narrow networks."""
    text = (FOLDER / name).read_text(encoding="utf-8")
    if not narrow:
        return text
    made = narrowed(yaml.safe_load(text))
    head = f"# contracts/{name} for narrow networks and pictures of {SIDE} pixels.\n"
    return head + yaml.safe_dump(made, sort_keys=False, width=116)


def narrowed(contract: dict[str, Any]) -> dict[str, Any]:
    """Return the contract with narrow networks and small pictures in it; checks and limits stay as they are.

    But for ``max_accuracy_drop``: 0.02 cannot be shown with fewer than 204 images, and a small run holds out fewer.
    """
    models = {}
    for name, model in contract["models"].items():
        models[name] = {
            **model,
            "args": {**model["args"], "size": NARROW},
            "layer": LAYERS.get(model["layer"], model["layer"]),
            "preprocess": {**model["preprocess"], "resize": [SIDE, SIDE]},
        }
    checks = []
    for check in contract["checks"]:
        kept = {key: value for key, value in check.items() if key != "max_accuracy_drop"}
        checks.append({**kept, "method": [CHEAPER.get(one, one) for one in check["method"]]})
    return {**contract, "models": models, "checks": checks}
