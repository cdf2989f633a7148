"""Numbers as the paper prints them, in tables of plain text that are Markdown too."""

from __future__ import annotations

import math
from collections.abc import Sequence

NONE = "–"


def p_text(p: float | None) -> str:
    """Return a p-value as in the paper: ``< .0001``, ``.0123``, ``1.``."""
    if p is None or math.isnan(p):
        return NONE
    if p < 0.0001:
        return "< .0001"
    return "1." if p > 0.99995 else decimal(p)


def decimal(value: float | None, *, signed: bool = False) -> str:
    """Return four decimals without a leading zero, as in ``.0123``, ``-.0123`` or, signed, ``+.0123``."""
    if value is None or math.isnan(value):
        return NONE
    text = f"{value:+.4f}" if signed else f"{value:.4f}"
    return text.replace("0.", ".", 1) if abs(value) < 0.99995 else text


def grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table whose columns are as wide as their widest cell."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))} |"

    return "\n".join([line(header), f"|{'|'.join('-' * (width + 2) for width in widths)}|", *map(line, rows)])
