"""Weights from a file into a module: safetensors, or a checkpoint that needs no code to be read.

A pickle can run any code when it is loaded, so ``torch.load`` is only ever called with ``weights_only=True``.
"""

from __future__ import annotations

import pickle
import pickletools
import re
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_saliency.contracts.states import COUNTER, LISTED, Adapt, State, WeightsError, find_state
from pytest_saliency.errors import first_line
from pytest_saliency.records.hashing import sha256_of_file

if TYPE_CHECKING:
    from torch import Tensor, nn

TAR_MARK = 257  # where a tar file says what it is
CUT_SHORT = "it may be cut short, a Git LFS pointer, or a web page saved under this name. Fetch it anew."


@dataclass(frozen=True)
class Loaded:
    """What was read: the file's SHA-256, and how its keys were made to fit ("under 'state_dict'", ...)."""

    sha256: str
    adaptations: tuple[str, ...]


def load_weights(
    model: nn.Module,
    path: Path,
    name: str,
    expected_sha256: str | None = None,
    state: str | None = None,
    adapt: tuple[str, Adapt] | None = None,
) -> Loaded:
    """Load the file at ``path`` into ``model``; every parameter and buffer must be there, and nothing else.

    ``name`` is the subject's name in errors. A checkpoint may hold its state under an entry, behind a prefix and beside
    other things; ``state`` says which, where it holds several. ``adapt`` is tried where keys do not fit; see
    :func:`~pytest_saliency.contracts.states.find_state`.

    Raises
    ------
    WeightsError
        No such file, another digest than declared, a pickle with code or other objects in it, another format, several
        states, or weights of another architecture.
    """
    digest = checked_sha256(path, name, expected_sha256)
    own = model.state_dict()
    found = find_state(_read(path, name), own.keys(), state, f"weights of model '{name}': {path}", adapt)
    found = _with_counters(found, own)
    _refuse_mismatch(own, found.tensors, path, name)
    made: Any = OrderedDict(found.tensors)
    made._metadata = found.metadata or getattr(own, "_metadata", None)
    try:
        model.load_state_dict(made)
    except Exception as error:  # a module's own way to load
        raise WeightsError(
            f"weights of model '{name}': the model does not take {path}: {first_line(error)}."
        ) from error
    return Loaded(digest, found.said)


def checked_sha256(path: Path, name: str, expected: str | None) -> str:
    """Return the SHA-256 of the weights file at ``path``.

    Raises
    ------
    WeightsError
        It is not there, cannot be read, or has another digest than the contract says.
    """
    if not path.is_file():
        raise WeightsError(
            f"weights of model '{name}' are missing: there is no file {path}{_beside(path)}. Put it there, or correct"
            " the path, which starts at the contract's own folder."
        )
    try:
        digest = sha256_of_file(path)
    except OSError as error:
        raise WeightsError(f"weights of model '{name}' cannot be read: {error}.") from error
    if expected is not None and digest != expected:
        raise WeightsError(
            f"weights of model '{name}' are not the declared ones: {path} has sha256 {digest}, the contract says"
            f" {expected}. Put the declared file there, or change 'sha256' in a reviewed commit."
        )
    return digest


def _beside(path: Path) -> str:
    """Return the words for files of the same kind in the folder: names of checkpoints tell epochs, and change."""
    there = sorted(file.name for file in path.parent.glob(f"*{path.suffix}") if file.is_file()) if path.suffix else []
    more = f" and {len(there) - LISTED} more" if there[LISTED:] else ""
    return f"; its folder holds {', '.join(there[:LISTED])}{more}" if there else ""


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
        with torch.serialization.safe_globals(_harmless()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not _may_be_checkpoint(path):  # text, such as a Git LFS pointer, is read as a pickle
            raise _unreadable(path, name) from None
        found = re.search(r"GLOBAL (\S+) was not an allowed", str(error))
        holds = f"it holds an object of type {found[1]}" if found else "a whole model, or objects of other classes"
        state = ".state_dict()" if _is_object(path) else "['state_dict']"
        raise WeightsError(
            f"weights of model '{name}' are refused: {path} is a pickle that is more than tensors ({holds}), and"
            " reading it could run any code. Save the state alone, where you trust the file:"
            f" torch.save(torch.load(FILE, weights_only=False){state}, 'weights.pt'); or in training"
            " safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')."
        ) from None
    except Exception:  # torch raises a dozen types for files that are not checkpoints, few of them telling
        raise _unreadable(path, name) from None


def _unreadable(path: Path, name: str) -> WeightsError:
    return WeightsError(
        f"weights of model '{name}': {path} ({path.stat().st_size:,} bytes) is neither safetensors nor a checkpoint"
        f" that torch.load(weights_only=True) reads; {CUT_SHORT}"
    )


def _may_be_checkpoint(path: Path) -> bool:
    """Tell whether the file begins as what torch.save writes does: an archive, a tar file or a binary pickle."""
    with path.open("rb") as file:
        start = file.read(TAR_MARK + 5)
    return start.startswith((b"PK", b"\x80")) or start[TAR_MARK:] == b"ustar"


def _is_object(path: Path) -> bool:
    """Tell whether what was pickled is an object, as a whole model is, and no mapping; nothing of it is made."""
    try:
        with zipfile.ZipFile(path) as held:
            name = next(one for one in held.namelist() if one.endswith("data.pkl"))
            for code, value, _ in pickletools.genops(held.read(name)):
                if code.name in ("GLOBAL", "STACK_GLOBAL"):
                    return value != "collections OrderedDict"
                if code.name in ("EMPTY_DICT", "MARK", "EMPTY_LIST"):
                    return False
    except Exception:  # an older format, or no pickle; the sentence is about dictionaries then
        return False
    return False


def _harmless() -> list[Any]:
    """Return what training loops put beside the weights and what runs nothing when it is made anew.

    The options of the command line (timm), paths and NumPy's numbers. Paths are known by two names, since Python 3.13
    moved them.
    """
    import argparse
    import pathlib

    import numpy as np

    paths = [pathlib.PosixPath, pathlib.PurePosixPath, pathlib.PurePath]
    named: list[Any] = [(one, f"{module}.{one.__name__}") for one in paths for module in ("pathlib", "pathlib._local")]
    scalar: Any = np.float64(0).__reduce__()[0]
    named += [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    numbers = [type(np.dtype(code)) for code in ("f2", "f4", "f8", "i4", "i8", "?")]
    return [argparse.Namespace, np.dtype, *numbers, *named]


def _with_counters(found: State, own: Mapping[str, Tensor]) -> State:
    """Return ``found`` with counters of training steps that an older file lacks, if that is all it lacks."""
    missing = own.keys() - found.tensors.keys()
    if not missing or not all(key.endswith(COUNTER) for key in missing):
        return found
    filled = {key: found.tensors.get(key, value) for key, value in own.items()}
    rest = {key: value for key, value in found.tensors.items() if key not in own}
    return State({**filled, **rest}, (*found.said, f"without {COUNTER}"), found.metadata)


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
            f" {_advice(missing, unexpected, differ)}"
        )


def _advice(missing: list[str], unexpected: list[str], differ: list[str]) -> str:
    """Return what to do: where the names tell that the network fits, it is not the network."""
    if unexpected and not missing and not differ:
        return (
            "All that the model needs is there: if the rest is no part of the network (a loss, a metric), save the"
            " network's state alone; if it is, the model that was built lacks it."
        )
    parts = missing[0].split(".")[:-1] if missing else []
    for whole in (".".join(parts[:length]) for length in range(1, len(parts) + 1)):
        if not differ and {f"{whole}.{key}" for key in unexpected} == set(missing):
            return (
                f"They differ by '{whole}.' only: the file holds the state of the module '{whole}' inside of the model."
                f" Save the whole model's state, or let the contract build '{whole}' alone."
            )
    return "Check the architecture and its number of classes."


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"
