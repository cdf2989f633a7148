"""What removing the region costs, by method and fill: the table of the CASE paper (arXiv 2506.07327, Table III).

Methods of one check stand below each other. The softmax drop is what the paper reports; the verdict rests on the
advantage in log-odds, which is why both are shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_saliency.report.html.text import NOTHING, amount, share

Record = Mapping[str, Any]


def drop_table(record: Record, records: Sequence[Record]) -> dict[str, Any] | None:
    """Return fills and rows of the drop table for a ``faithful`` check; None where nothing was scored."""
    if record.get("kind") != "faithful" or not record.get("decision"):
        return None
    group = [
        one
        for one in records
        if one.get("decision") and all(one.get(key) == record.get(key) for key in ("kind", "contract", "check"))
    ]
    fills = sorted({fill for one in group for fill in _softmax(one)})
    if not fills:
        return None
    return {"fills": fills, "rows": [_row(one, fills, one is record) for one in group]}


def _softmax(record: Record) -> Mapping[str, Any]:
    found: Mapping[str, Any] = ((record.get("decision") or {}).get("readouts") or {}).get("softmax_drop") or {}
    return found


def _row(record: Record, fills: Sequence[str], this: bool) -> dict[str, Any]:
    decision = record["decision"]
    axes = {key: value for key, value in (record.get("axes") or {}).items() if key != "method"}
    method = str((record.get("method") or {}).get("name") or NOTHING)
    cells = []
    for fill in fills:
        softmax = _softmax(record).get(fill) or {}
        measure = (decision.get("measures") or {}).get(f"advantage[{fill}]") or {}
        interval = measure.get("interval") or {}
        spread = ((decision.get("readouts") or {}).get("advantage") or {}).get(fill) or {}
        cells.append(
            {
                "fill": fill,
                "softmax": _signed(softmax.get("mean")),
                "sd": _signed(softmax.get("sd")),
                "advantage": amount(measure.get("estimate")) if measure else NOTHING,
                "low": amount(interval.get("low")) if measure else "",
                "high": amount(interval.get("high")) if measure else "",
                "positive": share(spread["share_positive"]) if "share_positive" in spread else NOTHING,
            }
        )
    named = method + (f" ({', '.join(f'{key} {value}' for key, value in sorted(axes.items()))})" if axes else "")
    return {"method": named, "cells": cells, "this": this, "n": decision.get("n")}


def _signed(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.3f}"
