"""The images, arrays, tables, weights and code that the contracts of ``bad_contracts`` name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file


def write_files(folder: Path) -> None:
    """Write the images, arrays, tables, weights and code that the contracts name."""
    draw = np.random.Generator(np.random.PCG64(5))

    def save(name: str, width: int = 16) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 255, (16, width, 3), dtype=np.uint8)).save(path)

    for label in "abc":
        for i in range(6):
            save(f"good/{label}/{i}.png")
            save(f"broken/{label}/{i}.png")
            save(f"cut/{label}/{i}.jpg")
            save(f"mixed/{label}/{i}.png", 17 if i == 4 else 16)
    (folder / "broken/b/3.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(64)))
    _halve(folder / "cut/b/3.jpg")
    (folder / "empty/a").mkdir(parents=True)
    (folder / "bare").mkdir()

    state = {
        "features.weight": torch.eye(3).reshape(3, 3, 1, 1),
        "head.weight": torch.eye(3),
        "mask": torch.ones(16, 16),
    }
    torch.save(state, folder / "w.pt")
    torch.save({**state, "head.weight": torch.full((3, 3), torch.nan)}, folder / "nan.pt")
    torch.save({"net": torch.nn.Linear(2, 2)}, folder / "pickled.pt")
    torch.save(torch.nn.Linear(2, 2).state_dict(), folder / "other.pt")
    torch.save({"epoch": 3}, folder / "epoch.pt")
    save_file({**state, "head.weight": torch.ones(5, 3)}, folder / "five.safetensors")
    (folder / "text.pt").write_text("hello")
    (folder / "text.safetensors").write_text("hello")

    images, labels = draw.random((12, 3, 16, 16), dtype=np.float32), np.arange(12) % 3
    np.savez(folder / "nolabels.npz", images=images)
    np.savez(folder / "objects.npz", images=images, labels=np.array([{} for _ in labels]))
    np.savez(folder / "short.npz", images=images, labels=labels[:5])
    np.savez(folder / "cut.npz", images=images, labels=labels)
    _halve(folder / "cut.npz")
    (folder / "text.npz").write_text("hello")
    with (folder / "one.npz").open("wb") as file:
        np.save(file, images)
    (folder / "noimage.csv").write_text("path,label\ngood/a/0.png,0\n")
    (folder / "missing.csv").write_text("image,label\ngood/a/0.png,0\ngood/b/0.png,1\ngood/c/99.png,2\n")
    (folder / "mixed.csv").write_text("image,label\ngood/a/0.png,a\ngood/b/0.png,1\n")
    (folder / "latin.csv").write_bytes("image,label\nb\xe4r.png,0\n".encode("latin-1"))

    (folder / "broken_one.py").write_text("x = 1 / 0\n")
    (folder / "broken_two.py").write_text("x = 1\ndef f(:\n")
    (folder / "broken_three.py").write_text("import not_there_at_all\n")
    (folder / "conftest.py").write_text(
        "import pytest\n@pytest.fixture\ndef text(): return 'net'\n"
        "@pytest.fixture\ndef no_disk(): raise OSError('no disk')\n"
    )
    here = Path(__file__).parent
    for name in ("toy.py", "wrong.py"):
        (folder / name).write_text((here / name).read_text(encoding="utf-8"), encoding="utf-8")


def _halve(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
