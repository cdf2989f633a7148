"""Checks that take another check's models, cases, criterion and axes, which ``of`` names: one item for each of its."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from pytest_saliency.checks.registry import KINDS, Kind
from pytest_saliency.contracts.axes import item_name
from pytest_saliency.contracts.loader import shown
from pytest_saliency.contracts.models import CheckHead
from pytest_saliency.contracts.problems import did_you_mean, got

if TYPE_CHECKING:
    from pytest_saliency.contracts.check import CheckItem, CheckReader

OWN = ("alpha", "max_undefined")
"""Parameters that a check of such a kind takes from ``defaults``, as every check does."""


def inheriting_items(reader: CheckReader, kind: Kind, head: CheckHead | None) -> tuple[CheckItem, ...]:
    """Return the items of a check of ``kind``; problems go to the reader's findings."""
    findings, values, path = reader.findings, reader.values, reader.path
    before = len(findings.found)
    own = [key for key in kind.parameters.model_fields if key not in kind.inherited]
    findings.unknown_keys(path, values, (*CheckHead.model_fields, *kind.many, *own), reader.section)
    if "cases" in values:
        findings.key(
            (*path, "cases"), f"'cases' {reader.section} come from the check that 'of' names; remove them here"
        )
    reader.lists_exist(kind)
    of = values.get("of")
    if "of" not in values:
        findings.value(path, f"'of' is missing {reader.section}: the id of the check whose numbers are compared")
    elif not isinstance(of, str):
        findings.value((*path, "of"), f"'of' must be the id of another check; got {got(of)}")
    elif of in reader.around.referring:
        findings.value((*path, "of"), f"'{shown(of)}' {reader.section} measures nothing itself; name a check that does")
    elif of not in reader.around.checks:
        known = [name for name, other in reader.around.checks.items() if other]
        hint = did_you_mean(of, known) or (f"; the checks are {', '.join(known[:10])}" if known else "")
        findings.value((*path, "of"), f"no check '{shown(of)}' in this contract {reader.section}{hint}")
    referred = reader.around.checks.get(of) if isinstance(of, str) else None
    if not referred:
        for key in own:
            if key != "of" and key not in values and kind.parameters.model_fields[key].is_required():
                findings.value(path, f"'{key}' is missing {reader.section}; it has no default")
    if not referred or head is None:
        return ()
    taken = [_taken(reader, kind, item) for item in referred]
    made = [(item, _parameters(reader, kind, item, own)) for item in {item.name: item for item in taken}.values()]
    if len(findings.found) > before:
        return ()
    return tuple(_item(reader, kind, head, item, values) for item, values in made if values is not None)


def _taken(reader: CheckReader, kind: Kind, of: CheckItem) -> CheckItem:
    """Return the item that is referred to, with the models of ``kind.many`` in the place of its last role.

    An axis of models has no meaning then; what remains of it are items of one name.
    """
    if not kind.many:
        return of
    place = KINDS[of.kind].roles[-1]
    kept = {role: name for role, name in of.roles.items() if role != place}
    roles = dict(kept)
    for key in kind.many:
        written = reader.values.get(key)
        for number, name in enumerate(written if isinstance(written, tuple) else (), start=1):
            roles[f"{key}.{number}"] = name
            if name in kept.values():
                role = next(role for role, other in kept.items() if other == name)
                reader.findings.value(
                    (*reader.path, key, number - 1),
                    f"'{shown(name)}' {reader.section} is '{role}' of check '{of.check}' already; name other trainings",
                )
    axes = {key: value for key, value in of.axes.items() if key != place}
    return replace(of, name=item_name(of.check, axes), axes=axes, roles=roles)


def _parameters(reader: CheckReader, kind: Kind, of: CheckItem, own: list[str]) -> dict[str, Any] | None:
    given: dict[str, Any] = {
        "method": of.parameters["method"],
        "of_kind": of.kind,
        "of_criterion": KINDS[of.kind].parameters(**of.parameters).model_dump(mode="json"),
    }
    places = {}
    for key in own:
        if key in reader.values:
            given[key] = reader.values[key]
        elif key in OWN and key in reader.around.defaults:
            given[key], places[key] = reader.around.defaults[key], ("defaults", key)
    given |= {key: dict(value) for key, value in given.items() if isinstance(value, Mapping)}
    try:
        return kind.parameters(**given).model_dump()
    except ValidationError as error:
        reader.findings.report(error, given, reader.path, reader.section, spec=kind.parameters, places=places)
        return None


def _item(reader: CheckReader, kind: Kind, head: CheckHead, of: CheckItem, parameters: dict[str, Any]) -> CheckItem:
    document = reader.findings.document
    lines = {key: of.lines[key] for key in (*of.roles, "cases", "method") if key in of.lines}
    lines |= {key: document.key_mark(("defaults", key))[0] for key in OWN if key in reader.around.defaults}
    lines |= {str(key): document.key_mark((*reader.path, key))[0] for key in reader.values}
    return replace(
        of,
        name=item_name(head.id, of.axes),
        check=head.id,
        kind=kind.name,
        parameters=parameters,
        requirement=head.requirement or of.requirement,
        severity=head.severity,
        on_inconclusive=head.on_inconclusive,
        known_failure=head.known_failure,
        line=document.mark(reader.path)[0],
        lines=lines,
    )
