"""Tiny deterministic networks, each split by hand into what comes before and after its target layer.

``until(x)`` returns what the target layer returns, ``after(a)`` turns that into scores (N, classes). The oracles
differentiate ``after`` in float64; the engine sees only ``forward``. Weights depend on a seed alone and drawing
them leaves the global random state untouched.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

Layout = str  # "first": (N, K, *S), "last": (N, *S, K), "tokens": (N, 1 + H * W, K)


def seed_weights(model: nn.Module, seed: int) -> nn.Module:
    """Fill parameters and running statistics from ``seed``; He-like scale, biases of both signs."""
    draw = np.random.default_rng(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            scale = 0.3 if parameter.ndim < 2 else (2.0 / parameter[0].numel()) ** 0.5
            values = draw.standard_normal(tuple(parameter.shape)) * scale
            parameter.copy_(torch.from_numpy(values.astype(np.float32)))
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                shape = tuple(module.running_mean.shape)
                module.weight.copy_(torch.from_numpy(draw.uniform(0.5, 1.5, shape).astype(np.float32)))
                module.running_mean.copy_(torch.from_numpy(draw.normal(0, 0.3, shape).astype(np.float32)))
                module.running_var.copy_(torch.from_numpy(draw.uniform(0.5, 2.0, shape).astype(np.float32)))
            if isinstance(module, nn.LayerNorm):
                shape = tuple(module.weight.shape)
                module.weight.copy_(torch.from_numpy(draw.uniform(0.5, 1.5, shape).astype(np.float32)))
    return model


def pictures(n: int, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """``n`` smooth-ish float32 pictures in [0, 1] of ``shape`` = (C, *S)."""
    draw = np.random.default_rng([seed, 77])
    values = draw.random((n, *shape))
    axes = tuple(range(2, values.ndim))
    for axis in axes:
        values = 0.5 * values + 0.25 * (np.roll(values, 1, axis) + np.roll(values, -1, axis))
    low, high = values.min(axis=(1, *axes), keepdims=True), values.max(axis=(1, *axes), keepdims=True)
    return ((values - low) / (high - low)).astype(np.float32)


class Tiny(nn.Module):
    """A network that can be run in two halves."""

    layer = ""
    layout: Layout = "first"
    image: tuple[int, ...] = (3, 12, 16)
    classes = 5

    def until(self, x: Tensor) -> Tensor:
        raise AssertionError("every net defines it")

    def after(self, a: Tensor) -> Tensor:
        raise AssertionError("every net defines it")

    def forward(self, x: Tensor) -> Any:
        return self.after(self.until(x))


class ConvNet(Tiny):
    """Convolutions with a smooth or kinked activation; the target is the second activation."""

    layer = "act2"

    def __init__(self, act: type[nn.Module] = nn.ReLU, classes: int = 5) -> None:
        super().__init__()
        self.conv1, self.act1 = nn.Conv2d(3, 6, 3, stride=2, padding=1), act()
        self.conv2, self.act2 = nn.Conv2d(6, 8, 3, padding=1), act()
        self.conv3, self.act3 = nn.Conv2d(8, 7, 3, padding=1), act()
        self.fc = nn.Linear(7, classes)

    def until(self, x: Tensor) -> Tensor:
        return self.act2(self.conv2(self.act1(self.conv1(x))))

    def after(self, a: Tensor) -> Tensor:
        return self.fc(self.act3(self.conv3(a)).mean((2, 3)))


class InplaceNet(Tiny):
    """The layer's tensor is overwritten by the very next module."""

    layer = "conv2"

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.conv2, self.act2 = nn.Conv2d(6, 8, 3, padding=1), nn.ReLU(inplace=True)
        self.conv3, self.act3 = nn.Conv2d(8, 7, 3, padding=1), nn.ReLU(inplace=True)
        self.fc = nn.Linear(7, 5)

    def until(self, x: Tensor) -> Tensor:
        return self.conv2(F.relu(self.conv1(x)))

    def after(self, a: Tensor) -> Tensor:
        return self.fc(self.act3(self.conv3(self.act2(a))).mean((2, 3)))


class FunctionalInplaceNet(InplaceNet):
    """The layer's tensor is overwritten by plain tensor methods, which no module announces."""

    def after(self, a: Tensor) -> Tensor:
        a.mul_(1.5)
        a += 0.25
        F.leaky_relu_(a, 0.1)
        return self.fc(F.relu_(self.conv3(a)).mean((2, 3)))


class ChannelsLastNet(Tiny):
    """Features travel as (N, H, W, K), as in Swin and ConvNeXt blocks."""

    layer = "mix"
    layout = "last"

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 9, 4, stride=4)
        self.mix = nn.Linear(9, 10)
        self.out, self.norm = nn.Linear(10, 8), nn.LayerNorm(8)
        self.fc = nn.Linear(8, 5)

    def until(self, x: Tensor) -> Tensor:
        return self.mix(F.gelu(self.patch(x).permute(0, 2, 3, 1)))

    def after(self, a: Tensor) -> Tensor:
        return self.fc(self.norm(F.gelu(self.out(a))).mean((1, 2)))


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, t, d = x.shape
        q, k, v = self.qkv(x).reshape(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-1, -2) * (d // self.heads) ** -0.5).softmax(-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(n, t, d))


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width, 2)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class TinyViT(Tiny):
    """A class token and 4 x 4 patch tokens.

    After the last block only the class token counts, so the grid of the last block has no gradient: a useful layer
    lies further in. Two blocks follow the target here, because with one the patch tokens act through a LayerNorm
    alone; that does not see their length, so that the sum over channels of G A, HiResCAM, is exactly zero there.
    """

    layer = "blocks.0"
    layout = "tokens"
    image = (3, 16, 16)

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, width, 4, stride=4)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(torch.zeros(1, 17, width))
        self.blocks = nn.ModuleList([Block(width), Block(width), Block(width)])
        self.norm = nn.LayerNorm(width)
        self.fc = nn.Linear(width, 5)

    def until(self, x: Tensor) -> Tensor:
        patches = self.patch(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(x), -1, -1), patches], 1) + self.position
        return self.blocks[0](tokens)

    def after(self, a: Tensor) -> Tensor:
        return self.fc(self.norm(self.blocks[2](self.blocks[1](a)))[:, 0])


class VolumeNet(Tiny):
    """3-D convolutions on a volume with three different edge lengths."""

    layer = "act2"
    image = (1, 6, 8, 10)
    classes = 4

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(1, 4, 3, stride=2, padding=1)
        self.conv2, self.act2 = nn.Conv3d(4, 6, 3, padding=1), nn.ReLU()
        self.conv3 = nn.Conv3d(6, 5, 3, padding=1)
        self.fc = nn.Linear(5, 4)

    def until(self, x: Tensor) -> Tensor:
        return self.act2(self.conv2(F.relu(self.conv1(x))))

    def after(self, a: Tensor) -> Tensor:
        return self.fc(F.relu(self.conv3(a)).mean((2, 3, 4)))


class SharedAroundNet(Tiny):
    """One block serves before and after the target layer."""

    layer = "target"

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.shared = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.ReLU())
        self.target = nn.Conv2d(6, 6, 3, padding=1)
        self.fc = nn.Linear(6, 5)

    def until(self, x: Tensor) -> Tensor:
        return self.target(self.shared(F.relu(self.stem(x))))

    def after(self, a: Tensor) -> Tensor:
        return self.fc(self.shared(F.relu(a)).mean((2, 3)))


class SharedTargetNet(Tiny):
    """The target module itself runs twice; its output is what it returns the last time."""

    layer = "shared"

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.shared = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.ReLU())
        self.last = nn.Conv2d(6, 6, 3, padding=1)
        self.fc = nn.Linear(6, 5)

    def until(self, x: Tensor) -> Tensor:
        return self.shared(self.shared(F.relu(self.stem(x))))

    def after(self, a: Tensor) -> Tensor:
        return self.fc(F.relu(self.last(a)).mean((2, 3)))


class PooledLinear(Tiny):
    """Global average pooling and a linear head on the target: every method has a closed form in W and A."""

    layer = "act"

    def __init__(self, classes: int = 6, width: int = 7) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(3, 5, 3, stride=2, padding=1)
        self.conv, self.act = nn.Conv2d(5, width, 3, padding=1), nn.ReLU()
        self.fc = nn.Linear(width, classes)
        self.classes = classes

    def until(self, x: Tensor) -> Tensor:
        return self.act(self.conv(F.relu(self.conv0(x))))

    def after(self, a: Tensor) -> Tensor:
        return self.fc(a.mean((2, 3)))


class LinearTail(Tiny):
    """Everything after the target is affine but not spatially uniform: completeness must hold exactly."""

    layer = "act"

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act = nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.ReLU()
        self.mix = nn.Conv2d(6, 4, 3, padding=1)
        self.fc = nn.Linear(4 * 6 * 8, 5)

    def until(self, x: Tensor) -> Tensor:
        return self.act(self.conv(x))

    def after(self, a: Tensor) -> Tensor:
        return self.fc(self.mix(a).flatten(1))


class MirrorNet(Tiny):
    """Commutes with a left-right flip: kernels equal their mirror image, strides of one, pooled head."""

    layer = "act2"
    image = (3, 10, 11)

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.act1 = nn.Conv2d(3, 6, 3, padding=1), nn.ReLU()
        self.conv2, self.act2 = nn.Conv2d(6, 8, 3, padding=1), nn.ReLU()
        self.conv3 = nn.Conv2d(8, 7, 3, padding=1)
        self.fc = nn.Linear(7, 5)

    def mirror_kernels(self) -> MirrorNet:
        with torch.no_grad():
            for conv in (self.conv1, self.conv2, self.conv3):
                conv.weight.copy_(0.5 * (conv.weight + conv.weight.flip(-1)))
        return self

    def until(self, x: Tensor) -> Tensor:
        return self.act2(self.conv2(self.act1(self.conv1(x))))

    def after(self, a: Tensor) -> Tensor:
        return self.fc(F.relu(self.conv3(a)).mean((2, 3)))


class OneLogit(Tiny):
    """A binary head with one logit z; its two scores are (-z, z)."""

    layer = "act2"
    classes = 2

    def __init__(self, flat: bool = False) -> None:
        super().__init__()
        self.flat = flat
        self.conv1 = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.conv2, self.act2 = nn.Conv2d(6, 8, 3, padding=1), nn.ReLU()
        self.conv3 = nn.Conv2d(8, 7, 3, padding=1)
        self.fc = nn.Linear(7, 1)

    def until(self, x: Tensor) -> Tensor:
        return self.act2(self.conv2(F.relu(self.conv1(x))))

    def logit(self, a: Tensor) -> Tensor:
        return self.fc(F.relu(self.conv3(a)).mean((2, 3)))

    def after(self, a: Tensor) -> Tensor:
        z = self.logit(a)
        return torch.cat([-z, z], 1)

    def forward(self, x: Tensor) -> Tensor:
        z = self.logit(self.until(x))
        return z[:, 0] if self.flat else z


@dataclass
class ModelOutput:
    loss: Tensor | None
    logits: Tensor
    hidden: tuple[Tensor, ...] = ()


class Wrapped(ConvNet):
    """The scores come inside something else."""

    def __init__(self, wrap: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.wrap = wrap

    def forward(self, x: Tensor) -> Any:
        return self.wrap(self.after(self.until(x)))


class NoGradForward(ConvNet):
    """Whoever wrote it meant it for inference only."""

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.until(x))


class FrozenBackbone(ConvNet):
    """Only the head was ever trained, so the backbone runs inside a no-grad block of its own."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            a = self.until(x)
        return self.after(a)


class DropNormNet(Tiny):
    """Dropout and batch statistics: in training mode every pass would differ and move the buffers."""

    layer = "act2"

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6)
        self.drop1 = nn.Dropout2d(0.4)
        self.conv2, self.norm2, self.act2 = nn.Conv2d(6, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()
        self.drop2 = nn.Dropout(0.5)
        self.fc = nn.Linear(8, 5)

    def until(self, x: Tensor) -> Tensor:
        return self.act2(self.norm2(self.conv2(self.drop1(F.relu(self.norm1(self.conv1(x)))))))

    def after(self, a: Tensor) -> Tensor:
        return self.fc(self.drop2((a * a).mean((2, 3))))


class Bomb(nn.Module):
    """Raises when it has been called ``fuse`` times; harmless while ``fuse`` is negative."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error, self.fuse = error, -1

    def forward(self, x: Tensor) -> Tensor:
        if self.fuse == 0:
            raise self.error
        self.fuse -= 1
        return x


class ExplodingNet(DropNormNet):
    """Breaks after the target layer, when hooks and flags are set."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.bomb = Bomb(error)

    def after(self, a: Tensor) -> Tensor:
        return self.fc(self.drop2(self.bomb(a * a).mean((2, 3))))


class Counting(ConvNet):
    """Writes down the size of every batch it is shown."""

    def __init__(self) -> None:
        super().__init__(nn.ReLU, 6)
        self.seen: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(len(x))
        return self.after(self.until(x))


@dataclass(frozen=True)
class Net:
    """A row of the table of networks the methods are checked on."""

    name: str
    build: Callable[[], Tiny]
    seed: int
    reshape: str | None = None
    output: int | str | None = None

    def model(self) -> Tiny:
        with torch.random.fork_rng(devices=[]):
            built = self.build()
        return level_classes(seed_weights(built, self.seed).eval())


def level_classes(model: Any) -> Any:
    """Shift the last bias until every class scores alike on average, so that images differ in their top class."""
    with torch.no_grad():
        mean = model.after(model.until(torch.from_numpy(pictures(24, model.image, seed=5)))).mean(0)
        model.fc.bias.sub_(mean[-len(model.fc.bias) :])
    return model


def make(build: Callable[[], Tiny], seed: int) -> Any:
    """Build, seed and put in evaluation mode one network that is not in the table."""
    return Net("single", build, seed).model()


def _frozen() -> Tiny:
    model = ConvNet()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return model


NETS: tuple[Net, ...] = (
    Net("relu", ConvNet, 1108),
    Net("gelu", lambda: ConvNet(nn.GELU), 1259),
    Net("inplace_relu", InplaceNet, 1303),
    Net("inplace_functional", FunctionalInplaceNet, 1400),
    Net("channels_last", ChannelsLastNet, 1529, reshape="channels_last"),
    Net("tokens", TinyViT, 1645, reshape="tokens"),
    Net("volume", VolumeNet, 1700),
    Net("shared_around", SharedAroundNet, 1801),
    Net("shared_target", SharedTargetNet, 1911),
    Net("pooled_linear", PooledLinear, 2005),
    Net("linear_tail", LinearTail, 2101),
    Net("one_logit", OneLogit, 2202),
    Net("one_logit_flat", lambda: OneLogit(flat=True), 2311),
    Net("tuple", lambda: Wrapped(lambda z: (z.mean(), z)), 2406, output=1),
    Net("dict", lambda: Wrapped(lambda z: {"aux": z.sum(), "logits": z}), 2506, output="logits"),
    Net("model_output", lambda: Wrapped(lambda z: ModelOutput(None, z)), 2602, output="logits"),
    Net("no_grad_forward", NoGradForward, 2706),
    Net("frozen", _frozen, 2810),
    Net("drop_norm", DropNormNet, 2905),
)
