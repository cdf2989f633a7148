"""The pieces that our schemas are made of. Objects are closed unless they say otherwise: a misspelt key is an error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
COUNT: Schema = {"type": "integer", "minimum": 0}
BOOL: Schema = {"type": "boolean"}
SHARE: Schema = {"type": "number", "minimum": 0, "maximum": 1}
ANY: Schema = {}
SHA256: Schema = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
SEED: Schema = {"type": "string", "pattern": "^[0-9a-f]{16}$"}
INSTANT: Schema = {
    "type": "string",
    "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|\+00:00)$",
}
PATH: Schema = {"type": "string", "pattern": "^[^/\\\\]", "description": "relative, with forward slashes"}
VERDICTS: Schema = {"enum": ["PASS", "FAIL", "INCONCLUSIVE", "ERROR", "NOT_RUN"]}
DECIDED: Schema = {"enum": ["PASS", "FAIL", "INCONCLUSIVE"]}


def maybe(one: Schema) -> Schema:
    """Return what allows null beside ``one``."""
    if isinstance(one.get("type"), str) and set(one) == {"type"}:
        return {"type": [one["type"], "null"]}
    return {"anyOf": [one, {"type": "null"}]}


def every(one: Schema, **more: Any) -> Schema:
    """Return a list of ``one``."""
    return {"type": "array", "items": one, **more}


def table(one: Schema, **more: Any) -> Schema:
    """Return an object with any keys, whose values are each ``one``."""
    return {"type": "object", "additionalProperties": one, **more}


def closed(properties: Mapping[str, Schema], optional: Iterable[str] = (), **more: Any) -> Schema:
    """Return an object with these keys and no others; those not in ``optional`` must be there."""
    left_out = set(optional)
    assert left_out <= set(properties)
    return {
        "type": "object",
        "properties": dict(properties),
        "required": [name for name in properties if name not in left_out],
        "additionalProperties": False,
        **more,
    }


def ref(name: str) -> Schema:
    """Return a reference to a definition of the same file."""
    return {"$ref": f"#/$defs/{name}"}


def one_of(*values: str | None) -> Schema:
    """Return one of these words."""
    return {"enum": list(values)}
