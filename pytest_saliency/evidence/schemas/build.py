"""The schemas of our own files, draft 2020-12, made from pieces; what is shipped is this, written out.

What a schema cannot say (digests that fit, calendars, tables of one length) is left to the readers, which are stricter.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, get_args

from pydantic import BaseModel

from pytest_saliency.checks.registry import KINDS
from pytest_saliency.contracts.check import CheckItem
from pytest_saliency.contracts.fields import SLUG
from pytest_saliency.contracts.models import CasesSpec, ModelSpec
from pytest_saliency.evidence.lock import STATES as LOCK_STATES
from pytest_saliency.evidence.schemas.pieces import (
    ANY,
    BOOL,
    COUNT,
    DECIDED,
    INSTANT,
    NUMBER,
    PATH,
    SHA256,
    SHARE,
    TEXT,
    Schema,
    closed,
    every,
    maybe,
    one_of,
    ref,
    table,
)
from pytest_saliency.evidence.schemas.record import criterion_of, definitions
from pytest_saliency.evidence.waivers import STATES
from pytest_saliency.records.record import FORMAT

DRAFT = "https://json-schema.org/draft/2020-12/schema"
RUN_FORMAT: Schema = {"const": FORMAT}
AT_LEAST_ONE: Schema = {"type": "integer", "minimum": 1}


def identifier(name: str) -> str:
    """Return the ``$id`` of a schema."""
    return f"urn:pytest-saliency:schema:{name}:1"


def build(name: str) -> Schema:
    """Return the schema of the file called ``name`` (a key of :data:`FILES`)."""
    title, make = FILES[name]
    return {"$schema": DRAFT, "$id": identifier(name), "title": f"pytest-saliency: {title}", **make()}


def render(name: str) -> str:
    """Return the schema as text, the same bytes each time."""
    return json.dumps(build(name), indent=1, ensure_ascii=True, sort_keys=True) + "\n"


def _git() -> Schema:
    return maybe(
        closed(
            {"commit": TEXT, "dirty": maybe(BOOL), "changed": every(TEXT), "untracked": maybe(COUNT)},
            optional=("changed", "untracked"),
        )
    )


def _run() -> Schema:
    shard = closed({"index": AT_LEAST_ONE, "count": AT_LEAST_ONE, "contracts": table(SHA256)})
    item = closed({"group": TEXT, "name": TEXT, "expected": TEXT, "got": TEXT, "ok": BOOL})
    return closed(
        {
            "id": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
            "tester": maybe(closed({"name": TEXT, "source": TEXT})),
            "command": TEXT,
            "started": INSTANT,
            "finished": INSTANT,
            "exit_status": {"type": "integer"},
            "platform": TEXT,
            "versions": table(TEXT),
            "git": _git(),
            "root": {"type": "null"},
            "merged": every({"type": "object", "required": ["id", "nodes"]}, minItems=1),
            "shard": shard,
            "stopped": TEXT,
            "uncollected": every(TEXT, minItems=1),
            "selftest": every(item, minItems=1),
        },
        optional=("root", "merged", "selftest", "shard", "stopped", "uncollected"),
    )


def _assessment() -> Schema:
    said = {name: maybe(TEXT) for name in ("reason", "risk", "requested_by", "approved_by", "created", "expires")}
    return closed(
        {
            "id": TEXT,
            "check": maybe(TEXT),
            "nodes": every(TEXT),
            "model": maybe(TEXT),
            "bound": table(NUMBER),
            "state": one_of(*STATES),
            "why": TEXT,
            **said,
            "line": COUNT,
            "problems": every(TEXT),
        }
    )


def _lock_assessment() -> Schema:
    return closed(
        {
            "contract": TEXT,
            "file": TEXT,
            "changes": every(TEXT),
            "at": maybe(INSTANT),
            "commit": maybe(TEXT),
            "state": one_of(*LOCK_STATES),
            "why": TEXT,
        }
    )


def _qualifiers() -> dict[str, Schema]:
    return {
        "run": ref("run"),
        "waivers": every(ref("waiver")),
        "locks": every(ref("lock")),
        "deviations": every(TEXT),
        "families": every(ref("family")),
    }


def _family() -> Schema:
    alarm = closed({"node": TEXT, "p": SHARE, "adjusted": SHARE})
    return closed({"contract": TEXT, "checks": COUNT, "alarms": every(alarm)})


def _qualifier_definitions() -> dict[str, Schema]:
    return {"run": _run(), "waiver": _assessment(), "lock": _lock_assessment(), "family": _family()}


def run_document() -> Schema:
    """Return the schema of the JSON file of a run."""
    return {
        **closed({"format": RUN_FORMAT, **_qualifiers(), "records": every(ref("record"))}, optional=("families",)),
        "$defs": {**_qualifier_definitions(), **definitions()},
    }


def bundle_run() -> Schema:
    """Return the schema of ``run.json`` in a bundle."""
    model = closed(
        {
            "name": maybe(TEXT),
            "source": maybe(TEXT),
            "architecture": maybe(TEXT),
            "weights_sha256": maybe(SHA256),
            "state_sha256": maybe(SHA256),
        }
    )
    data = closed(
        {"source": maybe(TEXT), "digest": maybe(SHA256), "unordered_digest": maybe(SHA256), "n": maybe(COUNT)}
    )
    return {
        **closed(
            {
                "format": RUN_FORMAT,
                **_qualifiers(),
                "executions": every(maybe(ref("execution"))),
                "models": every(model),
                "data": every(data),
            },
            optional=("families",),
        ),
        "$defs": {**_qualifier_definitions(), "execution": definitions()["execution"]},
    }


def results() -> Schema:
    """Return the schema of ``results.json`` in a bundle."""
    made = definitions(tables=False)
    del made["execution"]
    return {**closed({"format": RUN_FORMAT, "records": every(ref("record"))}), "$defs": made}


def cases_line() -> Schema:
    """Return the schema of one line of ``cases.jsonl`` in a bundle."""
    return closed(
        {
            "record": {**COUNT, "description": "which record of results.json, from 0"},
            "node": TEXT,
            "table": one_of("per_image", "everyone"),
            "row": COUNT,
            "values": table(ANY, required=["id"]),
        }
    )


def manifest() -> Schema:
    """Return the schema of ``manifest.json`` in a bundle."""
    entry = closed({"path": PATH, "sha256": SHA256, "bytes": COUNT, "role": TEXT})
    return closed({"format": {"const": 1}, "files": every(entry, minItems=1)})


def waivers() -> Schema:
    """Return the schema of ``saliency-waivers.yaml``."""
    instant = {"type": "string", "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt][0-9:.]+([Zz]|\+00:00))?$"}
    said = {"type": "string", "minLength": 1, "maxLength": 2000, "pattern": r"\S"}
    described = {
        "id": {"type": "string", "pattern": SLUG, "maxLength": 80},
        "check": said,
        "model": SHA256,
        "bound": table(NUMBER, minProperties=1),
        "reason": said,
        "risk": said,
        "requested_by": said,
        "approved_by": said,
        "created": instant,
        "expires": instant,
    }
    return closed({"format": {"const": 1}, "waivers": every(_described(closed(described)))})


def _described(schema: Schema) -> Schema:
    from pytest_saliency.evidence.waiver_file import WaiverSpec

    properties = {
        name: {**one, "description": WaiverSpec.model_fields[name].description}
        for name, one in schema["properties"].items()
    }
    return {**schema, "properties": properties}


def baseline() -> Schema:
    """Return the schema of a baseline's entry."""
    axis = {"type": "array", "prefixItems": [TEXT, TEXT], "items": False, "minItems": 2}
    parts = ("title", "estimate", "interval", "limit", "side", "n", "undefined")
    made = definitions()
    measured = closed({name: made["measure"]["properties"][name] for name in parts})
    return {
        **closed(
            {
                "format": {"const": 1},
                "key": closed({"contract": maybe(TEXT), "check": TEXT, "axes": every(axis)}),
                "kind": TEXT,
                "criterion": {"type": "object", "required": ["method"]},
                "subjects": table(ref("subject"), minProperties=1),
                "cases": ref("cases"),
                "method": made["record"]["properties"]["method"],
                "verdict": DECIDED,
                "headline": TEXT,
                "execution": closed({"device": maybe(TEXT), "precision": maybe(TEXT), "versions": maybe(table(TEXT))}),
                "measured": table(measured),
                "images": closed({"n": COUNT, "sha256": SHA256}),
                "arrays": closed(
                    {"path": {"type": "string", "pattern": r"^[0-9a-f]{64}\.npz$"}, "sha256": SHA256, "bytes": COUNT}
                ),
                "maps": every(TEXT, uniqueItems=True),
                "compared": table({"type": "object"}),
                "made": closed({"at": maybe(INSTANT), "git": _git()}),
                "approval": maybe(closed({"by": TEXT, "at": INSTANT, "reason": TEXT})),
            }
        ),
        "allOf": [criterion_of(kind) for kind in KINDS],
        "$defs": {name: made[name] for name in ("interval", "subject", "cases")},
    }


def lock() -> Schema:
    """Return the schema of a contract's lock."""
    known = closed({"reason": TEXT, "expires": {"type": "string", "format": "date"}})
    given: dict[str, Schema] = {
        "name": TEXT,
        "check": TEXT,
        "kind": one_of(*KINDS),
        "axes": table(TEXT),
        "parameters": {"type": "object"},
        "roles": table(TEXT),
        "cases": _spec(CasesSpec),
        "requirement": maybe(TEXT),
        "severity": one_of("fail", "warn"),
        "on_inconclusive": one_of("fail", "warn", "skip"),
        "known_failure": maybe(known),
    }
    names = [field.name for field in fields(CheckItem) if field.name not in ("line", "lines")]
    resolved = {
        "format": {"const": 1},
        "contract": TEXT,
        "requirement": maybe(TEXT),
        "models": table(_spec(ModelSpec), minProperties=1),
        "items": every(closed({name: given.get(name, ANY) for name in names}), minItems=1),
    }
    return closed(
        {
            "format": {"const": 1},
            "contract": TEXT,
            "sha256": SHA256,
            "resolved_sha256": SHA256,
            "resolved": closed(resolved),
            "made": closed({"at": INSTANT, "commit": maybe(TEXT), "version": TEXT}),
        }
    )


def _spec(section: type[BaseModel]) -> Schema:
    """Close a section of the contract and the sections in it; what their values may be is the contract's own schema."""
    made = {}
    for name, field in section.model_fields.items():
        inner = _section_in(field.annotation)
        made[name] = ANY if inner is None else {"if": {"type": "object"}, "then": _spec(inner)}
    return closed(made)


def _section_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _section_in(part))), None)


FILES: Mapping[str, tuple[str, Callable[[], Schema]]] = {
    "run": ("the JSON file of a run, format 2", run_document),
    "bundle-run": ("run.json of an evidence bundle", bundle_run),
    "results": ("results.json of an evidence bundle", results),
    "cases-line": ("one line of cases.jsonl of an evidence bundle", cases_line),
    "manifest": ("manifest.json of an evidence bundle", manifest),
    "waivers": ("saliency-waivers.yaml", waivers),
    "lock": ("the lock of a contract", lock),
    "baseline": ("the entry of a baseline", baseline),
}
"""Title and maker of each schema by its name."""


def everything() -> dict[str, Any]:
    """Return every schema by name."""
    return {name: build(name) for name in FILES}
