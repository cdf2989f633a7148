"""What the work itself needs: operations and bytes of its forward passes, gradients, formulas and replays.

    python benchmarks/floor.py [--models resnet50 ...]

Operations are floating-point operations of products and convolutions, as torch counts them. Bytes are what every
operation reads and writes as torch runs them one by one, each tensor once an operation; a kernel that fuses two needs
less. As shares of the forward pass of the same images they say what a method would cost if all of it ran as
efficiently as the forward pass does: the floor of a row is 1 (or the number of passes it is about) plus that share.
The truth lies between the two shares, for a forward pass is bound by operations and what follows a late layer by bytes.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from common import about, number, say, table
from subjects import SPECS, USUAL, Bench, prepare
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from pytest_saliency.engine.capture import Capture, capture
from pytest_saliency.engine.contrast import logit_sets
from pytest_saliency.engine.layout import find_layout
from pytest_saliency.engine.methods.evidence import Evidence, GradientMethod
from pytest_saliency.engine.methods.names import GRADIENT_METHODS
from pytest_saliency.engine.methods.registry import gradient_methods
from pytest_saliency.engine.runner import Runner


@dataclass(frozen=True)
class Cost:
    """Floating-point operations and bytes."""

    operations: float
    bytes: float

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.operations + other.operations, self.bytes + other.bytes)

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.operations - other.operations, self.bytes - other.bytes)

    def times(self, factor: float) -> Cost:
        return Cost(self.operations * factor, self.bytes * factor)

    def share_of(self, other: Cost) -> Cost:
        return Cost(self.operations / other.operations, self.bytes / other.bytes)


class _Bytes(TorchDispatchMode):
    """Adds up the bytes that operations read and write; views move nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        returned = func._schema.returns
        view = any(one.alias_info is not None and not one.alias_info.is_write for one in returned)
        if not view:
            self.total += sum(_size(leaf) for leaf in tree_leaves((args, kwargs or {}, made)))
        return made


def _size(value: object) -> int:
    if not isinstance(value, Tensor):
        return 0
    # An expanded tensor is read where it is: it has no more bytes than its storage.
    return min(value.numel() * value.element_size(), value.untyped_storage().nbytes())


def count(work: Callable[[], object], mark: nn.Module | None = None) -> tuple[Cost, Cost]:
    """Return what ``work`` costs in all, and what it had cost when module ``mark`` was done for the last time."""
    at_mark = Cost(0, 0)
    with FlopCounterMode(display=False) as operations, _Bytes() as moved:

        def so_far() -> Cost:
            return Cost(operations.get_total_flops(), moved.total)

        def note(module: nn.Module, args: object, output: object) -> None:
            nonlocal at_mark
            at_mark = so_far()

        handle = None if mark is None else mark.register_forward_hook(note)
        try:
            work()
        finally:
            if handle is not None:
                handle.remove()
        return so_far(), at_mark


@dataclass(frozen=True)
class Costs:
    """What one batch of a model costs: its forward pass, and of that what follows the layer; and what is on top."""

    bench: Bench
    forward: Cost
    tail: Cost
    channels: int

    @classmethod
    def of(cls, bench: Bench) -> Costs:
        """Count on the first batch of ``bench``."""
        bench = bench.first(1)

        def run() -> None:
            with torch.no_grad():  # inference mode hides operations from being counted
                bench.model(bench.batches[0])

        whole, front = count(run, bench.layer)
        return cls(bench, whole, whole - front, bench.channels)

    def gradients(self, methods: Sequence[str], targets: int) -> tuple[Cost, Cost]:
        """Return what the products with the tail's Jacobian cost for ``targets`` classes, and the methods' formulas."""
        found = gradient_methods(tuple(methods))
        with _captured(self.bench) as made:
            classes = [made.scores.topk(targets, dim=1).indices[:, rank] for rank in range(targets)]
            contrastive = any(method.contrastive for method in found)
            sets = [logit_sets(made.scores, chosen, k=3) if contrastive else None for chosen in classes]
            rows = []
            for chosen, others in zip(classes, sets, strict=True):
                rows.append(torch.zeros_like(made.scores).scatter_(1, chosen.unsqueeze(1), 1.0))
                if others is not None:
                    rows.append(others / others.sum(1, keepdim=True).clamp(min=1))
            cotangents = torch.stack(rows)
            kept: list[Tensor] = []
            products, _ = count(lambda: kept.append(made.gradients(cotangents)))
            formulas, _ = count(lambda: _formulas(found, made, kept[0].flatten(3), sets))
        return products, formulas

    def floor(self, methods: Sequence[str], targets: int) -> Cost:
        """Return the floor of a row of gradient methods, in forward passes."""
        products, formulas = self.gradients(methods, targets)
        return Cost(1, 1) + (products + formulas).share_of(self.forward)

    def replays(self) -> Cost:
        """Return the floor of Ablation-CAM: a pass, and what follows the layer for every channel and for none."""
        return Cost(1, 1) + self.tail.share_of(self.forward).times(1 + self.channels)


def _formulas(
    methods: Sequence[GradientMethod], made: Capture, gradients: Tensor, sets: Sequence[Tensor | None]
) -> None:
    step = 1 if sets[0] is None else 2
    for number_, contrast in enumerate(sets):
        shared = None if contrast is None else gradients[number_ * step + 1]
        evidence = Evidence(made.activations.flatten(2), gradients[number_ * step], shared, contrast, None)
        for method in methods:
            method.compute(evidence)


@contextlib.contextmanager
def _captured(bench: Bench) -> Iterator[Capture]:
    """Capture a bench's first batch at its layer, as the engine does."""
    pixels = bench.batches[0]
    layout = find_layout(bench.shape, tuple(pixels.shape[2:]), None)
    if layout is None:
        raise ValueError(f"layer {bench.spec.layer} of {bench.name} returns {bench.shape}, which has no grid")
    runner = Runner(bench.subject, pixels.device)
    with runner.session():
        yield capture(runner, bench.layer, bench.spec.layer, layout, pixels)


def rows(costs: Costs) -> list[list[str]]:
    """Return the lines of the table for one model: work, operations, bytes, both as shares of the forward pass."""
    images = len(costs.bench.batches[0])
    one, one_formula = costs.gradients(("gradcam",), 1)
    four, six_formulas = costs.gradients(GRADIENT_METHODS, 2)
    named = {
        "forward pass": costs.forward,
        f"what follows `{costs.bench.spec.layer}`": costs.tail,
        "gradient of one class": one,
        "formula of Grad-CAM": one_formula,
        "gradients of two classes and their contrasts": four,
        "formulas of six methods for two classes": six_formulas,
        f"replays of Ablation-CAM, {costs.channels} channels": costs.tail.times(1 + costs.channels),
    }
    lines = []
    for what, cost in named.items():
        share = cost.share_of(costs.forward)
        each = cost.times(1 / images)
        shares = ["1", "1"] if what == "forward pass" else [f"{share.operations:.4f}", f"{share.bytes:.4f}"]
        lines.append([costs.bench.name, what, number(each.operations / 1e6), number(each.bytes / 2**20), *shares])
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=tuple(SPECS), default=USUAL)
    options = parser.parse_args()
    lines = []
    for name in options.models:
        say(f"{name} ...")
        lines += rows(Costs.of(prepare(name, batches=1).first(1)))
    print(about("Counted on one batch of 8 images, float32, for an image; nothing here is timed.", packages=("torch",)))
    print()
    print(
        table(("model", "work", "million operations", "MiB moved", "of the forward pass: operations", "bytes"), lines)
    )


if __name__ == "__main__":
    main()
