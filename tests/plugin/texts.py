"""Contracts over the toy model, in pieces."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

Write = Callable[..., Path]

CONTRACT = """\
saliency: 1
contract: toy
requirement: REQ-1
models:
  clean: {python: "toy:build", layer: features}
  cheat: {python: "toy:build_cheat", layer: features}
cases: {python: "toy:cases"}
defaults: {model: clean}
"""

DRIFT = """\
  - id: kept
    kind: no_semantic_drift
    before: clean
    after: cheat
    method: gradcam
    max_iou_drop: 0.40
"""

SENSITIVE = """\
  - id: sensitive
    kind: class_sensitive
    method: gradcam
"""

FAITHFUL = """\
  - id: faithful
    kind: faithful
    method: [gradcam, layercam]
    top_k: 0.06
    min_advantage: 0.0
"""

# The mean IoU drop between the two toy models is 0.80, so that this limit can be neither shown nor refuted.
UNDECIDED = DRIFT.replace("id: kept", "id: undecided").replace("0.40", "0.79")
