"""The architectures of the protocol, each at full size, and narrow ones of the same classes for small pictures.

A narrow network has the modules of the full one under the same names, so that a contract names the same layers in both.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from pytest_saliency.errors import SaliencyError

FULL, NARROW = "full", "narrow"
SHRUNK = 16
"""The narrow InceptionV3 has this fraction of the channels."""
SIDE = 48
"""Pixels of the pictures that narrow networks take."""


@dataclass(frozen=True)
class Architecture:
    """One architecture: side of its full-size input, package and name of its published ImageNet weights."""

    name: str
    side: int
    source: str
    published: str
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)


PAPER = (
    Architecture("densenet201", 224, "torchvision", "densenet201"),
    Architecture("resnet50v2", 224, "timm", "resnetv2_50"),
    Architecture("inceptionv3", 299, "torchvision", "inception_v3"),
)
TRANSFORMERS = (
    Architecture("vit", 224, "timm", "vit_small_patch16_224", (0.5,) * 3, (0.5,) * 3),
    Architecture("swin", 224, "timm", "swin_tiny_patch4_window7_224"),
)
KNOWN: Mapping[str, Architecture] = {one.name: one for one in (*PAPER, *TRANSFORMERS)}


def build(architecture: str, classes: int, size: str = FULL) -> nn.Module:
    """Return the network with random weights: what a contract names as ``drift_paper.networks:build``.

    Raises
    ------
    SaliencyError
        There is no such architecture here, or its package is not installed.
    """
    if architecture not in KNOWN:
        raise SaliencyError(f"'{architecture}' is none of {', '.join(KNOWN)}.")
    try:
        made = getattr(sys.modules[__name__], f"_{architecture}")(classes, size == NARROW)
    except ImportError:
        raise SaliencyError(f"{architecture} needs timm: pip install 'pytest-saliency[timm]'.") from None
    module: nn.Module = made
    return module


def _densenet201(classes: int, narrow: bool) -> nn.Module:
    from torchvision.models import DenseNet, densenet201

    if not narrow:
        return densenet201(weights=None, num_classes=classes)
    made = DenseNet(growth_rate=8, block_config=(2, 2, 2, 2), num_init_features=16, num_classes=classes)
    made.features.pool0 = nn.Identity()  # small pictures: the last grid is 6x6 instead of 1x1
    made.features.transition3.pool = nn.Identity()
    return made


def _resnet50v2(classes: int, narrow: bool) -> nn.Module:
    import timm
    from timm.layers import BatchNormAct2d, create_conv2d
    from timm.models.resnetv2 import ResNetV2

    if not narrow:
        return timm.create_model("resnetv2_50", pretrained=False, num_classes=classes)
    return ResNetV2(
        layers=[1, 1, 1, 1],
        channels=(32, 64, 96, 128),
        num_classes=classes,
        output_stride=8,
        stem_chs=16,
        norm_layer=BatchNormAct2d,
        conv_layer=create_conv2d,
    )


def _inceptionv3(classes: int, narrow: bool) -> nn.Module:
    """No auxiliary head, as in Keras; ``transform_input`` is what the published weights were trained with."""
    from torchvision.models import Inception3
    from torchvision.models import inception as parts

    if not narrow:
        return Inception3(num_classes=classes, aux_logits=False, transform_input=True, init_weights=False)
    blocks = [
        partial(block, conv_block=_NarrowConv)
        for block in (
            parts.InceptionA,
            parts.InceptionB,
            parts.InceptionC,
            parts.InceptionD,
            parts.InceptionE,
            parts.InceptionAux,
        )
    ]
    made = Inception3(
        aux_logits=False, transform_input=True, inception_blocks=[_NarrowConv, *blocks], init_weights=False
    )
    made.maxpool1 = made.maxpool2 = nn.Identity()  # small pictures: the last grid is 4x4 instead of nothing
    made.fc = nn.Linear(made.fc.in_features // SHRUNK, classes)
    return made


def _vit(classes: int, narrow: bool) -> nn.Module:
    import timm
    from timm.models.vision_transformer import VisionTransformer

    if not narrow:
        return timm.create_model("vit_small_patch16_224", pretrained=False, num_classes=classes)
    return VisionTransformer(img_size=SIDE, patch_size=8, num_classes=classes, embed_dim=48, depth=3, num_heads=4)


def _swin(classes: int, narrow: bool) -> nn.Module:
    import timm
    from timm.models.swin_transformer import SwinTransformer

    if not narrow:
        return timm.create_model("swin_tiny_patch4_window7_224", pretrained=False, num_classes=classes)
    return SwinTransformer(
        img_size=SIDE,
        patch_size=4,
        num_classes=classes,
        embed_dim=24,
        depths=(1, 1, 1),
        num_heads=(2, 2, 4),
        window_size=3,
        drop_path_rate=0.0,
    )


class _NarrowConv(nn.Module):
    """Convolution, batch norm, ReLU with a sixteenth of the channels that are asked for; pictures keep their three."""

    def __init__(self, inputs: int, outputs: int, **how: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs if inputs == 3 else inputs // SHRUNK, outputs // SHRUNK, bias=False, **how)
        self.bn = nn.BatchNorm2d(outputs // SHRUNK, eps=0.001, momentum=0.5)  # few steps: statistics must follow soon
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.relu(self.bn(self.conv(x)))
        return result
