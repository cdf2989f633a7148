"""What a source of models makes: the model, where its weights are, and what ships with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_saliency.errors import SubjectError, first_line

if TYPE_CHECKING:
    from torch import nn

    from pytest_saliency.contracts.states import Adapt


@dataclass(frozen=True)
class Made:
    """A model as its source makes it.

    Attributes
    ----------
    model
        The module, or a whole ``Subject``.
    file, words
        Weights that have to be loaded into it, and what a record says of them.
    sha256
        Of weights that are in it already.
    adapt
        What the package does to keys of files that it released earlier, under the name that a record gives it.
    finish
        What has to be done after the weights were loaded.
    preprocess
        Makes the mapping that a contract would write for the preprocessing that ships with the weights.
    labels
        The names of its outputs, where it comes with names.
    """

    model: object
    file: Path | None = None
    words: str = ""
    sha256: str | None = None
    adapt: tuple[str, Adapt] | None = None
    finish: Callable[[nn.Module], None] | None = None
    preprocess: Callable[[], Mapping[str, Any]] | None = None
    labels: tuple[str, ...] = ()


def needs(extra: str, package: str, name: str, error: Exception) -> SubjectError:
    """Return the sentence for an optional package that is not there, or cannot be imported."""
    if isinstance(error, ModuleNotFoundError) and error.name == package:
        why = "which is not installed"
    else:
        why = f"which cannot be imported here ({type(error).__name__}: {first_line(error)})"
    return SubjectError(
        f"model '{name}' needs the package {package}, {why}: pip install 'pytest-saliency[{extra}]', or build the model"
        " in python: or fixture:."
    )
