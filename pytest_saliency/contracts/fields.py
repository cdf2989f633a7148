"""The types of single values in a contract: text with a shape, sizes, days. Each says in words what it wants."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from pytest_saliency.contracts.loader import shown
from pytest_saliency.contracts.problems import got, says

SLUG = r"^[a-z0-9][a-z0-9_-]*$"
MODEL_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"


def _like(pattern: str, sentence: str) -> AfterValidator:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise says(f"{sentence}; got {got(value)}")
        return value

    return AfterValidator(check)


def else_says(sentence: str) -> WrapValidator:
    """One sentence for a type that is a union, where pydantic would give one error a member."""

    def check(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError:
            raise says(f"{sentence}; got {got(value)}") from None

    return WrapValidator(check)


def _as_date(value: object) -> date:
    if isinstance(value, date):
        return value
    if isinstance(value, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            raise says(f"must be a day of the calendar; got {got(value)}") from None
    raise says(f"must be a date such as 2027-01-31; got {got(value)}")


def unique(value: tuple[Any, ...]) -> tuple[Any, ...]:
    for position, entry in enumerate(value):
        if entry in value[:position]:
            raise says(f"names '{shown(entry)}' twice")
    return value


def format_one(value: int) -> int:
    if value != 1:
        raise says(f"must be 1, the only format this version reads; got {value}")
    return value


Slug = Annotated[
    str,
    Field(min_length=1, max_length=80, json_schema_extra={"pattern": SLUG}),
    _like(SLUG[1:-1], "must be lower-case letters, digits, '-' and '_', starting with a letter or digit"),
]
ModelName = Annotated[
    str,
    Field(min_length=1, max_length=80, json_schema_extra={"pattern": MODEL_NAME}),
    _like(MODEL_NAME[1:-1], "must be letters, digits, '.', '-' and '_', starting with a letter or digit"),
]
Text = Annotated[str, Field(min_length=1, max_length=2000), _like(r"(?s).*\S.*", "must not be blank")]
LocalPath = Annotated[
    str,
    Field(min_length=1, max_length=1000),
    _like(r"(?!\w+://).*", "must be a path on this machine, relative to this file, not an address"),
]
Attribute = Annotated[
    str,
    Field(max_length=300, json_schema_extra={"pattern": r"^[^\d\W][\w.]*:[^\d\W][\w.]*$"}),
    _like(r"[^\d\W]\w*(\.[^\d\W]\w*)*:[^\d\W]\w*(\.[^\d\W]\w*)*", "must be 'module:attribute'"),
]
Identifier = Annotated[
    str,
    Field(max_length=200, json_schema_extra={"pattern": r"^[^\d\W]\w*$"}),
    _like(r"[^\d\W]\w*", "must be a name of letters, digits and '_'"),
]
TimmName = Annotated[
    str,
    Field(max_length=200, json_schema_extra={"pattern": r"^\w+(\.\w+)?$"}),
    _like(r"\w+(\.\w+)?", "must be a name of letters, digits and '_', with or without a tag after a dot"),
]
Sha256 = Annotated[
    str,
    Field(json_schema_extra={"pattern": "^[0-9a-f]{64}$"}),
    _like("[0-9a-f]{64}", "must be 64 lower-case hexadecimal digits in quotes"),
]
Positive = Annotated[int, Field(ge=1)]
Sizes = Annotated[
    Positive | Annotated[tuple[Positive, ...], Field(min_length=2, max_length=3)],
    else_says("must be a positive whole number, or a list of two (three for volumes)"),
]
Cells = Annotated[
    int | str | Annotated[tuple[int | str, ...], Field(min_length=1)],
    else_says("must be text or a whole number, or a list of them"),
]
ClassRef = Annotated[int | str, else_says("must be a class name or a class index")]
Day = Annotated[date, BeforeValidator(_as_date, json_schema_input_type=date)]
