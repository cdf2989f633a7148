"""The contracts of a run as a bundle holds them: the text, what it resolves to, and the lock if there is one."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_saliency.contracts.fields import SLUG
from pytest_saliency.errors import ContractError
from pytest_saliency.evidence.canonical import canonical
from pytest_saliency.evidence.layout import CONTRACT_SUFFIX, CONTRACTS, LOCK_SUFFIX, RESOLVED_SUFFIX, safe_name

if TYPE_CHECKING:
    from pytest_saliency.contracts.contract import Contract


def contract_files(document: Mapping[str, Any], root: Path) -> tuple[dict[str, bytes], list[str]]:
    """Return the files below ``contract/``, and a sentence for each contract that is not what the run saw."""
    files: dict[str, bytes] = {}
    problems = []
    for slug, digest, source in declared(document):
        try:
            content = (root / source).read_bytes()
        except (OSError, ValueError) as error:  # ValueError: no path at all
            said = getattr(error, "strerror", None) or error
            problems.append(f"contract {slug} ({source}) cannot be read for the bundle: {said}.")
            continue
        if hashlib.sha256(content).hexdigest() != digest:
            problems.append(
                f"contract {slug} ({source}) changed during the run; the bundle does not hold what was run."
            )
            continue
        name = slug if re.fullmatch(SLUG, slug) else safe_name(slug)
        if f"{CONTRACTS}/{name}{CONTRACT_SUFFIX}" in files:
            name = f"{name}-{digest[:8]}"
        files[f"{CONTRACTS}/{name}{CONTRACT_SUFFIX}"] = content
        try:
            files[f"{CONTRACTS}/{name}{RESOLVED_SUFFIX}"] = canonical(resolved(content, methods_of(document)))
        except ContractError as error:
            said = error.problems[0].message
            problems.append(f"contract {slug} ({source}) cannot be resolved for the bundle: {said}.")
        lock = lock_beside(root / source)
        if lock.is_file():
            files[f"{CONTRACTS}/{name}{LOCK_SUFFIX}"] = lock.read_bytes()
    return files, problems


def declared(document: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return slug, SHA-256 and file (relative to the root) of each contract that the records name, each once."""
    found: dict[tuple[str, str, str], None] = {}
    for record in document["records"]:
        source = record.get("source")
        if record.get("contract") and record.get("contract_sha256") and source:
            found[(str(record["contract"]), str(record["contract_sha256"]), str(source["file"]))] = None
    return sorted(found)


def methods_of(document: Mapping[str, Any]) -> list[str]:
    """Return the names of the methods that the records were made with.

    Methods of the user's own are registered by code that a bundle does not hold; their names must be known to read a
    contract that uses them.
    """
    found: dict[str, None] = {}
    for record in document["records"]:
        criterion = record.get("criterion")
        if isinstance(criterion, dict):
            against = criterion.get("against")
            for name in (criterion.get("method"), *(against if isinstance(against, list) else ())):
                if isinstance(name, str):
                    found[name] = None
    return sorted(found)


def resolved(content: bytes, methods: list[str]) -> dict[str, Any]:
    """Return what the text of a contract resolves to; ``methods`` are taken to exist.

    Raises
    ------
    ContractError
        It is no contract.
    """
    return parsed(content, methods).resolved()


def parsed(content: bytes, methods: list[str]) -> Contract:
    """Return the contract of a text; ``methods`` are taken to exist."""
    from pytest_saliency.contracts.contract import parse_contract
    from pytest_saliency.engine.methods.own import names_assumed

    with names_assumed(methods):
        return parse_contract(content, Path("contract" + CONTRACT_SUFFIX))


def lock_beside(contract: Path) -> Path:
    """Return where the lock of the contract at ``contract`` lies."""
    stem = contract.name.removesuffix(".yml").removesuffix(".yaml")
    return contract.with_name(f"{stem}.lock.json")
