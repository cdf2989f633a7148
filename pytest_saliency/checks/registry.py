"""Every check kind. A new one is one file in this room and one line here. Nothing heavy is imported before a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pytest_saliency.checks.class_sensitive import ClassSensitiveParameters
from pytest_saliency.checks.faithful import FaithfulParameters
from pytest_saliency.checks.no_semantic_drift import NoSemanticDriftParameters
from pytest_saliency.checks.not_worse_than_baseline import NotWorseThanBaselineParameters
from pytest_saliency.checks.parameters import Parameters

if TYPE_CHECKING:
    from pytest_saliency.checks.numbers import Numbers
    from pytest_saliency.checks.result import Result
    from pytest_saliency.checks.worst import Ranked
    from pytest_saliency.decide.decision import Decision
    from pytest_saliency.engine.explained import Explained

ONE = ("model",)
PAIR = ("before", "after")


@dataclass(frozen=True)
class Kind:
    """A check kind: its parameters, the subjects it needs, and the assertion of the same name.

    ``inherited``: parameters that a contract does not write, because they come from the check that ``of`` names, as
    do models, cases and axes. A kind that has such measures nothing itself.
    """

    name: str
    parameters: type[Parameters]
    roles: tuple[str, ...]
    inherited: tuple[str, ...] = ()

    @property
    def assertion(self) -> str:
        """The name of the Python assertion."""
        return f"assert_{self.name}"

    def run(self, explained: Mapping[str, Explained], parameters: Parameters, check: str | None = None) -> Result:
        """Measure and decide. ``explained`` maps each role to the explanations of that subject.

        Not for a kind that measures nothing itself; see ``not_worse_than_baseline.compare``.

        Raises
        ------
        SaliencyError
            Whatever keeps the check from being decided, as one sentence.
        """
        work: Any = import_module(f"pytest_saliency.checks.{self.name}").run
        result: Result = work(explained, parameters, check or self.name)
        return result

    def decide(self, parameters: Parameters, numbers: Numbers) -> Decision:
        """Decide from numbers alone, which a record keeps; torch stays out."""
        work: Any = import_module(f"pytest_saliency.checks.{self.name}").decision
        decision: Decision = work(parameters, numbers)
        return decision

    def ranked(self, parameters: Parameters, numbers: Numbers) -> Ranked:
        """Return how bad each kept image is, from the same numbers; torch stays out."""
        work: Any = import_module(f"pytest_saliency.checks.{self.name}").ranked
        made: Ranked = work(parameters, numbers)
        return made


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("class_sensitive", ClassSensitiveParameters, ONE),
        Kind("faithful", FaithfulParameters, ONE),
        Kind("no_semantic_drift", NoSemanticDriftParameters, PAIR),
        Kind(
            "not_worse_than_baseline",
            NotWorseThanBaselineParameters,
            (),
            inherited=("method", "of_kind", "of_criterion"),
        ),
    )
}
