"""What is finished, on disk: weights of a run, numbers of its checks. Written whole or not at all."""

from __future__ import annotations

import gzip
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from planting.nets import NETS, Net


@dataclass(frozen=True)
class Run:
    """One fine-tuning: which base, what was planted, and the seed of the fine-tuning."""

    architecture: str
    data: str
    base: int
    failure: str
    seed: int

    @property
    def key(self) -> str:
        """Name of the run."""
        return f"{self.architecture}-{self.data}-{self.base}-{self.failure}-{self.seed}"

    @property
    def setting(self) -> str:
        """Name of what shares a base and a contract."""
        return f"{self.architecture}-{self.data}-{self.base}"


@dataclass(frozen=True)
class Store:
    """A folder with everything that is finished; what is there is not made again."""

    folder: Path

    def weights(self, name: str) -> Path:
        """Return where the weights of a run, or of a base, are kept."""
        return self.folder / "weights" / f"{name}.safetensors"

    def save_model(self, name: str, model: nn.Module) -> None:
        """Keep the weights of ``model``."""
        from safetensors.torch import save

        _whole(self.weights(name), save(model.state_dict()))

    def load_model(self, name: str, architecture: str, classes: int) -> Net | None:
        """Return the model, or None where its weights are not kept."""
        from safetensors.torch import load_file

        path = self.weights(name)
        if not path.is_file():
            return None
        model = NETS[architecture](classes)
        model.load_state_dict(load_file(path))
        return model.eval()

    def keep(self, kind: str, name: str, what: Any) -> None:
        """Keep something that JSON can hold."""
        _whole(self._path(kind, name), gzip.compress(json.dumps(what).encode(), 3))

    def kept(self, kind: str, name: str) -> Any | None:
        """Return what is kept, or None."""
        path = self._path(kind, name)
        return json.loads(gzip.decompress(path.read_bytes())) if path.is_file() else None

    def _path(self, kind: str, name: str) -> Path:
        return self.folder / kind / f"{name}.json.gz"


def _whole(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    beside.write_bytes(content)
    beside.replace(path)
