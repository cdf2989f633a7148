"""``pytest-saliency plan``: how many images each check of a contract needs, by a pilot run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pytest_saliency.planning.plan import Need


@click.command()
@click.argument("contract", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--pilot",
    required=True,
    type=click.Path(exists=True, path_type=Path),
    help="JSON file of a run of this contract on fewer images (pytest --saliency-json), or its bundle.",
)
@click.option(
    "--power",
    default=0.8,
    show_default=True,
    type=click.FloatRange(0.5, 0.99),
    help="Chance that a check passes if the model is as it was in the pilot.",
)
@click.option(
    "--draws",
    default=100,
    show_default=True,
    type=click.IntRange(40, 2000),
    help="Simulated runs for each number of images that is tried.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def plan(contract: Path, pilot: Path, power: float, draws: int, as_json: bool) -> None:
    """Say how many images each check of CONTRACT needs, by the numbers of a pilot run.

    The pilot's images (or clusters) are drawn with replacement and decided as the check decides, at the limits that
    CONTRACT has now, which may be others than the pilot's. 'least' is the number below which nothing could pass, not
    even perfect images; 'cases' counts all images, also those that a check's 'keep' leaves out. Where a limit lies
    beyond what the pilot measured, no number of images will do, and that is said. Bounds that come from permutations
    (faithful) are scaled from the pilot's standard error instead. A pilot is a sample too: with few images in it these
    numbers are a rough guide. No model runs, and torch is not needed.

    Exit code: 1 if a check cannot be planned (no number will do, or the pilot lacks it), else 0.
    """
    from pytest_saliency.planning.pilot import asked_of, read_contract
    from pytest_saliency.planning.plan import PLANNED, need_of
    from pytest_saliency.report.escape import log_line
    from pytest_saliency.report.inputs import read_given, well_formed

    read = read_contract(contract)
    document = read_given(pilot)
    with well_formed(str(pilot)):
        asked = asked_of(read, {pilot.name: document})
    needs = [need_of(one, power=power, draws=draws) for one in asked]
    if as_json:
        made = {"contract": read.slug, "pilot": pilot.name, "power": power, "checks": [one.to_dict() for one in needs]}
        click.echo(json.dumps(made, indent=2, ensure_ascii=True, allow_nan=False))
    else:
        for line in lines_of(needs, power):
            click.echo(log_line(line))
    if any(one.state != PLANNED for one in needs):
        raise click.exceptions.Exit(1)


def lines_of(needs: list[Need], power: float) -> list[str]:
    """Return the plan as text: one line a check, and what the whole contract needs."""
    from pytest_saliency.planning.plan import PLANNED

    lines = [f"for a PASS with {power:.0%} power, if the model is as in the pilot:".replace("%", " %")]
    for one in needs:
        pilot = f"pilot: {one.pilot_verdict} with n = {one.pilot}" if one.pilot_verdict else ""
        if one.state == PLANNED:
            least = f", never below {one.least}" if one.least and one.least > 1 else ""
            shown = "" if one.power is None else f", power {one.power:.2f} ± {2.0 * (one.error or 0.0):.2f}"
            lines.append(
                f"  {one.check}: n = {one.n} {one.unit} after 'keep', about {one.cases} cases ({one.how}{shown}{least};"
                f" {pilot})"
            )
        else:
            lines.append(f"  {one.check}: {one.why}" + (f" ({pilot})" if pilot else ""))
    planned = [one.cases or 0 for one in needs if one.state == PLANNED]
    open_ones = len(needs) - len(planned)
    if planned and len(needs) > 1:
        lines.append(
            f"  all of these: about {max(planned)} cases" + (f"; {open_ones} not planned" if open_ones else "")
        )
    return lines
