"""The three answers a criterion can get."""

from __future__ import annotations

from enum import StrEnum


class Verdict(StrEnum):
    """``PASS``: shown to hold. ``FAIL``: shown not to hold. ``INCONCLUSIVE``: neither, at the declared level."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"


def verdict_of(holds: bool, fails: bool) -> Verdict:
    """Join the two sides of a decision.

    Both sides can reject only by chance or when the images do not belong to one population; FAIL then wins,
    so that a stricter limit never turns a FAIL into a PASS.
    """
    if fails:
        return Verdict.FAIL
    return Verdict.PASS if holds else Verdict.INCONCLUSIVE
