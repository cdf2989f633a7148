"""From a run's document to the HTML file. Same document, same pictures: same bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pytest_saliency.errors import SaliencyError, first_line
from pytest_saliency.report.html.pictures import IMAGES, ReadPicture

BROKEN = (AttributeError, IndexError, KeyError, TypeError, ValueError)
"""What a record that is not one of ours can raise while it is read."""


def render_html(
    document: Mapping[str, Any],
    read_picture: ReadPicture,
    *,
    title: str | None = None,
    images: str = "all",
    bundle: bool = False,
) -> str:
    """Return the report of a run as one HTML file without script and without anything to load.

    Parameters
    ----------
    document
        The run as ``records.runfile`` writes it; its order of keys makes no difference.
    read_picture
        Returns the bytes of a picture by the path in the record, None where there is no such file; a
        ``SaliencyError`` becomes a visible sentence. Each picture is held against the SHA-256 of its record.
    images
        ``failed`` (checks that are not PASS), ``all``, or ``none``: no pixel of any image.
    bundle
        Whether the report is the one inside of an evidence bundle, which holds pictures only where asked for.

    Raises
    ------
    SaliencyError
        ``images`` is another word, or a record does not hold what a record holds; the message names it.
    """
    from pytest_saliency import __version__
    from pytest_saliency.records.hashing import to_json
    from pytest_saliency.report.html.check import check_view
    from pytest_saliency.report.html.front import front, matrix_row, titled
    from pytest_saliency.report.html.tables import tables_shown
    from pytest_saliency.report.html.text import name
    from pytest_saliency.report.html.verdicts import rank

    if images not in IMAGES:
        raise SaliencyError(f"'{images}' is none of the pictures to show; choose {', '.join(IMAGES)}.")
    ordered: dict[str, Any] = json.loads(to_json(document))  # the order of keys is that of a file, however they came
    what = "the run"
    try:
        records = sorted(ordered["records"], key=rank)
        matrix, checks = [], []
        for place, record in enumerate(records, start=1):
            what = f"the record of {name(record.get('node'))}"
            matrix.append(matrix_row(record, place, ordered))
            checks.append(check_view(record, place, ordered, records, read_picture, images, bundle))
        what = "the run"
        page = front(ordered, records, matrix)
        tables = tables_shown(records)
    except BROKEN as error:
        raise SaliencyError(
            f"the report cannot be made, as {what} is not as this release writes it ({type(error).__name__}:"
            f" {first_line(error)}); run the checks again, or use the release that wrote it."
        ) from error
    environment = _environment()
    made: str = environment.get_template("report.html.j2").render(
        title=title or titled(records),
        page=page,
        checks=checks,
        tables=tables,
        version=__version__,
        style=_style(environment),
        **_colours(),
    )
    return made


def _environment() -> Any:
    import jinja2

    from pytest_saliency.report.html import text

    def shown(value: Any) -> Any:
        if value is None:
            return text.NOTHING
        return text.visible(value) if isinstance(value, str) and not hasattr(value, "__html__") else value

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pytest_saliency.report.html"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=shown,
    )
    environment.filters["name"] = text.name
    environment.filters["parted"] = text.parted
    environment.filters["amount"] = text.amount
    return environment


def _style(environment: Any) -> Any:
    from markupsafe import Markup

    source, _, _ = environment.loader.get_source(environment, "style.css")
    return Markup(source)  # our own file: quotes in it must stay quotes


def _colours() -> dict[str, Any]:
    """Return the colours of the pictures as #rrggbb: those of a map from 0 to its maximum, those of a difference."""
    from pytest_saliency.report.colour import ANCHORS
    from pytest_saliency.report.tiles import GAINED, LOST

    def written(shares: tuple[float, ...]) -> str:
        return "#" + "".join(f"{round(255 * share):02x}" for share in shares)

    return {
        "ramp": [written(tuple(part / 255 for part in anchor)) for anchor in ANCHORS],
        "lost": written(LOST),
        "gained": written(GAINED),
    }
