"""A contract file, read and resolved: ``load_contract`` and ``expand``.

Everything here comes from the text of the file alone. No model is imported, no image is opened, torch stays out.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from pytest_saliency.checks.registry import KINDS
from pytest_saliency.contracts.check import CheckItem, CheckReader, Surroundings, unknown_model
from pytest_saliency.contracts.fields import MODEL_NAME
from pytest_saliency.contracts.loader import MAX_BYTES, Document, read_document, shown
from pytest_saliency.contracts.loader import Path as KeyPath
from pytest_saliency.contracts.models import CasesSpec, Defaults, Head, ModelSpec
from pytest_saliency.contracts.problems import Findings, got
from pytest_saliency.errors import ContractError, Problem

SECTIONS = ("models", "cases", "defaults", "checks")


@dataclass(frozen=True)
class CheckSpec:
    """One entry of ``checks`` with the items it makes."""

    id: str
    kind: str
    line: int
    items: tuple[CheckItem, ...]


@dataclass(frozen=True)
class Contract:
    """A contract without problems. Paths in it are relative to the folder of ``path``."""

    path: Path
    slug: str
    requirement: str | None
    models: Mapping[str, ModelSpec]
    cases: CasesSpec | None
    checks: tuple[CheckSpec, ...]
    digest: str
    text: str
    document: Document

    def resolved(self) -> dict[str, Any]:
        """Return everything the file means, defaults filled in, as values that JSON can hold."""
        items = []
        for item in expand(self):
            row = {name: getattr(item, name) for name in item.__dataclass_fields__}
            row["cases"] = item.cases.model_dump(mode="json")
            row["known_failure"] = item.known_failure.model_dump(mode="json") if item.known_failure else None
            row["parameters"] = {
                key: list(value) if isinstance(value, tuple) else value for key, value in item.parameters.items()
            }
            items.append(row)
        return {
            "format": 1,
            "contract": self.slug,
            "requirement": self.requirement,
            "models": {name: spec.model_dump(mode="json") for name, spec in self.models.items()},
            "items": items,
        }

    def place(self, *path: str | int) -> tuple[int, int]:
        """Return line and column of the value at ``path``, as in ``place("models", "ft", "weights")``."""
        return self.document.mark(path)


def expand(contract: Contract) -> tuple[CheckItem, ...]:
    """Return the items of all checks, in the order of the file."""
    return tuple(item for check in contract.checks for item in check.items)


def load_contract(path: Path) -> Contract:
    """Read, validate and resolve the contract at ``path``.

    Raises
    ------
    ContractError
        All problems of the file at once, in the order of the file.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ContractError(str(path), (Problem(0, 0, f"this file cannot be read: {reason}"),)) from None
    return parse_contract(content, path)


def parse_contract(content: bytes, path: Path) -> Contract:
    """Do what ``load_contract`` does with the bytes of a file; ``path`` only names it."""
    document = read_document(content)
    blank = [place for place in _nothings(document.data, ()) if place not in document.broken]
    document = replace(document, broken=document.broken.union(blank))
    findings = Findings(document, dict.fromkeys(document.problems))
    contract = None
    if isinstance(document.data, dict):
        for place in blank:
            what = f"'{shown(place[-1])}'" if isinstance(place[-1], str) else f"entry {place[-1] + 1} of this list"
            findings.key(place, f"{what} has no value; give one or remove it")
        contract = _read(document.data, content, path, findings)
    elif not findings.found:
        findings.value((), f"a contract is a mapping that starts with 'saliency: 1'; got {got(document.data)}")
    if findings.found or contract is None:
        raise ContractError(str(path), findings.sorted())
    return contract


def _read(data: Mapping[Any, Any], content: bytes, path: Path, findings: Findings) -> Contract | None:
    top = "at the top of the contract"
    findings.unknown_keys((), data, (*Head.model_fields, *SECTIONS), top)
    head = findings.validate(Head, {key: data[key] for key in Head.model_fields if key in data}, (), top)
    cases = None
    if "cases" in data:
        cases = findings.validate(CasesSpec, data["cases"], ("cases",), "in 'cases'")
    defaults = _defaults(data, findings)
    models = _models(data, defaults, findings)
    around = Surroundings(
        models=tuple(key for key in _mapping(data, "models") if isinstance(key, str)),
        defaults={key: getattr(defaults, key) for key in defaults.model_fields_set if key != "preprocess"},
        requirement=head.requirement if head else None,
        cases=cases,
        cases_declared="cases" in data,
    )
    if defaults.model is not None and defaults.model not in around.models:
        findings.value(("defaults", "model"), unknown_model(defaults.model, "in 'defaults'", around.models))
    checks = _checks(data, around, findings)
    _held_out_is_held_out(models, checks, findings)
    if head is None:
        return None
    return Contract(
        path=path,
        slug=head.contract,
        requirement=head.requirement,
        models=MappingProxyType(models),
        cases=cases,
        checks=checks,
        digest=hashlib.sha256(content).hexdigest(),
        text=findings.document.text,
        document=findings.document,
    )


def _nothings(value: object, path: KeyPath) -> Iterator[KeyPath]:
    """Yield the paths without a value. A criterion left blank must not silently be no criterion.

    ``args`` are the user's own and may hold anything.
    """
    if "args" in path[2:] or path[:2] == ("cases", "args"):
        return
    if value is None and path:
        yield path
    children: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, Mapping):
        children = value.items()
    elif isinstance(value, tuple):
        children = enumerate(value)
    for key, child in children:
        yield from _nothings(child, (*path, key))


def _mapping(data: Mapping[Any, Any], section: str) -> Mapping[Any, Any]:
    value = data.get(section)
    return value if isinstance(value, Mapping) else {}


def _defaults(data: Mapping[Any, Any], findings: Findings) -> Defaults:
    """Return the defaults that are well written; the others are reported and left out."""
    written = _mapping(data, "defaults")
    if "defaults" in data:
        whole = findings.validate(Defaults, data["defaults"], ("defaults",), "in 'defaults'")
        if whole is not None:
            return whole
    good = {}
    for key, value in written.items():
        try:
            good[str(key)] = getattr(Defaults.model_validate({key: value}), str(key))
        except ValidationError:
            continue
    return Defaults.model_construct(set(good), **good)


def _models(data: Mapping[Any, Any], defaults: Defaults, findings: Findings) -> dict[str, ModelSpec]:
    if "models" not in data:
        findings.value((), "'models' is missing at the top of the contract; declare at least one model")
    elif not isinstance(data["models"], Mapping):
        findings.value(("models",), f"'models' must be a mapping of names to models; got {got(data['models'])}")
    elif not data["models"]:
        findings.value(("models",), "'models' is empty; declare at least one model")
    models = {}
    for name, values in _mapping(data, "models").items():
        here: KeyPath = ("models", name)
        if not isinstance(name, str) or not re.fullmatch(MODEL_NAME, name):
            findings.key(here, f"model name '{shown(name)}' must be text of letters, digits, '.', '-' and '_'")
        spec = findings.validate(ModelSpec, values, here, f"in model '{shown(name)}'")
        if spec is not None:
            taken = {"preprocess": spec.preprocess or defaults.preprocess}
            models[str(name)] = spec.at_line(findings.document.key_mark(here)[0], taken)
    return models


def _checks(data: Mapping[Any, Any], around: Surroundings, findings: Findings) -> tuple[CheckSpec, ...]:
    entries = data.get("checks")
    if "checks" not in data:
        findings.value((), "'checks' is missing at the top of the contract, so nothing would be checked")
    elif not isinstance(entries, tuple):
        findings.value(("checks",), f"'checks' must be a list; got {got(entries)}")
    elif not entries:
        findings.value(("checks",), "'checks' is empty, so nothing would be checked")
    first: dict[str, int] = {}
    readers: dict[int, CheckReader] = {}
    for i, values in enumerate(entries if isinstance(entries, tuple) else ()):
        here: KeyPath = ("checks", i)
        if not isinstance(values, Mapping):
            findings.value(here, f"check number {i + 1} must be a mapping; got {got(values)}")
            continue
        readers[i] = CheckReader(values, here, around, findings)
        name = values.get("id")
        if isinstance(name, str):
            if name in first:
                findings.value((*here, "id"), f"check id '{shown(name)}' is used twice (first at line {first[name]})")
            first.setdefault(name, findings.document.mark((*here, "id"))[0])
    made = {i: reader.read() for i, reader in readers.items() if not reader.refers}
    # What refers to other checks is read after them, wherever it stands in the file.
    found = {str(readers[i].values.get("id")): items for i, items in made.items()}
    referring = tuple(str(reader.values.get("id")) for reader in readers.values() if reader.refers)
    for i, reader in readers.items():
        if reader.refers:
            made[i] = replace(reader, around=replace(around, checks=found, referring=referring)).read()
    return tuple(
        CheckSpec(items[0].check, items[0].kind, findings.document.mark(("checks", i))[0], items)
        for i, items in sorted(made.items())
        if items
    )


def _held_out_is_held_out(models: Mapping[str, ModelSpec], checks: tuple[CheckSpec, ...], findings: Findings) -> None:
    measuring = [check for check in checks if not KINDS[check.kind].inherited or KINDS[check.kind].many]
    for item in (item for check in measuring for item in check.items):
        for name in item.roles.values():
            contrast = models[name].contrast if name in models else None
            held_out = contrast.cases if contrast else None
            if held_out and (held_out.source, held_out.args) == (item.cases.source, item.cases.args):
                findings.value(
                    ("models", name, "contrast", "cases"),
                    f"the held-out cases of model '{shown(name)}' are the cases under test in check '{item.check}';"
                    " count confusions on other images",
                )
