"""The record of a pilot for each check of a contract, or the sentence that says why there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_saliency.errors import SaliencyError

if TYPE_CHECKING:
    from pytest_saliency.checks.parameters import Parameters
    from pytest_saliency.contracts.check import CheckItem
    from pytest_saliency.contracts.contract import Contract

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Asked:
    """One check of a contract with what runs measured of it; ``missing`` says of each other run what it lacks."""

    item: CheckItem
    parameters: Parameters
    records: Sequence[Record]
    missing: Sequence[str]


def read_contract(path: Path) -> Contract:
    """Return the contract at ``path``.

    Raises
    ------
    SaliencyError
        It has problems, which are told line by line.
    """
    from pytest_saliency.contracts.contract import load_contract
    from pytest_saliency.errors import ContractError

    try:
        return load_contract(path)
    except ContractError as error:
        raise SaliencyError(f"{path}\n{error}") from None


def asked_of(contract: Contract, runs: Mapping[str, Mapping[str, Any]]) -> list[Asked]:
    """Return every item of the contract with its records in ``runs``, which are documents by the name of their file.

    A record counts if it measured what the contract asks for now; limits and levels may be others.
    """
    from pytest_saliency.checks.registry import KINDS
    from pytest_saliency.contracts.contract import expand

    made = []
    for item in expand(contract):
        parameters = KINDS[item.kind].parameters(**item.parameters)
        records, missing = [], []
        for name, document in runs.items():
            found = _found(contract.slug, item, document)
            why = "" if found is None else _unlike(parameters, found)
            if found is None:
                missing.append(f"{name} has no result of it")
            elif why:
                missing.append(f"{name} {why}")
            else:
                records.append(found)
        made.append(Asked(item, parameters, records, missing))
    return made


def _found(slug: str, item: CheckItem, document: Mapping[str, Any]) -> Record | None:
    for record in document["records"]:
        name = str(record.get("node")).partition("::")[2]
        if record.get("contract") == slug and name == item.name and record.get("decision") is not None:
            return dict(record)
    return None


def _unlike(parameters: Parameters, record: Record) -> str:
    """Return in what a record was measured otherwise than ``parameters`` ask; "" where it was not."""
    from pytest_saliency.checks.compared import meaning
    from pytest_saliency.checks.registry import KINDS

    now = _deep(meaning(parameters.model_dump(mode="json")))
    try:
        kind = KINDS[str(record["kind"])]
        then = _deep(meaning(kind.parameters(**record["criterion"]).model_dump(mode="json")))
    except (KeyError, ValueError, TypeError):
        return "has a record of it that this release cannot read"
    if not isinstance(parameters, kind.parameters):
        return f"has a check of kind {record['kind']} by that name"
    differ = sorted(key for key in {*now, *then} if now.get(key) != then.get(key))
    return f"measured it otherwise ({', '.join(differ)})" if differ else ""


def _deep(criterion: dict[str, Any]) -> dict[str, Any]:
    from pytest_saliency.checks.compared import meaning

    inner = criterion.get("of_criterion")
    return {**criterion, "of_criterion": meaning(inner)} if isinstance(inner, Mapping) else criterion
