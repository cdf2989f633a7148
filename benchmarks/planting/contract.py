"""The default contract of a setting, with limits from its calibrating clean runs; and what it says of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from planting.scoring import Outcome, decided
from pytest_saliency.checks.registry import KINDS
from pytest_saliency.contracts.proposal import DRAFTS, FEW, Draft, Proposed, propose, with_usual

SAME_NUMBERS = {FEW.id: "evidence-kept"}
"""Checks that are decided from the numbers of another one."""


@dataclass(frozen=True)
class Ruled:
    """A contract: its checks with limits, and which drafts the clean runs did not allow."""

    checks: tuple[Proposed, ...]
    left_out: tuple[str, ...]


def drafts() -> tuple[Draft, ...]:
    """Return the drafts whose kinds are there."""
    return tuple(one for one in DRAFTS if one.kind in KINDS)


def ruled(clean: Sequence[Mapping[str, Mapping[str, Any]]]) -> Ruled:
    """Return the contract that the numbers of clean runs propose, one mapping of check to numbers a run."""
    made: list[Proposed] = []
    left: list[str] = []
    everything = drafts()
    limits = sum(len(one.asked) for one in everything) + len(FEW.asked)
    for draft in everything:
        decisions = [decided(draft, draft.loosest, run[draft.id])[1] for run in clean]
        found = propose(draft, [one for one in decisions if one is not None], limits)
        made.append(found) if found is not None else left.append(draft.id)
    columns = [run["evidence-kept"]["per_image"] for run in clean if "error" not in run["evidence-kept"]]
    means = next((one.parameters for one in made if one.draft.kind == FEW.kind), {})
    few = with_usual(columns, means)
    decisions = [decided(few, few.loosest, run["evidence-kept"])[1] for run in clean]
    found = propose(few, [one for one in decisions if one is not None], limits)
    made.append(found) if found is not None else left.append(few.id)
    return Ruled(tuple(made), tuple(left))


def outcomes(contract: Ruled, run: Mapping[str, Mapping[str, Any]]) -> list[Outcome]:
    """Return what each check of the contract says of a run, from its numbers."""
    return [
        decided(one.draft, one.parameters, run[SAME_NUMBERS.get(one.draft.id, one.draft.id)])[0]
        for one in contract.checks
    ]
