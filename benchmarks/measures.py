"""Time of the measures of one pair of maps, against numpy.partition and against the forward pass behind the maps.

Run: ``python benchmarks/measures.py [threads]``. Prints medians in milliseconds and ratios; the budget is 3 % of a
ResNet-50 forward pass (batch 8, random weights, inference mode) for all measures of a pair at 224x224.
Rounds alternate between the candidates, so that other work on the machine meets all of them alike.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torchvision.models import resnet50

from pytest_saliency.measure.grid import spread
from pytest_saliency.measure.pairs import PAIR_MEASURES, compare
from pytest_saliency.measure.regions import region_size

BATCH = 8
SIZE = (224, 224)
ROUNDS = 15
BUDGET = 0.03


def main() -> None:
    threads = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(BATCH, 7, 7, generator=generator) + 0.5
    b = a + torch.randn(BATCH, 7, 7, generator=generator)
    large = spread(a, SIZE).values.numpy()
    place = large.shape[1] - region_size(0.2, large.shape[1])
    images = torch.rand(BATCH, 3, *SIZE, generator=generator)
    model = resnet50().eval()

    def forward() -> object:
        with torch.inference_mode():
            return model(images)

    work: dict[str, Callable[[], object]] = {
        "forward pass": forward,
        "numpy.partition, one map": lambda: np.partition(large, place, axis=1),
        "all measures": lambda: compare(a, b, tuple(PAIR_MEASURES), fraction=0.2, size=SIZE),
    }
    for name in PAIR_MEASURES:
        work[f"  {name}"] = partial(compare, a, b, [name], fraction=0.2, size=SIZE)
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(ROUNDS + 2):
        for name, call in work.items():
            start = time.perf_counter()
            call()
            times[name].append(1000.0 * (time.perf_counter() - start) / BATCH)
    # The first two rounds warm caches and allocators.
    middle = {name: statistics.median(values[2:]) for name, values in times.items()}
    print(f"{threads} thread(s), {SIZE[0]}x{SIZE[1]}, batch {BATCH}, median of {ROUNDS} rounds, per image or pair")
    for name, value in middle.items():
        print(
            f"{name:28} {value:9.3f} ms {100 * value / middle['forward pass']:8.2f} % of a forward pass"
            f" {value / middle['numpy.partition, one map']:7.2f} x numpy.partition"
        )
    share = middle["all measures"] / middle["forward pass"]
    print(f"all measures: {100 * share:.2f} % of a forward pass, budget {100 * BUDGET:.0f} %")


if __name__ == "__main__":
    main()
