"""Time and memory as the number of images grows, and as the number of channels does.

    python benchmarks/scaling.py [--images 100 1000 10000] [--channels 64 512 2048] [--quick]

Every line is a process of its own. Its images come from a dataset that makes each when it is asked for, so that they
are never all in memory. A process first explains a few images, which fills every buffer that a batch needs; by how
much its peak memory (resident set) grows after that is what more images cost. Beside it stands what is kept of every
image: maps at the layer's resolution, class scores, classes, and what the methods record.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common import about, number, say, spread, table

IMAGES = (100, 300, 1000, 3000, 10_000)
CHANNELS = (64, 256, 1024, 2048)
SIZE, BATCH, WARM = 32, 32, 128
WORKS = ("maps", "class_sensitive", "faithful")
MIB = 2**20


# -- in a process of its own ------------------------------------------------------------------------------------------


def peak_bytes() -> int:
    """Return the largest resident set of this process so far.

    Linux counts what a process was before it became another program into ``ru_maxrss``, so that a child of a large
    parent would seem large; the line in /proc is about this program alone.
    """
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def network(channels: int, classes: int) -> Any:
    """Return a small network with a grid of 8 x 8 at its layer ``body``, with seeded weights."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    body = nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(16, channels, 3, stride=2, padding=1), nn.ReLU()
    )
    model = nn.Sequential()
    model.add_module("body", body)
    model.add_module("head", nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)))
    return model.eval()


class Pictures:
    """A dataset of ``count`` smooth pictures, each made from its index when it is asked for."""

    def __init__(self, count: int) -> None:
        self.targets = [index % 2 for index in range(count)]

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        import torch

        generator = torch.Generator().manual_seed(index)
        coarse = torch.rand(1, 3, 4, 4, generator=generator)
        smooth = torch.nn.functional.interpolate(coarse, size=(SIZE, SIZE), mode="bilinear", align_corners=False)
        return smooth[0].clamp_(0, 1), self.targets[index]


def kept_bytes(explained: Any, methods: Sequence[str], targets: Sequence[str]) -> int:
    """Return the bytes of what an explanation keeps of its images: maps, scores, classes, what methods recorded."""
    total = int(explained.logits.nbytes)
    for target in targets:
        for method in methods:
            maps = explained.maps(method, target)
            total += maps.values.nbytes + sum(detail.nbytes for detail in maps.details.values())
        total += explained.maps(methods[0], target).classes.nbytes
    return total


def child(order: Mapping[str, Any]) -> dict[str, float]:
    """Do one line's work; return seconds, the growth of peak memory, and the bytes kept."""
    import torch

    from pytest_saliency import Cases, Subject, explain

    torch.set_num_threads(order["threads"])
    model = network(order["channels"], order["classes"])
    cases = Cases.from_dataset(Pictures(order["images"]))
    warm = Cases.from_dataset(Pictures(min(order["warm"], order["images"])))
    targets = ("top1", "top2", "label")
    methods = tuple(order["methods"])

    def work(some: Cases) -> Any:
        subject = Subject(model, layer="body")
        explained = explain(subject, some, device="cpu", batch_size=BATCH, methods=methods, targets=targets)
        for method in methods:
            explained.maps(method, "top1")
        if order["work"] != "maps":
            _check(explained, order["work"], methods[0])
        return explained

    work(warm)
    before = peak_bytes()
    start = time.perf_counter()
    explained = work(cases)
    seconds = time.perf_counter() - start
    after = peak_bytes()
    return {
        "seconds": seconds,
        "start": before,
        "growth": after - before,
        "kept": kept_bytes(explained, methods, targets),
    }


def _check(explained: Any, kind: str, method: str) -> None:
    from pytest_saliency.checks.registry import KINDS

    asked: dict[str, Any] = {"method": method, "keep": "all"}
    if kind == "faithful":
        asked |= {"top_k": 0.1, "min_advantage": 0.0, "fill": ("blur",), "blocks": "any"}
    parameters = KINDS[kind].parameters.from_keywords("benchmark", asked)
    KINDS[kind].run({"model": explained}, parameters)


# -- the tables -------------------------------------------------------------------------------------------------------


def measured(repeats: int, **order: Any) -> list[dict[str, float]]:
    """Do one line's work ``repeats`` times, each in a process of its own: what an allocator does is partly chance."""
    return [_measured(order) for _ in range(repeats)]


def _measured(order: Mapping[str, Any]) -> dict[str, float]:
    ran = subprocess.run(
        [sys.executable, __file__, "--child", json.dumps(order)], capture_output=True, text=True, check=False
    )
    if ran.returncode:
        raise SystemExit(f"scaling.py: the process for {order} failed:\n{ran.stderr}")
    found: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
    return found


def by_images(options: argparse.Namespace, methods: Sequence[str]) -> list[list[str]]:
    """Return a line for each kind of work and number of images."""
    lines = []
    for work in options.works:
        for images in options.images:
            say(f"{work}, {images} images ...")
            found = measured(
                options.repeats,
                work=work,
                images=images,
                warm=options.warm,
                channels=64,
                classes=options.classes,
                threads=options.threads,
                methods=list(methods),
            )
            kept = found[0]["kept"]
            lines.append(
                [
                    work,
                    f"{images:,}",
                    spread([1000 * one["seconds"] / images for one in found]),
                    spread([one["start"] / MIB for one in found], "{:.0f}".format),
                    spread([one["growth"] / MIB for one in found], "{:.0f}".format),
                    number(kept / MIB),
                    number(kept / images / 1024),
                ]
            )
    return lines


def by_channels(options: argparse.Namespace) -> list[list[str]]:
    """Return a line for each number of channels: Score-CAM and Ablation-CAM of a few images."""
    lines = []
    for method in ("scorecam", "ablationcam"):
        for channels in options.channels:
            say(f"{method}, {channels} channels ...")
            found = measured(
                options.repeats,
                work="maps",
                images=8,
                warm=1,
                channels=channels,
                classes=options.classes,
                threads=options.threads,
                methods=[method],
            )
            # What keeping every masked image of a batch would need: the peers' way for Score-CAM.
            whole = 8 * channels * 3 * SIZE * SIZE * 4
            masked = number(whole / MIB) if method == "scorecam" else "-"
            each = spread([1000 * one["seconds"] / 8 / channels for one in found])
            growth = spread([one["growth"] / MIB for one in found], "{:.0f}".format)
            lines.append([f"`{method}`", f"{channels:,}", each, growth, masked])
    return lines


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", nargs="+", type=int, default=IMAGES, help="default 100 .. 10,000")
    parser.add_argument("--channels", nargs="*", type=int, default=CHANNELS, help="default 64 .. 2048; none: no table")
    parser.add_argument("--works", nargs="+", choices=WORKS, default=WORKS, help="default: all")
    parser.add_argument("--classes", type=int, default=10, help="classes of the network (default 10)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default 2)")
    parser.add_argument("--warm", type=int, default=WARM, help=f"images explained beforehand (default {WARM})")
    parser.add_argument("--repeats", type=int, default=3, help="processes for each line (default 3)")
    parser.add_argument("--quick", action="store_true", help="few images and channels: a rough idea")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.child:
        print(json.dumps(child(json.loads(options.child))))
        return
    if options.quick:
        options.images, options.channels, options.warm, options.repeats = (64, 512), (64, 256), 64, 1
    from pytest_saliency.engine.methods.names import GRADIENT_METHODS

    lines = by_images(options, GRADIENT_METHODS)
    channels = by_channels(options)
    note = (
        f"Pictures of 3x{SIZE}x{SIZE}, batches of {BATCH}, {options.classes} classes, {options.threads} CPU threads;"
        f" six gradient methods for top-1, top-2 and label; {options.warm} images beforehand;"
        f" median of {options.repeats} processes (smallest .. largest)."
    )
    print(about(note, packages=("torch",)))
    print()
    print(
        table(
            (
                "work",
                "images",
                "ms an image",
                "peak memory beforehand, MiB",
                "its growth, MiB",
                "kept, MiB",
                "kept, KiB an image",
            ),
            lines,
        )
    )
    if channels:
        print()
        print(
            table(
                (
                    "method",
                    "channels",
                    "ms an image and channel",
                    "growth of peak memory, MiB",
                    "all masked images, MiB",
                ),
                channels,
            )
        )


if __name__ == "__main__":
    main()
