"""``assert_localized``: the evidence lies inside the masks that come with the images."""

from __future__ import annotations

from typing import Literal, Unpack, overload

from pytest_saliency.assertions.common import CommonOptions, Kept, Methods, assert_kind
from pytest_saliency.checks.result import Result
from pytest_saliency.engine.explained import Explained


class LocalizedOptions(CommonOptions, total=False):
    """Keyword arguments of :func:`assert_localized`."""

    min_mass: float | None
    min_hits: float | None
    keep: Kept
    target: Literal["top1", "top2", "label"]


@overload
def assert_localized(explained: Explained, method: str = ..., **options: Unpack[LocalizedOptions]) -> Result: ...
@overload
def assert_localized(
    explained: Explained, method: Methods, **options: Unpack[LocalizedOptions]
) -> tuple[Result, ...]: ...
def assert_localized(
    explained: Explained,
    method: str | Methods = "case",
    *,
    min_mass: float | None = None,
    min_hits: float | None = None,
    alpha: float = 0.05,
    keep: Kept = "correct",
    max_undefined: float = 0.05,
    target: Literal["top1", "top2", "label"] = "label",
) -> Result | tuple[Result, ...]:
    """Assert that the evidence lies inside the cases' masks.

    Parameters
    ----------
    min_mass
        Share of a map's positive mass inside the image's mask, on average over the images, at least.
    min_hits
        Share of images whose map has its maximum inside the mask (pointing game), at least.
    target
        The class the maps are for: ``top1``, ``top2`` or ``label``.

    At least one limit must be declared. A map spread evenly over its image has as much mass inside as the mask covers;
    that share is in the result's read-outs as ``chance``, and a limit that it keeps is noted.

    Raises
    ------
    ExplanationAssertionError, SaliencyError
        As :func:`assert_class_sensitive`; also where the cases have no masks.

    Source: pointing game arXiv 1608.00507; decided by the betting bound of a mean and the exact bound of a share.
    """
    options = {
        "min_mass": min_mass,
        "min_hits": min_hits,
        "alpha": alpha,
        "keep": keep,
        "max_undefined": max_undefined,
        "target": target,
    }
    __tracebackhide__ = True
    return assert_kind("localized", {"model": explained}, method, options)
