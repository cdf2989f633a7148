"""``pytest-saliency verify``: whether an evidence bundle is what was written, and whether what it says follows."""

from __future__ import annotations

import re
from pathlib import Path

import click

from pytest_saliency.errors import SaliencyError


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--level",
    type=click.IntRange(0, 3),
    default=1,
    show_default=True,
    help="0: bytes and signatures. 1: every decision, criterion and report again from the numbers. 2: per-image"
    " numbers again from stored maps (needs torch). 3: run the checks again (runs the code of --root).",
)
@click.option("--id", "identifier", metavar="SHA256", help="The identifier that the bundle must have.")
@click.option(
    "--key",
    "keys",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A public key (PEM) that must have signed; may be given several times.",
)
@click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The repository that level 3 runs in (default: the current folder, if the contracts are there).",
)
@click.pass_context
def verify(
    ctx: click.Context,
    bundle: Path,
    level: int,
    identifier: str | None,
    keys: tuple[Path, ...],
    root: Path | None,
) -> None:
    """Verify the evidence bundle in the folder BUNDLE.

    Exit codes: 0 it is whole and every check says PASS, 3 it is whole but a check did not pass (waived or not) or
    shards of its session are missing, 4 it was tampered with, is another bundle or not signed as asked for, or is no
    bundle, 5 it is whole but level 3 could not repeat it in --root, 2 the command was used wrongly.
    """
    from pytest_saliency.evidence.dsse import Key
    from pytest_saliency.evidence.told import lines_of
    from pytest_saliency.evidence.verify import verify as verified

    if identifier is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", identifier):
        raise click.BadParameter("must be 64 hexadecimal digits", param_hint="'--id'")
    if level == 3:
        click.echo(f"level 3 runs the code of {root or Path.cwd()}, not of the bundle", err=True)
    try:
        given = [Key(str(path), path.read_bytes()) for path in keys]
        report = verified(bundle, level, expected_id=identifier, keys=given, root=root)
    except SaliencyError as error:
        raise click.UsageError(str(error)) from None
    click.echo("\n".join(lines_of(report)))
    ctx.exit(report.exit_code)
