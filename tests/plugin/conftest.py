"""A scratch repository with a model, cases and a contract, and pytest runs inside it.

In-process runs drop every module that they import, and torch cannot be imported twice; so all of them are imported
here, once.
"""

from __future__ import annotations

import textwrap
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import safetensors.torch
import torchvision.models  # noqa: F401

import pytest_saliency.assertions
import pytest_saliency.checks.class_sensitive
import pytest_saliency.checks.faithful
import pytest_saliency.checks.no_semantic_drift
import pytest_saliency.contracts.contract
import pytest_saliency.contracts.items
import pytest_saliency.contracts.policy
import pytest_saliency.contracts.running
import pytest_saliency.report.attach
import pytest_saliency.report.pictures
import pytest_saliency.report.summary  # noqa: F401

from .texts import CONTRACT, Write

@pytest.fixture(scope="session", autouse=True)
def _installed() -> None:
    names = {entry.name for entry in entry_points(group="pytest11")}
    assert "saliency" in names, "these tests run pytest with the plugin installed; run `pip install -e .` first"


@pytest.fixture(autouse=True)
def _quiet(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the outer run's options out of the inner ones, and let them find the package."""
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    root = Path(pytest_saliency.assertions.__file__).resolve().parents[1]
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
