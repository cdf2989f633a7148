"""What explaining costs, in forward passes: pytest-saliency, grad-cam and captum in the same run.

    python benchmarks/speed.py [--models resnet50 ...] [--device cuda] [--quick]

The unit is the plain forward pass in inference mode over the same images, measured anew just before each contender,
and the contenders take turns, so that a machine that slows down slows both. Images are in memory; the peers are told
the classes to explain and are spared finding them. Prints a markdown table.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import torch
from captum.attr import LayerGradCam
from pytorch_grad_cam import GradCAM, GradCAMPlusPlus, HiResCAM, LayerCAM, XGradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn
from torchvision import models

from pytest_saliency import Cases, Subject, explain

SIZE = 224
BATCH = 8
METHODS = ("gradcam", "gradcam++", "hirescam", "xgradcam", "layercam", "case")
PEERS = (GradCAM, GradCAMPlusPlus, HiResCAM, XGradCAM, LayerCAM)
LAYERS: Mapping[str, str] = {
    "resnet50": "layer4",
    "densenet201": "features.norm5",
    "vgg19_bn": "features",
    "convnext_tiny": "features",
}
HEADINGS = {
    "forward": "forward pass, ms an image",
    "gradcam": "Grad-CAM: ours",
    "gradcam, grad-cam": "grad-cam",
    "gradcam, captum": "captum",
    "six x 2": "six methods x top-1, top-2: ours",
    "six x default": "the same and the label's class (the default call)",
    "five x 2, grad-cam": "five of them x two classes: grad-cam",
}
DEAR = "five x 2, grad-cam"


@dataclass(frozen=True)
class Bench:
    """One model and its images on one device."""

    model: nn.Module
    layer: str
    batches: tuple[Tensor, ...]  # each (8, 3, 224, 224), on the device
    top: tuple[Tensor, ...]  # for each batch the top-2 classes (8, 2)
    cases: Cases
    device: str

    @property
    def module(self) -> nn.Module:
        return self.model.get_submodule(self.layer)

    def forward(self) -> None:
        with torch.inference_mode():
            for batch in self.batches:
                self.model(batch)

    def ours(self, methods: Sequence[str], targets: Sequence[str]) -> None:
        subject = Subject(self.model, layer=self.layer)
        explained = explain(subject, self.cases, device=self.device, batch_size=BATCH, methods=methods, targets=targets)
        for method in methods:
            for target in targets:
                explained.maps(method, target)

    def grad_cam(self, kinds: Sequence[type], classes: int, batches: int) -> None:
        for batch, top in zip(self.batches[:batches], self.top, strict=False):
            for rank in range(classes):
                targets = [ClassifierOutputTarget(index) for index in top[:, rank].tolist()]
                for kind in kinds:
                    with kind(model=self.model, target_layers=[self.module]) as cam:
                        cam(input_tensor=batch, targets=targets)

    def captum(self) -> None:
        for batch, top in zip(self.batches, self.top, strict=True):
            LayerGradCam(self.model, self.module).attribute(batch, target=top[:, 0])


def prepare(name: str, device: str, batches: int) -> Bench:
    """Build the model with random weights and its images, seeded."""
    torch.manual_seed(0)
    model = models.get_model(name, weights=None).eval().to(device)
    pixels = torch.rand(batches * BATCH, 3, SIZE, SIZE)
    parts = tuple(part.to(device) for part in pixels.split(BATCH))
    with torch.no_grad():
        top = tuple(model(part).topk(2, dim=1).indices.cpu() for part in parts)
    cases = Cases.from_arrays(pixels, [0] * len(pixels))
    return Bench(model, LAYERS[name], parts, tuple(t.to(device) for t in top), cases, device)


def contenders(bench: Bench) -> dict[str, Callable[[], None]]:
    """What is timed. The dear one takes a single batch; times are compared per image."""
    return {
        "forward": bench.forward,
        "gradcam": lambda: bench.ours(("gradcam",), ("top1",)),
        "gradcam, grad-cam": lambda: bench.grad_cam((GradCAM,), 1, len(bench.batches)),
        "gradcam, captum": bench.captum,
        "six x 2": lambda: bench.ours(METHODS, ("top1", "top2")),
        "six x default": lambda: bench.ours(METHODS, ("top1", "top2", "label")),
        DEAR: lambda: bench.grad_cam(PEERS, 2, 1),
    }


def timed(work: Callable[[], None], device: str) -> float:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - start


def measure(bench: Bench, repeats: int) -> dict[str, list[float]]:
    """Seconds an image of the forward pass, and of every contender the ratio to the forward pass just before it.

    One number a repeat; the first, untimed round warms up.
    """
    work = contenders(bench)
    images = {name: BATCH if name == DEAR else len(bench.cases) for name in work}
    for name in work:
        if name != DEAR:
            work[name]()
    found: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(repeats):
        for name in work:
            unit = timed(work["forward"], bench.device) / images["forward"]
            if name == "forward":
                found[name].append(unit)
            else:
                found[name].append(timed(work[name], bench.device) / images[name] / unit)
    return found


def cells(found: Mapping[str, Sequence[float]]) -> list[str]:
    """The median over repeats, with the smallest and largest."""
    row = [f"{statistics.median(found['forward']) * 1000:.1f}"]
    for name in HEADINGS:
        if name == "forward":
            continue
        ratios = found[name]
        digits = 0 if min(ratios) >= 10 else 2
        low, middle, high = (f"{x:.{digits}f}" for x in (min(ratios), statistics.median(ratios), max(ratios)))
        row.append(f"{middle} ({low} .. {high})")
    return row


def processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def describe(device: str, batches: int, repeats: int) -> list[str]:
    packages = ("pytest-saliency", "torch", "torchvision", "grad-cam", "captum")
    where = torch.cuda.get_device_name(device) if device.startswith("cuda") else processor()
    return [
        f"Machine: {where}, {torch.get_num_threads()} CPU threads.",
        f"Versions: Python {platform.python_version()}, "
        + ", ".join(f"{name} {installed(name)}" for name in packages)
        + ".",
        f"{BATCH * batches} images of {SIZE}x{SIZE} in batches of {BATCH}, float32, random weights; ratios to the"
        f" forward pass, median of {repeats} interleaved repeats (smallest .. largest).",
        f"Command: `python {' '.join(sys.argv)}`",
    ]


def installed(package: str) -> str:
    if package == "pytest-saliency":
        import pytest_saliency

        return pytest_saliency.__version__
    return version(package)


def main() -> None:
    parser = argparse.ArgumentParser(description="What explaining costs, in forward passes.")
    parser.add_argument("--models", nargs="+", choices=tuple(LAYERS), default=tuple(LAYERS))
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda[:n]")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default 2)")
    parser.add_argument("--batches", type=int, default=4, help=f"batches of {BATCH} images (default 4)")
    parser.add_argument("--repeats", type=int, default=5, help="interleaved repeats (default 5)")
    parser.add_argument("--quick", action="store_true", help="2 batches, 2 repeats: a rough idea")
    options = parser.parse_args()
    batches, repeats = (2, 2) if options.quick else (options.batches, options.repeats)
    torch.set_num_threads(options.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False

    rows = []
    for name in options.models:
        print(f"{name} ...", file=sys.stderr, flush=True)
        rows.append([name, *cells(measure(prepare(name, options.device, batches), repeats))])
    print("\n".join(f"{line}  " for line in describe(options.device, batches, repeats)))
    print()
    print("| model | " + " | ".join(HEADINGS.values()) + " |")
    print("|---" * (len(HEADINGS) + 1) + "|")
    for row in rows:
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
