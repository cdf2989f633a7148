"""``pytest-saliency merge``: the runs of several machines or shards as one."""

from __future__ import annotations

from pathlib import Path

import click

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("inputs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("-o", "--output", required=True, type=FILE, help="The JSON file to write.")
@click.option("--html", type=FILE, help="Write the HTML report of all of it as well.")
@click.option(
    "--bundle", type=click.Path(file_okay=False, path_type=Path), help="Write an evidence bundle into this folder."
)
@click.option(
    "--pictures",
    default=".",
    show_default=True,
    type=FOLDER,
    help="Folder that the paths of pictures are relative to, for the HTML report.",
)
@click.option(
    "--root",
    default=".",
    show_default=True,
    type=FOLDER,
    help="Folder that the paths of contracts are relative to, for the bundle: the repository at the tested commit.",
)
@click.option(
    "--waivers",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Assess these waivers anew for the merged run, as of the end of its last run.",
)
def merge(
    inputs: tuple[Path, ...],
    output: Path,
    html: Path | None,
    bundle: Path | None,
    pictures: Path,
    root: Path,
    waivers: Path | None,
) -> None:
    """Merge the runs INPUTS into one document.

    INPUTS are JSON files of runs (pytest --saliency-json) or folders of bundles. Bundles are read, not verified:
    verify them first. Two runs that decided one check differently are refused.
    """
    from pytest_saliency.records.runfile import write_run
    from pytest_saliency.report.inputs import read_given, well_formed
    from pytest_saliency.report.markdown import counts
    from pytest_saliency.report.merge import merge as merge_documents

    documents = [read_given(path) for path in inputs]
    with well_formed("the inputs cannot be merged"):
        merged = merge_documents(documents)
        if waivers is not None:
            from pytest_saliency.evidence.waivers import assess, load_waivers
            from pytest_saliency.report.merge_runs import instant_of

            ended = instant_of(merged["run"], "finished")  # as whoever verifies the bundle judges them
            merged = merge_documents(documents, assess(load_waivers(waivers), merged["records"], ended))
    write_run(output, merged)
    runs = len(merged["run"].get("merged") or [None])
    click.echo(f"{runs} run{'s' if runs != 1 else ''} merged: {counts(merged['records'])}")
    for said in merged["deviations"]:
        click.echo(f"deviation: {said}")
    click.echo(f"wrote {output}")
    if html is not None:
        from pytest_saliency.records.whole import write_text_whole
        from pytest_saliency.report.html import pictures_below, render_html

        with well_formed("the HTML report cannot be made"):
            page = render_html(merged, pictures_below(pictures))
        write_text_whole(html, page)
        click.echo(f"wrote {html}")
    if bundle is not None:
        from pytest_saliency.evidence.bundle import write_bundle

        with well_formed("the bundle cannot be made"):
            written = write_bundle(bundle, merged, root=root, waivers=waivers)
        for problem in written.problems:
            click.echo(f"bundle: {problem}")
        click.echo(f"wrote bundle {written.path}, id {written.id}")
