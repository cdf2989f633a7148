"""Two small architectures: residual blocks, and plain convolutions with pooling."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor, nn


class Residual(nn.Module):
    """Two 3x3 convolutions with batch norm and a skip connection."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.skip: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.skip = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.relu(self.body(x) + self.skip(x))
        return result


class Net(nn.Module):
    """``stem``, ``middle`` and ``top`` one after the other, mean over positions, and a linear layer."""

    def __init__(self, stem: nn.Module, middle: nn.Module, top: nn.Module, channels: int, classes: int) -> None:
        super().__init__()
        self.stem, self.middle, self.top = stem, middle, top
        self.head = nn.Linear(channels, classes)

    def features(self, x: Tensor) -> Tensor:
        """Return what the head sees, (N, channels)."""
        result: Tensor = self.top(self.middle(self.stem(x))).mean((2, 3))
        return result

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.head(self.features(x))
        return result


def resnet(classes: int) -> Net:
    """Return a residual network; an input of 48 ends in a grid of 12x12, one of 32 in 8x8."""
    stem = nn.Sequential(nn.Conv2d(3, 12, 5, stride=2, padding=2, bias=False), nn.BatchNorm2d(12), nn.ReLU())
    return Net(stem, Residual(12, 24, 2), Residual(24, 32), 32, classes)


def vgg(classes: int) -> Net:
    """Return plain convolutions with batch norm and max pooling; the same grids."""

    def layer(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> list[nn.Module]:
        convolution = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)
        return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]

    stem = nn.Sequential(*layer(3, 12, 5, 2))
    middle = nn.Sequential(*layer(12, 20), nn.MaxPool2d(2), *layer(20, 32))
    return Net(stem, middle, nn.Sequential(*layer(32, 40)), 40, classes)


NETS: Mapping[str, Callable[[int], Net]] = {"resnet": resnet, "vgg": vgg}
LAYER = "top"
WRONG_LAYER = "stem"
