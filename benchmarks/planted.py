"""Plant realistic failures during fine-tuning, and see which the default contract catches.

    python benchmarks/planted.py [--quick] [--seed 0] [--work FOLDER] [--results FILE]

Small networks are fine-tuned on data in which something is wrong, and others cleanly with other seeds. Half of the
clean ones propose the limits of the default contract, by the rule of ``contracts/proposal.py``, one contract for each
architecture and data set; the other half show how often it alarms without reason. A plant counts where its effect on
the prediction is shown by changing what was planted and looking again. An alarm is any item that is red: FAIL,
INCONCLUSIVE or ERROR.

Everything finished is kept in the working folder, so that an interrupted run goes on, and checks that are added later
run on the kept weights.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from common import about, say
from planting.contract import Ruled, outcomes, ruled
from planting.data import DATA
from planting.nets import NETS
from planting.store import Run, Store
from planting.tables import checks_table, failures_table, listed, summary
from planting.work import Plan, Workshop

from pytest_saliency.decide.decision import plain

PACKAGES = ("torch", "numpy", "scipy", "scikit-learn")


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what is missing, decide everything anew, print the tables."""
    options = _options(arguments)
    plan = Plan(
        tuple(NETS)[:1] if options.quick else tuple(NETS),
        tuple(DATA)[1:] if options.quick else tuple(DATA),
        bases=1,
        calibrating=5 if options.quick else options.calibrating,
        clean=2 if options.quick else options.clean,
        plants=1 if options.quick else options.plants,
    )
    folder = options.work or Path(tempfile.gettempdir()) / f"pytest-saliency-planted-{options.seed}"
    shop = Workshop(Store(folder), say, seed=options.seed)
    started = time.perf_counter()
    contracts = contracts_of(plan, shop)
    rows = []
    for run in plan.judged():
        if options.finished and not shop.finished(run):
            continue
        rows.append(row_of(run, shop, contracts[run.setting]))
        if options.minutes and time.perf_counter() - started > 60.0 * options.minutes:
            say("time is up; run the command again to go on")
            break
    say(f"took {time.perf_counter() - started:.0f} s")
    print(report(rows, contracts))
    if options.results:
        found = {"contracts": {name: _contract(one) for name, one in contracts.items()}, "runs": rows}
        options.results.parent.mkdir(parents=True, exist_ok=True)
        options.results.write_text(json.dumps(_short(found), sort_keys=True) + "\n", encoding="utf-8")


def contracts_of(plan: Plan, shop: Workshop) -> dict[str, Ruled]:
    """Return the contract of every setting, from its calibrating runs."""
    clean: dict[str, list[Any]] = {}
    for run in plan.calibration():
        clean.setdefault(run.setting, []).append(shop.numbers(run))
    return {setting: ruled(numbers) for setting, numbers in clean.items()}


def row_of(run: Run, shop: Workshop, contract: Ruled) -> dict[str, Any]:
    """Return a run with its effect and what each check says."""
    said = outcomes(contract, shop.numbers(run))
    return {
        **asdict(run),
        "key": run.key,
        "effect": shop.effect(run),
        "checks": {
            one.check: {"verdict": one.verdict, "headline": one.headline, "measures": plain(one.measures)}
            for one in said
        },
    }


def report(rows: Sequence[dict[str, Any]], contracts: dict[str, Ruled]) -> str:
    """Return everything that is printed."""
    limits = [
        f"- {setting}: "
        + "; ".join(f"{one.draft.id} {_shown(one.parameters, one.comments)}" for one in contract.checks)
        + (f"; left out: {', '.join(contract.left_out)}" if contract.left_out else "")
        for setting, contract in contracts.items()
    ]
    parts = [
        about(packages=PACKAGES),
        "\n".join(summary(rows)),
        failures_table(rows),
        "Runs that each check alarmed:",
        checks_table(rows),
        "\n".join(listed(rows)),
        "Limits that the clean runs proposed:",
        "\n".join(limits),
    ]
    return "\n\n".join(part for part in parts if part)


def _shown(parameters: Any, comments: Any) -> str:
    return ", ".join(f"{name} {parameters[name]}" for name in comments) or "as published"


def _contract(contract: Ruled) -> dict[str, Any]:
    return {
        "checks": {one.draft.id: dict(one.parameters) for one in contract.checks},
        "left_out": list(contract.left_out),
    }


def _short(value: Any) -> Any:
    """Return the same with numbers of four digits after the point, which is what anybody compares."""
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: _short(one) for key, one in value.items()}
    return [_short(one) for one in value] if isinstance(value, list | tuple) else value


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one architecture and data set, every failure once")
    parser.add_argument("--seed", type=int, default=0, help="of everything (default 0)")
    parser.add_argument("--calibrating", type=int, default=15, help="clean runs a setting that propose limits")
    parser.add_argument("--clean", type=int, default=15, help="clean runs a setting that are judged")
    parser.add_argument("--plants", type=int, default=2, help="runs of each kind of failure a setting")
    parser.add_argument("--work", type=Path, help="folder of what is finished (default: in the system's folder for it)")
    parser.add_argument("--results", type=Path, help="write everything to this JSON file")
    parser.add_argument("--finished", action="store_true", help="report what is finished, and make nothing")
    parser.add_argument("--minutes", type=float, help="stop after this time; what is finished is reported")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
