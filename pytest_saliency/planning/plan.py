"""How many images a check needs to PASS with the wanted power, if the model is as it was in a pilot.

The pilot's units are drawn with replacement and decided by the check's own decision, so that clusters, undefined
images, images that 'keep' leaves out and every gate count as they will. Where the bounds come from permutations, which
take too long to repeat, the pilot's own standard error is scaled by the root of n. Whether any n would do is told by
the pilot repeated until it has several thousand units: what then does not PASS lies beyond its limit.

A pilot is a sample, too: n is an estimate, and a small pilot a rough guide.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from scipy.special import ndtri, stdtrit

from pytest_saliency.checks.numbers import Numbers
from pytest_saliency.checks.registry import KINDS
from pytest_saliency.decide.decision import Decision, Measure, NotAttainable
from pytest_saliency.decide.effort import bare
from pytest_saliency.decide.power import POWER, betting_n
from pytest_saliency.decide.verdict import Verdict
from pytest_saliency.decide.words import several
from pytest_saliency.errors import SaliencyError
from pytest_saliency.planning.pilot import Asked
from pytest_saliency.planning.resample import Pilot, share_of

LARGEST = 4000
"""Units; what needs more is told so."""

STEP = 1.12
ROWS = 60_000
FEWEST = 40
PLANNED, NEVER, MORE, MISSING, BROKEN = "planned", "never", "more", "missing", "broken"


@dataclass(frozen=True)
class Need:
    """What one check needs.

    ``state``: ``planned``; ``never`` (no number will do), ``more`` (than can be told), ``missing`` (the pilot has no
    usable record of it), ``broken`` (it could not be decided). ``least``: the smallest n that could PASS at all, were
    everything perfect. ``n``: units after 'keep', ``cases`` images in all. ``power`` at that n, ``error`` its standard
    error; None where a formula was used (``how``).
    """

    check: str
    kind: str
    state: str
    why: str
    pilot: int | None = None
    pilot_cases: int | None = None
    pilot_verdict: str | None = None
    least: int | None = None
    n: int | None = None
    cases: int | None = None
    unit: str = "images"
    power: float | None = None
    error: float | None = None
    how: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON."""
        return asdict(self)


def need_of(asked: Asked, *, power: float = POWER, draws: int = 100) -> Need:
    """Return what a check needs by its pilot; nothing is drawn that was not fixed by the pilot's seed."""
    item = asked.item
    if not asked.records:
        why = f"{asked.missing[0]}; run the pilot with this check" if asked.missing else "there is no pilot"
        return Need(item.name, item.kind, MISSING, why)
    record = asked.records[0]
    try:
        with bare():
            return _planned(asked, record, power, draws)
    except SaliencyError as error:
        return Need(item.name, item.kind, BROKEN, str(error))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        why = f"the record does not hold what a decision takes ({type(error).__name__}: {error}); run the pilot again"
        return Need(item.name, item.kind, BROKEN, why)


def _planned(asked: Asked, record: Mapping[str, Any], power: float, draws: int) -> Need:
    item, kind = asked.item, KINDS[asked.item.kind]
    numbers = Numbers.of(record)
    pilot = Pilot.of(numbers)
    if not pilot.kept_units:
        return Need(item.name, item.kind, BROKEN, "the pilot kept no image")

    if any(name.startswith("block.") for name in numbers.per_image):
        why = f"it is decided from blocks of images of each training; plan '{record['inputs']['of']}', which it names"
        return Need(item.name, item.kind, BROKEN, why)

    def decide(made: Numbers) -> Decision:
        return kind.decide(asked.parameters, made)

    least = _least(pilot, decide)
    try:
        now: Decision | None = decide(numbers)
    except NotAttainable:
        now = None
    shared: dict[str, Any] = {
        "pilot": pilot.kept_units,
        "pilot_cases": len(numbers.everyone["id"]),
        "pilot_verdict": None if now is None else now.verdict.value,
        "least": least,
        "unit": "sets" if "set" in numbers.per_image else "clusters" if "cluster" in numbers.everyone else "images",
    }
    if "block" in numbers.per_image or (now is not None and _permuted(now)):
        return _by_formula(asked, pilot, now, shared, power)
    most = pilot.repeated(LARGEST)
    far = _verdict_of(decide, most)
    if far is None or far.verdict is not Verdict.PASS:
        return _out_of_reach(asked, far, shared)
    guess = max(least or 1, _guess(now if now is not None else far))
    n, share, error = _search(pilot, decide, guess, max(1, least or 1), power, draws, numbers.seed)
    if n is None:
        why = f"more than {LARGEST} {shared['unit']}: what the pilot measured lies hardly inside the limit"
        return Need(item.name, item.kind, MORE, why, **shared)
    cases = math.ceil(pilot.total_for(n) * pilot.images)
    return Need(
        item.name, item.kind, PLANNED, "", n=n, cases=cases, power=share, error=error, how="simulated", **shared
    )


def _least(pilot: Pilot, decide: Any) -> int | None:
    """Return the smallest n that could PASS if everything were perfect, as the decision itself says it."""
    kept = next(i for i, unit in enumerate(pilot.rows) if any(pilot.kept[row] >= 0 for row in unit))
    try:
        decide(pilot.made_of([kept]))
    except NotAttainable as error:
        return error.needed
    except SaliencyError:  # too little to be decided at all, as one group alone
        return None
    return 1


def _verdict_of(decide: Any, numbers: Numbers) -> Decision | None:
    try:
        made: Decision = decide(numbers)
    except NotAttainable:
        return None
    return made


def _out_of_reach(asked: Asked, far: Decision | None, shared: dict[str, Any]) -> Need:
    """Return that no number of images will do, or that more than can be told would, and why."""
    item = asked.item
    if far is None:
        return Need(item.name, item.kind, NEVER, "its limit cannot be kept even by perfect images", **shared)
    beyond = [measure for measure in far.measures.values() if _margin(measure) <= 0.0]
    if beyond:
        said = "; ".join(f"{m.title} {m.estimate:.3g}, limit {m.limit:g}" for m in beyond)
        why = f"the limit lies beyond what the pilot measured ({said}); no number of images will do"
        return Need(item.name, item.kind, NEVER, why, **shared)
    if far.verdict is Verdict.FAIL or all(leg.holds for leg in far.legs):
        return Need(item.name, item.kind, NEVER, f"no number of images will do: {far.headline}", **shared)
    why = f"with {far.n} {shared['unit']} like the pilot's it is still {far.verdict.value}: {far.headline}"
    return Need(item.name, item.kind, MORE, why, **shared)


def _search(
    pilot: Pilot, decide: Any, guess: int, least: int, power: float, draws: int, seed: int
) -> tuple[int | None, float, float]:
    """Return the smallest n of a grid with the wanted power, that power, and its standard error.

    From the guess up or down the grid until the power is passed.
    """
    seen: dict[int, tuple[float, float]] = {}

    def at(n: int) -> float:
        if n not in seen:
            times = max(FEWEST, min(draws, ROWS // n))
            passed = 0
            for number in range(times):
                try:
                    passed += decide(pilot.drawn(n, seed, number)).verdict is Verdict.PASS
                except SaliencyError:  # too few to be decided: that is no PASS
                    continue
            seen[n] = share_of(passed, times)
        return seen[n][0]

    grid = list(_grid(least, LARGEST))
    place = min(range(len(grid)), key=lambda i: abs(math.log(grid[i] / guess)))
    stride = 4
    low, high = -1, len(grid)  # power is too small at low, large enough at high
    while low < place < high:
        if at(grid[place]) >= power:
            high = place
            place = max(place - stride, low + 1)
        else:
            low = place
            place = min(place + stride, high - 1)
        if high - low <= 1:
            break
        stride = max(1, stride // 2) if low >= 0 and high < len(grid) else stride * 2
    if high == len(grid):
        return None, 0.0, 0.0
    return grid[high], *seen[grid[high]]


def _grid(low: int, high: int) -> Iterator[int]:
    n = low
    while n < high:
        yield n
        n = max(n + 1, math.ceil(n * STEP))
    yield high


def _guess(decision: Decision) -> int:
    """Return about how many units the clearest formula asks for."""
    found = [20]
    for measure in decision.measures.values():
        if measure.limit is not None and measure.sd > 0.0 and _margin(measure) > 0.0:
            found.append(betting_n(_margin(measure), measure.sd, 1.0, decision.alpha) or LARGEST)
        elif measure.limit is not None and 0.0 < measure.limit < 1.0 and _margin(measure) > 0.0:
            found.append(math.ceil(2.5 * measure.limit * (1.0 - measure.limit) / _margin(measure) ** 2))
    return min(LARGEST, max(found))


def _margin(measure: Measure) -> float:
    """Return how far an estimate lies inside its limit; NaN without one."""
    if measure.limit is None or math.isnan(measure.estimate):
        return math.nan
    if measure.side in (">=", ">"):
        return measure.estimate - measure.limit
    return measure.limit - (abs(measure.estimate) if measure.side == "abs<=" else measure.estimate)


def _permuted(decision: Decision) -> bool:
    """Tell whether a bound comes from permutations, which are too slow to repeat."""
    return any(
        word in measure.interval.method
        for measure in decision.measures.values()
        if measure.limit is not None
        for word in ("permutation", "sign flips", "swap")
    )


def _by_formula(asked: Asked, pilot: Pilot, now: Decision | None, shared: dict[str, Any], power: float) -> Need:
    """Return n by the pilot's smallest detectable effect, which shrinks with the root of n."""
    item = asked.item
    if now is None:
        why = f"the pilot is too small to tell; it takes {several(shared['least'] or 0, 'image')} at least"
        return Need(item.name, item.kind, BROKEN, why, **shared)
    needed, beyond = 1, []
    for name, gap in now.smallest_detectable.items():
        measure = next((m for key, m in now.measures.items() if name.startswith(key) and m.limit is not None), None)
        if measure is None or math.isnan(gap):
            continue
        margin = _margin(measure)
        if margin <= 0.0:
            beyond.append(f"{measure.title} {measure.estimate:.3g}, limit {measure.limit:g}")
            continue
        needed = max(needed, _scaled(now.n, gap / margin, now.alpha, power))
    if beyond:
        why = f"the limit lies beyond what the pilot measured ({'; '.join(beyond)}); no number of images will do"
        return Need(item.name, item.kind, NEVER, why, **shared)
    n = max(needed, shared["least"] or 1)
    cases = math.ceil(pilot.total_for(n) * pilot.images)
    return Need(
        item.name, item.kind, PLANNED, "", n=n, cases=cases, how="scaled from the pilot's standard error", **shared
    )


def _scaled(n: int, ratio: float, alpha: float, power: float) -> int:
    """Return at which size a gap that is ``ratio`` times the room to the limit at ``n`` would be as large as it.

    Standard errors shrink with the root of n; Student's quantile stands in for what a small sample costs beside.
    """
    wanted = float(ndtri(1.0 - alpha)) + float(ndtri(POWER))
    most = 3
    while most < LARGEST * 100:
        factor = (float(stdtrit(most - 1, 1.0 - alpha)) + float(ndtri(power))) / wanted
        if most >= n * (ratio * factor) ** 2:
            return most
        most = max(most + 1, math.ceil(most * 1.02))
    return most
