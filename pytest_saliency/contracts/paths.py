"""Whether the files that a contract names are there. Looks, never opens."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping
from typing import Any

from pytest_saliency.contracts.contract import Contract
from pytest_saliency.contracts.loader import Path as KeyPath
from pytest_saliency.contracts.loader import shown
from pytest_saliency.contracts.models import MODEL_SOURCES, names_shipped
from pytest_saliency.errors import Problem

_FOLDERS = ("imagefolder", "masks", "huggingface", "root")
_FILES = ("npz", "csv")


def missing_paths(contract: Contract) -> tuple[Problem, ...]:
    """Return one problem for each local path of ``contract`` that is missing or of the wrong sort."""
    folder = contract.path.parent
    found: dict[Problem, None] = {}
    for place, key, value in _named_paths(contract.document.data):
        target = folder / value
        wants_folder = key in _FOLDERS
        if target.is_dir() if wants_folder else target.is_file():
            continue
        sort = "folder" if wants_folder else "file"
        said = f"is not a {sort}" if target.exists() else "is not there"
        message = f"'{key}': the {sort} '{shown(value)}' {said}; paths start at the contract's own folder"
        found[Problem(*contract.place(*place), message)] = None
    for i, check in enumerate(contract.document.data["checks"]):
        pattern = check.get("checkpoints")
        if pattern is not None and not any((folder / name).is_file() for name in glob.iglob(pattern, root_dir=folder)):  # noqa: PTH207
            message = (
                f"'checkpoints': no file matches '{shown(pattern)}'; the pattern starts at the contract's own folder"
            )
            found[Problem(*contract.place("checks", i, "checkpoints"), message)] = None
    return tuple(sorted(found, key=lambda problem: (problem.line, problem.column)))


def _named_paths(data: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str, str]]:
    cases: list[tuple[KeyPath, Mapping[str, Any]]] = [(("cases",), data.get("cases", {}))]
    for name, model in data["models"].items():
        source = next((key for key in MODEL_SOURCES if key in model), "")
        if "weights" in model and not names_shipped(source, model["weights"]):
            yield ("models", name, "weights"), "weights", model["weights"]
        for key in ("huggingface", "exported"):
            if key in model:
                yield ("models", name, key), key, model[key]
        cases.append((("models", name, "contrast", "cases"), model.get("contrast", {}).get("cases", {})))
    for i, check in enumerate(data["checks"]):
        cases.append((("checks", i, "cases"), check.get("cases", {})))
    for place, spec in cases:
        for key in (*_FOLDERS, *_FILES):
            if key in spec:
                yield (*place, key), key, spec[key]
