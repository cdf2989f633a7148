"""``assert_avoids``: the model does not look at a region that it must leave alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Required, Unpack, overload

from pytest_saliency.assertions.common import CommonOptions, Kept, Methods, assert_kind
from pytest_saliency.checks.result import Result
from pytest_saliency.engine.explained import Explained

Region = Literal["masks"] | Mapping[str, float | Sequence[float]]


class AvoidsOptions(CommonOptions, total=False):
    """Keyword arguments of :func:`assert_avoids`."""

    max_mass: Required[float]
    region: Required[Region]
    max_share: float | None
    keep: Kept
    target: Literal["top1", "top2", "label"]


@overload
def assert_avoids(explained: Explained, method: str = ..., **options: Unpack[AvoidsOptions]) -> Result: ...
@overload
def assert_avoids(explained: Explained, method: Methods, **options: Unpack[AvoidsOptions]) -> tuple[Result, ...]: ...
def assert_avoids(
    explained: Explained,
    method: str | Methods = "case",
    *,
    max_mass: float,
    region: Region,
    max_share: float | None = None,
    alpha: float = 0.05,
    keep: Kept = "correct",
    max_undefined: float = 0.05,
    target: Literal["top1", "top2", "label"] = "top1",
) -> Result | tuple[Result, ...]:
    """Assert that little of the evidence lies in a region where it must not lie.

    Parameters
    ----------
    max_mass
        Share of a map's positive mass inside the region, on average over the images, at most.
    region
        ``"masks"`` (the cases' own masks), ``{"border": 0.1}`` (the outer tenth of every side) or ``{"box": [left, top,
        right, bottom]}`` in shares of the image from its top left corner, as the model sees it: after resize and crop.
    max_share
        Share of images that may each have more mass in the region than ``max_mass`` (a mean hides subgroups).
    target
        The class the maps are for: ``top1``, ``top2`` or ``label``.

    Raises
    ------
    ExplanationAssertionError, SaliencyError
        As :func:`assert_class_sensitive`; also where ``region="masks"`` and the cases have none.

    Source: the statement is this project's own; decided by the betting bound of a mean (arXiv 2010.09686).
    """
    options: dict[str, Any] = {
        "max_mass": max_mass,
        "region": dict(region) if isinstance(region, Mapping) else region,
        "max_share": max_share,
        "alpha": alpha,
        "keep": keep,
        "max_undefined": max_undefined,
        "target": target,
    }
    __tracebackhide__ = True
    return assert_kind("avoids", {"model": explained}, method, options)
