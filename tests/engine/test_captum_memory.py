"""How many inputs have their graphs in memory at once, where gradients go all the way back to them."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from pytest_saliency import Subject, explain
from pytest_saliency.engine.methods import inputs as module
from pytest_saliency.engine.sizing import BatchSize

from .helpers import cases_of, raw
from .nets import pictures, seed_weights
from .oracles import distance


class Watching(nn.Module):
    """Remembers how many images came in each forward pass that keeps a graph back to its input."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act, self.fc = nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.Softplus(), nn.Linear(6, 5)
        self.seen: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        if x.requires_grad:
            self.seen.append(len(x))
        made: Tensor = self.fc(self.act(self.conv(x)).mean((2, 3)))
        return made


@pytest.mark.parametrize("method", ["captum:IntegratedGradients[steps:12]", "captum:DeepLift", "captum:Saliency"])
def test_a_cpu_keeps_few_graphs_unless_a_number_is_asked_for(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU out of memory ends the process: 32 graphs of a ResNet-50 take 4 GB, of its mosaics 15."""
    monkeypatch.setattr(module, "GRAPHS", 5 * 16 * 16)
    images = pictures(7, (3, 16, 16), seed=1)
    maps: list[object] = []
    largest: list[int] = []
    sizes: tuple[int | Literal["auto"], ...] = ("auto", 12)
    for size in sizes:
        model = seed_weights(Watching(), 3).eval()
        assert isinstance(model, Watching)
        found = explain(Subject(model, layer="conv"), cases_of(images, 5), device="cpu", batch_size=size)
        maps.append(raw(found, method))
        largest.append(max(model.seen))
    assert largest[0] <= 5
    assert largest[1] > 5
    assert distance(maps[0], maps[1]) < 1e-5  # type: ignore[arg-type]


def test_large_inputs_come_one_at_a_time_and_small_ones_in_a_batch() -> None:
    class Place:
        size = BatchSize("auto")

        class runner:  # noqa: N801
            device = torch.device("cpu")

    def fit(side: int) -> int:
        return module.together(Place(), torch.empty(0, 3, side, side))  # type: ignore[arg-type]

    assert [fit(side) for side in (32, 224, 448, 2000)] == [32, 8, 2, 1]
    Place.size = BatchSize(32)
    assert fit(448) == 32
