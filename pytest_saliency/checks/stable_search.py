"""The smallest change that moves a map although the prediction stays, found and shrunk by Hypothesis.

It decides nothing: it shows what the numbers mean. What was found is looked for again in the next run, from a database
in pytest's cache.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_saliency.engine.perturb import VERSION, Perturbation

EXAMPLES = 40
"""Changes that are tried on one image before it counts as having no counter-example."""

TRIED = 120
"""Changes that are tried on one image at most, those of shrinking included."""


@dataclass(frozen=True)
class Found:
    """The smallest change that was found for one image, the agreement under it, and how many were tried."""

    change: Perturbation
    agreement: float
    tried: int


def smallest(
    broken: Callable[[Perturbation], tuple[bool, float]],
    families: Sequence[str],
    *,
    strength: float,
    size: tuple[int, ...],
    seed: int,
    key: str = "",
    database: Path | None = None,
    examples: int = EXAMPLES,
) -> Found | None:
    """Return the smallest change for which ``broken`` is true, shrunk from the first that was found; None without one.

    ``broken`` says whether a change breaks the map, and the agreement under it; it is asked once a change. The same
    ``seed`` finds the same, where ``database`` does not hold something from an earlier run; ``key`` tells apart what
    is kept there.
    """
    from hypothesis import HealthCheck, Phase, Verbosity, find, settings
    from hypothesis.database import DirectoryBasedExampleDatabase
    from hypothesis.errors import HypothesisException

    from pytest_saliency.strategies import perturbations

    known: dict[Perturbation, tuple[bool, float]] = {}

    def breaks(change: Perturbation) -> bool:
        if change.identity:
            return False
        if change not in known:
            if len(known) >= TRIED:  # shrinking stops where everything else holds
                return False
            known[change] = broken(change)
        return known[change][0]

    kept: Any = None if database is None else DirectoryBasedExampleDatabase(database)
    try:
        change = find(
            perturbations(tuple(families), strength, size),
            breaks,
            settings=settings(
                max_examples=examples,
                deadline=None,
                database=kept,
                derandomize=False,
                phases=(Phase.reuse, Phase.generate, Phase.shrink),
                suppress_health_check=list(HealthCheck),
                verbosity=Verbosity.quiet,
                print_blob=False,
            ),
            random=random.Random(seed),
            database_key=f"pytest-saliency/stable/{VERSION}/{key}".encode(),
        )
    except HypothesisException:
        # Nothing was found, or whatever kept Hypothesis from working: what was tried stands on its own.
        held = [(change, value) for change, (bad, value) in known.items() if bad]
        if not held:
            return None
        change = held[-1][0]
    return Found(change, known[change][1], len(known))
