"""What a check leaves: the decision, and everything a record needs to say what it was about."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from pytest_saliency.decide.decision import Decision, Measure, plain
from pytest_saliency.decide.verdict import Verdict
from pytest_saliency.records.record import FORMAT

if TYPE_CHECKING:
    from pytest_saliency.checks.gallery import Gallery
    from pytest_saliency.checks.numbers import Numbers


@dataclass(frozen=True, eq=False)
class Result:
    """The outcome of one check.

    Attributes
    ----------
    kind, check
        Kind of the check and its id (the kind again for an assertion in Python).
    method, method_version
        Full name, as in ``case[logits:3]``, and version of the definition.
    method_details
        What the method recorded of each image (as the share of energy kept), as mean and range.
    decision
        Verdict, legs, measures with bounds: everything statistical.
    parameters
        Every resolved value of the criterion.
    subjects, cases, execution
        Identity of models, layers and images; device, passes, seconds.
    numbers
        What the decision was made from; enough to make it again.
    worst
        The images that speak most against the criterion: id, label, values.
    gallery
        Draws images beside their maps, for the terminal's sheet and the report.
    maps
        Returns the maps of the kept images at layer resolution, by name.
    """

    kind: str
    check: str
    method: str
    method_version: int
    decision: Decision
    parameters: Mapping[str, Any]
    subjects: Mapping[str, Mapping[str, Any]]
    cases: Mapping[str, Any]
    numbers: Numbers
    worst: Sequence[Mapping[str, Any]]
    execution: Mapping[str, Any]
    method_details: Mapping[str, Any] = field(default_factory=dict)
    gallery: Gallery | None = field(default=None, repr=False)
    maps: Callable[[], Mapping[str, NDArray[Any]]] | None = field(default=None, repr=False)

    @property
    def verdict(self) -> Verdict:
        """PASS, FAIL or INCONCLUSIVE."""
        return self.decision.verdict

    @property
    def per_image(self) -> Mapping[str, Sequence[Any]]:
        """Columns of numbers over the kept images, in the order of their ids."""
        return self.numbers.per_image

    @property
    def headline(self) -> str:
        """The verdict in words."""
        return self.decision.headline

    @property
    def measures(self) -> Mapping[str, Measure]:
        """Each measure with estimate, interval, limit and n."""
        return self.decision.measures

    def to_record(self) -> dict[str, Any]:
        """Return the record as plain JSON; the plugin adds contract, item and source."""
        made: dict[str, Any] = plain(
            {
                "format": FORMAT,
                "check": self.check,
                "kind": self.kind,
                "verdict": self.verdict.value,
                "headline": self.headline,
                "criterion": self.parameters,
                "subjects": self.subjects,
                "cases": self.cases,
                "method": {"name": self.method, "version": self.method_version, **self.method_details},
                "execution": self.execution,
                "per_image": self.numbers.per_image,
                "everyone": self.numbers.everyone,
                "inputs": self.numbers.inputs,
                "worst": self.worst,
                "pictures": [],
                "gallery": [],
                "maps": None,
                "seed": f"{self.decision.seed:016x}",
            }
        )
        made["decision"] = self.decision.to_dict()
        return made
