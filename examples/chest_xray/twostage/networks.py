"""Networks by name, the part of them that stage 1 trains, and where their first weights come from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pytest_saliency.errors import SaliencyError, first_line
from twostage import small_network

SMALL = "small"
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
AUXILIARY = ("AuxLogits.", "aux1.", "aux2.", "aux_classifier.")


@dataclass(frozen=True)
class Network:
    """An architecture: ``small``, or a name of torchvision or timm."""

    source: str
    name: str

    @classmethod
    def of(cls, text: str) -> Network:
        """Read ``small``, ``torchvision:NAME`` or ``timm:NAME``; a bare name is torchvision's.

        Raises
        ------
        SaliencyError
            There is no such architecture, or its package is not installed.
        """
        if text == SMALL:
            return cls(SMALL, SMALL)
        source, colon, name = text.partition(":")
        made = cls(source, name) if colon else cls("torchvision", text)
        if made.source not in ("torchvision", "timm"):
            raise SaliencyError(f"--architecture {text} is none of small, torchvision:NAME or timm:NAME.")
        if made.name not in _known(made.source):
            raise SaliencyError(f"{made.source} has no architecture '{made.name}' for classification; check the name.")
        return made

    @property
    def channels(self) -> int:
        return 1 if self.source == SMALL else 3

    @property
    def normalisation(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation that inputs are normalised by."""
        return ((0.5,), (0.25,)) if self.source == SMALL else IMAGENET

    def build(self, classes: int, width: int = 16) -> nn.Module:
        """Return the network with random weights; the global seed decides which."""
        if self.source == SMALL:
            return small_network.build(classes, width)
        if self.source == "timm":
            import timm

            made: nn.Module = timm.create_model(self.name, pretrained=False, num_classes=classes)
            return made
        import torchvision

        more: dict[str, Any] = {"init_weights": False} if self.name in ("inception_v3", "googlenet") else {}
        return torchvision.models.get_model(self.name, weights=None, num_classes=classes, **more)  # type: ignore[no-any-return]

    def spec(self, classes: int, width: int = 16) -> str:
        """Return the source as a contract writes it."""
        if self.source == SMALL:
            return f'python: "small_network:build", args: {{classes: {classes}, width: {width}}}'
        return f"{self.source}: {self.name}, num_classes: {classes}"


def head_of(model: nn.Module, classes: int) -> tuple[str, nn.Module]:
    """Return the last layer that gives ``classes`` scores, auxiliary heads left out.

    Raises
    ------
    SaliencyError
        There is none.
    """
    found = [
        (name, module)
        for name, module in model.named_modules()
        if (isinstance(module, nn.Linear) and module.out_features == classes)
        or (isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.out_channels == classes)
        if not f"{name}.".startswith(AUXILIARY)
    ]
    if not found:
        raise SaliencyError(
            f"{type(model).__name__} has no last layer with {classes} outputs that stage 1 could train."
        )
    return found[-1]


def published(network: Network) -> Mapping[str, Tensor]:
    """Return the weights that torchvision or timm publish, downloading them if they are not on this machine.

    Raises
    ------
    SaliencyError
        They cannot be fetched.
    """
    try:
        if network.source == "timm":
            import timm

            state: Mapping[str, Tensor] = timm.create_model(network.name, pretrained=True).state_dict()
            return state
        import torchvision

        return torchvision.models.get_model(network.name, weights="DEFAULT").state_dict()  # type: ignore[no-any-return]
    except Exception as error:  # whatever the two packages and the network raise
        raise SaliencyError(
            f"published weights of {network.name} could not be fetched: {first_line(error)}; fetch them on another"
            " machine, and name the file with --start."
        ) from None


def state_in(file: Path) -> Mapping[str, Tensor]:
    """Return the tensors of a safetensors file, or of a checkpoint that needs no code to be read.

    Raises
    ------
    SaliencyError
        There is no such file, or it is neither.
    """
    if not file.is_file():
        raise SaliencyError(f"there is no file {file}; --start takes the weights of a trained network.")
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(file)
        read = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and safetensors raise a dozen types for files that are no weights
        raise SaliencyError(f"{file} is not a file of weights that can be read: {first_line(error)}.") from None
    for nest in ("state_dict", "model_state_dict", "model"):
        if isinstance(read, Mapping) and isinstance(read.get(nest), Mapping):
            read = read[nest]
    if not isinstance(read, Mapping) or not all(isinstance(value, Tensor) for value in read.values()):
        raise SaliencyError(f"{file} holds no state dict; save model.state_dict().")
    return read


def load_backbone(model: nn.Module, state: Mapping[str, Tensor], classes: int, told: str) -> None:
    """Load all but the last layer and auxiliary heads, which are for other classes.

    Raises
    ------
    SaliencyError
        The tensors are those of another architecture; ``told`` names where they are from.
    """
    head = head_of(model, classes)[0] + "."
    renamed = {_present_name(name): value for name, value in state.items()}
    wanted = {name: value for name, value in model.state_dict().items() if not name.startswith((head, *AUXILIARY))}
    missing = sorted(name for name in wanted if name not in renamed or renamed[name].shape != wanted[name].shape)
    if missing:
        raise SaliencyError(
            f"{told} does not fit {type(model).__name__}: {len(missing)} of {len(wanted)} tensors are missing or of"
            f" another shape, the first {missing[0]}; name the architecture that it was saved from."
        )
    model.load_state_dict({**model.state_dict(), **{name: renamed[name] for name in wanted}})


def _present_name(name: str) -> str:
    """DenseNet's published files still count norm.1 where the network has norm1."""
    return re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", name.removeprefix("module."))


def _known(source: str) -> set[str]:
    if source == "timm":
        try:
            import timm
        except ImportError:
            raise SaliencyError("timm is not installed: pip install 'pytest-saliency[timm]'.") from None
        return {str(name) for name in timm.list_models()}
    import torchvision

    return set(torchvision.models.list_models(module=torchvision.models))
