"""What every check kind's parameters have in common.

The same model validates the keys of a YAML check and the keyword arguments of its Python assertion, so that the
two cannot drift apart. Nothing here imports torch: ``pytest-saliency validate`` works without it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from pytest_saliency.engine.methods.names import parse_method
from pytest_saliency.errors import CriterionError, MethodError

Share = Annotated[float, Field(ge=0.0, le=1.0)]
OpenShare = Annotated[float, Field(gt=0.0, le=1.0)]
Level = Annotated[float, Field(gt=0.0, lt=0.5)]
Method = Annotated[str, Field(min_length=1, max_length=100)]

METHOD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_+.:-]*(\[[A-Za-z0-9_+.:,-]+\])?")


def method_name(value: str) -> str:
    """Return ``value`` if it may be the name of a method; raises ValueError with a sentence otherwise."""
    if METHOD_NAME.fullmatch(value):
        return value
    try:
        parse_method(value)
    except MethodError as error:
        raise ValueError(str(error).rstrip(".")) from None
    raise ValueError(f"{value!r} is not a method name such as gradcam, gradcam++ or case")


def one_or_many(value: object) -> object:
    """Return a single name as a list of one, for keys that take either."""
    return (value,) if isinstance(value, str) else value


def unrepeated(value: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Return ``value`` if it names nothing twice; raises ValueError with a sentence otherwise."""
    if value is not None and len(set(value)) != len(value):
        raise ValueError("names the same entry twice")
    return value


class Parameters(BaseModel):
    """The resolved parameters of one check; subclasses add what their kind declares."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    method: Method = Field(description="the attribution method; a list is an axis, one item each")
    alpha: Level = Field(default=0.05, description="level of every test and bound")
    max_undefined: Share = Field(
        default=0.05, description="more images without a usable map than this share block PASS"
    )

    @property
    def criterion(self) -> Parameters:
        """What the verdict depends on: all parameters, less those that only ask for more to read."""
        return self

    def check_lists(self, counts: Mapping[str, int]) -> None:
        """Raise SaliencyError where a kind's lists of models, ``counts`` long, do not fit what is declared beside them.

        Known from the text of a contract alone, before any model is made.
        """

    @field_validator("method")
    @classmethod
    def _method_is_a_name(cls, value: str) -> str:
        return method_name(value)

    @classmethod
    def from_keywords(cls, assertion: str, values: dict[str, Any]) -> Self:
        """Validate the keyword arguments of an assertion.

        Raises
        ------
        CriterionError
            One sentence naming every argument that is wrong.
        """
        try:
            return cls(**values)
        except ValidationError as error:
            rows = []
            for item in error.errors():
                where = ".".join(str(part) for part in item["loc"]) or "arguments"
                rows.append(f"{where}: {item['msg'].removeprefix('Value error, ')}")
            raise CriterionError(f"{assertion}: {'; '.join(rows)}.") from None
