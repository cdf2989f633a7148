"""What is declared and what is stored, side by side. Contracts are read; nothing is run or imported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pytest_saliency.records.baseline_changes import COMPARING, Change, changes, compared_changes
from pytest_saliency.records.baseline_key import Key
from pytest_saliency.records.baselines import Shelf, shelves

if TYPE_CHECKING:
    from pytest_saliency.contracts.contract import Contract

State = Literal["approved", "candidate waits", "not approved", "missing", "orphan"]


@dataclass(frozen=True)
class Declared:
    """What contracts declare: by key the resolved criterion, and what checks compare with its baseline."""

    criteria: Mapping[Key, Mapping[str, Any]]
    comparing: Mapping[Key, Mapping[str, Mapping[str, Any]]]
    contracts: frozenset[str]
    problems: tuple[str, ...]
    everywhere: bool
    """Whether all contracts were looked for, not those in certain paths."""

    @property
    def whole(self) -> bool:
        """Whether these are all contracts that there are, so that what they do not declare is left over."""
        return self.everywhere and not self.problems


@dataclass(frozen=True)
class Row:
    """One baseline: its key, what state it is in, and what changed since it was approved."""

    key: Key
    state: State
    shelf: Shelf | None
    changes: Sequence[Change] = field(default=())

    @property
    def lines(self) -> list[str]:
        """Return the state in words, and below it a line a change."""
        approved = self.shelf.approved if self.shelf else None
        waiting = self.shelf.waiting if self.shelf else None
        said = ""
        if approved is not None and approved.approval is not None:
            held = approved.approval
            said = f"approved by {held['by']} on {held['at'][:10]}: {held['reason']}"
        words = {
            "approved": said,
            "candidate waits": f"{said}; a candidate waits for approval",
            "not approved": "not approved: a candidate waits",
            "missing": "no baseline",
            "orphan": f"orphan, no contract here declares it{'; ' + said if said else ''}",
        }
        tail = ""
        if waiting is not None and self.state in ("candidate waits", "not approved"):
            tail = f" (made {str(waiting.data['made'].get('at'))[:10]}, {waiting.data['verdict']})"
        return [words[self.state] + tail, *(change.text for change in self.changes)]


def declared_in(paths: Sequence[Path]) -> Declared:
    """Read the contracts in ``paths`` (files, or folders that are searched); without paths, those below the cwd."""
    from pytest_saliency.contracts.contract import expand, load_contract
    from pytest_saliency.contracts.finding import contracts_below
    from pytest_saliency.decide.worsening_measures import COMPARED
    from pytest_saliency.errors import ContractError

    criteria: dict[Key, Mapping[str, Any]] = {}
    comparing: dict[Key, dict[str, Mapping[str, Any]]] = {}
    contracts, problems = set(), []
    for path in dict.fromkeys(found for given in paths or (Path(),) for found in contracts_below(given)):
        try:
            contract = load_contract(path)
        except ContractError as error:
            problems.append(f"{path}: {str(error).splitlines()[0]} See 'pytest-saliency validate {path}'.")
            continue
        contracts.add(contract.slug)
        for key, entries in comparisons(contract).items():
            comparing.setdefault(key, {}).update(entries)
        for item in expand(contract):
            if item.kind in COMPARED:
                criteria[Key.made(contract.slug, item.check, item.axes)] = _json(item.parameters)
    return Declared(criteria, comparing, frozenset(contracts), tuple(problems), not paths)


def comparisons(contract: Contract) -> dict[Key, dict[str, Mapping[str, Any]]]:
    """Return, by key of the baseline, the checks that compare with it and what limits they set."""
    from pytest_saliency.contracts.contract import expand

    made: dict[Key, dict[str, Mapping[str, Any]]] = {}
    for item in expand(contract):
        if item.kind == COMPARING:
            key = Key.made(contract.slug, item.parameters["of"], item.axes)
            made.setdefault(key, {})[item.check] = limits_of(item.parameters)
    return made


def limits_of(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return of a comparing check's parameters those that limit."""
    return {name: parameters[name] for name in ("max_worsening", "min_kept", "alpha", "max_undefined")}


def status(folder: Path, declared: Declared) -> tuple[list[Row], list[str]]:
    """Return a row for everything declared or stored, sorted, and what cannot be read, one sentence each."""
    stored, problems = shelves(folder)
    rows = {shelf.key: _row(shelf, declared) for shelf in stored if _concerns(shelf.key, declared)}
    rows |= {key: Row(key, "missing", None) for key in declared.criteria if key not in rows}
    return [rows[key] for key in sorted(rows, key=lambda key: (key.selector, key.axes))], problems


def orphans(rows: Sequence[Row]) -> list[Shelf]:
    """Return what is stored and not declared."""
    return [row.shelf for row in rows if row.state == "orphan" and row.shelf is not None]


def _concerns(key: Key, declared: Declared) -> bool:
    """Tell whether a key is of the contracts that were asked about; names in tests are known to nobody before a run."""
    return declared.everywhere or key.contract in declared.contracts


def _row(shelf: Shelf, declared: Declared) -> Row:
    key = shelf.key
    approved = shelf.approved is not None and shelf.approved.approval is not None
    if key.contract is not None and key not in declared.criteria:
        known = declared.whole or key.contract in declared.contracts
        if known:
            return Row(key, "orphan", shelf)
    if not approved or shelf.approved is None:
        return Row(key, "not approved", Shelf(key, None, shelf.waiting or shelf.approved))
    found: list[Change] = []
    if key in declared.criteria:
        found = changes(shelf.approved.criterion, declared.criteria[key])
        found += compared_changes(shelf.approved, declared.comparing.get(key, {}), complete=True)
    return Row(key, "candidate waits" if shelf.waiting else "approved", shelf, tuple(found))


def _json(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in parameters.items()}
