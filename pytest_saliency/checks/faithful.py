from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from pytest_saliency.checks.parameters import Method, OpenShare, Parameters

FillName = Literal["blur", "mean"]


class FaithfulParameters(Parameters):
    """Parameters of ``faithful``; the margin and the region size have no default on purpose."""

    top_k: OpenShare = Field(description="share of positions that is removed")
    min_advantage: float = Field(
        description="removing an image's own region must lower its log-odds by more than this beyond removing"
        " other same-class images' regions"
    )
    fill: Annotated[tuple[FillName, ...], Field(min_length=1)] = Field(
        default=("blur", "mean"), strict=False, description="what removed positions become; all must hold"
    )
    against: Annotated[tuple[Method, ...], Field(min_length=1)] | None = Field(
        default=None, strict=False, description="methods to compare with on the same images"
    )
    max_disadvantage: Annotated[float, Field(ge=0.0)] | None = Field(
        default=None,
        description="with 'against': how much smaller the drop may be; without it the method must be better",
    )
    keep: Literal["correct", "all"] = Field(default="correct", description="which images the check looks at")
    blocks: Literal["within_class", "any"] = Field(
        default="within_class", description="'any' swaps regions between classes too"
    )

    @field_validator("fill", "against", mode="before")
    @classmethod
    def _one_is_a_list_of_one(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("fill", "against")
    @classmethod
    def _no_repeats(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is not None and len(set(value)) != len(value):
            raise ValueError("names the same entry twice")
        return value

    @model_validator(mode="after")
    def _margin_needs_a_peer(self) -> Self:
        if self.max_disadvantage is not None and self.against is None:
            raise ValueError("'max_disadvantage' says how 'against' is judged; declare 'against' too")
        if self.against is not None and self.method in self.against:
            raise ValueError(f"'against' names {self.method!r}, the method under test itself")
        return self
