"""What decisions see on a real network: A/A runs, and power by dose.

    python benchmarks/power.py
    python benchmarks/power.py --quick

A small network is trained on digits; its maps on images that it was not trained on are the pool, and everything else is
drawn from that. A/A: one checkpoint, its images split into random halves: a FAIL is wrong. Dose:
for ``class_sensitive`` the map of the runner-up is mixed towards that of the top class, for drift the map after towards
the map of another image, and the share of PASS and FAIL follows from samples of n images.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import common
import numpy as np
import torch
from calibrating import bounded, rows, sensitive
from mutating import methods, subjects

from pytest_saliency import Explained, explain
from pytest_saliency.decide import between, compare
from pytest_saliency.measure.pairs import compare as measured

METHOD = "case"
DOSES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
SIZES = (20, 50, 100, 300)
GAP = 0.02
MAX_IOU_DROP = 0.4
FLIPS = 999


def pool(count: int) -> Explained:
    return explain(subjects.DIGITS.subject(), subjects.DIGITS.cases(count, 1), device="cpu")


def both_ok(one: Explained) -> np.ndarray:
    """Return the places of images that are predicted rightly and have maps for both classes."""
    return np.flatnonzero(one.correct & one.maps(METHOD, "top1").ok & one.maps(METHOD, "top2").ok)


def mixed(first: torch.Tensor, second: torch.Tensor, dose: float) -> torch.Tensor:
    """Return rectified maps, each of sum 1, mixed: dose 0 is ``second``, dose 1 is ``first``."""
    a, b = (maps.double().clamp(min=0.0).flatten(1) for maps in (first, second))
    a, b = a / a.sum(1, keepdim=True), b / b.sum(1, keepdim=True)
    return (dose * a + (1.0 - dose) * b).reshape(first.shape)


def aa(values: np.ndarray, ranged: bool, n: int, draws: int, rng: np.random.Generator) -> int:
    """Return how often two random halves of 2 n images are said to differ by more than the limit."""
    failed = 0
    for _ in range(draws):
        chosen = values[rng.permutation(len(values))[: 2 * n]]
        halves = [chosen[:n], chosen[n:]]
        if ranged:
            groups: list[between.Mean] = [between.Betting(half, half, (0.0, 1.0), rows.ALPHA / 4.0) for half in halves]
        else:
            references = [compare.mean_reference(half, 1, draws=FLIPS) for half in halves]
            groups = [between.Unranged(one, one, float(np.abs(chosen).max())) for one in references]
        failed += between.largest_lower(groups, rows.ALPHA) > (GAP if ranged else GAP * float(values.std()))
    return failed


def aa_table(one: Explained, draws: int, rng: np.random.Generator) -> str:
    """Return the table of A/A runs."""
    places = both_ok(one)
    top1, top2 = (one.maps(METHOD, target).values[places] for target in ("top1", "top2"))
    agreement = measured(top1, top2, ["agreement"], fraction=0.05, size=one.input_size)["agreement"].numpy()
    scores = torch.as_tensor(one.logits)[places].double()
    best = scores.argmax(1, keepdim=True)
    rest = scores.scatter(1, best, -torch.inf).logsumexp(1)
    odds = (scores.gather(1, best)[:, 0] - rest).numpy()
    lines = []
    for name, values, ranged in (("agreement of top-1 and top-2", agreement, True), ("log-odds", odds, False)):
        for n in (20, 50, 100):
            count = draws if ranged else max(1, draws // 4)
            failed = aa(values, ranged, n, count, rng)
            lines.append([name, str(n), f"{count:,}", rows.shown(failed, count)])
    return common.table(("numbers", "n in each half", "splits", "FAIL"), lines)


def sensitive_table(one: Explained, draws: int, rng: np.random.Generator) -> str:
    """Return PASS / FAIL of ``class_sensitive`` by dose."""
    places = both_ok(one)
    top1, top2 = (one.maps(METHOD, target).values[places] for target in ("top1", "top2"))
    lines = []
    for dose in DOSES:
        values = measured(
            top1, mixed(top1, top2, dose).to(top1.dtype), ["agreement"], fraction=0.05, size=one.input_size
        )["agreement"].numpy()
        cells = []
        for n in SIZES:
            chosen = values[rng.integers(0, len(values), (draws, n))]
            passed, failed = sensitive.verdicts(chosen, np.ones_like(chosen), sensitive.LIMIT)
            cells.append(f"{passed.mean():.2f} / {failed.mean():.2f}")
        lines.append([f"{dose:.1f}", f"{np.median(values):.2f}", *cells])
    return common.table(("dose", "median agreement", *(f"n = {n}" for n in SIZES)), lines)


def drift_table(one: Explained, draws: int, rng: np.random.Generator) -> str:
    """Return PASS / FAIL of a limit on the IoU drop by dose: maps mixed towards another image's."""
    places = both_ok(one)
    before = one.maps(METHOD, "top1").values[places]
    other = before.roll(1, dims=0)
    lines = []
    for dose in DOSES:
        after = mixed(other, before, dose).to(before.dtype)
        drops = 1.0 - measured(before, after, ["iou"], fraction=0.20, size=one.input_size)["iou"].numpy()
        cells = []
        for n in SIZES:
            chosen = np.clip(drops[rng.integers(0, len(drops), (draws, n))], 0.0, 1.0)
            passed = bounded.p_below(chosen, MAX_IOU_DROP) < rows.ALPHA
            failed = bounded.p_above(chosen, MAX_IOU_DROP) < rows.ALPHA
            cells.append(f"{passed.mean():.2f} / {failed.mean():.2f}")
        lines.append([f"{dose:.1f}", f"{drops.mean():.2f}", *cells])
    return common.table(("dose", "mean IoU drop", *(f"n = {n}" for n in SIZES)), lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--quick", action="store_true", help="100 draws")
    parser.add_argument("--out", type=Path, help="write the tables to this file too")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    methods.register()
    draws = 100 if asked.quick else asked.draws
    start = time.perf_counter()
    one = pool(500)
    parts = [
        f"### A/A: one checkpoint, random halves, limit {GAP:g} (for log-odds in standard deviations)\n\n"
        + aa_table(one, draws, rows.generator(asked.seed, "aa")),
        "### Power of `class_sensitive`, limit 0.5: PASS / FAIL; dose 1 is the same map twice\n\n"
        + sensitive_table(one, draws, rows.generator(asked.seed, "sensitive")),
        f"### Power of drift, `max_iou_drop` {MAX_IOU_DROP:g}: PASS / FAIL; dose 1 is another image's map\n\n"
        + drift_table(one, draws, rows.generator(asked.seed, "drift")),
    ]
    head = common.about(
        f"Seed {asked.seed}; method {METHOD}; {len(both_ok(one))} of {len(one.cases)} images of digits, rightly"
        f" predicted and with both maps; accuracy {one.correct.mean():.2f}; {time.perf_counter() - start:.0f} s.",
        packages=("numpy", "scipy", "torch", "scikit-learn"),
    )
    text = "\n\n".join([head, *parts])
    print(text)
    if asked.out is not None:
        asked.out.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
