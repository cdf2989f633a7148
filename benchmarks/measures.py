"""Time of the measures of one pair of maps, against numpy.partition and against the forward pass behind the maps.

    python benchmarks/measures.py [--threads 2] [--model resnet50]

The budget is 3 % of a forward pass (batch 8, random weights, inference mode) for all measures of a pair at the size of
the images. The candidates take turns, so that other work on the machine meets all of them alike.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from common import about, number, table
from subjects import BATCH, SPECS, prepare

from pytest_saliency.measure.grid import spread
from pytest_saliency.measure.pairs import PAIR_MEASURES, compare
from pytest_saliency.measure.regions import region_size

WARM = 2  # rounds that are not counted
FRACTION = 0.2
BUDGET = 0.03


def candidates(model: str) -> dict[str, Callable[[], object]]:
    """Return what is timed, by name; each is about ``BATCH`` images or pairs, numpy.partition about one map."""
    bench = prepare(model, batches=1)
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(BATCH, 7, 7, generator=generator) + 0.5
    b = a + torch.randn(BATCH, 7, 7, generator=generator)
    size = (bench.spec.size, bench.spec.size)
    large = spread(a, size).values.numpy()
    place = large.shape[1] - region_size(FRACTION, large.shape[1])
    work: dict[str, Callable[[], object]] = {
        "forward pass": bench.forward,
        "`numpy.partition`": lambda: np.partition(large, place, axis=1),
        "all measures": partial(compare, a, b, tuple(PAIR_MEASURES), fraction=FRACTION, size=size),
    }
    for name in PAIR_MEASURES:
        work[f"`{name}` alone"] = partial(compare, a, b, [name], fraction=FRACTION, size=size)
    return work


def milliseconds(work: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median of each candidate, in milliseconds an image or pair."""
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(WARM + rounds):
        for name, call in work.items():
            start = time.perf_counter()
            call()
            times[name].append(1000.0 * (time.perf_counter() - start) / BATCH)
    return {name: statistics.median(values[WARM:]) for name, values in times.items()}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=tuple(SPECS), default="resnet50", help="whose forward pass is the unit")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default 2)")
    parser.add_argument("--rounds", type=int, default=15, help="default 15")
    parser.add_argument("--quick", action="store_true", help="3 rounds: a rough idea")
    options = parser.parse_args(argv)
    rounds = 3 if options.quick else options.rounds
    torch.set_num_threads(options.threads)
    middle = milliseconds(candidates(options.model), rounds)
    unit, peer = middle["forward pass"], middle["`numpy.partition`"]
    lines = [
        [name, f"{value:.3f}", f"{100 * value / unit:.2f} %", number(value / peer)] for name, value in middle.items()
    ]
    size = SPECS[options.model].size
    note = f"Pairs of maps at {size}x{size}, batches of {BATCH}, {options.model}; medians of {rounds} rounds."
    print(about(note, packages=("torch", "torchvision", "numpy")))
    print()
    print(table(("work", "ms an image or pair", "of a forward pass", "times numpy.partition of one map"), lines))
    share = middle["all measures"] / unit
    print()
    met = "met" if share <= BUDGET else "not met"
    print(f"All measures: {100 * share:.2f} % of a forward pass; budget {100 * BUDGET:.0f} %, {met}.  ")


if __name__ == "__main__":
    main()
