"""What explaining costs, in forward passes: pytest-saliency, grad-cam, captum and torch-cam in the same run.

    python benchmarks/speed.py [--models resnet50 ...] [--rows gradcam six ...] [--device cuda] [--precision bf16]

The unit is the plain forward pass in inference mode over the same images, measured anew just before each contender's
turn, and the contenders take turns. Images are in memory; the peers are told the classes to explain and are spared
finding them. Prints one markdown block: the unit of each model, and the rows.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch
from common import PACKAGES, about, in_turns, number, say, spread, table
from floor import Cost, Costs
from peers import PEERS
from profiling import profile
from rows import OURS, ROWS, Row
from subjects import BATCH, HALVES, SPECS, USUAL, Bench, prepare

UNIT = ("model", "layer", "forward pass, ms an image", "the same with channels last")
HEADINGS = ("model", "work", OURS, "of which", "budget", "floor: operations, bytes", "above the floor", *PEERS)


def models_of(row: Row, named: Sequence[str] | None) -> tuple[str, ...]:
    """Return where a row is measured: on the models that were named, else where it says."""
    return tuple(named) if named else row.models or USUAL


def measure(bench: Bench, row: Row, costs: Costs | None, repeats: int, dear: bool) -> tuple[list[str], list[float]]:
    """Return the cells of a row, and every measurement of the unit."""
    contenders, absent = row.contenders(bench, dear)
    found, units = in_turns(contenders, bench.forward_seconds, repeats, bench.wait)
    mine = found[OURS]
    details = "; ".join(part for part in (mine.stages(), mine.words) if part)
    cells = [bench.name, row.title, mine.shown(), details or "-", _budget(row, mine.middle)]
    cells += _floor(row, costs, mine.middle)
    only = {one.who: one.only for one in contenders}
    for who in PEERS:
        if who in found:
            cells.append(found[who].shown() + (f" {only[who]}" if only[who] else ""))
        else:
            cells.append(absent[who])
    return cells, units


def _budget(row: Row, middle: float) -> str:
    if row.budget is None:
        return "-"
    return f"{number(row.budget)}, {'met' if middle <= row.budget else 'not met'}"


def _floor(row: Row, costs: Costs | None, middle: float) -> tuple[str, str]:
    if row.floor is None or costs is None:
        return "-", "-"
    floor: Cost = row.floor(costs)
    return f"{floor.operations:.3f}, {floor.bytes:.3f}", f"{middle - floor.operations:+.2f}"


def unit_cells(bench: Bench, units: Sequence[float], repeats: int) -> list[str]:
    """Return the line of the unit: what a forward pass takes over the whole run, and with channels last."""
    if bench.spec.tokens:
        last = "-"
    else:
        bench.forward(channels_last=True)
        ratios = []
        for _ in range(repeats):
            plain = bench.forward_seconds()
            ratios.append(bench.forward_seconds(channels_last=True) / plain)
        last = spread(ratios)
    shown = spread([1000 * seconds for seconds in units])
    return [bench.name, f"`{bench.spec.layer}`", shown, last]


def costs_of(bench: Bench) -> Costs:
    """Count operations and bytes, always in float32 on the CPU."""
    plain = bench.device == "cpu" and bench.precision == "float32"
    return Costs.of(bench if plain else prepare(bench.name, "cpu", 1))


def run(options: argparse.Namespace) -> tuple[list[list[str]], list[list[str]]]:
    """Measure every row on every model it is for, model by model; return the lines of both tables."""
    wanted = {key: models_of(ROWS[key], options.models) for key in options.rows}
    order = dict.fromkeys(name for names in wanted.values() for name in names)
    unit_lines, lines = [], []
    for name in order:
        bench = prepare(name, options.device, options.batches, options.precision)
        costs = None if options.without_floor or options.profile else costs_of(bench)
        units: list[float] = []
        for key in (key for key, names in wanted.items() if name in names):
            say(f"{name}: {ROWS[key].title} ...")
            if options.profile:
                say(profile(bench, ROWS[key]))
                continue
            cells, timed = measure(bench, ROWS[key], costs, options.repeats, options.dear)
            say(f"    {cells[2]}")
            lines.append(cells)
            units += timed
        if units:
            unit_lines.append(unit_cells(bench, units, options.repeats))
    return unit_lines, lines


def notes(options: argparse.Namespace) -> list[str]:
    """Return what a reader must know about the numbers."""
    half = "" if options.precision == "float32" else f", the unit in {options.precision} too"
    return [
        f"{BATCH * options.batches} images in batches of {BATCH}, {options.precision}{half}, random weights; ratios to"
        f" the forward pass, median of {options.repeats} turns (smallest .. largest).",
    ]


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=tuple(SPECS), help="models for all rows (default: by row)")
    parser.add_argument("--rows", nargs="+", choices=tuple(ROWS), default=tuple(ROWS), help="default: all")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda[:n]")
    parser.add_argument(
        "--precision", choices=("float32", *HALVES), default="float32", help="peers run in float32 only"
    )
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default 2)")
    parser.add_argument("--batches", type=int, default=4, help=f"batches of {BATCH} images (default 4)")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each contender (default 3)")
    parser.add_argument("--without-dear", dest="dear", action="store_false", help="no peers that take minutes")
    parser.add_argument("--without-floor", action="store_true", help="do not count operations and bytes")
    parser.add_argument("--quick", action="store_true", help="2 batches, 2 turns, no dear peers: a rough idea")
    parser.add_argument("--profile", action="store_true", help="instead: where the time goes, operation by operation")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    options = arguments().parse_args(argv)
    if options.quick:
        options.batches, options.repeats, options.dear = 2, 2, False
    if options.batches < 2:
        raise SystemExit("speed.py: --batches must be at least 2, because some rows need 16 images")
    torch.set_num_threads(options.threads)
    unit_lines, lines = run(options)
    if not lines:
        return
    print(about(*notes(options), device=options.device, packages=PACKAGES))
    print()
    print(table(UNIT, unit_lines))
    print()
    print(table(HEADINGS, lines))


if __name__ == "__main__":
    main()
