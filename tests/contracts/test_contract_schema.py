"""The JSON Schema: fresh, valid, true of good contracts, and telling on the bad ones it can tell on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pytest_saliency.checks.registry import KINDS
from pytest_saliency.contracts.loader import read_document
from pytest_saliency.contracts.models import CheckHead
from pytest_saliency.contracts.schema import build_schema, render_schema, shipped_schema

CORPUS = Path(__file__).parents[2] / "fixtures" / "contracts"
# What only the parser can know: references, uniqueness, arithmetic, the YAML text itself.
BEYOND = {
    "alias-cycle", "control-character", "directive", "drift-without-limit", "duplicate-id", "duplicate-key",
    "escaped-control-character", "held-out-under-test", "impossible-escape", "indentation", "limit-left-blank",
    "merge-key", "model-missing", "no-cases", "not-utf-8", "same-model-twice", "tab", "tags", "too-deep",
    "too-many-items", "two-documents", "unclosed-list", "unclosed-quote", "undefined-alias", "unknown-model",
    "utf-16", "yaml-bomb", "blank-values", "empty-file",
}  # fmt: skip


def as_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): as_json(child) for key, child in value.items()}
    return [as_json(child) for child in value] if isinstance(value, tuple) else value


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(build_schema())


def test_shipped_file_is_fresh() -> None:
    assert shipped_schema() == render_schema(), "write render_schema() to contract-1.schema.json again"


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(build_schema())


@pytest.mark.parametrize("file", sorted((CORPUS / "good").glob("*.yaml")), ids=lambda file: file.stem)
def test_good(file: Path, validator: jsonschema.Draft202012Validator) -> None:
    data = as_json(read_document(file.read_bytes()).data)
    assert [error.message for error in validator.iter_errors(data)] == []


@pytest.mark.parametrize(
    "file",
    [file for file in sorted((CORPUS / "bad").glob("*.yaml")) if file.stem not in BEYOND],
    ids=lambda file: file.stem,
)
def test_bad(file: Path, validator: jsonschema.Draft202012Validator) -> None:
    assert not validator.is_valid(as_json(read_document(file.read_bytes()).data))


def test_every_key_of_every_check_is_described() -> None:
    defs = build_schema()["$defs"]
    for kind in KINDS.values():
        properties = defs[kind.name]["properties"]
        given = {*kind.inherited, *kind.fixed, *(("cases",) if kind.inherited else ())}
        assert (
            set(properties) == {*CheckHead.model_fields, *kind.roles, *kind.many, *kind.parameters.model_fields} - given
        )
        for key, told in properties.items():
            assert key == "kind" or told.get("description"), (kind.name, key)


def test_axes_take_one_or_many_and_conjunctions_too(validator: jsonschema.Draft202012Validator) -> None:
    check: dict[str, Any] = {"id": "a", "kind": "faithful", "model": "m", "top_k": 0.1, "min_advantage": 0}
    contract = {"saliency": 1, "contract": "x", "models": {"m": {"fixture": "f"}}, "cases": {"fixture": "c"}}
    for method, fill, holds in (
        ("case", "blur", True),
        (["case", "gradcam"], ["blur", "mean"], True),
        ([], "blur", False),
        (["case", "case"], "blur", False),
        ("mine", "blur", True),  # may be registered in a conftest.py, which no schema knows
        ("package.module:function", "blur", True),
        ("scorecam[channels:64]", "blur", True),
        ("grad cam", "blur", False),
        ("case", ["noise"], False),
    ):
        full = {**contract, "checks": [{**check, "method": method, "fill": fill}]}
        assert validator.is_valid(full) is holds, (method, fill)
