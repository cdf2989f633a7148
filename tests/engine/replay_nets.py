"""Models that a replay meets something in: shortcuts, concatenation, in-place operations, containers, side channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pytest_saliency.engine.tail import Front

from .nets import seed_weights


class Residual(nn.Module):
    """The shortcut is added behind the target, by an operator."""

    layer = "body.1"

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6)
        self.body = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6))
        self.relu = nn.ReLU(inplace=True)  # shared: before the target and behind it
        self.fc = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Any:
        x = self.relu(self.norm(self.stem(x)))
        y = self.body(x)
        y += x
        return self.fc(self.relu(y).mean((2, 3)))


class DenseLayer(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.relu = nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        self.conv = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, x: list[Tensor]) -> Tensor:
        return self.conv(self.relu(self.norm(torch.cat(x, 1))))


class DenseBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([DenseLayer(4), DenseLayer(7), DenseLayer(10)])

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for layer in self.layers:
            features.append(layer(features))
        return torch.cat(features, 1)


class Dense(nn.Module):
    """Concatenation of what precedes the target, which lies deep inside, with what it becomes."""

    layer = "features.block.layers.1.conv"

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential()
        self.features.add_module("stem", nn.Conv2d(3, 4, 3, stride=2, padding=1))
        self.features.add_module("block", DenseBlock())
        self.features.add_module("norm", nn.BatchNorm2d(13))
        self.fc = nn.Linear(13, 5)

    def forward(self, x: Tensor) -> Any:
        return self.fc(F.relu(self.features(x), inplace=True).mean((2, 3)))


class Functional(nn.Module):
    """Nothing but convolutions are modules: operations between them run again in each replay."""

    layer = "conv3"

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 6, 3, padding=1)
        self.conv3, self.conv4 = nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.fc = nn.Linear(6 * 3 * 4, 5)

    def forward(self, x: Tensor) -> Any:
        x = F.max_pool2d(F.relu(self.conv1(x - 0.5)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.gelu(self.conv3(x))
        return self.fc(F.relu(self.conv4(x)).flatten(1))


class InplaceConcat(Residual):
    """What precedes the target is changed in place by an operator, and concatenated."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Any:
        x = self.norm(self.stem(x))
        x.mul_(1.5).add_(0.25)
        return self.fc(torch.cat([x, self.body(x)], 1).relu().mean((2, 3)))


class Ignored(Residual):
    """The in-place module's result is not used, its effect is."""

    def forward(self, x: Tensor) -> Any:
        x = self.norm(self.stem(x))
        self.relu(x)
        return self.fc((self.body(x) * x).mean((2, 3)))


class Parts(NamedTuple):
    sequence: Tensor
    windows: Tensor


@dataclass
class Bundle:
    parts: Parts
    named: dict[str, Any]


class Splitter(nn.Module):
    """Returns tensors whose images lie along different axes, or along none, in containers of every kind."""

    def __init__(self) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.zeros(48, 6))

    def forward(self, x: Tensor) -> Bundle:
        n, c, h, w = x.shape
        windows = x.reshape(n, c, 2, h // 2, 2, w // 2).permute(0, 2, 4, 1, 3, 5).reshape(4 * n, c, h // 2, w // 2)
        named = {"position": self.position, "side": h, "none": None, "list": [x]}
        return Bundle(Parts(x.flatten(2).permute(2, 0, 1), windows), named)


class Containers(nn.Module):
    """Everything the splitter returns is used again behind the target."""

    layer = "conv"

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.split = nn.Conv2d(3, 6, 3, stride=2, padding=1), Splitter()
        self.conv, self.fc = nn.Conv2d(6, 6, 3, padding=1), nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Any:
        made = self.split(self.stem(x))
        a = F.relu(self.conv(made.named["list"][0])).mean((2, 3))
        b = (made.parts.sequence + made.named["position"][:, None]).square().mean(0)
        c = made.parts.windows.reshape(len(x), 4, 6, -1).amax(3)
        return self.fc(torch.cat([a, b, c[:, 0], c[:, 3]], 1))


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.Conv2d(3, 6, 1, stride=2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.one(x), self.two(x)


class TupleLayer(nn.Module):
    """The target returns two tensors, the model a mapping."""

    layer = "pair"

    def __init__(self) -> None:
        super().__init__()
        self.pair, self.fc = Pair(), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Any:
        a, b = self.pair(x)
        return {"features": a, "logits": self.fc(F.relu(F.relu(a) - b).mean((2, 3)))}


class Twice(nn.Module):
    """A container of the target runs twice, and only its second run leads to the target's last call."""

    layer = "shared.0"

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.shared = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.ReLU())
        self.fc = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Any:
        x = self.shared(self.stem(x))
        return self.fc((self.shared(x) + x).mean((2, 3)))


class Alone(nn.Module):
    """The target is the first module there is and hands on its very input, which is used again."""

    layer = "same"

    def __init__(self) -> None:
        super().__init__()
        self.same, self.conv, self.fc = nn.Identity(), nn.Conv2d(3, 6, 3), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Any:
        y = self.same(x)
        y.mul_(2.0)
        return self.fc((self.conv(y) + 0.1 * self.conv(x)).relu().mean((2, 3)))


# These cannot be replayed from the layer on.


class SideChannel(Functional):
    """A module in front of the target leaves something in an attribute, which is read behind it."""

    def forward(self, x: Tensor) -> Any:
        x = F.max_pool2d(F.relu(self.conv1(x)), 4)
        x = self.leave(self.conv2(x))
        x = self.conv3(x)
        return self.fc(F.relu(self.conv4(x) + self.aside.left).flatten(1))

    def __init__(self) -> None:
        super().__init__()
        self.leave = Leaves()
        self.aside = self.leave.aside


class Aside:
    left: Tensor


class Leaves(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.aside = Aside()

    def forward(self, x: Tensor) -> Tensor:
        self.aside.left = x.sin()
        return x


class Box:
    def __init__(self, inside: Tensor) -> None:
        self.inside = inside


class Boxes(nn.Module):
    def forward(self, x: Tensor) -> Box:
        return Box(x)


class Opaque(Functional):
    """A module in front of the target returns something nobody can look into."""

    def __init__(self) -> None:
        super().__init__()
        self.boxed = Boxes()

    def forward(self, x: Tensor) -> Any:
        box = self.boxed(F.max_pool2d(F.relu(self.conv1(x)), 4))
        return self.fc(F.relu(self.conv3(self.conv2(box.inside))).flatten(1))


class Overwritten(Residual):
    """Read before and after an in-place module in front of the target: one tensor, two values."""

    def forward(self, x: Tensor) -> Any:
        x = self.norm(self.stem(x))
        before = x.abs().mean((2, 3))
        self.relu(x)
        return self.fc(before + self.body(x).mean((2, 3)))


class Alternating(Functional):
    """The same sum in another order each time."""

    count = 0

    def forward(self, x: Tensor) -> Any:
        self.count += 1
        x = F.max_pool2d(x, 4)
        branches = [self.conv1, self.extra]
        y = sum(branch(x) for branch in branches[:: 1 if self.count % 2 else -1])
        return self.fc(F.relu(self.conv3(F.relu(self.conv2(y)))).flatten(1))

    def __init__(self) -> None:
        super().__init__()
        self.extra = nn.Conv2d(3, 4, 1)


class NoVersions(Functional):
    """Tensors made under inference_mode do not tell when they are overwritten."""

    def forward(self, x: Tensor) -> Any:
        with torch.inference_mode():
            x = F.max_pool2d(F.relu(self.conv1(x)), 4)
            y = self.conv2(x)
            return self.fc(F.relu(self.conv3(y) + y).flatten(1))


REPLAYED: dict[type[nn.Module], Front] = {
    Residual: Front.ONE,
    Dense: Front.EXPANDED,
    Functional: Front.ONE,
    InplaceConcat: Front.COPIED,
    Ignored: Front.ONE,
    Containers: Front.EXPANDED,
    TupleLayer: Front.ONE,
    Twice: Front.ONE,
    Alone: Front.ONE,
}
REFUSED: dict[type[nn.Module], str] = {
    SideChannel: "running only what follows layer 'conv3'",
    Opaque: "module 'boxed' returns an object of type Box, which cannot be kept",
    Overwritten: "running only what follows layer 'body.1' gives other scores than the model",
    Alternating: "its modules do not run in the same order each time",
    NoVersions: "running only what follows layer 'conv3' raised RuntimeError",
}


def built(kind: type[nn.Module], seed: int = 11) -> Any:
    with torch.random.fork_rng(devices=[]):
        return seed_weights(kind(), seed).eval()
