"""Level 1, the contract: what was run is what was declared, and all of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_saliency.errors import ContractError, SaliencyError
from pytest_saliency.evidence.again import guarded
from pytest_saliency.evidence.canonical import canonical, settled
from pytest_saliency.evidence.compared import first_difference
from pytest_saliency.evidence.contracts import methods_of, parsed
from pytest_saliency.evidence.findings import Found
from pytest_saliency.evidence.folder import content_of, listing
from pytest_saliency.evidence.layout import CONTRACT_SUFFIX, CONTRACTS, LOCK_SUFFIX, RESOLVED_SUFFIX, RESULTS, RUN
from pytest_saliency.evidence.outcome import names_of
from pytest_saliency.evidence.read import parsed as json_of

if TYPE_CHECKING:
    from pytest_saliency.contracts.check import CheckItem
    from pytest_saliency.contracts.contract import Contract

MAX_BYTES = 1 << 24
AUTO_LAYERS = ("auto", "penultimate")


def check_contracts(folder: Path, document: Mapping[str, Any], same_version: bool, found: Found) -> None:
    """Check the contracts of the bundle, and every record against its contract."""
    held = _contracts(folder, document, same_version, found)
    days = _days(document)
    missing: set[str] = set()
    for name, record in zip(names_of(document["records"]), document["records"], strict=True):
        digest = record.get("contract_sha256")
        if record.get("contract") is None and digest is None:
            found.told.append(f"{name} is declared in Python; its criterion is the one that the record says.")
        elif digest not in held:
            missing.add(str(record.get("contract")))
        else:
            path, contract = held[str(digest)]
            guarded(found, RESULTS, name, lambda: _against(name, record, path, contract, days, found))  # noqa: B023
    for slug in sorted(missing):
        said = next((line for line in document.get("deviations") or () if slug in line and "bundle" in line), None)
        if said is None:
            found.add(f"{CONTRACTS}/", f"contract {slug}, as its records name it by SHA-256, is not there")
        else:
            found.skipped.append(f"the criteria of contract {slug}: {said}")
    used = {str(record.get("contract_sha256")) for record in document["records"]}
    for digest, (path, contract) in held.items():
        if digest not in used:
            found.add(path, "is the contract of no record: each record names its contract by SHA-256")
            continue
        _complete(contract, digest, document, found)
    if held and not found.findings:
        found.checked.append(f"every criterion, axis and policy is that of {len(held)} contract(s), text by SHA-256")


def _contracts(
    folder: Path, document: Mapping[str, Any], same_version: bool, found: Found
) -> dict[str, tuple[str, Contract]]:
    files = [path for path in listing(folder).files if path.startswith(f"{CONTRACTS}/")]
    methods = methods_of(document)
    held: dict[str, tuple[str, Contract]] = {}
    locks: list[dict[str, Any]] = []
    for path in sorted(path for path in files if path.endswith(CONTRACT_SUFFIX)):
        stem = path.removesuffix(CONTRACT_SUFFIX)
        try:
            content = content_of(folder, path, MAX_BYTES)
            contract = parsed(content, methods)
        except ContractError as error:
            found.add(path, f"is no contract: {error.problems[0].message}")
            continue
        except (SaliencyError, RecursionError) as error:
            found.add(path, f"cannot be read: {error}")
            continue
        held[hashlib.sha256(content).hexdigest()] = path, contract
        if stem + RESOLVED_SUFFIX in files:
            _resolved(folder, stem + RESOLVED_SUFFIX, contract, same_version, found)
        else:
            found.add(stem + RESOLVED_SUFFIX, "is missing: every contract has its resolved form beside it")
        guarded(found, RUN, path, lambda: _lock(folder, stem, files, content, contract, document, locks, found))  # noqa: B023
    stems = {path.removesuffix(CONTRACT_SUFFIX) for path in files if path.endswith(CONTRACT_SUFFIX)}
    for path in files:
        for suffix in (RESOLVED_SUFFIX, LOCK_SUFFIX):
            if path.endswith(suffix) and path.removesuffix(suffix) not in stems:
                found.add(path, "belongs to no contract of the bundle")
    return held


def _resolved(folder: Path, path: str, contract: Contract, same_version: bool, found: Found) -> None:
    try:
        content = content_of(folder, path, MAX_BYTES)
        said = json_of(content, path)
    except SaliencyError as error:
        found.add(path, str(error))
        return
    made = settled(contract.resolved())
    if not same_version:
        found.skipped.append(f"{path} in full: another release resolved it; what both know is compared")
        made, said = _common(made, said)
    difference = first_difference(said, made)
    if difference is not None:
        found.add(path, f"is not what the contract resolves to: {difference}")
    elif same_version and content != canonical(contract.resolved()):
        found.add(path, "is not spelled as it was written")


def _common(one: Any, two: Any) -> tuple[Any, Any]:
    if isinstance(one, dict) and isinstance(two, dict):
        pairs = {key: _common(one[key], two[key]) for key in one if key in two}
        return {key: pair[0] for key, pair in pairs.items()}, {key: pair[1] for key, pair in pairs.items()}
    if isinstance(one, list) and isinstance(two, list) and len(one) == len(two):
        rows = [_common(a, b) for a, b in zip(one, two, strict=True)]
        return [row[0] for row in rows], [row[1] for row in rows]
    return one, two


def _lock(
    folder: Path,
    stem: str,
    files: list[str],
    content: bytes,
    contract: Contract,
    document: Mapping[str, Any],
    locks: list[dict[str, Any]],
    found: Found,
) -> None:
    """Hold what the run says of a contract's lock against the lock that the bundle has."""
    from pytest_saliency.evidence.lock import assess_lock

    rows = [row for row in document.get("locks") or () if row.get("contract") == contract.slug]
    held = content_of(folder, stem + LOCK_SUFFIX, MAX_BYTES) if stem + LOCK_SUFFIX in files else None
    made = assess_lock(contract.slug, contract.digest, "", content, held, methods_of(document))
    if not rows:
        if held is not None:
            found.add(RUN, f"says nothing of the lock {stem + LOCK_SUFFIX}")
        return
    for key in ("state", "at", "commit", "changes"):
        if len(rows) == 1 and rows[0].get(key) != made[key]:
            found.add(
                RUN, f"says of the lock of contract {contract.slug}: {key} {rows[0].get(key)!r}, not {made[key]!r}"
            )


def _against(
    name: str, record: Mapping[str, Any], path: str, contract: Contract, days: tuple[date, ...], found: Found
) -> None:
    from pytest_saliency.checks.registry import KINDS
    from pytest_saliency.contracts.contract import expand
    from pytest_saliency.contracts.settings import setting_of

    node = str(record["node"])
    prefix, _, wanted = node.partition("::")
    item = next((item for item in expand(contract) if item.name == wanted), None)
    if item is None:
        found.add(RESULTS, f"{name}: contract {path} declares no check {wanted!r}")
        return
    file = str((record.get("source") or {}).get("file") or prefix)
    setting = setting_of(contract, item, node, file)
    made: dict[str, Any] = {
        "contract": setting.contract,
        "check": setting.check,
        "kind": setting.kind,
        "axes": dict(setting.axes),
        "requirement": setting.requirement,
        "source": setting.source.to_dict() if setting.source else None,
    }
    if record.get("decision") is not None:
        parameters = KINDS[item.kind].parameters(**item.parameters)
        made["criterion"] = parameters.model_dump(mode="json")
    for key, value in made.items():
        difference = first_difference(record.get(key), settled(value), key)
        if difference is not None:
            found.add(RESULTS, f"{name}: {difference}, as {path} declares it")
    _policy(name, record, item, path, days, found)
    _subjects(name, record, item, contract, path, found)


def _policy(
    name: str, record: Mapping[str, Any], item: CheckItem, path: str, days: tuple[date, ...], found: Found
) -> None:
    from pytest_saliency.contracts.policy import expired, policy_of

    policies = []
    for day in days or (None,):
        policy = policy_of(item)
        if item.known_failure is not None and day is not None:
            policy["known_failure"]["expired"] = expired(item.known_failure, day)
        policies.append(settled(policy))
    differences = [first_difference(record.get("policy"), policy, "policy") for policy in policies]
    if all(differences):
        found.add(RESULTS, f"{name}: {differences[0]}, as {path} declares it")


def _subjects(
    name: str, record: Mapping[str, Any], item: CheckItem, contract: Contract, path: str, found: Found
) -> None:
    subjects = record.get("subjects")
    if not subjects:
        return
    from pytest_saliency.evidence.checkpoints import about_checkpoints, checkpoint_roles

    pattern = item.parameters.get("checkpoints")
    if set(subjects) - set(checkpoint_roles(subjects, pattern)) != set(item.roles):
        found.add(RESULTS, f"{name}: is about {sorted(subjects)}, and {path} declares {sorted(item.roles)}")
        return
    for line in about_checkpoints(record, pattern, contract.models[item.roles["after"]]) if pattern else ():
        found.add(RESULTS, f"{name}: {line} ({path})")
    for role, model in item.roles.items():
        spec, subject = contract.models[model], subjects[role]
        wanted = {"name": spec.name or model}
        if spec.sha256 is not None:
            wanted["weights_sha256"] = spec.sha256.lower()
        if spec.layer not in AUTO_LAYERS:
            wanted["layer"] = spec.layer
        for key, value in wanted.items():
            if subject.get(key) != value:
                found.add(RESULTS, f"{name}: {key} of {role} is {subject.get(key)!r}, and {path} declares {value!r}")


def _complete(contract: Contract, digest: str, document: Mapping[str, Any], found: Found) -> None:
    from pytest_saliency.contracts.contract import expand

    there = {
        str(record.get("node")).partition("::")[2]
        for record in document["records"]
        if record.get("contract_sha256") == digest
    }
    absent = [item.name for item in expand(contract) if item.name not in there]
    if absent:
        said = f"contract {contract.slug} declares {', '.join(absent)}, and there is no record"
        found.add(RESULTS, f"{said}: a run writes one of every check that is declared, NOT_RUN where it did not run")


def _days(document: Mapping[str, Any]) -> tuple[date, ...]:
    """Return the days on which the run may have looked whether an exception is over."""
    found = []
    for key in ("started", "finished"):
        try:
            found.append(date.fromisoformat(str(document["run"].get(key))[:10]))
        except ValueError:
            continue
    return tuple(dict.fromkeys(found))
