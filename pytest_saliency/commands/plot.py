"""``pytest-saliency plot``: the plots of a run's records, one SVG file each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.command()
@click.argument("run", type=click.Path(exists=True, path_type=Path))
@click.option(
    "-k", "text", default="", metavar="TEXT", help="Only checks whose node id contains TEXT, in upper or lower case."
)
@click.option(
    "-o",
    "--output",
    "folder",
    default="plots",
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write into; it is made where it is missing.",
)
def plot(run: Path, text: str, folder: Path) -> None:
    """Write each plot of RUN as an SVG file into a folder.

    Of checks over several pairs of models there is a heat table too, with its numbers as JSON beside it.

    RUN is the JSON file of a run (pytest --saliency-json) or the folder of a bundle. Files of the same name are
    replaced, others are left alone.
    """
    from pytest_saliency.errors import SaliencyError
    from pytest_saliency.records.whole import write_text_whole
    from pytest_saliency.report.inputs import read_given, well_formed

    records = read_given(run)["records"]
    chosen = [record for record in records if text.casefold() in str(record.get("node")).casefold()]
    if not chosen:
        why = (
            f"none of the {len(records)} checks of {run} has {text!r} in its node id" if records else f"{run} is empty"
        )
        raise SaliencyError(f"nothing to plot: {why}.")
    with well_formed(f"{run} cannot be plotted"):
        files = {**_files(chosen), **_tables(chosen)}
    if not files:
        which = "the one check" if len(chosen) == 1 else f"each of the {len(chosen)} checks"
        raise SaliencyError(
            f"nothing to plot: {which} of {run} that was asked for has no numbers to draw, as it reached no verdict."
        )
    for name, content in files.items():
        write_text_whole(folder / name, content)
        click.echo(f"wrote {folder / name}")
    without = sum(not _files([record]) for record in chosen)
    if without:
        click.echo(f"{without} of {len(chosen)} checks have nothing to plot.")


def _files(records: list[dict[str, Any]]) -> dict[str, str]:
    """Return the text of each file by its name; names are safe, and no two of them are one."""
    from pytest_saliency.report.attach import file_name
    from pytest_saliency.report.plots.registry import plots_of
    from pytest_saliency.report.plots.standalone import standalone

    files: dict[str, str] = {}
    seen: dict[str, int] = {}
    for record in records:
        node = str(record.get("node"))
        seen[node] = seen.get(node, 0) + 1
        stem = file_name(node if seen[node] == 1 else f"{node}#{seen[node] - 1}").lstrip("-")
        for made in plots_of(record):
            files[f"{stem}-{made.name}.svg"] = standalone(made, f"{node}: {record.get('verdict')}")
    return files


def _tables(records: list[dict[str, Any]]) -> dict[str, str]:
    """Return the files of the tables over several records: drift by architecture and method."""
    from pytest_saliency.records.hashing import to_json
    from pytest_saliency.report.attach import file_name
    from pytest_saliency.report.drift_table import drift_tables
    from pytest_saliency.report.plots.heat import heat_plots
    from pytest_saliency.report.plots.standalone import standalone

    files: dict[str, str] = {}
    for table in drift_tables(records):
        name = f"{table.contract}/{table.check}"
        stem = file_name(name).lstrip("-")
        files[f"{stem}-architecture-by-method.json"] = to_json(table.to_dict()) + "\n"
        for made in heat_plots(table):
            files[f"{stem}-{made.name}.svg"] = standalone(made, f"{name}: architecture by method")
    return files
