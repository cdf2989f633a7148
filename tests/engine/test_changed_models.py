"""A model that was changed after explain(): in its numbers, their order, its modules, or the code around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pytest_saliency import Cases, Subject, explain
from pytest_saliency.engine.methods.perturbation import Site
from pytest_saliency.errors import SubjectError

from .nets import pictures


class Ordered(nn.Module):
    """A network with a buffer of whole numbers that orders its classes."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU())
        self.fc = nn.Linear(8, 4)
        self.register_buffer("order", torch.arange(4))

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.fc(self.body(x).mean((2, 3)))[:, self.order]
        return made


class Scaled:
    """A preprocess with a number that can be turned."""

    def __init__(self) -> None:
        self.factor = 1.0

    def __call__(self, pixels: Tensor) -> Tensor:
        return pixels * self.factor


def made() -> tuple[Ordered, Scaled, Subject, Cases]:
    torch.manual_seed(4)
    model, preprocess = Ordered().eval(), Scaled()
    cases = Cases.from_arrays(pictures(6, (3, 10, 10), seed=2), [0, 1, 2, 3, 0, 1])
    return model, preprocess, Subject(model, layer="body", preprocess=preprocess), cases


@torch.no_grad()
def shuffle_filters(model: Ordered, _: Scaled) -> None:
    model.body[0].weight.copy_(model.body[0].weight.flip(0))


@torch.no_grad()
def exchange_classes(model: Ordered, _: Scaled) -> None:
    model.fc.weight.copy_(model.fc.weight[[2, 1, 0, 3]])


def reorder(model: Ordered, _: Scaled) -> None:
    model.order.copy_(torch.tensor([3, 2, 1, 0]))


def replace_module(model: Ordered, _: Scaled) -> None:
    model.body[3] = nn.GELU()


def replace_forward(model: Ordered, _: Scaled) -> None:
    usual = model.forward
    model.forward = lambda x: usual(x) * 2.0  # type: ignore[method-assign]


def turn_preprocess(_: Ordered, preprocess: Scaled) -> None:
    preprocess.factor = 3.0


CHANGES = [shuffle_filters, exchange_classes, reorder, replace_module, replace_forward, turn_preprocess]


@pytest.mark.parametrize("change", CHANGES, ids=lambda one: one.__name__)
@pytest.mark.parametrize("used", [True, False], ids=["after it was used", "before it was used"])
def test_an_earlier_state_is_refused_and_never_taken_for_the_present_one(
    change: Callable[[Ordered, Scaled], None], used: bool
) -> None:
    model, preprocess, subject, cases = made()
    explained = explain(subject, cases, device="cpu")
    if used:
        _ = explained.maps("gradcam")
    change(model, preprocess)
    with pytest.raises(SubjectError, match=r"changed after explain\(\) was called on it"):
        _ = explained.maps("gradcam", 3) if used else explained.logits
    fresh = explain(Subject(model, layer="body", preprocess=preprocess), cases, device="cpu")
    with torch.no_grad():
        pixels = torch.from_numpy(pictures(6, (3, 10, 10), seed=2))
        expected = model(preprocess(pixels))
    np.testing.assert_allclose(fresh.logits.numpy(), expected.numpy(), rtol=1e-4, atol=1e-6)


def test_a_subject_that_is_edited_later_explains_what_was_asked_for() -> None:
    _, _, subject, cases = made()
    explained = explain(subject, cases, device="cpu")
    subject.layer = "body.0"
    assert explained.layer.name == "body"


class Routed(nn.Module):
    """A branch is read for some images only, so that what the tail reads cannot be learnt from the others."""

    def __init__(self, whole: bool) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.gate, self.side = Bright(), Side(whole)
        self.layer = nn.Conv2d(6, 6, 3, padding=1)
        self.fc = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        stem = self.stem(x)
        gate, side = self.gate(x), self.side(stem)
        z = self.layer(stem).relu().mean((2, 3))
        if bool((gate > 0.5).any()):
            z = torch.where((gate > 0.5)[:, None], z * (1 + side), z)
        made: Tensor = self.fc(z)
        return made


class Bright(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((1, 2, 3)).gt(0.6).float()


class Side(nn.Module):
    def __init__(self, whole: bool) -> None:
        super().__init__()
        self.whole = whole

    def forward(self, x: Tensor) -> Tensor:
        pooled = x.mean((2, 3))
        return (pooled * 40).round().long() if self.whole else pooled


@pytest.mark.parametrize("whole", [True, False], ids=["whole numbers", "fractions"])
def test_a_branch_that_only_some_images_take_is_noticed_by_ablationcam(whole: bool) -> None:
    torch.manual_seed(8)
    model = Routed(whole).eval()
    images = torch.rand(8, 3, 8, 8) * 0.5
    images[5:7] += 0.45  # in the middle of the second batch, where nothing is tried
    cases = Cases.from_arrays(images, [0, 1, 2, 0, 1, 2, 0, 1])
    explained = explain(Subject(model, layer="layer"), cases, device="cpu", batch_size=4)
    maps = explained.maps("ablationcam")
    with torch.no_grad():
        for i, image in enumerate(images):
            full = model(image[None])[0]
            target = int(full.argmax())
            activation = model.layer(model.stem(image[None]))[0]
            weights = []
            for channel in range(6):

                def without(_: nn.Module, __: Any, out: Tensor, channel: int = channel) -> Tensor:
                    changed = out.clone()
                    changed[:, channel] = 0
                    return changed

                handle = model.layer.register_forward_hook(without)
                weights.append(float(full[target] - model(image[None])[0, target]))
                handle.remove()
            expected = sum(w * a for w, a in zip(weights, activation, strict=True))
            np.testing.assert_allclose(maps.values[i].numpy(), np.asarray(expected), rtol=1e-3, atol=1e-5)
    assert any("runs the whole model" in note for note in explained.costs()["notes"])


def test_a_site_counts() -> None:
    site = Site(None, None, None)  # type: ignore[arg-type]
    site.count("tail", 3)
    site.count("tail", 4)
    assert site.images == {"tail": 7}
