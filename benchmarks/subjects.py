"""The models that are measured: how they are built, which layer is explained, and their images."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from pytest_saliency import Cases, Explained, Subject, explain

BATCH = 8
HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Spec:
    """A model of torchvision with random weights, the layer to explain and the size of its images.

    ``tokens``: the layer returns (N, 1 + H * W, C). ``build`` replaces the model of torchvision.
    """

    layer: str
    size: int = 224
    tokens: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    build: Callable[[], nn.Module] | None = None


SPECS: dict[str, Spec] = {
    "resnet50": Spec("layer4"),
    "vgg19": Spec("features"),
    "vgg19_bn": Spec("features"),
    "densenet201": Spec("features.norm5"),
    "convnext_tiny": Spec("features"),
    "convnext_large": Spec("features"),
    "inception_v3": Spec("Mixed_7c", 299, options={"init_weights": False}),
    "vit_b_16": Spec("encoder.layers.encoder_layer_11.ln_1", tokens=True),
    "resnet18": Spec("layer4"),
}
USUAL = ("resnet50", "vgg19", "vgg19_bn", "densenet201", "convnext_tiny", "inception_v3", "vit_b_16")
"""Measured when no model is named; the largest ConvNeXt only when asked for."""


@dataclass(frozen=True)
class Bench:
    """One model and its images on one device.

    Attributes
    ----------
    batches
        Images on the device, each (8, 3, size, size).
    top
        For each batch its top-2 classes, (8, 2), on the device.
    cases
        The same images, on the CPU, as a user has them.
    """

    name: str
    spec: Spec
    model: nn.Module
    batches: tuple[Tensor, ...]
    top: tuple[Tensor, ...]
    cases: Cases
    device: str
    precision: str = "float32"

    @property
    def layer(self) -> nn.Module:
        return self.model.get_submodule(self.spec.layer)

    @property
    def subject(self) -> Subject:
        """A new subject each time, so that nothing is known from the turn before."""
        return Subject(self.model, layer=self.spec.layer, name=self.name)

    def first(self, batches: int) -> Bench:
        """Return the same with its first ``batches`` batches only."""
        count = sum(len(batch) for batch in self.batches[:batches])
        cases = self.cases.subset(range(count))
        return replace(self, batches=self.batches[:batches], top=self.top[:batches], cases=cases)

    def few(self, images: int) -> Bench:
        """Return the same with the first ``images`` images of the first batch."""
        few = self.cases.subset(range(images))
        return replace(self, batches=(self.batches[0][:images],), top=(self.top[0][:images],), cases=few)

    def longer(self, times: int) -> Bench:
        """Return the same with its cases as often as said, under other ids; batches on the device stay as they are."""
        count = len(self.cases)
        images, labels = self.cases.images * times, self.cases.labels * times
        cases = Cases(tuple(f"case-{i:05d}" for i in range(times * count)), labels, images)
        return replace(self, cases=cases)

    def explain(self, methods: tuple[str, ...], targets: tuple[str, ...], **options: Any) -> Explained:
        """Explain anew, as a user does: images on the CPU, the layer to be looked up, nothing remembered."""
        cases = replace(self.cases)  # its digest is not known from the turn before either
        return explain(
            self.subject,
            cases,
            device=self.device,
            batch_size=BATCH,
            precision=self.precision,
            methods=methods,
            targets=targets,
            **options,
        )

    def forward(self, channels_last: bool = False) -> None:
        """The plain forward pass in inference mode over all images, which are on the device."""
        half = HALVES.get(self.precision)
        with torch.inference_mode(), torch.autocast(torch.device(self.device).type, half, enabled=half is not None):
            for batch in self.batches:
                self.model(batch.contiguous(memory_format=torch.channels_last) if channels_last else batch)

    def forward_seconds(self, channels_last: bool = False) -> float:
        """Return the seconds that the forward pass takes for an image."""
        self.wait()
        start = time.perf_counter()
        self.forward(channels_last)
        self.wait()
        return (time.perf_counter() - start) / len(self.cases)

    def wait(self) -> None:
        """Return when the device has nothing left to do."""
        if self.device.startswith("cuda"):
            torch.cuda.synchronize()

    @property
    def shape(self) -> tuple[int, ...]:
        """What the layer returns for the first batch."""
        kept: list[Tensor] = []
        handle = self.layer.register_forward_hook(lambda module, args, output: kept.append(output))
        try:
            with torch.no_grad():
                self.model(self.batches[0])
        finally:
            handle.remove()
        return tuple(kept[-1].shape)

    @property
    def channels(self) -> int:
        """How many channels the layer has."""
        return self.shape[2 if self.spec.tokens else 1]

    def as_planes(self, tokens: Tensor) -> Tensor:
        """Return (N, 1 + H * W, C) as (N, C, H, W), without the class token: what peers ask of their user."""
        side = math.isqrt(tokens.shape[1] - 1)
        return tokens[:, 1:].unflatten(1, (side, side)).permute(0, 3, 1, 2)


def prepare(name: str, device: str = "cpu", batches: int = 4, precision: str = "float32") -> Bench:
    """Build the model with random weights and its images, seeded."""
    spec = SPECS[name]
    torch.manual_seed(0)
    model = _built(name, spec).eval()
    pixels = torch.rand(batches * BATCH, 3, spec.size, spec.size)
    if device.startswith("cuda"):
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False  # as the engine does
    model = model.to(device)
    parts = tuple(part.to(device) for part in pixels.split(BATCH))
    with torch.no_grad():
        top = tuple(model(part).topk(2, dim=1).indices for part in parts)
    cases = Cases.from_arrays(pixels, [i % 2 for i in range(len(pixels))])
    return Bench(name, spec, model, parts, top, cases, device, precision)


def _built(name: str, spec: Spec) -> nn.Module:
    if spec.build is not None:
        return spec.build()
    from torchvision import models

    made: nn.Module = models.get_model(name, weights=None, **spec.options)
    for module in made.modules():
        if isinstance(module, nn.Linear) and not bool(module.weight.any()):
            nn.init.normal_(module.weight, std=0.02)  # ViT begins with a head of zeros, which no gradient passes
    return made
