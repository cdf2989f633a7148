"""Do maps depend on how they are computed? The limit of ``invariant_execution``, decided by ``limits``."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_saliency.decide.limited import Limited, Question
from pytest_saliency.decide.tolerance import Tolerance


def question(broken: Sequence[str]) -> Question:
    """Return the question; ``broken`` names the variants in which at least one image differs."""
    by = f" ({', '.join(broken)})" if broken else ""
    return Question(
        kind="invariant_execution",
        entries=(
            Limited(
                "different",
                "max_share",
                "share of maps that differ when computed otherwise",
                0.0,
                1.0,
                0.0,
                "<=",
                f"maps depend on how they are computed{by}",
                counted=True,
                # Rounding is what is asked about: nothing is tolerated beside the limit itself.
                tolerance=Tolerance(0.0, 0.0),
            ),
        ),
        held="the maps do not depend on how they are computed",
        undefined="their own map shows nothing (blank, flat, not finite), so that there is nothing to compare",
    )
