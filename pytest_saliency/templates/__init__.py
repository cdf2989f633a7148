"""The files that ``pytest-saliency init`` writes."""

from __future__ import annotations

from importlib.resources import files

from pytest_saliency.contracts.schema import SCHEMA_FILE, shipped_schema

_TARGETS = {
    "contracts/release.saliency.yaml": "release.saliency.yaml",
    "contracts/conftest.py": "conftest.py.txt",
    ".github/workflows/saliency.yml": "saliency.yml",
}


def starter_files() -> dict[str, str]:
    """Return what to write, by path relative to the root of the user's repository."""
    here = files("pytest_saliency.templates")
    made = {target: here.joinpath(source).read_text(encoding="utf-8") for target, source in _TARGETS.items()}
    return {**made, f"contracts/{SCHEMA_FILE}": shipped_schema()}
