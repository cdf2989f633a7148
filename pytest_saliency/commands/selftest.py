"""``pytest-saliency selftest``: known answers, so that whoever relies on a verdict can see the tool find them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pytest_saliency.evidence.selftest.item import Item


@click.command()
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for an evidence bundle of the self test, and its records as JSON; nothing there is overwritten.",
)
@click.option("--tester", metavar="NAME", help="Who answers for this self test, as the records say it.")
@click.option("-v", "--verbose", is_flag=True, help="Show every known answer, not only what is not as expected.")
def selftest(output: Path | None, tester: str | None, verbose: bool) -> None:
    """Run known answers on the CPU: closed-form maps, planted evidence, a shortcut, intervals, waivers, tampering.

    Prints a line for each part, and what is not as expected. Everything it needs is in the package. Exit code 0 where
    all came out, 1 where something did not.
    """
    try:
        from pytest_saliency.evidence.selftest.run import run_selftest
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "torchvision"):
            raise
        raise click.ClickException(f"the self test runs models and needs {error.name}, which is not there.") from None

    def tell(part: str, items: list[Item]) -> None:
        click.echo(f"{part}: {sum(i.ok for i in items)} of {len(items)} ok, {sum(i.seconds for i in items):.1f} s")
        for item in items:
            if verbose or not item.ok:
                click.echo(f"  {'ok' if item.ok else 'WRONG':<5}  {item.name}")
                click.echo(f"         expected {item.expected}; got {item.got}")

    outcome = run_selftest(tell, tester)
    if output is not None:
        from pytest_saliency.evidence.bundle import write_bundle
        from pytest_saliency.records.runfile import write_run

        written = write_bundle(output, outcome.document, root=output)
        records = written.path.with_name(f"{written.path.name}.json")
        write_run(records, outcome.document)
        click.echo(f"evidence bundle {written.id} written to {written.path}")
        click.echo(f"records written to {records}")
    wrong = sum(not item.ok for item in outcome.items)
    click.echo(
        f"{len(outcome.items)} known answers in {outcome.seconds:.1f} s: {'all ok' if not wrong else f'{wrong} WRONG'}"
    )
    if wrong:
        raise click.exceptions.Exit(1)
