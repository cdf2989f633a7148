"""Weights from a file into a module: safetensors, or a checkpoint that needs no code to be read.

A pickle can run any code when it is loaded, so ``torch.load`` is only ever called with ``weights_only=True``.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_saliency.errors import SubjectError, first_line
from pytest_saliency.records.hashing import sha256_of_file

if TYPE_CHECKING:
    from torch import Tensor, nn

NESTS = ("state_dict", "model_state_dict", "model", "net", "weights")
PREFIXES = ("module.", "model.", "_orig_mod.")
LISTED = 3  # keys named in an error
CUT_SHORT = "it may be cut short, a Git LFS pointer, or a web page saved under this name. Fetch it anew."


class WeightsError(SubjectError):
    """The declared weights are not there, not readable without running code, or not those of the model."""


@dataclass(frozen=True)
class Loaded:
    """What was read: the file's SHA-256, and how its keys were made to fit ("under 'state_dict'", ...)."""

    sha256: str
    adaptations: tuple[str, ...]


def load_weights(model: nn.Module, path: Path, name: str, expected_sha256: str | None = None) -> Loaded:
    """Load the file at ``path`` into ``model``; every parameter and buffer must be there, and nothing else.

    ``name`` is the subject's name in errors. A checkpoint may hold its state under one of ``NESTS``, and all keys
    may begin with one of ``PREFIXES``.

    Raises
    ------
    WeightsError
        No such file, another digest than declared, a pickle with code or other objects in it, another format, or
        weights of another architecture.
    """
    if not path.is_file():
        raise WeightsError(
            f"weights of model '{name}' are missing: there is no file {path}. Put it there, or correct the path."
        )
    try:
        digest = sha256_of_file(path)
    except OSError as error:
        raise WeightsError(f"weights of model '{name}' cannot be read: {error}.") from error
    if expected_sha256 is not None and digest != expected_sha256:
        raise WeightsError(
            f"weights of model '{name}' are not the declared ones: {path} has sha256 {digest}, the contract says"
            f" {expected_sha256}. Put the declared file there, or change 'sha256' in a reviewed commit."
        )
    state, adaptations = _fit(_read(path, name), set(model.state_dict()), path, name)
    _refuse_mismatch(model.state_dict(), state, path, name)
    model.load_state_dict(state)
    return Loaded(digest, adaptations)


def _read(path: Path, name: str) -> object:
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except (SafetensorError, OSError, ValueError) as error:
            raise WeightsError(
                f"weights of model '{name}': {path} ({path.stat().st_size:,} bytes) is not a readable safetensors file:"
                f" {first_line(error)}; {CUT_SHORT}"
            ) from error
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise WeightsError(
            f"weights of model '{name}' are refused: {path} is a pickle that is more than tensors (a whole model, or"
            " objects of other classes), and reading it could run any code. Save the state instead:"
            " safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')."
        ) from None
    except Exception:  # torch raises a dozen types for files that are not checkpoints, few of them telling
        raise WeightsError(
            f"weights of model '{name}': {path} ({path.stat().st_size:,} bytes) is neither safetensors nor a checkpoint"
            f" that torch.load(weights_only=True) reads; {CUT_SHORT}"
        ) from None


def _fit(read: object, wanted: set[str], path: Path, name: str) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return the state in what was read, with a common prefix removed if that is what keeps it from fitting."""
    from torch import Tensor

    adaptations: list[str] = []
    state: Any = read
    for _ in range(2):  # as Lightning and timm nest them; deeper is not a checkpoint
        if not isinstance(state, Mapping) or any(isinstance(value, Tensor) for value in state.values()):
            break
        nest = next((key for key in NESTS if isinstance(state.get(key), Mapping)), None)
        if nest is None:
            break
        state = state[nest]
        adaptations.append(f"under '{nest}'")
    if not isinstance(state, Mapping) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise WeightsError(
            f"weights of model '{name}': {path} does not hold a state dict (names with tensors), nor one under"
            f" {', '.join(NESTS)}; it holds {_what(read)}."
            " Save model.state_dict()."
        )
    found = {str(key): value for key, value in state.items()}
    for _ in PREFIXES:
        prefix = next((p for p in PREFIXES if all(key.startswith(p) for key in found)), None)
        if prefix is None or set(found) <= wanted:
            break
        found = {key.removeprefix(prefix): value for key, value in found.items()}
        adaptations.append(f"prefix '{prefix}' removed")
    return found, tuple(adaptations)


def _refuse_mismatch(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], path: Path, name: str) -> None:
    missing = sorted(set(wanted) - set(found))
    unexpected = sorted(set(found) - set(wanted))
    differ = [
        f"{key} {_shape(found[key])} instead of {_shape(wanted[key])}"
        for key in sorted(set(wanted) & set(found))
        if wanted[key].shape != found[key].shape
    ]
    parts = [
        f"{len(keys)} {word} ({', '.join(keys[:LISTED])}{', ...' if len(keys) > LISTED else ''})"
        for word, keys in (("missing", missing), ("unexpected", unexpected), ("of another shape", differ))
        if keys
    ]
    if parts:
        raise WeightsError(
            f"weights of model '{name}' belong to another architecture: of the tensors in {path}, {'; '.join(parts)}."
            " Check the architecture and its number of classes."
        )


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def _what(read: object) -> str:
    if isinstance(read, Mapping):
        keys = [str(key) for key in read]
        return f"a mapping with the keys {', '.join(keys[:LISTED])}" if keys else "an empty mapping"
    return f"a {type(read).__name__}"
