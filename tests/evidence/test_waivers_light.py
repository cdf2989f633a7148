"""Waivers, schemas and CycloneDX work where torch is not installed; the self test says that it does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .waiving import file_of, waiver

WITHOUT = """
import importlib.abc, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name.partition(".")[0])

sys.meta_path.insert(0, Refuse())
"""
COMMANDS = {
    "waivers": (["waivers", "check", "w.yaml"], 0, "1 waiver in w.yaml"),
    "schema": (["schema", "run"], 0, "urn:pytest-saliency:schema:run:1"),
    "selftest": (["selftest"], 1, "Error: the self test runs models and needs torch, which is not there."),
}


def run(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    root = str(Path(__file__).parents[2])
    return subprocess.run(
        [sys.executable, "-c", f"{WITHOUT}\nsys.path.insert(0, {root!r})\n{code}"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_without_torch(name: str, tmp_path: Path) -> None:
    words, code, said = COMMANDS[name]
    (tmp_path / "w.yaml").write_bytes(file_of(waiver(created="2020-01-01T00:00:00Z", expires="9999-12-31T23:59:59Z")))
    done = run(f"from pytest_saliency.cli import main\nmain({words!r})", tmp_path)
    assert done.returncode == code, done.stderr
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_the_bill_of_materials_without_torch(tmp_path: Path) -> None:
    code = (
        "from fixtures.records import sample_document\nfrom pytest_saliency.evidence.cyclonedx import bom\n"
        "print(bom(sample_document())['specVersion'], 'torch' in sys.modules)"
    )
    done = run(code, tmp_path)
    assert done.stdout == "1.6 False\n", done.stderr
