"""Running the checks of the default contract on a run, without limits; the numbers are kept, decided on later.

A decision is made from numbers alone, so that limits can be found from clean runs first and every run be decided
after. ``faithful`` and others draw with a seed that depends on the criterion: here it is that of the check without
limits, as it would be for another contract.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from planting.data import Data
from planting.kinds import FAILURES, codes_of, planted
from planting.nets import LAYER, WRONG_LAYER, Net
from planting.store import Run
from pytest_saliency import Cases, Subject, explain
from pytest_saliency.checks.numbers import Numbers
from pytest_saliency.checks.registry import KINDS
from pytest_saliency.contracts.proposal import Draft
from pytest_saliency.decide.decision import Decision
from pytest_saliency.decide.effort import bare
from pytest_saliency.decide.verdict import Verdict
from pytest_saliency.engine.explained import Explained
from pytest_saliency.errors import SaliencyError


@dataclass(frozen=True)
class Outcome:
    """What became of one check of one run: a verdict, or ERROR, and what it says."""

    check: str
    verdict: str
    headline: str
    measures: Mapping[str, tuple[float, float, float]]

    @property
    def alarm(self) -> bool:
        """Whether the item is red."""
        return self.verdict != Verdict.PASS.value


def cases_of(run: Run, data: Data) -> Cases:
    """Return the held-out pictures as the run's own validation data have them: with what was planted."""
    declared = FAILURES[run.failure]
    part = data.held_out
    images = planted(declared, part, codes_of(declared, part, data.classes, run.seed), data.classes)
    return Cases.from_arrays(
        images,
        part.labels,
        ids=[f"{data.name}-{i:04d}" for i in range(len(part))],
        groups=part.groups,
        class_names=[str(one) for one in range(data.classes)],
        source=f"{data.name}, held out",
    )


def explained_of(run: Run, before: Net, after: Net, cases: Cases) -> dict[str, Explained]:
    """Return the explanations of both models, read as the run's contract reads them."""
    wrong = FAILURES[run.failure].fault == "layer"
    return {
        "before": explain(Subject(before, layer=LAYER, name="before"), cases, device="cpu"),
        "after": explain(Subject(after, layer=WRONG_LAYER if wrong else LAYER, name="after"), cases, device="cpu"),
    }


def numbers_of(explained: Mapping[str, Explained], draft: Draft) -> dict[str, Any]:
    """Measure what the draft's kind measures, and return its numbers, or the sentence that says why not."""
    try:
        kind = KINDS[draft.kind]
        parameters = kind.parameters(**draft.loosest)
        with bare():
            result = kind.run({role: explained[name] for role, name in draft.roles.items()}, parameters, draft.id)
    except SaliencyError as error:
        return {"error": str(error)}
    return asdict(result.numbers)


def decided(draft: Draft, parameters: Mapping[str, Any], numbers: Mapping[str, Any]) -> tuple[Outcome, Decision | None]:
    """Decide the draft with ``parameters`` from the numbers of a run."""
    if "error" in numbers:
        return Outcome(draft.id, "ERROR", str(numbers["error"]), {}), None
    kind = KINDS[draft.kind]
    try:
        with bare():
            made = kind.decide(kind.parameters(**parameters), Numbers(**numbers))
    except SaliencyError as error:
        return Outcome(draft.id, "ERROR", str(error), {}), None
    measures = {name: (one.estimate, one.interval.low, one.interval.high) for name, one in made.measures.items()}
    return Outcome(draft.id, made.verdict.value, made.headline, measures), made


def advantages(numbers: Mapping[str, Any]) -> dict[str, Sequence[Any]]:
    """Return ids and mean advantages of the images of a ``faithful`` check."""
    import math

    kind = KINDS["faithful"]
    made = Numbers(**numbers)
    parameters = kind.parameters(method="gradcam", top_k=0.10, min_advantage=0.0)
    shown = kind.ranked(parameters, made).shown["advantage"]
    kept = [
        (one, float(value)) for one, value in zip(made.per_image["id"], shown, strict=True) if not math.isnan(value)
    ]
    return {"id": [one for one, _ in kept], "advantage": [value for _, value in kept]}
