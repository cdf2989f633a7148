"""``pytest-saliency merge``: the runs of several machines or shards as one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pytest_saliency.errors import SaliencyError

WAIVERS = "saliency-waivers.yaml"
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
    help="Folder that the paths of contracts are relative to, for the bundle: the repository at the tested commit. Its"
    " saliency-waivers.yaml is taken unless --waivers names another file.",
)
@click.option(
    "--waivers",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Assess these waivers anew for the merged run, as of the end of its last run.",
)
@click.option("--partial", is_flag=True, help="Merge although shards of a session are missing, and say which.")
def merge(
    inputs: tuple[Path, ...],
    output: Path,
    html: Path | None,
    bundle: Path | None,
    pictures: Path,
    root: Path,
    waivers: Path | None,
    partial: bool,
) -> None:
    """Merge the runs INPUTS into one document.

    INPUTS are JSON files of runs (pytest --saliency-json) or folders of bundles. Bundles are read, not verified:
    verify them first. Two runs that decided one check differently are refused, and so are shards of one session
    (pytest --saliency-shard) that are not all there, or not of the same contracts and packages.
    """
    from pytest_saliency.records.runfile import write_run
    from pytest_saliency.records.whole import write_text_whole
    from pytest_saliency.report.inputs import read_given, well_formed
    from pytest_saliency.report.markdown import counts

    documents = [read_given(path) for path in inputs]
    given = waivers or default_waivers(root)
    with well_formed("the inputs cannot be merged"):
        merged = merged_of(documents, given, partial)
    if bundle is not None and merged["waivers"] and given is None:
        raise SaliencyError(
            f"these runs cite waivers, and there is no {root / WAIVERS}, so that no bundle can hold them. Give"
            " --waivers FILE, or --root with the repository. Nothing was written."
        )
    page = None
    if html is not None:
        from pytest_saliency.report.html import pictures_below, render_html

        with well_formed("the HTML report cannot be made"):
            page = render_html(merged, pictures_below(pictures))
    said = []
    if bundle is not None:  # first, because it is the one that can be refused
        from pytest_saliency.evidence.bundle import write_bundle

        with well_formed("the bundle cannot be made"):
            written = write_bundle(bundle, merged, root=root, waivers=given)
        said = [f"bundle: {problem}" for problem in written.problems]
        said.append(f"wrote bundle {written.path}, id {written.id}")
    write_run(output, merged)
    runs = len(merged["run"].get("merged") or [None])
    click.echo(f"{runs} run{'s' if runs != 1 else ''} merged: {counts(merged['records'])}")
    if given is not None:
        click.echo(f"waivers: {given}, as of the end of the last run")
    for deviation in merged["deviations"]:
        click.echo(f"deviation: {deviation}")
    click.echo(f"wrote {output}")
    if html is not None and page is not None:
        write_text_whole(html, page)
        click.echo(f"wrote {html}")
    for line in said:
        click.echo(line)


def default_waivers(root: Path) -> Path | None:
    """Return the file of waivers that a run in ``root`` takes without being told."""
    path = root / WAIVERS
    return path if path.exists() else None


def merged_of(documents: list[dict[str, Any]], waivers: Path | None, partial: bool = False) -> dict[str, Any]:
    """Return the merged document, with the waivers assessed as whoever verifies a bundle of it judges them."""
    from pytest_saliency.report.merge import merge as merge_documents

    merged = merge_documents(documents, partial=partial)
    if waivers is None:
        return merged
    from pytest_saliency.evidence.waivers import assess, load_waivers
    from pytest_saliency.report.merge_runs import instant_of

    ended = instant_of(merged["run"], "finished")
    return merge_documents(documents, assess(load_waivers(waivers), merged["records"], ended), partial=partial)
