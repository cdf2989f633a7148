"""``pytest-saliency waivers``: whether the accepted failures of a project are written so that they count."""

from __future__ import annotations

from pathlib import Path

import click

FILE = "saliency-waivers.yaml"


@click.group()
def waivers() -> None:
    """Look at the failures that are accepted in saliency-waivers.yaml."""


@waivers.command()
@click.argument("file", default=FILE, type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--run",
    "run_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="JSON file of a run: also say which checks of it are excused, and the release decision.",
)
def check(file: Path, run_file: Path | None) -> None:
    """Read FILE (saliency-waivers.yaml) and say of every waiver what it is worth today.

    Exit code 1 where one excuses nothing that it was meant to: expired, unreadable, invalid and, with --run, beyond its
    bound or for another model. One that is not needed is told, and is no error.
    """
    from datetime import UTC, datetime

    from pytest_saliency.errors import SaliencyError
    from pytest_saliency.evidence.release import release
    from pytest_saliency.evidence.waiver_file import printable
    from pytest_saliency.evidence.waivers import assess, fitness, load_waivers
    from pytest_saliency.records.runfile import read_run

    found, now = load_waivers(file), datetime.now(UTC)
    document = None if run_file is None else read_run(run_file)
    try:
        states = fitness(found, now) if document is None else assess(found, document["records"], now)
    except (AttributeError, KeyError, TypeError, ValueError, ZeroDivisionError):
        raise SaliencyError(f"{run_file} holds records that this release did not write; nothing is excused.") from None
    for one in states:
        click.echo(f"{file}:{one['line']}: {one['id']} for {printable(one['check'] or 'no check')}: {one['state']}")
        click.echo(f"    {one['why']}")
        for problem in one["problems"]:
            click.echo(f"    {file}:{problem}")
    click.echo(f"{len(states)} waiver{'s' if len(states) != 1 else ''} in {file}")
    if document is not None:
        made = release({**document, "waivers": states})
        click.echo(f"release decision: {made['decision']}. {made['why']}")
        for entry in made["unwaived"]:
            click.echo(f"    {entry['verdict']}, not excused: {printable(entry['check'])}")
    wrong = [one for one in states if one["state"] not in ("applies", "in force", "unused")]
    if wrong:
        raise click.ClickException(f"{len(wrong)} of {len(states)} excuse nothing; renew, correct or remove them.")
