"""CASE as it was published, written with grad-cam as its users write it, beside ours: time, and whether maps agree.

    python benchmarks/published_case.py [--model resnet50] [--k 3] [--device cuda]

The published procedure (arXiv 2506.07327, Algorithm 1) needs the gradient of the target class and of each of its k
contrast classes at the layer. With grad-cam that is a forward pass and a backward pass through the whole model for each
of them, for each class that is explained: 2 (k + 1) of both for top-1 and top-2. It is measured image by image, as
written down, and in batches, which is kinder. It is told its contrast classes, the same that ours takes.

Weights are pooled gradients, and the projection is between those. Maps are compared at the layer's resolution, before
anything is cut off or scaled.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from common import Contender, Done, about, in_turns, number, say, table
from numpy.typing import NDArray
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from subjects import BATCH, SPECS, Bench, prepare
from torch import Tensor

EPSILON = 1e-8  # in the denominator of the paper's eq. 5, which gives no value
TARGETS = ("top1", "top2")
CONTRAST = {"select": "logits"}

Floats = NDArray[np.float32]


class PublishedCase(GradCAM):
    """CASE on grad-cam's machinery: ``contrast`` (n, k) are the contrast classes of the next call's images."""

    def __init__(self, epsilon: float, **options: Any) -> None:
        super().__init__(**options)
        self.epsilon = epsilon
        self.contrast: Tensor | None = None
        self.raw: Floats | None = None

    def get_cam_weights(
        self, input_tensor: Tensor, target_layer: Any, targets: Any, activations: Floats, grads: Floats
    ) -> Floats:
        """Return the target's pooled gradient (n, K) without its projection on the mean of the contrast classes'."""
        if self.contrast is None:
            raise ValueError("name the contrast classes first")
        target = super().get_cam_weights(input_tensor, target_layer, targets, activations, grads)
        total = np.zeros_like(target)
        for column in self.contrast.T.tolist():
            total += super().get_cam_weights(
                input_tensor, target_layer, targets, activations, self._gradient(input_tensor, column)
            )
        mean = total / self.contrast.shape[1]
        along = (target * mean).sum(1, keepdims=True) / ((mean * mean).sum(1, keepdims=True) + self.epsilon)
        weights: Floats = target - along * mean
        return weights

    def _gradient(self, input_tensor: Tensor, classes: Sequence[int]) -> Floats:
        """Return the gradient (n, K, h, w) of each image's class in ``classes``: a forward and a full backward pass."""
        outputs = self.activations_and_grads(input_tensor)
        self.model.zero_grad()
        chosen = zip((ClassifierOutputTarget(index) for index in classes), outputs, strict=True)
        torch.stack([target(output) for target, output in chosen]).sum().backward()
        found: Floats = self.activations_and_grads.gradients[0].numpy()
        return found

    def get_cam_image(self, *args: Any, **options: Any) -> Floats:
        """Return the map (n, h, w) before it is cut off at 0 and scaled, and keep it."""
        self.raw = super().get_cam_image(*args, **options)
        return self.raw


@dataclass(frozen=True)
class Question:
    """A bench with the contrast classes (n, k) of each target, and the paper's stabiliser."""

    bench: Bench
    k: int
    contrast: dict[str, Tensor]
    epsilon: float

    @classmethod
    def of(cls, bench: Bench, k: int, epsilon: float = EPSILON) -> Question:
        """Take for contrast what ours takes, so that both compute the same."""
        explained = _explained(bench, k)
        contrast = {}
        for target in TARGETS:
            chosen = torch.from_numpy(explained.maps("case", target).details["contrast"])
            if not bool((chosen.sum(1) == k).all()):
                raise ValueError(f"{bench.name} has too few classes for a contrast set of {k}")
            contrast[target] = chosen.nonzero()[:, 1].reshape(-1, k)
        return cls(bench, k, contrast, epsilon)


def _explained(bench: Bench, k: int) -> Any:
    from pytest_saliency import Subject, explain

    subject = Subject(bench.model, layer=bench.spec.layer, contrast={**CONTRAST, "k": k}, name=bench.name)
    return explain(subject, bench.cases, device=bench.device, batch_size=BATCH, methods=("case",), targets=TARGETS)


def ours(question: Question) -> dict[str, Floats]:
    """Return our maps of both classes, (n, h, w)."""
    explained = _explained(question.bench, question.k)
    return {target: explained.maps("case", target).values.numpy() for target in TARGETS}


def published(question: Question, batch: int) -> dict[str, Floats]:
    """Return the published procedure's maps of both classes, (n, h, w)."""
    bench = question.bench
    options: dict[str, Any] = {"reshape_transform": bench.as_planes} if bench.spec.tokens else {}
    images, top = torch.cat(bench.batches), torch.cat(bench.top)
    made = {}
    for rank, target in enumerate(TARGETS):
        parts: list[Floats] = []
        for start in range(0, len(images), batch):
            at = slice(start, start + batch)
            cam = PublishedCase(question.epsilon, model=bench.model, target_layers=[bench.layer], **options)
            cam.contrast = question.contrast[target][at]
            cam(input_tensor=images[at], targets=[ClassifierOutputTarget(index) for index in top[at, rank].tolist()])
            cam.activations_and_grads.release()
            assert cam.raw is not None
            parts.append(np.asarray(cam.raw))
        made[target] = np.concatenate(parts)
    return made


def agreement(one: Floats, two: Floats) -> tuple[float, float]:
    """Return the smallest correlation of a pair of maps, and the largest difference as a share of a map's size.

    A map's size is its largest magnitude.
    """
    a, b = one.reshape(len(one), -1).astype(np.float64), two.reshape(len(two), -1).astype(np.float64)
    difference = np.abs(a - b).max(1) / np.abs(a).max(1)
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    correlation = (a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1))
    return float(correlation.min()), float(difference.max())


def measure(question: Question, repeats: int) -> tuple[list[list[str]], dict[str, list[str]]]:
    """Return the lines of the table, and how far each target's maps agree."""
    bench = question.bench
    images = len(bench.cases)
    last: dict[str, dict[str, Floats]] = {}

    def work(name: str, batch: int | None) -> Contender:
        def run() -> Done:
            last[name] = ours(question) if batch is None else published(question, batch)
            return Done(images)

        return Contender(name, run)

    named = [work("ours", None), work(f"published, batches of {BATCH}", BATCH), work("published, image by image", 1)]
    found, units = in_turns(named, bench.forward_seconds, repeats, bench.wait)
    passes = 2 * (question.k + 1)
    lines = []
    for one in named:
        needed = "1 forward, 1 through the tail" if one.who == "ours" else f"{passes} forward, {passes} full backward"
        times = number(found[one.who].middle / found["ours"].middle)
        lines.append([bench.name, one.who, needed, found[one.who].shown(), times])
    agreed = {}
    for target in TARGETS:
        correlation, difference = agreement(last["ours"][target], last[named[1].who][target])
        agreed[target] = [target, f"{correlation:.6f}", f"{difference:.1e}"]
    say(f"a forward pass took {1000 * min(units):.1f} .. {1000 * max(units):.1f} ms an image")
    return lines, agreed


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=tuple(SPECS), default="resnet50")
    parser.add_argument("--k", type=int, default=3, help="contrast classes (default 3, the paper's)")
    parser.add_argument("--epsilon", type=float, default=EPSILON, help="of the paper's eq. 5 (default 1e-8)")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda[:n]")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default 2)")
    parser.add_argument("--batches", type=int, default=2, help=f"batches of {BATCH} images (default 2)")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each contender (default 3)")
    parser.add_argument("--quick", action="store_true", help="one batch, one turn: a rough idea")
    options = parser.parse_args(argv)
    if options.quick:
        options.batches = options.repeats = 1
    torch.set_num_threads(options.threads)
    bench = prepare(options.model, options.device, options.batches)
    lines, agreed = measure(Question.of(bench, options.k, options.epsilon), options.repeats)
    note = (
        f"{len(bench.cases)} images, float32, random weights, top-1 and top-2, {options.k} contrast classes each,"
        f" epsilon {options.epsilon:g}; ratios to the forward pass, median of {options.repeats} turns"
        " (smallest .. largest)."
    )
    print(about(note, device=options.device, packages=("torch", "torchvision", "grad-cam")))
    print()
    print(table(("model", "CASE", "passes an image", "forward passes", "times ours"), lines))
    print()
    print(
        table(
            ("maps for", "smallest correlation of a pair", "largest difference, of the map's largest value"),
            agreed.values(),
        )
    )


if __name__ == "__main__":
    main()
