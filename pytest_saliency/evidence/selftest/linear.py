"""Maps with a closed form: a convolution, global average pooling and a linear layer, written out in float64.

With activations A (K, P) of the layer and s_c = sum_k W_ck mean_p A_kp + b_c, the derivative of s_c with respect to
A_kp is W_ck / P wherever p is. So, with g_c = W_c / P:

- Grad-CAM and HiResCAM: sum_k g_ck A_kp
- LayerCAM: sum_k max(g_ck, 0) A_kp
- Grad-CAM++: sum_k w_ck A_kp, w_ck = P g_ck^3 / (2 g_ck^2 + S_k g_ck^3) for g_ck > 0 and 0 elsewhere, S_k = sum_p A_kp
- CASE: sum_k (g_c - <g_c, m> m / <m, m>)_k A_kp, m the mean of g over the three next-highest classes of the image

Everything here is made from the weights and the pixels alone, by sums in NumPy; the engine is not asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pytest_saliency.decide.randomness import Stream
from pytest_saliency.engine.cases import Cases
from pytest_saliency.engine.explained import explain
from pytest_saliency.engine.subject import Subject
from pytest_saliency.evidence.selftest.item import Item

GROUP = "maps"
METHODS = ("gradcam", "hirescam", "layercam", "gradcam++", "case")
TARGETS = ("top1", "top2")
CONTRAST = 3
IMAGES, SIDE, CHANNELS, CLASSES = 12, 11, 5, 8
SEED = 20260101
LARGEST_ERROR = 1e-5
"""Of a map's largest value: some hundred times the rounding of float32."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Weights:
    """Convolution (K, 3, 3, 3) with bias (K,), linear layer (C, K) with bias (C,); all exact in float32."""

    kernel: Array
    kernel_bias: Array
    matrix: Array
    bias: Array


def draw(name: str, *shape: int) -> Array:
    """Return multiples of 1/128 in [-1, 1), the same on every machine."""
    uniform = Stream(SEED, name).uniform(int(np.prod(shape))).reshape(shape)
    return np.floor(uniform * 256.0) / 128.0 - 1.0


def weights() -> Weights:
    """Return the weights of the network."""
    return Weights(
        draw("kernel", CHANNELS, 3, 3, 3),
        draw("kernel bias", CHANNELS) / 4.0,
        draw("matrix", CLASSES, CHANNELS),
        draw("bias", CLASSES) / 8.0,
    )


def pixels() -> Array:
    """Return the images (N, 3, H, W) in [0, 1]."""
    return (draw("pixels", IMAGES, 3, SIDE, SIDE) + 1.0) / 2.0


class Linear(nn.Module):
    """The network as the engine sees it; its layer ``features`` is rectified."""

    def __init__(self, given: Weights) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, CHANNELS, 3, padding=1)
        self.features = nn.ReLU()
        self.head = nn.Linear(CHANNELS, CLASSES)
        with torch.no_grad():
            self.convolution.weight.copy_(torch.from_numpy(given.kernel))
            bias, head_bias = self.convolution.bias, self.head.bias
            assert bias is not None
            bias.copy_(torch.from_numpy(given.kernel_bias))
            self.head.weight.copy_(torch.from_numpy(given.matrix))
            head_bias.copy_(torch.from_numpy(given.bias))

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (N, C)."""
        seen = self.features(self.convolution(images))
        logits: Tensor = self.head(seen.mean((2, 3)))
        return logits


def activations(given: Weights, image: Array) -> Array:
    """Return (K, P): the convolution with a border of zeros, as a sum over its 27 products, then max(0, .)."""
    framed = np.pad(image, ((0, 0), (1, 1), (1, 1)))
    made = np.tile(given.kernel_bias[:, None, None], (1, SIDE, SIDE))
    for colour in range(3):
        for row in range(3):
            for column in range(3):
                moved = framed[colour, row : row + SIDE, column : column + SIDE]
                made = made + given.kernel[:, colour, row, column][:, None, None] * moved
    return np.maximum(made, 0.0).reshape(CHANNELS, -1)


def closed_form(method: str, given: Weights, seen: Array, target: int, contrast: list[int]) -> Array:
    """Return the map (P,) of ``target`` by the formulas above."""
    gradient = given.matrix / seen.shape[1]
    own = gradient[target]
    if method == "layercam":
        own = np.where(own > 0.0, own, 0.0)
    elif method == "gradcam++":
        total = seen.sum(axis=1)
        raised = [
            seen.shape[1] * g**3 / (2 * g**2 + s * g**3) if g > 0 else 0.0 for g, s in zip(own, total, strict=True)
        ]
        own = np.array(raised)
    elif method == "case":
        shared = sum(gradient[one] for one in contrast) / len(contrast)
        own = own - (own @ shared) / (shared @ shared) * shared
    made: Array = own @ seen
    return made


def items() -> Iterator[Item]:
    """Hold the engine's maps against the closed forms."""
    given, images = weights(), pixels()
    seen = [activations(given, image) for image in images]
    scores = np.stack([given.matrix @ one.mean(axis=1) + given.bias for one in seen])
    ranked = np.argsort(-scores, axis=1, kind="stable")
    cases = Cases.from_arrays(images.astype(np.float32), ranked[:, 0])
    subject = Subject(Linear(given), layer="features", name="linear model", preprocess={})
    explained = explain(subject, cases, device="cpu")
    logits = explained.logits.double().numpy()
    yield _close("logits", float(np.abs(logits - scores).max() / np.abs(scores).max()))
    for method in METHODS:
        errors = []
        for place, target in enumerate(TARGETS):
            maps = explained.maps(method, target)
            values = maps.values.double().numpy().reshape(IMAGES, -1)
            for image in range(IMAGES):
                aim = int(ranked[image, place])
                others = [int(one) for one in ranked[image] if one != aim][:CONTRAST]
                right = closed_form(method, given, seen[image], aim, others)
                errors.append(float(np.abs(values[image] - right).max() / np.abs(right).max()))
        worst = float(np.max(errors))  # NaN where any of them is
        yield _close(f"{method} of {IMAGES} images for their two highest classes", worst)


def _close(name: str, error: float) -> Item:
    return Item(
        GROUP,
        name,
        f"the closed form, within {LARGEST_ERROR:g} of the largest value",
        f"off by {error:.1e}",
        error <= LARGEST_ERROR,  # also not ok where the error is NaN
    )
