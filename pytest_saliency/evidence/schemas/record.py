"""The record of one check, as a schema.

Closed are all keys that this package writes itself. Open stay what a method, a model or a measure names: columns, axes,
counts, read-outs, what a subject's preprocessing says.
"""

from __future__ import annotations

from pytest_saliency.checks.registry import KINDS
from pytest_saliency.evidence.schemas.pieces import (
    ANY,
    BOOL,
    COUNT,
    DECIDED,
    INSTANT,
    NUMBER,
    PATH,
    SEED,
    SHA256,
    SHARE,
    TEXT,
    VERDICTS,
    Schema,
    closed,
    every,
    maybe,
    one_of,
    ref,
    table,
)
from pytest_saliency.records.record import FORMAT

MEASURED = ("criterion", "subjects", "cases", "method", "per_image", "everyone", "inputs", "worst", "seed")
"""Keys that a record has only where something was measured."""

SIDES = ("<=", ">=", "abs<=", "<", ">", "")


def definitions(tables: bool = True) -> dict[str, Schema]:
    """Return the definitions that ``record`` refers to, it included; without ``tables`` as ``results.json`` has it."""
    return {
        "interval": closed({"low": maybe(NUMBER), "high": maybe(NUMBER), "level": SHARE, "method": TEXT}),
        "measure": _measure(),
        "leg": closed(
            {
                "name": TEXT,
                "statement": TEXT,
                "p": maybe(SHARE),
                "holds": BOOL,
                "estimate": maybe(NUMBER),
                "bound": maybe(NUMBER),
            }
        ),
        "decision": _decision(),
        "subject": _subject(),
        "policy": _policy(),
        "gallery": _gallery(),
        "cases": closed(
            {
                "n": COUNT,
                "digest": SHA256,
                "unordered_digest": SHA256,
                "source": TEXT,
                "classes": table(COUNT),
                "class_names": table(TEXT),
                "kept": COUNT,
                "dropped": table(COUNT),
                "units": closed(
                    {"images": COUNT, "pairs": table(TEXT), "thresholds": table(SHARE), "masks": one_of("label")},
                    optional=("masks",),
                ),
            },
            optional=("class_names", "units"),
        ),
        "execution": _execution(),
        "record": _record(tables),
    }


def _measure() -> Schema:
    return closed(
        {
            "name": TEXT,
            "title": TEXT,
            "estimate": maybe(NUMBER),
            "interval": ref("interval"),
            "limit": maybe(NUMBER),
            "side": one_of(*SIDES),
            "n": COUNT,
            "undefined": COUNT,
            "sd": maybe(NUMBER),
            "verdict": maybe(DECIDED),
            "p_pass": maybe(NUMBER),
            "p_fail": maybe(NUMBER),
        }
    )


def _decision() -> Schema:
    tolerance = table(closed({"every": NUMBER, "few": NUMBER}))
    return closed(
        {
            "kind": one_of(*KINDS),
            "verdict": DECIDED,
            "headline": TEXT,
            "measures": table(ref("measure")),
            "legs": every(ref("leg")),
            "n": COUNT,
            "counts": table(COUNT),
            "undefined_share": maybe(SHARE),
            "effect_size": table(maybe(NUMBER)),
            "smallest_detectable": table(maybe(NUMBER)),
            "readouts": table(ANY),
            "notes": every(TEXT),
            "alpha": SHARE,
            "rule": TEXT,
            "seed": SEED,
            "within_tolerance": maybe(
                closed({"few_share": SHARE, "tolerance": tolerance, "verdicts": every(DECIDED, minItems=1)})
            ),
        }
    )


def _subject() -> Schema:
    size = every(COUNT)
    return closed(
        {
            "name": TEXT,
            "source": TEXT,
            "architecture": TEXT,
            "parameters": COUNT,
            "weights_sha256": maybe(SHA256),
            "state_sha256": maybe(SHA256),
            "preprocess": {"type": ["object", "string"]},
            "layer": TEXT,
            "layer_kind": TEXT,
            "layer_shape": size,
            "layer_layout": TEXT,
            "input_size": size,
            "contrast": table(ANY),
        }
    )


def _policy() -> Schema:
    known = closed({"reason": TEXT, "expires": {"type": "string", "format": "date"}, "expired": BOOL})
    return closed(
        {
            "severity": one_of("fail", "warn"),
            "on_inconclusive": one_of("fail", "warn", "skip"),
            "known_failure": maybe(known),
        }
    )


def _gallery() -> Schema:
    tile = closed(
        {
            "title": TEXT,
            "path": PATH,
            "sha256": SHA256,
            "media": one_of("image/png", "image/jpeg"),
            "width": COUNT,
            "height": COUNT,
            "word": maybe(TEXT),
            "slice": maybe({"type": ["string", "integer"]}),
            "alt": TEXT,
        },
        optional=("word", "slice"),
    )
    return closed({"id": TEXT, "label": TEXT, "why": TEXT, "caption": every(TEXT), "tiles": every(tile)})


def _execution() -> Schema:
    stage = closed({"images": table(COUNT), "passes": COUNT, "seconds": NUMBER})
    work = closed(
        {
            "id": TEXT,
            "subject": TEXT,
            "stages": table(stage),
            "cache": maybe(closed({"found": COUNT, "made": COUNT})),
            "precision": ANY,
            "notes": every(TEXT),
            "executor": closed({"name": TEXT, "workers": COUNT, "device": TEXT, "threads": COUNT}),
        },
        optional=("executor",),
    )
    wanted = {"anyOf": [COUNT, {"const": "auto"}]}
    return {
        "type": "object",
        "properties": {
            "device": TEXT,
            "precision": TEXT,
            "batch": closed({"wanted": wanted, "final": COUNT, "out_of_memory": COUNT}),
            "threads": COUNT,
            "work": table(work),
            "check_seconds": table(NUMBER),
            "versions": table(TEXT),
        },
        "required": ["versions"],
        "description": "where and at what cost; a check may add counts of its own",
    }


def _record(tables: bool) -> Schema:
    columns = table(every(ANY), required=["id"])
    source = closed(
        {
            "file": TEXT,
            "line": COUNT,
            "lines": table(COUNT),
            "snippet": every({"type": "array", "prefixItems": [COUNT, TEXT], "items": False, "minItems": 2}),
        }
    )
    maps = closed({"path": PATH, "sha256": SHA256, "bytes": COUNT})
    worst = closed({"id": TEXT, "label": TEXT, "values": table(maybe(NUMBER))})
    properties: dict[str, Schema] = {
        "format": {"const": FORMAT},
        "contract": maybe(TEXT),
        "contract_sha256": maybe(SHA256),
        "check": maybe(TEXT),
        "kind": one_of(*KINDS, None),
        "node": TEXT,
        "axes": table(TEXT),
        "requirement": maybe(TEXT),
        "policy": ref("policy"),
        "source": maybe(source),
        "verdict": VERDICTS,
        "headline": TEXT,
        "decision": maybe(ref("decision")),
        "criterion": {"type": "object"},
        "subjects": table(ref("subject"), minProperties=1),
        "cases": ref("cases"),
        "method": {
            "type": "object",
            "properties": {"name": TEXT, "version": COUNT},
            "required": ["name", "version"],
        },
        "execution": maybe(ref("execution")),
        "seed": SEED,
        "worst": every(worst),
        "per_image": columns,
        "everyone": columns,
        "inputs": table(ANY, required=["warnings"]),
        "notes": every(TEXT),
        "pictures": every(PATH),
        "gallery": every(ref("gallery")),
        "maps": maybe(maps),
        "baseline": _baseline(),
    }
    optional = {*MEASURED, "baseline"}
    needed = [name for name in MEASURED if tables or name not in ("per_image", "everyone")]
    if not tables:
        for name in ("per_image", "everyone", "execution"):
            del properties[name]
        optional -= {"per_image", "everyone"}
        has = closed({"columns": every(TEXT, uniqueItems=True), "rows": COUNT})
        properties["tables"] = closed({"per_image": has, "everyone": has}, optional=("per_image", "everyone"))
        properties["has"] = every(one_of("per_image", "everyone", "execution"), uniqueItems=True)
    decided = {"properties": {"verdict": DECIDED}, "required": ["verdict"]}
    rules = [
        {
            "if": decided,
            "then": {"required": needed, "properties": {"decision": ref("decision")}},
            "else": {"properties": {"decision": {"type": "null"}}},
        },
        *(criterion_of(name) for name in KINDS),
    ]
    return closed(properties, optional=optional, allOf=rules)


def criterion_of(kind: str) -> Schema:
    """Close the criterion of a kind: its parameters, each of them resolved."""
    names = list(KINDS[kind].parameters.model_fields)
    criterion: Schema = {"properties": dict.fromkeys(names, ANY), "required": names, "additionalProperties": False}
    return {
        "if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]},
        "then": {"properties": {"criterion": criterion}},
    }


def _baseline() -> Schema:
    approved = closed({"by": TEXT, "at": INSTANT, "reason": TEXT})
    change = closed(
        {"parameter": TEXT, "then": ANY, "now": ANY, "way": one_of("looser", "tighter", "changed")},
    )
    return closed(
        {
            "name": TEXT,
            "selector": TEXT,
            "state": TEXT,
            "sha256": SHA256,
            "approved": maybe(approved),
            "changes": every(change),
        },
        optional=("name", "selector", "state", "sha256", "approved", "changes"),
    )
