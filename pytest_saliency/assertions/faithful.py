"""``assert_faithful``: removing an image's own top region hurts its prediction more than removing another image's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Required, Unpack, overload

from pytest_saliency.assertions.common import CommonOptions, Kept, Methods, assert_kind
from pytest_saliency.checks.result import Result
from pytest_saliency.engine.explained import Explained


class FaithfulOptions(CommonOptions, total=False):
    """Keyword arguments of :func:`assert_faithful`."""

    top_k: Required[float]
    min_advantage: Required[float]
    fill: str | Sequence[str]
    against: str | Sequence[str] | None
    max_disadvantage: float | None
    keep: Kept
    blocks: Literal["within_class", "any"]
    curves: bool | int


@overload
def assert_faithful(explained: Explained, method: str = ..., **options: Unpack[FaithfulOptions]) -> Result: ...
@overload
def assert_faithful(
    explained: Explained, method: Methods, **options: Unpack[FaithfulOptions]
) -> tuple[Result, ...]: ...
def assert_faithful(
    explained: Explained,
    method: str | Methods = "case",
    *,
    top_k: float,
    min_advantage: float,
    fill: str | Sequence[str] = ("blur", "mean"),
    against: str | Sequence[str] | None = None,
    max_disadvantage: float | None = None,
    alpha: float = 0.05,
    keep: Kept = "correct",
    max_undefined: float = 0.05,
    blocks: Literal["within_class", "any"] = "within_class",
    curves: bool | int = False,
) -> Result | tuple[Result, ...]:
    """Assert that removing an image's own top region hurts its prediction more than removing another image's.

    Parameters
    ----------
    top_k
        Share of positions that is removed.
    min_advantage
        Mean advantage in log-odds (nats) that must be exceeded. No default: it is your margin.
    fill
        What removed positions become; all must hold.
    against, max_disadvantage
        Methods whose regions must hurt less on the same images; with ``max_disadvantage`` (nats), not much more.
    blocks
        Regions are swapped within predicted classes; ``any`` lets class-typical regions count as evidence.
    curves
        Add deletion and insertion curves to the record, in so many steps (True: 10); they decide nothing.

    Raises
    ------
    ExplanationAssertionError, SaliencyError
        As :func:`assert_class_sensitive`.

    Source: CASE (arXiv 2506.07327), section IV-C, for the drop; the swap test is this project's own.
    """
    options = {
        "top_k": top_k,
        "min_advantage": min_advantage,
        "fill": fill,
        "against": against,
        "max_disadvantage": max_disadvantage,
        "alpha": alpha,
        "keep": keep,
        "max_undefined": max_undefined,
        "blocks": blocks,
        "curves": curves,
    }
    __tracebackhide__ = True
    return assert_kind("faithful", {"model": explained}, method, options)
