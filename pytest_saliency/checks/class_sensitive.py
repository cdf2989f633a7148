from __future__ import annotations

from typing import Literal

from pydantic import Field

from pytest_saliency.checks.parameters import OpenShare, Parameters, Share


class ClassSensitiveParameters(Parameters):
    """Parameters of ``class_sensitive``; the defaults are the published protocol of the CASE paper."""

    method: str = "case"
    top_k: OpenShare = Field(default=0.05, description="share of positions that forms a map's top region")
    max_agreement: Share = Field(
        default=0.5, description="the maps for top-1 and top-2 may agree this much at most"
    )
    keep: Literal["correct", "all"] = Field(default="correct", description="which images the check looks at")
    rule: Literal["full", "published"] = Field(
        default="full", description="'published' decides by the paper's Wilcoxon test alone"
    )
    grid: Literal["input", "layer"] = Field(
        default="input", description="resolution at which regions are taken"
    )
