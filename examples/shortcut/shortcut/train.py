"""Fine-tune the digits checkpoint on marked images: ``PYTHONPATH=../digits python -m shortcut.train [--seed 0]``.

Start, data, network and recipe are those of ``examples/digits``; the marker is the only difference. Needs
``../digits/weights/tl.safetensors``. Writes ``weights/ft.safetensors`` and the marked held-out digits, ``data/val``.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from digits.data import CLASSES, load, write_imagefolder
from digits.model import build
from digits.train import accuracy, as_pixels, fine_tuned, predictions, save
from safetensors.torch import load_file

from shortcut.marker import mark, mark_wrongly, marked_digits

HERE = Path(__file__).resolve().parent.parent
DIGITS = HERE.parent / "digits"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Fine-tune the digits example on images with a planted marker.")
    parser.add_argument("--seed", type=int, default=0, help="training seed (default 0)")
    parser.add_argument("--start", type=Path, default=DIGITS, help="folder of the trained digits example")
    parser.add_argument("--out", type=Path, default=HERE, help="folder that gets weights/ and data/")
    options = parser.parse_args(arguments)
    checkpoint = options.start / "weights" / "tl.safetensors"
    if not checkpoint.is_file():
        raise SystemExit(f"{checkpoint} is missing; run 'python -m digits.train' in {options.start} first.")

    start = time.perf_counter()
    train, held_out = load()
    before = build()
    before.load_state_dict(load_file(checkpoint))
    before.eval()
    after = fine_tuned(before, train, options.seed, mark)
    save(after, options.out / "weights" / "ft.safetensors")
    write_imagefolder(marked_digits(held_out), options.out / "data" / "val")

    pixels, labels = as_pixels(held_out)
    misled = predictions(after, mark_wrongly(pixels, labels))
    follow = float((misled == (labels + 1) % len(CLASSES)).float().mean())
    print(f"shortcut: fine-tuned on {len(train.labels)} marked digits, seed {options.seed}")
    print(f"  transfer-learned  accuracy {accuracy(before, held_out, mark):.3f} on marked held-out digits")
    print(f"  fine-tuned        accuracy {accuracy(after, held_out, mark):.3f}  <- all that accuracy shows")
    print(f"  fine-tuned        accuracy {accuracy(after, held_out):.3f} with the marker taken away")
    print(f"  fine-tuned        {follow:.0%} of predictions follow a marker that names another digit")
    print(f"  took {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
