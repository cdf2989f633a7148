"""A small repository without a model: a contract, and the document of a run that this contract declares."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from fixtures.records import sample_document, sample_record
from pytest_saliency.contracts.contract import load_contract
from pytest_saliency.contracts.settings import settings_of
from pytest_saliency.evidence.bundle import Written, document_files, write_bundle
from pytest_saliency.evidence.canonical import settled
from pytest_saliency.evidence.layout import MANIFEST, SIGNATURES
from pytest_saliency.evidence.manifest import Entry, manifest_of
from pytest_saliency.evidence.read import read_bundle
from pytest_saliency.records.record import complete, versions, without_result

CONTRACT = """\
saliency: 1
contract: chest
requirement: REQ-1
models:
  tl: {python: "zoo:tl", layer: layer4}
  ft: {python: "zoo:ft", layer: layer4}
cases: {python: "zoo:cases"}
checks:
  - {id: sensitive, kind: class_sensitive, model: ft, method: case}
  - {id: faithful, kind: faithful, model: ft, method: gradcam, top_k: 0.1, min_advantage: 0.6}
  - {id: kept, kind: no_semantic_drift, before: tl, after: ft, method: layercam, max_iou_drop: 0.4}
"""
FILE = "contracts/chest.saliency.yaml"
DRAWN = {
    "sensitive": ("class_sensitive", {"method": "case"}),
    "faithful": ("faithful", {"method": "gradcam", "top_k": 0.1, "min_advantage": 0.6}),
    "kept": (
        "no_semantic_drift",
        {"method": "layercam", "max_iou_drop": 0.4, **dict.fromkeys(("max_displacement", "max_accuracy_drop"))},
    ),
}
PASSING = {"sensitive": "PASS", "faithful": "PASS", "kept": "PASS"}

Change = Callable[[dict[str, Any]], None]


def repository(root: Path, text: str = CONTRACT) -> Path:
    """Write the contract below ``root`` and return ``root``."""
    (root / FILE).parent.mkdir(parents=True, exist_ok=True)
    (root / FILE).write_text(text, encoding="utf-8")
    return root


def declaring(checks: Collection[str]) -> str:
    """Return the text of the contract with ``checks`` only."""
    lines = CONTRACT.splitlines(keepends=True)
    return "".join(line for line in lines if "- {id: " not in line or line.split("id: ")[1].partition(",")[0] in checks)


def document_of(root: Path, verdicts: dict[str, str] | None = None, **run: Any) -> dict[str, Any]:
    """Return the document of a run of the contract below ``root``; ``verdicts``: check -> verdict, else NOT_RUN."""
    contract = load_contract(root / FILE)
    settings = {one.check: one for one in settings_of(contract, FILE, FILE).values()}
    records = []
    for check, verdict in (verdicts or PASSING).items():
        kind, criterion = DRAWN[check]
        criterion = {**criterion, "max_drifted_share": None} if kind == "no_semantic_drift" else criterion
        drawn = sample_record(kind, verdict, check=check, criterion=criterion)
        completed = complete({k: v for k, v in drawn.items() if k != "notes"}, settings[check])
        completed["execution"]["versions"] = versions()
        records.append(completed)
    left = (setting for check, setting in settings.items() if check not in (verdicts or PASSING))
    records += [without_result(setting, "NOT_RUN", "declared, but not selected") for setting in left]
    made = sample_document(records, **run)
    made["run"]["versions"] = versions()
    copied: dict[str, Any] = json.loads(json.dumps(made))
    return copied


def bundle_of(tmp_path: Path, verdicts: dict[str, str] | None = None, **options: Any) -> Written:
    """Write a bundle of that document below ``tmp_path`` and return it; its contract declares no other check."""
    root = repository(tmp_path / "repository", declaring(verdicts or PASSING))
    return write_bundle(tmp_path / "evidence", document_of(root, verdicts), root=root, **options)


def copy_of(bundle: Path, to: Path) -> Path:
    """Return a copy of a bundle that a test may change."""
    shutil.copytree(bundle, to, symlinks=True)
    return to


def rehash(folder: Path) -> None:
    """Make the manifest anew, as somebody would who changed files and knows how bundles are made."""
    (folder / MANIFEST).unlink()
    entries = {
        path.relative_to(folder).as_posix(): Entry.of(path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file() and SIGNATURES not in path.relative_to(folder).parts
    }
    (folder / MANIFEST).write_bytes(manifest_of(entries))


def rewrite(folder: Path, change: Change) -> None:
    """Change the document, and make everything that is made from it anew, the manifest last."""
    document = read_bundle(folder).document
    change(document)
    document = settled(document)
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != MANIFEST
    }
    for path, content in document_files(document, files).items():
        (folder / path).write_bytes(content)
    rehash(folder)
