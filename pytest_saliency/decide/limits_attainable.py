"""Refuse limits that could not be shown to hold even if every image were perfect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pytest_saliency.decide import rates
from pytest_saliency.decide.decision import NotAttainable
from pytest_saliency.decide.limited import Limited, Question
from pytest_saliency.decide.values import Units


def check_attainable(
    question: Question,
    declared: Sequence[Limited],
    limits: Mapping[str, float],
    each: Mapping[str, Units],
    max_beyond: float | None,
    units: Units,
    total: int,
    alpha: float,
) -> None:
    """Raise NotAttainable naming every limit that needs more units than there are, with the number it needs."""
    asked = [
        (
            f"{entry.limit} {limits[entry.limit]:g}",
            entry.smallest_n(limits[entry.limit], alpha, entry.bounds(each[entry.name])),
            each[entry.name].n,
        )
        for entry in declared
    ]
    if max_beyond is not None and question.beyond is not None:
        name = f"{question.beyond.limit} {max_beyond:g}"
        asked.append((name, rates.smallest_n_below(max_beyond, alpha), units.n))
    known = [needed for _, needed, _ in asked if needed is not None]
    if any(n == 0 for _, _, n in asked):
        where = f"none of {total} images was kept" if total else "there are no cases"
        raise NotAttainable(
            f"{question.kind} has no image to decide on: {where}; check the cases and which of them 'keep' leaves.",
            n=0,
            needed=max(known, default=None),
        )
    for name, needed, n in asked:
        if needed is None:
            raise NotAttainable(
                f"{question.kind} could not PASS with {name} however many images there are, because"
                f" {question.nothing} lie on that limit and not within it; leave room between them.",
                n=n,
                needed=None,
            )
    short = [(name, needed, n) for name, needed, n in asked if needed is not None and n < needed]
    if short:
        wants = "; ".join(f"{name} needs {needed}, there are {n}" for name, needed, n in short)
        raise NotAttainable(
            f"{question.kind} could not PASS with its {units.n} {units.word} even if {question.perfect}:"
            f" at alpha {alpha:g}, {wants}; add images (n counts after 'keep') or widen the limit.",
            n=min(n for _, _, n in short),
            needed=max(needed for _, needed, _ in short if needed is not None),
        )
