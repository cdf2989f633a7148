"""Models that a pytest fixture of the repository makes and owns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_saliency.errors import SubjectError

if TYPE_CHECKING:
    from pytest_saliency.contracts.models import ModelSpec
    from pytest_saliency.contracts.place import Place


def make(name: str, fixture: str, spec: ModelSpec, place: Place) -> object:
    """Return the value of the fixture.

    Raises
    ------
    SubjectError
        The contract wants weights loaded into it.
    """
    if spec.weights is not None:
        raise SubjectError(
            f"model '{name}' comes from fixture '{fixture}', which owns it; weights are not loaded into it. Load them"
            " in the fixture."
        )
    return place.fixtures[fixture]
