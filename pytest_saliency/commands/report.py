"""``pytest-saliency report``: the HTML report from a run's records alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.command()
@click.argument("run", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "-o", "--output", default="report.html", show_default=True, type=click.Path(dir_okay=False, path_type=Path)
)
@click.option(
    "--pictures",
    default=".",
    show_default=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder that the paths of pictures in RUN are relative to: pytest's root. Nothing outside of it is read.",
)
@click.option(
    "--images",
    default="failed",
    show_default=True,
    type=click.Choice(["failed", "all", "none"]),
    help="Whose pictures to show; 'none' leaves no pixel of any image in the report.",
)
@click.option(
    "--waivers",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Judge the run by this file of waivers, as of now, instead of what the run itself found.",
)
@click.option("--title", help="Title of the report.")
def report(run: Path, output: Path, pictures: Path, images: str, waivers: Path | None, title: str | None) -> None:
    """Write the HTML report of RUN, the JSON file of a run (pytest --saliency-json)."""
    from pytest_saliency.records.runfile import read_run
    from pytest_saliency.records.whole import write_text_whole
    from pytest_saliency.report.html import pictures_below, render_html

    document = read_run(run)
    if waivers is not None:
        document = {**document, "waivers": _assessed(waivers, document)}
    write_text_whole(output, render_html(document, pictures_below(pictures), title=title, images=images))
    click.echo(f"wrote {output}")


def _assessed(path: Path, document: dict[str, Any]) -> list[dict[str, Any]]:
    from datetime import UTC, datetime

    from pytest_saliency.evidence.waivers import assess, load_waivers

    return assess(load_waivers(path), document["records"], datetime.now(UTC))
