"""Images a second of a capture pass and of scoring changed images: in this process, and over 1 and 2 Ray workers.

    python benchmarks/ray_scaling.py [--model resnet50] [--images 256] [--batch 8] [--workers 1 2] [--quick]

Everybody computes on one CPU thread, so that two workers have twice the processor that this process has. The contenders
take turns; starting the cluster and sending the model once are told apart and count into nothing else. Maps and scores
are compared bit by bit with those of this process.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from common import about, number, say, spread, table


class Pictures:
    """A dataset of ``count`` smooth pictures, each made from its index when it is asked for."""

    def __init__(self, count: int, size: int) -> None:
        self.size = size
        self.targets = [index % 2 for index in range(count)]

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        import torch

        generator = torch.Generator().manual_seed(index)
        coarse = torch.rand(1, 3, 7, 7, generator=generator)
        smooth = torch.nn.functional.interpolate(coarse, size=(self.size, self.size), mode="bilinear")
        return smooth[0].clamp_(0, 1), self.targets[index]


def turn(model: Any, cases: Any, batch: int, executor: Any) -> tuple[float, float, Any, Any]:
    """Return seconds of the capture pass and of scoring as many changed images, and what both gave."""
    import numpy as np
    import torch

    from pytest_saliency import Subject, explain
    from pytest_saliency.engine.scoring import FullBatches

    explained = explain(
        Subject(model), cases, device="cpu", batch_size=batch, threads=1, executor=executor, methods=["gradcam", "case"]
    )
    _ = explained.layer  # found in this process, whoever does the pass
    start = time.perf_counter()
    maps = explained.maps("gradcam").values
    captured = time.perf_counter() - start
    scores = torch.zeros(len(cases), explained.logits.shape[1])

    def take(slots: Any, found: Any) -> None:
        scores[torch.from_numpy(slots)] = found

    start = time.perf_counter()
    with explained.runner.session():
        batches = FullBatches(explained.runner, explained.size, take, len(cases), None, executor)
        for index in range(len(cases)):
            batches.put(np.array([index]), lambda part, index=index: 0.9 * explained.pixels(index)[None][part])
        batches.finish()
    return captured, time.perf_counter() - start, maps, scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="resnet18, 32 small images, one turn: a rough idea")
    options = parser.parse_args()
    if options.quick:
        options.model, options.images, options.size, options.batch, options.turns = "resnet18", 32, 112, 4, 1

    import torch
    import torchvision

    from pytest_saliency import Cases
    from pytest_saliency.engine.executors.on_ray import OnRay

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = torchvision.models.get_model(options.model, weights=None).eval()
    cases = Cases.from_dataset(Pictures(options.images, options.size))
    few = cases.subset(range(4 * options.batch))
    start = time.perf_counter()
    executor = OnRay.at("local", "cpu")
    started = time.perf_counter() - start
    found: dict[str, list[tuple[float, float]]] = {}
    sent: list[float] = []
    same = True
    try:
        say("this process and the workers warm up ...")
        executor.pool.size = max(options.workers)
        turn(model, few, options.batch, None)
        start = time.perf_counter()
        turn(model, few, options.batch, executor)
        sent.append(time.perf_counter() - start)
        reference: tuple[Any, Any] | None = None
        for number_of_turn in range(options.turns):
            for workers in (0, *sorted(options.workers, reverse=True)):
                who = "this process" if not workers else f"{workers} worker{'s' if workers > 1 else ''}"
                say(f"turn {number_of_turn + 1} of {options.turns}: {who} ...")
                if workers and workers != executor.pool.size:
                    executor.pool.stop()
                    executor.pool.size = workers
                if workers:
                    turn(model, few, options.batch, executor)  # the workers are there, and hold the model
                captured, scored, maps, scores = turn(model, cases, options.batch, executor if workers else None)
                found.setdefault(who, []).append((captured, scored))
                if reference is None:
                    reference = (maps, scores)
                same &= torch.equal(reference[0], maps) and torch.equal(reference[1], scores)
            executor.pool.stop()
            executor.pool.size = max(options.workers)
    finally:
        executor.close()
    alone = found["this process"]
    rows = []
    for who, turns in found.items():
        row = [who]
        for place in (0, 1):
            rate = [options.images / one[place] for one in turns]
            ratios = [base[place] / one[place] for base, one in zip(alone, turns, strict=True)]
            row += [number(sorted(rate)[len(rate) // 2]), spread(ratios)]
        rows.append(row)
    told = (
        f"{options.model}, {options.images} images of {options.size}, batches of {options.batch}, one CPU thread each."
        f" The cluster started in {started:.1f} s; workers and model were there {sent[0]:.1f} s later. Maps and scores"
        f" are {'the same bytes' if same else 'NOT THE SAME BYTES'} in all turns."
    )
    print(about(told, packages=("torch", "ray")))
    print()
    print(table(["who", "capture, images/s", "ratio", "scoring, images/s", "ratio"], rows))


if __name__ == "__main__":
    main()
