"""One check in the report: everything its record says, as text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_saliency.report.families import family_line
from pytest_saliency.report.html.accounting import accounting
from pytest_saliency.report.html.baseline import baseline_view
from pytest_saliency.report.html.drops import drop_rows
from pytest_saliency.report.html.front import Document, excused, shown_name
from pytest_saliency.report.html.identity import (
    condition_rows,
    criterion_rows,
    method_line,
    subject_line,
    subject_views,
)
from pytest_saliency.report.html.numbers import (
    detectable_rows,
    group_rows,
    leg_rows,
    measure_rows,
    readout_rows,
    spread_rows,
    training_rows,
)
from pytest_saliency.report.html.pictures import ReadPicture, shown_tile
from pytest_saliency.report.html.plots import plots_shown
from pytest_saliency.report.html.text import amount
from pytest_saliency.report.html.verdicts import look, word
from pytest_saliency.report.measured import key_of, near_limit, violated
from pytest_saliency.report.trainings import shown_training

Record = Mapping[str, Any]
DIFFERENCE = "difference"
FILL = re.compile(r"\[(\w+)\]")
"""Of a column, as in "advantage[blur] now"."""


def check_view(
    record: Record,
    place: int,
    document: Document,
    records: Sequence[Record],
    read: ReadPicture,
    images: str,
    bundle: bool,
) -> dict[str, Any]:
    """Return what the report shows of the check at ``place``, which counts from 1."""
    decision = record.get("decision") or {}
    pixels = images == "all" or (images == "failed" and record.get("verdict") != "PASS")
    gallery = gallery_view(record, read) if pixels else []
    return {
        "anchor": f"check-{place}",
        "name": shown_name(record, document),
        "node": record.get("node"),
        "contract": record.get("contract"),
        "requirement": record.get("requirement"),
        "question": _question(record),
        "kind": record.get("kind"),
        "method": method_line(record),
        "subject": subject_line(record),
        "word": word(record.get("verdict")),
        "look": look(record.get("verdict")),
        "open": record.get("verdict") != "PASS",
        "near": near_limit(record),
        "headline": str(record.get("headline") or ""),
        "excused": excused(record, document),
        "decided": bool(decision),
        "legs": leg_rows(record),
        "trainings": training_rows(record),
        "shown_training": shown_training(record),
        "measures": measure_rows(record),
        "readouts": readout_rows(record),
        "spread": spread_rows(record),
        "groups": group_rows(record),
        "detectable": detectable_rows(record),
        "family": family_line(record, document),
        "baseline": baseline_view(record),
        "plots": plots_shown(record, images != "none") if decision else [],
        "gallery": gallery,
        "differences": any(tile.title == DIFFERENCE for row in gallery for tile in row["tiles"]),
        "without_pictures": _without(record, images, pixels, bundle),
        "worst": worst_view(record),
        "drops": drop_rows(record, records),
        "cases": accounting(record),
        "subjects": subject_views(record),
        "criterion": criterion_rows(record),
        "conditions": condition_rows(record),
        "notes": list(dict.fromkeys([*(decision.get("notes") or ()), *(record.get("notes") or ())])),
        "source": source_view(record),
    }


def _question(record: Record) -> str:
    from pytest_saliency.checks.registry import KINDS

    kind = KINDS.get(str(record.get("kind")))
    if kind is None:
        return str(record.get("kind"))
    return (kind.of_units if (record.get("cases") or {}).get("units") else None) or kind.question


def gallery_view(record: Record, read: ReadPicture) -> list[dict[str, Any]]:
    """Return the rows of pictures in the record's order, each line of the caption once."""
    rows = []
    for row in record.get("gallery") or ():
        said = {str(row.get("id")), str(row.get("label"))}
        rows.append(
            {
                "id": row.get("id"),
                "label": row.get("label"),
                "why": row.get("why"),
                "caption": [line for line in row.get("caption") or () if line not in said],
                "tiles": [shown_tile(tile, read) for tile in row.get("tiles") or ()],
            }
        )
    return rows


def _without(record: Record, images: str, pixels: bool, bundle: bool) -> str:
    """Return why a check has no pictures; "" where it has, or never could have."""
    if not record.get("decision") or (pixels and record.get("gallery")):
        return ""
    if images == "none":
        return "Pictures were left out of this report on purpose; it holds no pixel of any image."
    if not pixels:
        return "Pictures are shown for checks that are not PASS."
    if bundle:
        return "No pictures in this bundle (--saliency-bundle-maps puts them in; they may show patients)."
    return "This run kept no pictures for this check (pytest --saliency-images=all keeps them)."


def worst_view(record: Record) -> dict[str, Any] | None:
    """Return the images that speak most against the criterion, as a table; None where none is named."""
    worst = list(record.get("worst") or ())
    if not worst:
        return None
    titles = sorted({title for row in worst for title in row.get("values") or {}})
    rows = [
        {
            "id": row.get("id"),
            "label": row.get("label"),
            "values": [amount((row.get("values") or {}).get(title)) for title in titles],
        }
        for row in worst
    ]
    return {"titles": [FILL.sub(r" with \1", title) for title in titles], "rows": rows}


def source_view(record: Record) -> dict[str, Any] | None:
    """Return where the check is written, with the lines of the contract and what was found at which."""
    source = record.get("source")
    if not source:
        return None
    lines = source.get("lines") or {}
    marks = {}
    for measure in violated(record):
        line = lines.get(key_of(measure, record))
        if line is not None:
            marks[line] = "exceeded" if measure.get("verdict") == "FAIL" else "not demonstrated"
    snippet = [
        {"line": line, "text": str(text), "mark": marks.get(line, "")} for line, text in source.get("snippet") or ()
    ]
    return {"file": source.get("file"), "line": source.get("line"), "snippet": snippet}
