"""The smallest change that moves a map although the prediction stays, found and shrunk by Hypothesis.

It decides nothing: it shows what the numbers mean. A search is fixed by its seed, so that what is printed can be found
again. What was found is also kept, in a database in pytest's cache: where a later search finds nothing, it is tried.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_saliency.engine.perturb import FAMILIES, VERSION, Perturbation
from pytest_saliency.errors import SaliencyError

EXAMPLES = 40
"""Changes that are tried on one image before it counts as having no counter-example."""

TRIED = 120
"""Changes that are tried on one image at most, those of shrinking included."""


@dataclass(frozen=True)
class Found:
    """The smallest change that was found for one image, the agreement under it, and how many were tried.

    ``kept``: it comes from an earlier search, and this one's seed does not find it.
    """

    change: Perturbation
    agreement: float
    tried: int
    kept: bool = False


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
    ``seed`` finds the same. Where it finds nothing, what an earlier search left in the folder ``database`` under
    ``key`` is tried.
    """
    from hypothesis import HealthCheck, Phase, Verbosity, find, settings
    from hypothesis.errors import HypothesisException

    from pytest_saliency.strategies import perturbations

    known: dict[Perturbation, tuple[bool, float]] = {}
    found: Perturbation | None

    def breaks(change: Perturbation) -> bool:
        if change.identity:
            return False
        if change not in known:
            if len(known) >= TRIED:  # shrinking stops where everything else holds
                return False
            known[change] = broken(change)
        return known[change][0]

    try:
        found = find(
            perturbations(tuple(families), strength, size),
            breaks,
            settings=settings(
                max_examples=examples,
                deadline=None,
                database=None,  # Hypothesis uses a seed or a database, not both
                phases=(Phase.generate, Phase.shrink),
                suppress_health_check=list(HealthCheck),
                verbosity=Verbosity.quiet,
                print_blob=False,
            ),
            random=random.Random(seed),
        )
    except HypothesisException:
        # Nothing was found, or whatever kept Hypothesis from working: what was tried stands on its own.
        held = [change for change, (bad, _) in known.items() if bad]
        found = held[-1] if held else None
    own, tried = found, len(known)
    if database is not None:

        def asked_for(change: Perturbation) -> bool:
            most = FAMILIES[change.family].most(strength, size)
            return change.family in families and all(abs(value) <= most for value in change.values)

        found = _kept(database, f"pytest-saliency/stable/{VERSION}/{key}".encode(), found, breaks, asked_for)
    return None if found is None else Found(found, known[found][1], tried, found != own)


def _kept(
    folder: Path,
    key: bytes,
    found: Perturbation | None,
    breaks: Callable[[Perturbation], bool],
    asked_for: Callable[[Perturbation], bool],
) -> Perturbation | None:
    """Keep what was found; where nothing was, return what was kept before, if it still breaks the map.

    What another check declared, other families or a larger strength, is left for that one.
    """
    from hypothesis.database import DirectoryBasedExampleDatabase

    store = DirectoryBasedExampleDatabase(folder)
    before = sorted(store.fetch(key))
    for text in before:
        change = _read(text)
        if change is not None and not asked_for(change):
            continue
        if found is None and change is not None and breaks(change):
            found = change
        elif change != found:
            store.delete(key, text)
    if found is not None:
        store.save(key, json.dumps([found.family, found.values, found.seed]).encode())
    return found


def _read(text: bytes) -> Perturbation | None:
    try:
        family, values, seed = json.loads(text)
        return Perturbation(family, tuple(float(value) for value in values), int(seed))
    except (ValueError, TypeError, SaliencyError):  # of another release, or damaged
        return None
