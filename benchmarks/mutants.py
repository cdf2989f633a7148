"""Which kinds of check reject which wrong explainers, and how often the default contract lets one through.

    python benchmarks/mutants.py            # 50 runs with a network of matched filters, 10 with digits
    python benchmarks/mutants.py --quick

A run draws other images. A mutant is let through where the verdict is PASS; INCONCLUSIVE is no PASS. 49 runs without
one show a rate below 6 %. A kind that let a mutant through is asked on 300 further draws, which are then what is told.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import common
import torch
from mutating import methods, subjects, trials

LETTER = {"PASS": "P", "FAIL": "F", "INCONCLUSIVE": "i", trials.ERROR: "r"}
MORE = 300
"""Further runs of a kind that let a mutant through: 11 passes would still show less than 0.06."""
GOOD = ("gradcam", "gradcam++", "hirescam", "xgradcam", "layercam", "case")


def table(setting: subjects.Setting, records: Sequence[trials.Record]) -> str:
    """Return the rates by mutant, and the verdicts of one run of every kind."""
    kinds = list(setting.criteria)
    rates = common.table(
        ("mutant", "what", "kinds that must reject it: let through", "default contract", "published rule"),
        [
            [
                record.mutant.name,
                record.mutant.what,
                "; ".join(f"{kind} {tally.shown()}" for kind, tally in record.named.items()),
                record.contract.shown(),
                f"{record.published.passed}/{record.published.runs}",
            ]
            for record in records
        ],
    )
    once = common.table(
        ("mutant", *(kind.replace("_", " ") for kind in kinds)),
        [[record.mutant.name, *(LETTER[record.once[kind]] for kind in kinds)] for record in records],
    )
    return f"{rates}\n\nOne run, every kind (P pass, F fail, i inconclusive, r refused in a sentence):\n\n{once}"


def good_table(setting: subjects.Setting, found: Mapping[str, Mapping[str, str]]) -> str:
    """Return the verdicts of sound methods."""
    kinds = list(setting.criteria)
    return common.table(
        ("method", *(kind.replace("_", " ") for kind in kinds)),
        [[method, *(LETTER[verdicts[kind]] for kind in kinds)] for method, verdicts in found.items()],
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, nargs=2, default=(50, 10), help="with matched filters, with digits")
    parser.add_argument("--images", type=int, nargs=2, default=(40, 60), help="a run")
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--quick", action="store_true", help="two runs each, which show little")
    parser.add_argument("--keep", type=Path, help="begin of a file name under which finished runs are kept for later")
    parser.add_argument("--out", type=Path, help="write the tables to this file too")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    methods.register()
    start = time.perf_counter()
    parts, broken = [], 0
    for setting, runs, images in zip(subjects.SETTINGS, asked.runs, asked.images, strict=True):
        kept = None if asked.keep is None else asked.keep.with_name(f"{asked.keep.name}-{setting.layer}-{images}.json")
        runs, more = (2, 0) if asked.quick else (runs, MORE)
        records = trials.tried(setting, images, runs, asked.seed, common.say, kept, more)
        if setting is subjects.MATCHED:
            broken += sum(not record.holds for record in records)
        parts.append(f"### {setting.name}, {images} images a run\n\n{table(setting, records)}")
    good = trials.known_good(subjects.MATCHED, GOOD, 80 if asked.quick else 200, asked.seed)
    broken += sum(word != "PASS" for verdicts in good.values() for word in verdicts.values())
    parts.append(f"### Known good: matched filters at n = 200\n\n{good_table(subjects.MATCHED, good)}")
    head = common.about(
        f"Seed {asked.seed}; {time.perf_counter() - start:.0f} s.", packages=("numpy", "scipy", "torch", "scikit-learn")
    )
    text = "\n\n".join([head, *parts])
    print(text)
    if asked.out is not None:
        asked.out.write_text(text + "\n", encoding="utf-8")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
