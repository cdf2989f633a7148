"""Networks on which mutants are tried: one whose evidence is known by construction, and one trained on digits."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fixtures.planted import CLASSES, PATCH, SIDE, patterns, planted_images
from pytest_saliency import Cases, Subject


@dataclass(frozen=True)
class Setting:
    """A network, its images by seed and number, and the criteria by kind that Grad-CAM meets there.

    ``model`` and ``tuned`` are the network and the same after a gentle change of its weights.
    """

    name: str
    model: Callable[[], nn.Module]
    tuned: Callable[[], nn.Module]
    layer: str
    cases: Callable[[int, int], Cases]
    criteria: Mapping[str, Mapping[str, Any]]

    def subject(self, name: str = "model", tuned: bool = False) -> Subject:
        """Return a fresh subject."""
        return Subject((self.tuned if tuned else self.model)(), layer=self.layer, name=name)


class Bank(nn.Module):
    """One matched filter a class, the mean of its answers, and a linear layer: any image size, nothing trained."""

    def __init__(self, jitter: float = 0.0, seed: int = 0) -> None:
        super().__init__()
        bank = patterns() - patterns().mean((1, 2), keepdim=True)
        bank = bank / bank.square().sum((1, 2), keepdim=True)
        noise = torch.randn(bank.shape, generator=torch.Generator().manual_seed(seed))
        self.features = nn.Sequential(nn.Conv2d(1, CLASSES, PATCH, padding=PATCH // 2), nn.ReLU())
        self.head = nn.Linear(CLASSES, CLASSES, bias=False)
        with torch.no_grad():
            self.features[0].weight.copy_((bank + jitter * noise)[:, None])  # type: ignore[union-attr]
            self.features[0].bias.fill_(-0.45)  # type: ignore[union-attr]
            self.head.weight.copy_(300.0 * torch.eye(CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.head(self.features(x).mean((2, 3)))
        return result


def _planted_cases(count: int, seed: int) -> Cases:
    made = planted_images(count, seed)
    masks = torch.zeros(count, SIDE, SIDE)
    for i, (row, column) in enumerate(made.corners.tolist()):
        masks[i, max(0, row - 2) : row + PATCH + 2, max(0, column - 2) : column + PATCH + 2] = 1.0
    return Cases.from_arrays(made.images, made.labels, masks=masks)


COMMON: Mapping[str, Mapping[str, Any]] = {
    "not_vacuous": {"max_share": 0.1},
    "class_sensitive": {"top_k": 0.05, "max_agreement": 0.5},
    "model_dependent": {"max_excess": 0.3, "stages": 0},
    "stable": {"min_agreement": 0.4, "draws": 1, "search": False},
    "invariant_execution": {"max_difference": 0.01, "max_share": 0.1, "variants": ("batch_one", "shuffled")},
    "no_semantic_drift": {"max_iou_drop": 0.5, "max_displacement": 0.15, "min_correlation": 0.4},
}

MATCHED = Setting(
    "matched filters",
    Bank,
    lambda: Bank(jitter=0.01, seed=1),
    "features",
    _planted_cases,
    {
        **COMMON,
        "faithful": {"top_k": 0.04, "min_advantage": 0.05},
        # Edges are left out: the patterns are nothing but edges, so that control knows where the evidence is.
        "beats_null_explainers": {
            "top_k": 0.04,
            "min_advantage": 0.05,
            "nulls": ("centre", "mean_map", "class_mean", "random_model"),
        },
        "planted_evidence": {"min_share": 0.5},
        "localized": {"min_mass": 0.5},
        "avoids": {"region": {"border": 0.1}, "max_mass": 0.35},
    },
)


class Small(nn.Module):
    """Three convolutions, mean over positions, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 5, padding=2),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
        )
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.head(self.features(x).mean((2, 3)))
        return result


@functools.cache
def _digits() -> tuple[Tensor, Tensor]:
    """Return the digits of scikit-learn at 24x24 on a dark margin, shifted by a few pixels at random."""
    from sklearn.datasets import load_digits

    loaded = load_digits()
    images = torch.tensor(loaded.images, dtype=torch.float32)[:, None] / 16.0
    images = nn.functional.interpolate(images, size=(16, 16), mode="bilinear")
    generator = torch.Generator().manual_seed(5)
    made = 0.05 * torch.rand(len(images), 1, 24, 24, generator=generator)
    places = torch.randint(2, 7, (len(images), 2), generator=generator)
    for i, (row, column) in enumerate(places.tolist()):
        made[i, :, row : row + 16, column : column + 16] += images[i] * 0.9
    return made, torch.tensor(loaded.target)


@functools.cache
def _trained(epochs: int, further: int = 0, seed: int = 0) -> dict[str, Tensor]:
    images, labels = (part[:1200] for part in _digits())
    torch.manual_seed(seed)
    model = Small()
    if further:
        model.load_state_dict(_trained(epochs))
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3 if further else 1e-2)
    generator = torch.Generator().manual_seed(seed + 1)
    count = further or epochs
    decay = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda epoch: 1.0 - epoch / count)
    model.train()
    for _ in range(count):
        for rows in torch.randperm(len(images), generator=generator).split(32):
            loss = nn.functional.cross_entropy(model(images[rows]), labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        decay.step()
    return {name: value.clone() for name, value in model.state_dict().items()}


def _loaded(state: dict[str, Tensor]) -> nn.Module:
    model = Small()
    model.load_state_dict(state)
    return model


def _digit_cases(count: int, seed: int) -> Cases:
    """Return images that were not trained on; other seeds take others of the 597, so that runs share some."""
    images, labels = (part[1200:] for part in _digits())
    chosen = np.sort(np.random.default_rng(seed).permutation(len(labels))[:count])
    return Cases.from_arrays(images[chosen], labels[chosen], ids=[f"digit-{i:04d}" for i in chosen])


DIGITS = Setting(
    "digits",
    lambda: _loaded(_trained(10)),
    lambda: _loaded(_trained(10, further=1, seed=3)),
    "features",
    _digit_cases,
    {
        **{kind: options for kind, options in COMMON.items() if kind != "model_dependent"},
        "faithful": {"top_k": 0.1, "min_advantage": 0.2},
        "beats_null_explainers": {"top_k": 0.1, "min_advantage": 0.2},
        "planted_evidence": {"min_share": 0.4},
        "avoids": {"region": {"border": 0.1}, "max_mass": 0.35},
    },
)

SETTINGS = (MATCHED, DIGITS)
