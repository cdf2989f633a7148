"""What torch.export makes of each architecture: ``python -m tests.architectures.exports`` writes ``exported.json``.

It takes minutes, so the tests repeat it for the quickest alone.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import torch

from pytest_saliency.engine.layers import choose

from .drawing import drawn
from .registry import ARCHITECTURES, Architecture, key

FILE = Path(__file__).with_name("exported.json")
ROUNDING = 1e-3


def exported(architecture: Architecture) -> str:
    """Return what can be said of the unflattened program: which layer ``auto`` takes in it, or what went wrong."""
    model = drawn(architecture.lighter or architecture.build, architecture.lifted, architecture.around)
    images = torch.from_numpy(np.random.default_rng(0).random((3, *architecture.shape)).astype(np.float32))
    wanted = choose(model, images[:1], "auto").name
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            program = torch.export.export(model, (images[:2],), dynamic_shapes=({0: torch.export.Dim.AUTO},))
            made = torch.export.unflatten(program)
        except Exception as error:
            return f"no: torch.export raises {type(error).__name__}"
        with torch.no_grad():
            before, after = model(images), made(images)
        if float((before - after).abs().max()) > ROUNDING * float(before.abs().max()):
            return "no: other scores"
        if wanted not in dict(made.named_modules()):
            return "scores, without its layer"
        found = choose(made, images[:1], "auto").name
    return "yes" if found == wanted else f"yes, but `auto` takes `{found}`"


def main(words: list[str]) -> None:
    """Measure the architectures whose names hold one of ``words``, all by default, and keep what was known else."""
    known = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    for architecture in ARCHITECTURES:
        if not words or any(word in key(architecture) for word in words):
            known[key(architecture)] = exported(architecture)
            print(f"{key(architecture)}: {known[key(architecture)]}", flush=True)
            FILE.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1:])
