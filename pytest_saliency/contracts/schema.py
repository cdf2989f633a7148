"""The JSON Schema of the contract file, generated from the models that validate it.

Editors use it for completion and early warnings. What a schema cannot say (references between sections, unique ids,
the calendar) is left to the parser, which is always the stricter of the two.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from pytest_saliency.checks.parameters import METHOD_NAME, Parameters
from pytest_saliency.checks.registry import KINDS, PAIR, Kind
from pytest_saliency.contracts.axes import axes_of
from pytest_saliency.contracts.fields import MODEL_NAME
from pytest_saliency.contracts.models import CasesSpec, CheckHead, Defaults, Head, ModelSpec
from pytest_saliency.contracts.pairs import takes_pairs
from pytest_saliency.engine.methods.names import METHOD_NAMES

SCHEMA_FILE = "contract-1.schema.json"
_ROLES = {
    "model": "name of the model to look at",
    "before": "name of the model to compare with",
    "after": "name of the model under test",
    "models": "names of the models, one for each training, that take the place of the model under test",
}


def shipped_schema() -> str:
    """Return the text of the schema that is part of the package."""
    return files("pytest_saliency.contracts").joinpath(SCHEMA_FILE).read_text(encoding="utf-8")


def render_schema() -> str:
    """Return the schema as text, the same bytes each time."""
    return json.dumps(build_schema(), indent=2, ensure_ascii=True) + "\n"


def build_schema() -> dict[str, Any]:
    """Return the schema (draft 2020-12) as a dictionary."""
    kinds = list(KINDS.values())
    sections: list[type[BaseModel]] = [Head, ModelSpec, CasesSpec, Defaults, CheckHead]
    wanted = [*sections, *(kind.parameters for kind in kinds)]
    _, generated = models_json_schema([(model, "validation") for model in wanted], ref_template="#/$defs/{model}")
    defs = _tidy(generated["$defs"])
    head = defs.pop(Head.__name__)
    check_head = defs.pop(CheckHead.__name__)
    parameters = {kind.name: defs.pop(kind.parameters.__name__) for kind in kinds}
    for kind in kinds:
        defs[kind.name] = _check_schema(kind, check_head, parameters[kind.name])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "pytest-saliency contract, format 1",
        "description": "What must hold of a model's explanations; pytest decides whether it does.",
        "type": "object",
        "properties": {
            **head["properties"],
            "models": {
                "description": "the models that checks refer to, by name",
                "type": "object",
                "propertyNames": {"pattern": MODEL_NAME},
                "minProperties": 1,
                "additionalProperties": {"$ref": "#/$defs/ModelSpec"},
            },
            "cases": {"description": "the images that checks look at", "$ref": "#/$defs/CasesSpec"},
            "defaults": {"$ref": "#/$defs/Defaults"},
            "checks": {
                "description": "what must hold; each check makes one pytest item for each entry of its axes",
                "type": "array",
                "minItems": 1,
                "items": _any_check(kinds),
            },
        },
        "required": [*head["required"], "models", "checks"],
        "additionalProperties": False,
        "$defs": dict(sorted(defs.items())),
    }


def _any_check(kinds: list[Kind]) -> dict[str, Any]:
    """Choose by ``kind`` first, so that an editor complains about the kind that was meant and no other."""
    return {
        "type": "object",
        "properties": {"kind": {"description": "what is decided", "enum": [kind.name for kind in kinds]}},
        "required": ["id", "kind"],
        "allOf": [
            {
                "if": {"properties": {"kind": {"const": kind.name}}, "required": ["kind"]},
                "then": {"$ref": f"#/$defs/{kind.name}"},
            }
            for kind in kinds
        ],
    }


def _check_schema(kind: Kind, head: dict[str, Any], parameters: dict[str, Any]) -> dict[str, Any]:
    if kind.inherited:
        return _inheriting_schema(kind, head, parameters)
    roles = {role: {"description": _ROLES.get(role, role), "type": "string"} for role in kind.roles}
    own: dict[str, Any] = {**roles, **_lists(kind), **parameters["properties"]}
    # A text of its own form stands for a variant, an own method, or an import path; what it names is checked when read.
    method = {"type": "string", "anyOf": [{"enum": list(METHOD_NAMES)}, {"pattern": f"^{METHOD_NAME.pattern}$"}]}
    described = Parameters.model_fields["method"].description
    given = {k: v for k, v in own["method"].items() if k == "default"}
    own["method"] = {**given, "description": described, **method}
    for key in kind.fixed:
        del own[key]
    for key in axes_of(kind):
        own[key] = _axis(own[key])
    if takes_pairs(kind):
        own |= {role: _one_or_several(own[role]) for role in PAIR}
    if "against" in own:
        own["against"] = {"description": own["against"].get("description", ""), **_one_or_many(method)}
    if "fill" in own and "items" in own["fill"]:
        fill = dict(own["fill"])
        one = fill.pop("items")
        own["fill"] = {k: v for k, v in fill.items() if k in ("description", "default")} | _one_or_many(one)
    required = [*head["required"], *(role for role in kind.roles if role != "model"), *parameters.get("required", ())]
    return {
        "description": (parameters.get("description") or kind.name).split("\n")[0],
        "type": "object",
        "properties": {**head["properties"], "kind": {"const": kind.name}, **own},
        "required": list(dict.fromkeys(required)),
        "additionalProperties": False,
    }


def _lists(kind: Kind) -> dict[str, Any]:
    return {
        role: {
            "description": _ROLES.get(role, role),
            "type": "array",
            "items": {"type": "string"},
            "minItems": max(1, kind.least),
            "uniqueItems": True,
        }
        for role in kind.many
    }


def _inheriting_schema(kind: Kind, head: dict[str, Any], parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a check that takes cases, models and parameters from another one."""
    own = {name: value for name, value in parameters["properties"].items() if name not in kind.inherited}
    own |= _lists(kind)
    needed = [name for name in parameters["required"] if name not in kind.inherited]
    required = [*head["required"], *(kind.many if kind.least else ()), *needed]
    return {
        "description": (parameters.get("description") or kind.name).split("\n")[0],
        "type": "object",
        "properties": {
            **{name: value for name, value in head["properties"].items() if name != "cases"},
            "kind": {"const": kind.name},
            **own,
        },
        "required": required,
        "additionalProperties": False,
    }


def _axis(one: dict[str, Any]) -> dict[str, Any]:
    outside = {key: value for key, value in one.items() if key in ("description", "default")}
    inner = {key: value for key, value in one.items() if key not in outside}
    return {**outside, **_one_or_many(inner)}


def _one_or_several(role: dict[str, Any]) -> dict[str, Any]:
    """Return one model or a list, in which a model may stand more than once: only pairs must differ."""
    one = {key: value for key, value in role.items() if key != "description"}
    return {
        "description": f"{role['description']}; a list has an entry for each pair of models",
        "anyOf": [one, {"type": "array", "items": one, "minItems": 1}],
    }


def _one_or_many(one: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [one, {"type": "array", "items": one, "minItems": 1, "uniqueItems": True}]}


def _tidy(node: Any) -> Any:
    """Drop generated titles and the nulls of optional keys: a key without a value is an error in a contract."""
    if isinstance(node, list):
        return [_tidy(entry) for entry in node]
    if not isinstance(node, dict):
        return node
    made = {}
    for key, value in node.items():
        if (key == "title" and isinstance(value, str)) or (key == "default" and value is None):
            continue
        made[key] = {k: _tidy(v) for k, v in value.items()} if key == "properties" else _tidy(value)
    choices = made.get("anyOf")
    if choices is not None and {"type": "null"} in choices:
        left = [choice for choice in choices if choice != {"type": "null"}]
        del made["anyOf"]
        made = {**made, "anyOf": left} if len(left) > 1 else {**left[0], **made}
    return made
