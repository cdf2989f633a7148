"""What a decision is made from, in the form in which the record keeps it, so that the same decision can be made again.

A check hands its decision nothing else: ``run`` decides from :class:`Numbers`, and so does whoever reads the record
years later without model, images or torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from pytest_saliency.checks.parameters import Parameters
from pytest_saliency.decide import effort
from pytest_saliency.decide.decision import plain
from pytest_saliency.decide.randomness import seed_from
from pytest_saliency.errors import CriterionError

if TYPE_CHECKING:
    from pytest_saliency.decide.decision import Decision

Floats = NDArray[np.float64]
Table = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Numbers:
    """The numbers of one check, as JSON knows them (None for NaN).

    Attributes
    ----------
    per_image
        Columns over the kept images, in the order of their ids.
    everyone
        Columns over all cases, in the order of their ids: what became of each, and whether it was predicted correctly.
    inputs
        What else the decision takes: sizes of regions, counts, read-outs that are carried and not decided by.
    seed
        See :func:`seed_of`.
    """

    per_image: Table
    everyone: Table
    inputs: Mapping[str, Any]
    seed: int

    @classmethod
    def made(cls, per_image: Table, everyone: Table, inputs: Mapping[str, Any], seed: int) -> Self:
        """Return the numbers of a run, brought into the form of the record."""
        return cls(plain(per_image), plain(everyone), plain(inputs), seed)

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Self:
        """Return the numbers that a record keeps.

        Raises
        ------
        CriterionError
            The record is of an earlier format, or of a check that reached no verdict.
        """
        try:
            return cls(record["per_image"], record["everyone"], record["inputs"], int(record["seed"], 16))
        except (KeyError, TypeError, ValueError):
            raise CriterionError(
                f"the record of {record.get('node') or record.get('check')} does not hold the numbers that its decision"
                " was made from; it reached no verdict, or was written by an earlier release."
            ) from None

    def column(self, name: str) -> Floats:
        """Return a column of the kept images as float64, NaN where undefined."""
        return floats(self.per_image[name])

    def given(self, name: str) -> Floats | None:
        """Return the column, or None where the record has none of that name."""
        return self.column(name) if name in self.per_image else None

    def noted(self, decision: Decision) -> Decision:
        """Return the decision with the warnings of the run among its notes, and its groups among the read-outs."""
        readouts = dict(decision.readouts)
        if "group" in self.per_image and "groups" not in readouts and effort.described():
            from pytest_saliency.checks.grouped import rows_by_group

            readouts["groups"] = rows_by_group(decision.kind, self, decision.alpha)
        return replace(decision, notes=(*decision.notes, *self.inputs["warnings"]), readouts=readouts)

    def clusters(self) -> Sequence[str] | None:
        """Return the cluster of each kept image, or None."""
        return self.per_image.get("cluster")

    def units(self) -> Sequence[Any] | None:
        """Return what the kept images are averaged within: the set that shares mosaics or floors, else the cluster."""
        return self.per_image.get("set", self.clusters())

    def all_clusters(self) -> Sequence[str] | None:
        """Return the cluster of each of all cases, or None."""
        return self.everyone.get("cluster")


def floats(column: Sequence[Any]) -> Floats:
    """Return a column of a record as float64, NaN for None."""
    return np.asarray([np.nan if value is None else value for value in column], dtype=np.float64)


def seed_of(parameters: Parameters, unordered_digest: str, check: str) -> int:
    """Return the seed of a check: SHA-256 over its resolved criterion, the cases whatever their order, and its id."""
    resolved = json.dumps(parameters.criterion.model_dump(mode="json"), sort_keys=True)
    return seed_from("check", resolved, unordered_digest, check)


def decide_again(record: Mapping[str, Any]) -> Decision:
    """Make the decision of ``record`` again from the numbers it keeps; exact, and without torch.

    Raises
    ------
    CriterionError
        The record does not hold what its kind's decision takes, or what it holds does not fit together.
    """
    from pydantic import ValidationError

    from pytest_saliency.checks.registry import KINDS

    node = record.get("node") or record.get("check")
    kind = KINDS.get(str(record.get("kind")))
    if kind is None:
        raise CriterionError(
            f"the record of {node} is of kind {record.get('kind')!r}, which this release does not know."
        )
    numbers = Numbers.of(record)
    try:
        parameters = kind.parameters(**record["criterion"])
        return kind.decide(parameters, numbers)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise CriterionError(f"the criterion in the record of {node} is not valid: {where}: {first['msg']}.") from None
    except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
        raise CriterionError(
            f"the record of {node} does not hold what a decision of kind {kind.name} takes:"
            f" {type(error).__name__}: {error}."
        ) from None


def seed_again(record: Mapping[str, Any]) -> int:
    """Return the seed that the record's criterion, cases and id give."""
    from pytest_saliency.checks.registry import KINDS

    parameters = KINDS[record["kind"]].parameters(**record["criterion"])
    return seed_of(parameters, str(record["cases"]["unordered_digest"]), str(record["check"]))
