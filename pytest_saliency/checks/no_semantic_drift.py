from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from pytest_saliency.checks.parameters import OpenShare, Parameters, Share

LIMITS = (
    "max_iou_drop",
    "max_displacement",
    "min_correlation",
    "max_concentration_change",
    "max_accuracy_drop",
)


class NoSemanticDriftParameters(Parameters):
    """Parameters of ``no_semantic_drift``; no limit has a default, and at least one must be declared."""

    max_iou_drop: Share | None = Field(
        default=None, description="1 - IoU of the top regions before and after, on average"
    )
    max_displacement: Share | None = Field(
        default=None, description="distance of the centres of mass / image diagonal, on average"
    )
    min_correlation: float | None = Field(
        default=None, ge=-1.0, le=1.0, description="Pearson correlation of the rectified maps, on average"
    )
    max_concentration_change: Share | None = Field(
        default=None, description="absolute mean change of the mass share in the top 10 % of positions"
    )
    max_accuracy_drop: Share | None = Field(
        default=None, description="accuracy before minus accuracy after, on all cases"
    )
    top_fraction: OpenShare = Field(
        default=0.20, description="share of positions that forms a map's top region"
    )
    keep: Literal["both_correct", "same_prediction", "all"] = Field(
        default="both_correct", description="which images the check looks at"
    )
    min_kept: Share = Field(default=0.5, description="fewer kept images than this share block PASS")
    max_drifted_share: Share | None = Field(
        default=None, description="share of images that may each be beyond a declared limit"
    )
    reference: Literal["absolute"] = Field(default="absolute", description="what the change is held against")

    @model_validator(mode="after")
    def _some_limit(self) -> Self:
        if all(getattr(self, name) is None for name in LIMITS):
            raise ValueError(f"declares no limit, so nothing could fail; add at least one of {', '.join(LIMITS)}")
        return self
