"""``pytest-saliency summary``: a run on one page of text or Markdown, or as annotations of a GitHub job."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--format",
    "form",
    default="text",
    show_default=True,
    type=click.Choice(["text", "markdown", "github"]),
    help="text: a page for a ticket or a mail; markdown: the page of a job summary; github: annotations for the log of"
    " a GitHub job.",
)
@click.option("--prefix", default="", help="Path from the repository's root to pytest's, for annotations.")
def summary(run: Path, form: str, prefix: str) -> None:
    """Print what came out of RUN, the JSON file of a run or the folder of a bundle."""
    from pytest_saliency.report.github import SUMMARY_BYTES, annotation_lines
    from pytest_saliency.report.inputs import read_given, well_formed
    from pytest_saliency.report.markdown import render_markdown
    from pytest_saliency.report.text import render_text

    document = read_given(run)
    with well_formed(str(run)):
        if form == "text":
            text = render_text(document)
        elif form == "markdown":
            text = render_markdown(document, SUMMARY_BYTES)
        else:
            inside = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
            text = "".join(f"{line}\n" for line in annotation_lines(document, inside))
    click.echo(text, nl=False)
