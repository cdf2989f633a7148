"""The architectures that are tried, with what is right for each, written down from its design and not from a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

CLASSES = 4
FOUND = ("gradcam", "gradcam++", "hirescam", "xgradcam", "layercam")
SOME = ("gradcam", "hirescam", "layercam")


@dataclass(frozen=True)
class Architecture:
    """One architecture, how it is tried, and what is expected of it.

    Attributes
    ----------
    shape, places
        The image (C, *S), and how many places for a patch tile it.
    heads
        The linear layers that make the scores; more than one where they are averaged.
    layer, grid, layout
        What ``auto`` is to take.
    pool
        The module whose input is averaged before the head. The readout is then solved cell by cell, and not image by
        image: with a few cells that all touch the border, the average alone leaves open where the evidence is.
    cam
        Whether pooling and one linear layer follow, so that ``cam`` has a meaning.
    blank
        Methods whose maps may have no positive value on some images, and why (``note``).
    finds
        Methods that must find the patch: some of those that find it with a hit to spare, because another processor's
        rounding may turn one image over.
    lifted, around
        See :func:`tests.architectures.drawing.drawn`.
    lighter
        The same architecture with fewer blocks, on which the methods are tried where the true one is large. The layer
        is found on the true one.
    head
        ``classes``, ``labels`` (sigmoids) or ``logit``.
    """

    name: str
    source: str
    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    places: tuple[int, ...]
    heads: tuple[str, ...]
    layer: str
    grid: tuple[int, ...]
    layout: str = "channels_first"
    pool: str = ""
    cam: bool = False
    blank: tuple[str, ...] = ()
    finds: tuple[str, ...] = FOUND
    alternatives: tuple[tuple[str, tuple[int, ...]], ...] = ()
    head: str = "classes"
    outputs: int = CLASSES
    lifted: float = 0.0
    around: float = 0.1
    lighter: Callable[[], nn.Module] | None = None
    note: str = ""

    @property
    def shown(self) -> str:
        """The input, as 3 x 96 x 96."""
        return " x ".join(map(str, self.shape))


def _vision(name: str, **settings: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        from torchvision import models

        return models.get_model(name, weights=None, **{"num_classes": CLASSES, **settings})  # type: ignore[no-any-return]

    return build


def _timm(name: str, **settings: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import timm

        return timm.create_model(name, pretrained=False, **{"num_classes": CLASSES, **settings})

    return build


def _vgg(name: str) -> Callable[[], nn.Module]:
    """VGG with 512 units in its first hidden layer: 4096 cost seconds, and nothing that is tried depends on them."""

    def build() -> nn.Module:
        from torchvision import models

        model = models.get_model(name, weights=None, num_classes=CLASSES, init_weights=False)
        model.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 512), nn.ReLU(True), nn.Dropout(), nn.Linear(512, 512), nn.ReLU(True), nn.Dropout(),
            nn.Linear(512, CLASSES),
        )  # fmt: skip
        return model  # type: ignore[no-any-return]

    return build


def _convnext() -> nn.Module:
    """ConvNeXt with the widths of L and 5 of its 36 blocks."""
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt

    blocks = [(192, 384, 1), (384, 768, 1), (768, 1536, 2), (1536, None, 1)]
    return ConvNeXt([CNBlockConfig(*one) for one in blocks], num_classes=CLASSES)


def _vit() -> nn.Module:
    """ViT-B/16 with 3 of its 12 blocks."""
    from torchvision.models import VisionTransformer

    return VisionTransformer(48, 16, num_layers=3, num_heads=12, hidden_dim=768, mlp_dim=3072, num_classes=CLASSES)


def _volume() -> nn.Module:
    from torchvision.models.video import r3d_18

    return r3d_18(weights=None, num_classes=CLASSES)  # type: ignore[no-any-return]


SMALL, LARGE = (3, 64, 64), (3, 96, 96)
TOKENS = (3, 48, 48)
NINE, FOUR = (3, 3), (2, 2)
SIGNED = "its activations have both signs, so that a weighted sum of few of them may be negative throughout"
LAST_BLOCK = (
    "behind the last attention only the class token is read, so `auto` takes what that attention is given; the class"
    " token has part of its answer before, and a patch that speaks against it there leaves a map blank"
)
SIGNED_BLANKS = ("eigencam", "ablationcam", "scorecam")
TOKEN_BLANKS = (*FOUND, "case", *SIGNED_BLANKS)

ARCHITECTURES: tuple[Architecture, ...] = (
    Architecture(
        "ResNet-50", "torchvision", _vision("resnet50"), LARGE, NINE, ("fc",), "layer4", (3, 3), pool="avgpool",
        cam=True, lifted=0.5,
    ),
    Architecture(
        "VGG-19", "torchvision", _vgg("vgg19"), SMALL, FOUR, ("classifier.6",), "features", (2, 2),
        finds=("gradcam", "xgradcam"),
        note="`avgpool` behind it only stretches the grid to 7 x 7; a hidden layer of 512 units in place of 4096",
    ),
    Architecture(
        "VGG-19 with batch norm", "torchvision", _vgg("vgg19_bn"), SMALL, FOUR, ("classifier.6",), "features", (2, 2),
        finds=("gradcam++", "layercam"), note="as VGG-19",
    ),
    Architecture(
        "DenseNet-201", "torchvision", _vision("densenet201"), LARGE, NINE, ("classifier",), "features", (3, 3),
        finds=SOME, blank=SIGNED_BLANKS,
        alternatives=(("features.norm5", (3, 3)), ("features.denseblock4.denselayer32.conv2", (3, 3))),
        note="`features` returns the very tensor of `features.norm5`; the rectifier follows behind; " + SIGNED,
    ),
    Architecture(
        "DenseNet-121, 14 labels", "torchvision", _vision("densenet121", num_classes=14), LARGE, NINE, ("classifier",),
        "features", (3, 3), finds=SOME, blank=TOKEN_BLANKS, head="labels", outputs=14,
        note="two labels on each image, each with a patch of its own: the map of a label finds its own patch; a label"
        " of low score may have no positive evidence",
    ),
    Architecture(
        "ConvNeXt-L", "torchvision", _vision("convnext_large"), SMALL, FOUR, ("classifier.2",), "features", (2, 2),
        blank=SIGNED_BLANKS, lighter=_convnext, note="methods with 5 of its 36 blocks; " + SIGNED,
    ),
    Architecture(
        "ConvNeXt V2-T", "timm", _timm("convnextv2_tiny"), LARGE, NINE, ("head.fc",), "stages", (3, 3),
        blank=SIGNED_BLANKS, note="`norm_pre` behind it is an identity; " + SIGNED,
    ),
    Architecture(
        "Inception v3", "torchvision", _vision("inception_v3", aux_logits=True, init_weights=False), (3, 139, 139),
        NINE, ("fc",), "Mixed_7c", (3, 3), pool="avgpool", cam=True, lifted=0.5,
        note="built with its auxiliary head, which evaluation leaves out",
    ),
    Architecture(
        "ResNetV2-50", "timm", _timm("resnetv2_50"), LARGE, NINE, ("head.fc",), "norm", (3, 3),
        pool="head.global_pool", cam=True, lifted=0.5,
        note="norm and rectifier behind the last stage belong to the features",
    ),
    Architecture(
        "EfficientNet-B0", "torchvision", _vision("efficientnet_b0"), LARGE, NINE, ("classifier.1",), "features",
        (3, 3), pool="avgpool", cam=True, finds=SOME, lifted=2.0, around=0.05,
    ),
    Architecture(
        "EfficientNetV2-S", "torchvision", _vision("efficientnet_v2_s"), LARGE, NINE, ("classifier.1",), "features",
        (3, 3), pool="avgpool", cam=True, finds=SOME, lifted=2.0, around=0.05,
        blank=("case", "ablationcam"),
        note="as it was drawn it often takes another class, whose contrast may leave nothing",
    ),
    Architecture(
        "MobileNetV3-L", "torchvision", _vision("mobilenet_v3_large"), (3, 160, 160), NINE, ("classifier.3",),
        "features", (5, 5), lifted=0.5, around=0.03, finds=SOME,
    ),
    Architecture(
        "RegNetY-400MF", "torchvision", _vision("regnet_y_400mf"), LARGE, NINE, ("fc",), "trunk_output", (3, 3),
        pool="avgpool", cam=True, lifted=0.5,
    ),
    Architecture(
        "SqueezeNet 1.1", "torchvision", _vision("squeezenet1_1"), LARGE, NINE, ("classifier.1",), "classifier.2",
        (5, 5), pool="classifier.1", finds=SOME, alternatives=(("features", (5, 5)),),
        note="its channels are the classes; `features` has the hidden ones",
    ),
    Architecture(
        "ViT-B/16", "torchvision", _vision("vit_b_16", image_size=48), TOKENS, NINE, ("heads.head",),
        "encoder.layers.encoder_layer_11.ln_1", (3, 3), "tokens (1 in front dropped)",
        finds=SOME, blank=TOKEN_BLANKS, lighter=_vit, note="methods with 3 of its 12 blocks; " + LAST_BLOCK,
    ),
    Architecture(
        "ViT-B/16", "timm", _timm("vit_base_patch16_224", img_size=48), TOKENS, NINE, ("head",), "blocks.11.norm1",
        (3, 3), "tokens (1 in front dropped)", finds=SOME, blank=TOKEN_BLANKS,
        lighter=_timm("vit_base_patch16_224", img_size=48, depth=3), note="as above",
    ),
    Architecture(
        "DeiT-Ti, distilled", "timm", _timm("deit_tiny_distilled_patch16_224", img_size=64), SMALL, (4, 4),
        ("head", "head_dist"), "blocks.11.norm1", (4, 4), "tokens (2 in front dropped)",
        finds=("gradcam++", "xgradcam", "case"),
        blank=TOKEN_BLANKS, note="two heads, for the class and the distillation token; otherwise as ViT",
    ),
    Architecture(
        "ViT-S/14 with 4 registers (DINOv2)", "timm", _timm("vit_small_patch14_reg4_dinov2", img_size=56),
        (3, 56, 56), (4, 4), ("head",), "blocks.11.norm1", (4, 4), "tokens (5 in front dropped)", finds=SOME,
        blank=TOKEN_BLANKS, note=LAST_BLOCK,
    ),
    Architecture(
        "ViT-M/16 with 4 registers, pooled", "timm", _timm("vit_medium_patch16_reg4_gap_256", img_size=64), SMALL,
        (4, 4), ("head",), "blocks", (4, 4), "tokens (4 in front dropped)", blank=SIGNED_BLANKS,
        note="the patch tokens are averaged, so the last block counts; " + SIGNED,
    ),
    Architecture(
        "Swin-T", "torchvision", _vision("swin_t"), LARGE, NINE, ("head",), "norm", (3, 3), "channels_last",
        cam=True, blank=SIGNED_BLANKS,
        note="`permute` behind it hands the tensor on; behind a norm over channels Eigen-CAM finds no patch",
    ),
    Architecture(
        "ResNet-18 in 3-D (r3d_18)", "torchvision", _volume, (3, 16, 32, 32), (2, 2, 2), ("fc",), "layer4",
        (2, 2, 2), pool="avgpool", cam=True, lifted=0.5,
        note="maps are volumes, the patch is a block in space and time",
    ),
    Architecture(
        "ResNet-18, one logit", "torchvision", _vision("resnet18", num_classes=1), LARGE, NINE, ("fc",), "layer4",
        (3, 3), pool="avgpool", cam=True, lifted=0.5, head="logit", outputs=1,
        note="targets are the logit and its negative; `case` is degenerate: the other class is the target's negative",
    ),
)  # fmt: skip


def key(architecture: Architecture) -> str:
    """Return the word for an architecture in test ids and files."""
    return f"{architecture.name} ({architecture.source})"
