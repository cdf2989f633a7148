"""How close Score-CAM on the n most energetic channels comes to Score-CAM on all of them, and what it costs.

Run: ``python benchmarks/scorecam_channels.py [--images 100] [--seed 0]``. Trains a small CNN with 128 channels at
its last grid on scikit-learn's digits (seconds), explains held-out digits through the public API, and prints a
markdown table: the region measures at the most important 20 % of the image, correlation of the maps as they are.
"""

from __future__ import annotations

import argparse
import platform
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import sklearn
import torch
from torch import Tensor, nn

from pytest_saliency import Cases, Explained, Maps, Subject, explain
from pytest_saliency import __version__ as version
from pytest_saliency.measure.pairs import compare

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples" / "digits"))
from digits.data import Digits, load
from digits.train import accuracy, as_pixels, fit, prepare, unaltered

WIDTH = 128
CHANNELS: tuple[int | None, ...] = (8, 16, 32, 64, None)
FRACTION = 0.2
EPOCHS, STEP = 15, 3e-3
MEASURES = ("iou", "agreement", "correlation")


class SmallNet(nn.Module):
    """Grey images (N, 1, 32, 32) to ten logits, by way of a grid of (N, 128, 8, 8)."""

    def __init__(self) -> None:
        super().__init__()
        widths = (1, 32, 64, WIDTH)
        blocks: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            stride = 1 if inputs == 1 else 2
            blocks += [nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)]
            blocks += [nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
        self.features = nn.Sequential(*blocks)
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(x).mean((2, 3)))
        return logits


def trained(train: Digits, seed: int) -> SmallNet:
    generator = prepare(seed)
    model = SmallNet()
    fit(model, train, EPOCHS, STEP, generator, unaltered)
    torch.use_deterministic_algorithms(False)  # training asks for them; on a GPU they would slow the maps down
    return model


def chosen(held_out: Digits, count: int) -> Cases:
    """Held-out digits, the classes in turn."""
    pixels, labels = as_pixels(held_out)
    return Cases.from_arrays(pixels, labels, ids=[f"digit-{row:04d}" for row in held_out.rows]).sample(count, 0)


def row(explained: Explained, channels: int | None, full: Maps) -> str:
    """One line of the table: name, agreement with the full map, energy, passes an image."""
    name = "scorecam" if channels is None else f"scorecam[channels:{channels}]"
    maps = explained.maps(name, "top1")
    found = compare(maps.values, full.values, MEASURES, fraction=FRACTION, size=explained.input_size)
    middle = [np.nanmedian(found[measure].numpy()) for measure in MEASURES]
    low = np.nanquantile(found["iou"].numpy(), 0.1)
    used = maps.details["channels"].mean()
    energy = maps.details["energy_kept"].mean() if channels is not None else 1.0
    numbers = [f"{value:.3f}" for value in (*middle, low)]
    cells = [f"`{name}`", *numbers, f"{100 * energy:.1f} %", f"{1 + used:.1f}"]
    return f"| {' | '.join(cells)} |"


def processor() -> str:
    """The processor's name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else f"{platform.system()} {platform.processor() or platform.machine()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100, help="held-out digits to explain (default 100)")
    parser.add_argument("--seed", type=int, default=0, help="training seed (default 0)")
    parser.add_argument("--device", default="cpu", help="where the maps are made (default cpu)")
    options = parser.parse_args()

    train, held_out = load()
    model = trained(train, options.seed)
    cases = chosen(held_out, options.images)
    explained = explain(Subject(model, layer="features"), cases, device=options.device, methods=["gradcam"])
    full = explained.maps("scorecam", "top1")

    versions = f"Python {platform.python_version()}, torch {torch.__version__}, scikit-learn {sklearn.__version__}"
    print(f"{len(cases)} held-out digits, top-1 class, seed {options.seed}, accuracy {accuracy(model, held_out):.3f}.")
    print(f"pytest-saliency {version}, {versions}, {processor()}, device {explained.device}.")
    print(f"Full maps: {', '.join(f'{count} {status}' for status, count in full.counts().items())}.\n")
    print("| method | IoU | agreement | correlation | IoU, worst tenth from | energy kept | passes an image |")
    print("|---|---|---|---|---|---|---|")
    for channels in CHANNELS:
        print(row(explained, channels, full))
    print(
        f"\nMedians over the images, each against the full `scorecam`; regions are the top {100 * FRACTION:.0f} %."
        " Passes an image: one to capture, one a channel used (flat channels cost none)."
    )


if __name__ == "__main__":
    main()
