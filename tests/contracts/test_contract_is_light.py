"""Reading a contract needs no torch and imports nothing that the contract names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_no_torch_and_no_user_code() -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from pytest_saliency.contracts.contract import expand, load_contract\n"
        "import pytest_saliency.contracts.schema, pytest_saliency.contracts.paths, pytest_saliency.cli\n"
        f"contract = load_contract(Path({str(ROOT / 'fixtures/contracts/good/chest-xray.saliency.yaml')!r}))\n"
        "assert len(expand(contract)) == 5\n"
        "heavy = {'torch', 'torchvision', 'numpy', 'scipy', 'PIL', 'jinja2', 'chest'} & set(sys.modules)\n"
        "sys.exit(' '.join(sorted(heavy)) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
