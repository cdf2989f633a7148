"""Real architectures with random weights against grad-cam and captum, where those are right."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pytest_saliency import Cases, Explained, Subject, explain

from .nets import pictures

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    grad_cam = pytest.importorskip("pytorch_grad_cam")
    captum_attr = pytest.importorskip("captum.attr")
    zoo = pytest.importorskip("torchvision.models")

pytestmark = pytest.mark.filterwarnings("ignore")

PEERS = {"gradcam": "GradCAM", "hirescam": "HiResCAM", "xgradcam": "XGradCAM", "layercam": "LayerCAM"}

# Layers whose output nothing overwrites afterwards: the peers keep a view of it, not a copy.
ARCHITECTURES: dict[str, tuple[Callable[..., nn.Module], str, int]] = {
    "resnet18": (zoo.resnet18, "layer4", 96),
    "resnet18-inner": (zoo.resnet18, "layer3.0.conv2", 64),
    "vgg11_bn": (zoo.vgg11_bn, "features.24", 64),
    "densenet121": (zoo.densenet121, "features.denseblock4", 96),
    "convnext_tiny": (zoo.convnext_tiny, "features.7.1", 96),
}


class Built:
    def __init__(self, name: str) -> None:
        build, self.layer, size = ARCHITECTURES[name]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(17)
            self.model = build(weights=None, num_classes=7).eval()
        self.images = pictures(2, (3, size, size), seed=3)
        self.classes = [2, 5]
        cases = Cases.from_arrays(self.images, self.classes)
        self.explained: Explained = explain(
            Subject(self.model, layer=self.layer), cases, device="cpu", batch_size=2, methods=list(PEERS)
        )

    def found(self, method: str) -> np.ndarray:
        return self.explained.maps(method, "label").values.double().numpy()


@pytest.fixture(scope="module", params=list(ARCHITECTURES))
def built(request: pytest.FixtureRequest) -> Built:
    return Built(request.param)


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    axes = tuple(range(1, expected.ndim))
    return float((np.abs(found - expected).max(axis=axes) / np.abs(expected).max(axis=axes)).max())


@pytest.mark.parametrize("method", list(PEERS))
def test_grad_cam_agrees(built: Built, method: str) -> None:
    layer = built.model.get_submodule(built.layer)
    peer: Any = getattr(grad_cam, PEERS[method])(built.model, [layer])
    inputs = torch.from_numpy(built.images)
    scores = peer.activations_and_grads(inputs)
    sum(scores[i, c] for i, c in enumerate(built.classes)).backward()
    a, g = (t[0].numpy() for t in (peer.activations_and_grads.activations, peer.activations_and_grads.gradients))
    theirs = peer.get_cam_image(inputs, layer, built.classes, a, g, False)
    peer.activations_and_grads.release()
    built.model.zero_grad(set_to_none=True)
    # The peer adds an absolute 1e-7 to XGrad-CAM's denominator.
    assert relative(built.found(method), theirs) < (1e-3 if method == "xgradcam" else 1e-4)


def test_captum_agrees(built: Built) -> None:
    peer = captum_attr.LayerGradCam(built.model, built.model.get_submodule(built.layer))
    theirs = peer.attribute(torch.from_numpy(built.images), target=built.classes).detach().double().numpy()[:, 0]
    assert relative(built.found("gradcam"), theirs) < 1e-4


def test_the_norm_of_densenet_is_read_before_it_is_rectified_in_place() -> None:
    """``features.norm5`` is followed by an in-place ReLU: its output is signed, and its map must use it so."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(17)
        model: Any = zoo.densenet121(weights=None, num_classes=7).eval()
    images = pictures(2, (3, 64, 64), seed=3)
    cases = Cases.from_arrays(images, [2, 5])
    found = explain(Subject(model, layer="features.norm5"), cases, device="cpu").maps("hirescam", "label")
    twin = model.double()
    with torch.no_grad():
        a = twin.features(torch.from_numpy(images).double())
    w = twin.classifier.weight.detach()[[2, 5]]
    g = w[:, :, None, None] * (a > 0) / a[0, 0].numel()
    expected = (g * a).sum(1).detach().numpy()
    assert relative(found.values.double().numpy(), expected) < 1e-4


def tokens_of(output: Tensor) -> Tensor:
    return output[:, 1:].transpose(1, 2).reshape(len(output), output.shape[2], 4, 4)


@pytest.mark.parametrize("method", ["gradcam", "layercam"])
def test_a_vision_transformer_agrees(method: str) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(17)
        model: Any = zoo.VisionTransformer(32, 8, 3, 4, 48, 96, num_classes=7).eval()
        nn.init.normal_(model.heads.head.weight)
    images = pictures(2, (3, 32, 32), seed=3)
    layer = model.encoder.layers.encoder_layer_2.ln_1
    inputs = torch.from_numpy(images)
    peer: Any = getattr(grad_cam, PEERS[method])(model, [layer], reshape_transform=tokens_of)
    scores = peer.activations_and_grads(inputs)
    (scores[0, 2] + scores[1, 5]).backward()
    a, g = (t[0].numpy() for t in (peer.activations_and_grads.activations, peer.activations_and_grads.gradients))
    theirs = peer.get_cam_image(inputs, layer, [2, 5], a, g, False)
    peer.activations_and_grads.release()
    subject = Subject(model, layer="encoder.layers.encoder_layer_2.ln_1")
    for frozen in (False, True):
        model.requires_grad_(not frozen)
        found = explain(subject, Cases.from_arrays(images, [2, 5]), device="cpu").maps(method, "label")
        assert relative(found.values.double().numpy(), theirs) < 1e-4


def test_swin_stages_are_read_channels_last() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(17)
        model: Any = zoo.swin_t(weights=None, num_classes=7).eval()
    images = pictures(2, (3, 96, 96), seed=3)
    raw = explain(Subject(model, layer="features.5"), Cases.from_arrays(images, [2, 5]), device="cpu")
    found = raw.maps("gradcam", "label").values.double().numpy()
    with torch.enable_grad():
        kept: list[Tensor] = []
        handle = model.features[5].register_forward_hook(lambda _m, _i, o: kept.append(o))
        scores = model(torch.from_numpy(images))
        handle.remove()
        (g,) = torch.autograd.grad(scores[0, 2] + scores[1, 5], kept[0])
    expected = (kept[0] * g.mean((1, 2), keepdim=True)).sum(3).detach().double().numpy()
    assert found.shape == (2, 6, 6)
    assert relative(found, expected) < 1e-4
