"""How often decisions are wrong: simulations exactly on the limit.

    python benchmarks/calibration.py                    # all of it, 20,000 draws a line
    python benchmarks/calibration.py --only faithful    # decisions whose name contains a word
    python benchmarks/calibration.py --quick

Each line puts a pool of per-image numbers exactly on its limit, draws samples of n images from it, and counts how often
the decision says PASS and how often FAIL. Both would be wrong. A line holds where the upper Clopper-Pearson bound
(95 %) of either rate is at most alpha + 0.01.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import common
from calibrating import bounded, counted, joined, rows, sensitive, shared, swapping, unranged

PARTS = (bounded, counted, sensitive, shared, unranged, swapping, joined)
SIZES = (20, 50, 100, 300)


def simulate(cases: Sequence[rows.Case], sizes: Sequence[int], draws: int, seed: int) -> list[rows.Row]:
    """Run every case at every n."""
    found = []
    for case in cases:
        for n in case.sizes or sizes:
            start = time.perf_counter()
            wrong = case.simulate(rows.generator(seed, case.decision, case.pool, n), n, max(1, draws // case.dear))
            found.append(rows.Row(case.decision, case.pool, n, wrong, time.perf_counter() - start))
            common.say(" | ".join([*found[-1].cells(), f"{found[-1].seconds:.1f} s"]))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=20_000)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of images")
    parser.add_argument("--only", nargs="+", default=[], help="decisions whose name contains one of these words")
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--quick", action="store_true", help="1,000 draws, which cannot show 0.06 for a rate of 0.05")
    parser.add_argument("--out", type=Path, help="write the table to this file too")
    asked = parser.parse_args(arguments)
    cases = [
        case
        for part in PARTS
        for case in part.CASES
        if not asked.only or any(word in f"{case.decision} {case.pool}" for word in asked.only)
    ]
    for part in PARTS:
        part.check(rows.generator(asked.seed, "check", part.__name__))
    start = time.perf_counter()
    found = simulate(cases, asked.sizes, 1_000 if asked.quick else asked.draws, asked.seed)
    broken = [row for row in found if row.wrong.claimed and not row.holds]
    text = "\n\n".join(
        [
            common.about(
                f"Seed {asked.seed}, alpha {rows.ALPHA:g}; {time.perf_counter() - start:.0f} s.",
                f"{len(broken)} of {sum(row.wrong.claimed for row in found)} lines do not hold.",
                packages=("numpy", "scipy"),
            ),
            common.table(rows.HEADINGS, [row.cells() for row in found]),
        ]
    )
    print(text)
    if asked.out is not None:
        asked.out.write_text(text + "\n", encoding="utf-8")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
