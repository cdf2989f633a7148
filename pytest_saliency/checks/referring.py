"""Checks that refer to another check of the contract by ``of``: what they take over from it, and what they may ask.

Such a kind names what it inherits in its registry entry (``inherited``), derives its parameters from
:class:`ReferringParameters`, and has a function ``by_reference`` in its file, which gets a :class:`Reference`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from pydantic import Field, ValidationError, ValidationInfo, field_validator

from pytest_saliency.checks.parameters import Parameters

if TYPE_CHECKING:
    from pytest_saliency.checks.result import Result
    from pytest_saliency.decide.worsening_measures import Compared
    from pytest_saliency.engine.cases import Cases
    from pytest_saliency.records.baseline_entry import Entry

INHERITED = ("method", "of_kind", "of_criterion")
"""What every check of such a kind takes from the one that it refers to."""


class ReferringParameters(Parameters):
    """Parameters of a check that refers to another one."""

    of: Annotated[str, Field(min_length=1, max_length=80)] = Field(
        description="id of another check of this contract, whose numbers are compared"
    )
    of_kind: str = Field(description="kind of that check")
    of_criterion: dict[str, Any] = Field(description="its resolved parameters")

    @field_validator("of_kind")
    @classmethod
    def _may_be_referred_to(cls, value: str) -> str:
        return cls.check_kind(value)

    @classmethod
    def check_kind(cls, kind: str) -> str:
        """Return ``kind`` if a check of it can be named by ``of``; raises ValueError with a sentence otherwise."""
        from pytest_saliency.checks.registry import KINDS

        if kind not in KINDS or KINDS[kind].inherited:
            raise ValueError(f"is {kind!r}, which measures nothing itself")
        return kind

    @field_validator("of_criterion")
    @classmethod
    def _is_a_criterion(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        """Return it as that kind's own parameters say it: a record may spell 0.0 as 0, and the seed sees the text."""
        kind = info.data.get("of_kind")
        if kind is None:
            return value
        try:
            return criterion_of(kind, value).model_dump(mode="json")
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ValueError(f"is not one of kind {kind}: {where}: {first['msg']}") from None

    @property
    def measured(self) -> Parameters:
        """The parameters of the check that this one refers to."""
        return criterion_of(self.of_kind, self.of_criterion)


def criterion_of(kind: str, values: Mapping[str, Any]) -> Parameters:
    """Return the parameters of a check of ``kind``."""
    from pytest_saliency.checks.registry import KINDS

    return KINDS[kind].parameters(**values)


def known_measures(kind: str | None, value: Mapping[str, float]) -> None:
    """Raise ValueError with a sentence where ``value`` limits a measure that a check of ``kind`` has not."""
    from pytest_saliency.decide.worsening_measures import measure_names

    if kind is None:
        return
    names = measure_names(kind)
    wrong = [name for name in value if name not in names]
    if wrong:
        raise ValueError(f"limits '{wrong[0][:60]}', which a check of kind {kind} has not; it has {', '.join(names)}")


def named(table: Mapping[str, tuple[Compared, ...]]) -> dict[str, Any]:
    """Return what the schema of a contract says of the keys of limits by measure: completion for editors."""
    names = sorted({measure.name for measures in table.values() for measure in measures})
    return {"propertyNames": {"enum": [*names]}}


class Reference(Protocol):
    """What a contract hands to a check that refers to another one. Each call may raise a ``SaliencyError``."""

    @property
    def models(self) -> Mapping[str, str]:
        """The names of the item's models by role."""
        ...

    def cases(self) -> Cases:
        """Return the images of both checks."""
        ...

    def measure(self, replaced: Mapping[str, str] | None = None) -> Result:
        """Run the check that is referred to, under its id; ``replaced`` gives a role of it another of the models."""
        ...

    def baseline(self) -> Entry:
        """Return its approved baseline."""
        ...
