"""Models that take a mapping and return one: everything that holds of the model inside holds of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pytest_saliency import Cases, Explained, Subject, explain
from pytest_saliency.checks.registry import KINDS
from pytest_saliency.engine.cascade import from_the_top
from pytest_saliency.engine.identity import subject_parts
from pytest_saliency.errors import SubjectError

from .nets import ConvNet, pictures, seed_weights

METHODS = ("gradcam", "layercam", "case", "eigencam", "ablationcam", "scorecam", "random_model")


class Taking(nn.Module):
    """As MONAI bundles have it: the batch is a mapping, and so is what comes out."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"image": batch["image"], "pred": self.net(batch["image"])}


def made(model: nn.Module, layer: str, **settings: Any) -> Explained:
    cases = Cases.from_arrays(pictures(30, ConvNet.image, seed=1), [i % 5 for i in range(30)])
    return explain(Subject(model, layer=layer, **settings), cases, device="cpu", batch_size=32)


@pytest.fixture(scope="module")
def pair() -> tuple[Explained, Explained]:
    net: Any = seed_weights(ConvNet(), 3)
    return made(net, net.layer), made(Taking(net), f"net.{net.layer}", input="image", output="pred")


@pytest.mark.parametrize("method", METHODS)
def test_maps_are_those_of_the_model_inside(pair: tuple[Explained, Explained], method: str) -> None:
    plain, taking = pair
    if method == "random_model":  # drawn by the names of the modules, which differ
        assert taking.maps(method).values.shape == plain.maps(method).values.shape
        return
    torch.testing.assert_close(taking.maps(method).values, plain.maps(method).values, rtol=1e-5, atol=1e-7)
    assert torch.equal(taking.logits, plain.logits)
    assert not [text for text in taking.maps(method).warnings if "whole model" in text], "the tail runs alone here too"


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        ("faithful", {"method": "gradcam", "top_k": 0.2, "min_advantage": -9.0, "keep": "all"}),
        (
            "invariant_execution",
            {"method": "gradcam", "max_share": 0.5, "max_difference": 0.1, "variants": ("batch_one", "float64")},
        ),
    ],
)
def test_checks_that_run_the_model_in_other_ways(
    pair: tuple[Explained, Explained], kind: str, parameters: dict[str, Any]
) -> None:
    found = [KINDS[kind].run({"model": one}, KINDS[kind].parameters(**parameters), "a") for one in pair]
    assert found[0].verdict is found[1].verdict


def test_layers_are_drawn_anew_in_the_same_order(pair: tuple[Explained, Explained]) -> None:
    plain, taking = (
        from_the_top(one.runner, torch.from_numpy(pictures(1, ConvNet.image)), "model_dependent") for one in pair
    )
    assert [name.removeprefix("net.") for name in taking] == plain


def test_without_the_key_the_model_gets_a_tensor_and_says_so() -> None:
    net: Any = seed_weights(ConvNet(), 3)
    with pytest.raises(SubjectError, match=r"model 'Taking', given .* images of shape"):
        _ = made(Taking(net), "auto", output="pred").logits


def test_another_key_is_another_model() -> None:
    net = seed_weights(ConvNet(), 3)
    one, two = Subject(net, input="image"), Subject(net, input="pixel_values")
    assert one.reading() != two.reading()
    parts = [subject_parts(subject) for subject in (one, two, Subject(net))]
    assert parts[0] != parts[1]
    assert parts[2] is not None
    assert "input" not in parts[2], "what was kept before the key existed is still found"
