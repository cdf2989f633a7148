"""How numbers read in headlines, legs and errors."""

from __future__ import annotations

import math

SAME = 1e-9  # ranks.SAME; reports import this module, and must not import numpy for it
FINEST = 10


def figures(value: float, limit: float, *bounds: float) -> tuple[str, ...]:
    """Return the numbers with two decimals, or as many as it takes to tell each of them from the limit.

    Decisions take numbers within ``SAME`` of the limit for the limit itself, and so are they shown.
    """
    numbers = (value, limit, *bounds)
    for decimals in range(2, FINEST + 1):
        shown = tuple(_figure(entry, decimals) for entry in numbers)
        if all(abs(entry - limit) <= SAME or text != shown[1] for entry, text in zip(numbers, shown, strict=True)):
            break
    return shown


def _figure(value: float, decimals: int) -> str:
    if math.isnan(value):
        return "undefined"
    if math.isinf(value):
        return "unbounded"
    shown = f"{value:.{decimals}f}"
    return shown[1:] if float(shown) == 0.0 and shown.startswith("-") else shown


def measured(
    title: str, estimate: float, limit: float, low: float, high: float, alpha: float, word: str = "limit"
) -> str:
    """Return "mean IoU drop 0.68, limit 0.40 (95 % bound 0.65 .. 0.71)"."""
    value, bound, lower, upper = figures(estimate, limit, low, high)
    return f"{title} {value}, {word} {bound} ({percent(1.0 - alpha)} bound {lower} .. {upper})"


def percent(share: float) -> str:
    """Return a share in per cent with at most one decimal."""
    return f"{round(100.0 * share, 1):g} %"


def percents(share: float, allowed: float) -> tuple[str, str]:
    """Return two shares in per cent with one decimal, or as many as it takes to tell them apart."""
    for decimals in range(1, FINEST):
        one, two = (f"{round(100.0 * value, decimals):.10g} %" for value in (share, allowed))
        if one != two or abs(share - allowed) <= SAME:
            break
    return one, two


def declared(limit: float) -> str:
    """Return a limit as it was declared, with two decimals at least: 0.50, 0.125."""
    return f"{limit:.2f}" if round(limit, 2) == limit else f"{limit:g}"


def p_value(p: float) -> str:
    """Return "p = 0.031" or "p < 0.0001"."""
    return "p < 0.0001" if p < 0.0001 else f"p = {p:.2g}"


def several(n: int, singular: str, plural: str | None = None) -> str:
    """Return "1 image" or "3 images"."""
    return f"{n} {singular if n == 1 else plural or singular + 's'}"
