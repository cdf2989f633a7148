"""``pytest-saliency calibrate``: limits for a contract from repeated clean runs of it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pytest_saliency.report.escape import log_line

if TYPE_CHECKING:
    from pytest_saliency.planning.calibrate import Calibrated, Proposal


@click.command()
@click.argument("contract", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("runs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--level",
    default=0.95,
    show_default=True,
    type=click.FloatRange(0.5, 0.999),
    help="Chance that a further clean run keeps a limit.",
)
@click.option(
    "--together", is_flag=True, help="Share the level out, so that a further clean run keeps all limits at once."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def calibrate(contract: Path, runs: tuple[Path, ...], level: float, together: bool, as_json: bool) -> None:
    """Propose limits for CONTRACT from RUNS, the JSON files (or bundles) of its runs on clean trainings.

    Each run is one training that is known to be good, made as the models under test will be made, with another seed:
    three at least. A check passes where the bound of its measure lies inside of the limit, so the limit proposed is
    one that the bound of a further clean run keeps with the chance --level. With 19 runs (for 95 %) that is the most
    extreme bound seen and assumes nothing but that the runs are alike; with fewer it is Student's prediction bound,
    which assumes that bounds of runs are about normal. Use as many images as the contract will have: bounds of other
    numbers of images are other bounds. A limit from clean runs says what is usual, not what is acceptable: that remains
    for you to say. What is printed is YAML to paste. No model runs, and torch is not needed.

    Exit code: 1 if nothing can be proposed for a check, else 0.
    """
    from pytest_saliency.errors import SaliencyError
    from pytest_saliency.planning.calibrate import calibrated, count_limits
    from pytest_saliency.planning.pilot import asked_of, read_contract
    from pytest_saliency.report.escape import log_line
    from pytest_saliency.report.inputs import read_given, well_formed

    read = read_contract(contract)
    documents: dict[str, Any] = {}
    seen: dict[str, Path] = {}
    for path in runs:
        document = read_given(path)
        with well_formed(str(path)):
            name = str(document["run"].get("id"))
        if name in seen:
            raise SaliencyError(f"{path} is the same run as {seen[name]}; name each run once.")
        seen[name] = path
        documents[str(path)] = document
    with well_formed("a run"):
        asked = asked_of(read, documents)
        each = 1.0 - (1.0 - level) / max(1, count_limits(asked)) if together else level
        made = [calibrated(one, each) for one in asked]
    if as_json:
        rows = [asdict(one) for one in made]
        click.echo(json.dumps({"contract": read.slug, "level": each, "checks": rows}, indent=2, allow_nan=False))
    else:
        for line in lines_of(made, each, len(runs)):
            click.echo(log_line(line))
    if any(one.why or any(p.limit is None for p in one.proposals) for one in made):
        raise click.exceptions.Exit(1)


def lines_of(made: list[Calibrated], level: float, runs: int) -> list[str]:
    """Return the proposals as YAML with comments: what to paste, and what it rests on."""
    from pytest_saliency.planning.calibrate import runs_needed

    enough = runs_needed(level)
    lines = [f"# {runs} clean runs; each limit is kept by a further one with a chance of {100 * level:.4g} %"]
    if runs < enough:
        lines.append(f"# assuming normal bounds; {enough} runs would need no such assumption")
    lines.append("checks:")
    for one in made:
        if one.why:
            lines.append(f"  # {one.check}: {one.why}")
            continue
        name = one.check.partition("[")[0]
        lines.append(f"  - id: {name}" + (f"  # {one.check}" if name != one.check else ""))
        lines.append(f"    kind: {one.kind}")
        inside: str | None = None
        for proposal in one.proposals:
            if proposal.name is not None and proposal.key != inside:
                lines.append(f"    {proposal.key}:")
            inside = proposal.key if proposal.name is not None else None
            lines.append(_line(proposal))
        if one.passes is not None:
            lines.append(f"    # with these limits {one.passes} of the {one.runs} runs pass")
            lines += [f"    # {log_line(other)}" for other in one.others]
    return lines


def _line(proposal: Proposal) -> str:
    indent, name = ("      ", proposal.name) if proposal.name is not None else ("    ", proposal.key)
    if proposal.limit is None:
        return f"{indent}# {name}: {proposal.problem}"
    low, high = min(proposal.bounds), max(proposal.bounds)
    said = f"bounds {low:.3g} to {high:.3g}; {proposal.rule}; declared {proposal.declared:g}"
    return f"{indent}{name}: {proposal.limit:g}  # {said}"
