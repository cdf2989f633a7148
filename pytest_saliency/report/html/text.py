"""Text as the report shows it: numbers with as many decimals as they need, and nothing that only looks like text.

Names come from files that anyone may have written. Markup is escaped by the template engine; here characters that
cannot be seen, or that turn the direction of what follows, become visible, and text that goes on for pages is cut.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from pytest_saliency.decide.words import figures, p_value, percent

LONG = 2000
"""Longest text shown, in characters; what is cut is said."""
LONG_NAME = 160
"""Longest name shown in a table or a caption."""
KEPT = frozenset("\n\t")
JOINERS = frozenset("\u200c\u200d")  # scripts that need them are not forgeries
MARKS = 4
"""Combining marks in a row on one character; more of them would pile up over the lines above."""
FINEST = 6
"""Most decimals of a number that has no limit to be told from."""
PARTS = re.compile(r"(?<=[-_/.:,])(?=[^-_/.:,])|(?=\[)")
NOTHING = "–"


def visible(text: str, longest: int = LONG) -> str:
    """Return ``text`` with invisible and direction-turning characters spelled out, cut at ``longest`` characters."""
    total = len(text)
    if total > longest:
        text = text[:longest]
    made: list[str] = []
    marks = 0
    for character in text:
        category = unicodedata.category(character)
        marks = marks + 1 if category in ("Mn", "Me") else 0
        if marks > MARKS:
            continue
        made.append(_spelled(character, category))
    return "".join(made) + (f" … ({total:,} characters)" if total > longest else "")


def _spelled(character: str, category: str) -> str:
    if category not in ("Cc", "Cf", "Cs", "Cn", "Zl", "Zp") or character in KEPT or character in JOINERS:
        return character
    return f"[U+{ord(character):04X}]"


def name(value: object) -> str:
    """Return a name in one line, cut where it is longer than a table can hold."""
    if value is None or value == "":
        return NOTHING
    return visible(" ".join(str(value).split()) or NOTHING, LONG_NAME)


def parted(value: object) -> Any:
    """Return a name with places to break it: after the signs that part its words, not in the middle of one."""
    from markupsafe import Markup, escape

    pieces = PARTS.split(name(value))
    return Markup("<wbr>").join(escape(piece) for piece in pieces)


def amount(value: object) -> str:
    """Return a number of a record in a readable length; "undefined" for none."""
    if value is None:
        return "undefined"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        if not math.isfinite(value):
            return "undefined"
        if value == 0.0 or abs(value) < 1e-9:
            return "0.00"
        return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.2g}"
    return str(value)


def against_limit(estimate: float, low: float, high: float, limit: float | None) -> tuple[str, str, str, str]:
    """Return estimate, lower and upper bound, and limit, with decimals enough to tell each from the limit."""
    if limit is None:
        value, lower, upper = jointly(estimate, low, high)
        return value, lower, upper, NOTHING
    value, shown_limit, lower, upper = figures(estimate, limit, low, high)
    return value, lower, upper, shown_limit


def jointly(*numbers: float) -> tuple[str, ...]:
    """Return numbers with the same decimals: two, or as many as the largest of them needs to have two figures."""
    largest = max((abs(number) for number in numbers if math.isfinite(number)), default=0.0)
    decimals = 2
    while decimals < FINEST and 0.0 < largest < 10.0 ** (1 - decimals):
        decimals += 1
    return tuple(_fixed(number, decimals) for number in numbers)


def _fixed(number: float, decimals: int) -> str:
    if math.isnan(number):
        return "undefined"
    if math.isinf(number):
        return "unbounded"
    shown = f"{number:.{decimals}f}"
    return shown.removeprefix("-") if float(shown) == 0.0 else shown


def p_text(p: float | None) -> str:
    """Return "p = 0.031", "p < 0.0001", or "p undefined"."""
    return "p undefined" if p is None or math.isnan(p) else p_value(p)


def share(value: float | None) -> str:
    """Return a share in per cent; "undefined" for none."""
    return "undefined" if value is None else percent(value)


def setting(value: object) -> str:
    """Return the value of a parameter as a contract would write it."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {setting(entry)}" for key, entry in sorted(value.items())) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(setting, value)) or "none"
    return str(value)


def instant(value: Any) -> str:
    """Return "2026-03-02 08:04:30 UTC" for an ISO time in UTC; anything else as it is."""
    text = str(value or "")
    for ending in ("+00:00", "Z"):
        if text.endswith(ending) and len(text) == 19 + len(ending):
            return f"{text[:10]} {text[11:19]} UTC"
    return text or "not recorded"


def words(key: object) -> str:
    """Return a key as words: "max_iou_drop" as "max iou drop"."""
    return str(key).replace("_", " ")
