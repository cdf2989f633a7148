"""A scratch repository with a model, cases and a contract, and pytest runs inside it."""

from __future__ import annotations

import textwrap
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import pytest_saliency
from fixtures.inside import import_everything

from .texts import CONTRACT, Write

import_everything()


@pytest.fixture(scope="session", autouse=True)
def _installed() -> None:
    names = {entry.name for entry in entry_points(group="pytest11")}
    assert "saliency" in names, "these tests run pytest with the plugin installed; run `pip install -e .` first"


@pytest.fixture(autouse=True)
def _quiet(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the outer run's options out of the inner ones, and let them find the package."""
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    root = Path(pytest_saliency.__file__).resolve().parents[1]
    monkeypatch.setenv("PYTHONPATH", str(root), prepend=":")


@pytest.fixture
def write(pytester: pytest.Pytester) -> Write:
    """Write a contract with the given checks into the scratch repository, beside the toy model."""
    toy = Path(__file__).with_name("toy.py").read_text(encoding="utf-8")

    def write_contract(*checks: str, head: str = CONTRACT, name: str = "toy.saliency.yaml") -> Path:
        (pytester.path / "toy.py").write_text(toy, encoding="utf-8")
        path = pytester.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(head + "checks:\n" + "".join(textwrap.dedent(c) if c[0] == "\n" else c for c in checks))
        return path

    return write_contract
