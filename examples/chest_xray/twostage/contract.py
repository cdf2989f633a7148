"""The contract that is written beside the weights: what must hold, with limits that are declared or calibrated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

DECLARED: Mapping[str, float] = {
    "max_iou_drop": 0.40,
    "max_displacement": 0.10,
    "min_correlation": 0.50,
    "max_concentration_change": 0.15,
    "max_accuracy_drop": 0.05,
    "max_mass": 0.50,
}
"""Declared before any result; README.md says where each comes from."""
FEWEST_FOR_ACCURACY = 120
TITLES = {
    "declared": "declared before any run; calibrate with --clean 3 or more before a release rests on them",
    "clean": "from clean repeats of the fine-tuning, by pytest-saliency calibrate",
}


@dataclass(frozen=True)
class Written:
    """What a contract is made of. ``cases`` is a CSV file beside it, ``source`` a model source as YAML.

    ``units``: held-out images, or patients where they are known; with few of them some limits could never be shown.
    """

    slug: str
    source: str
    classes: tuple[str, ...]
    size: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    cases: str
    weights: str = "weights"
    after: str = "weights/ft.safetensors"
    epochs: bool = True
    units: int | None = None
    limits: Mapping[str, float] = field(default_factory=lambda: dict(DECLARED))
    origin: str = "declared"

    @property
    def shows_accuracy(self) -> bool:
        """Whether there are enough units for a bound on the accuracy drop."""
        return self.units is None or self.units >= FEWEST_FOR_ACCURACY

    def text(self) -> str:
        """Return the file."""
        limit = {name: f"{value:g}" for name, value in {**DECLARED, **self.limits}.items()}
        drift = [
            f"    max_iou_drop: {limit['max_iou_drop']}",
            f"    max_displacement: {limit['max_displacement']}",
            f"    min_correlation: {limit['min_correlation']}",
            f"    max_concentration_change: {limit['max_concentration_change']}",
        ]
        lines = [
            "# Written by examples/chest_xray. In this folder: pytest.",
            f"# Limits of drift and of mass at the border: {TITLES[self.origin]}.",
            "saliency: 1",
            f"contract: {self.slug}",
            "models:",
            f"  tl: {{{self.source}, weights: {self.weights}/tl.safetensors}}",
            f"  ft: {{{self.source}, weights: {self.after}}}",
            "cases:",
            f"  csv: {self.cases}",
            f"  classes: [{', '.join(quoted(name) for name in self.classes)}]",
            "defaults:",
            "  model: ft",
            "  alpha: 0.05",
            f"  preprocess: {{resize: [{self.size}, {self.size}], channels: {self.channels},"
            f" mean: {list(self.mean)}, std: {list(self.std)}}}",
            "checks:",
            "  # There is something to look at on the maps.",
            "  - id: some-map",
            "    kind: not_vacuous",
            "    method: [gradcam, case]",
            "    max_share: 0.10",
            "",
            "  # The map of the predicted class is not that of the runner-up: the published protocol.",
            "  - id: class-sensitive",
            "    kind: class_sensitive",
            "    method: [case, layercam]",
            "    top_k: 0.05",
            "    max_agreement: 0.5",
            "",
            "  # The drift protocol: four measures, images that both stages classify correctly, two methods.",
            "  - id: evidence-kept",
            "    kind: no_semantic_drift",
            "    before: tl",
            "    after: ft",
            "    method: [layercam, gradcam++]",
            *drift,
            *([f"    max_accuracy_drop: {limit['max_accuracy_drop']}"] if self.shows_accuracy else []),
            "",
            "  # What the map shows is what the prediction stands on.",
            "  - id: faithful",
            "    kind: faithful",
            "    method: gradcam",
            "    top_k: 0.10",
            "    fill: [blur, mean]",
            "    min_advantage: 0.0",
            "",
            "  # Markers and burnt-in text are at the border: 36 % of the mass lies there by chance.",
            "  - id: not-the-border",
            "    kind: avoids",
            "    method: gradcam",
            "    region: {border: 0.1}",
            f"    max_mass: {limit['max_mass']}",
        ]
        if self.epochs:
            lines += [
                "",
                "  # Beyond the paper: in which epoch did the evidence move?",
                "  - id: since-when",
                "    kind: no_semantic_drift",
                "    before: tl",
                "    after: ft",
                "    method: layercam",
                *drift,
                f"    checkpoints: {self.weights}/epoch_*.safetensors",
                "    confirm: false",
            ]
        return "\n".join(lines) + "\n"


def quoted(name: str) -> str:
    """Return a class name as a YAML scalar that is text whatever it looks like."""
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
