"""A folder that a contract lives in, and no way out of this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_saliency.contracts.models import ModelSpec
from pytest_saliency.contracts.place import Place
from pytest_saliency.contracts.sources import make_subject
from pytest_saliency.engine.subject import Subject

Make = Callable[..., Subject]


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch_home"))

    def refused(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("a test asked the network")

    monkeypatch.setattr("torch.hub.urlopen", refused)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Make the subject that a model's declaration means, in the folder of the test."""
    place = Place(folder=tmp_path, root=tmp_path, allow_python=True, fixtures={})

    def made(class_names: tuple[str, ...] | None = None, **declared: Any) -> Subject:
        return make_subject("ft", ModelSpec.model_validate(declared), place, class_names, declared.keys())

    return made
