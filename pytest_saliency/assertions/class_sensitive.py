"""``assert_class_sensitive``: the maps for the two most likely classes of an image differ."""

from __future__ import annotations

from typing import Literal, Unpack, overload

from pytest_saliency.assertions.common import CommonOptions, Kept, Methods, assert_kind
from pytest_saliency.checks.result import Result
from pytest_saliency.engine.explained import Explained


class ClassSensitiveOptions(CommonOptions, total=False):
    """Keyword arguments of :func:`assert_class_sensitive`."""

    top_k: float
    max_agreement: float
    keep: Kept
    rule: Literal["full", "published"]
    grid: Literal["input", "layer"]


@overload
def assert_class_sensitive(
    explained: Explained, method: str = ..., **options: Unpack[ClassSensitiveOptions]
) -> Result: ...
@overload
def assert_class_sensitive(
    explained: Explained, method: Methods, **options: Unpack[ClassSensitiveOptions]
) -> tuple[Result, ...]: ...
def assert_class_sensitive(
    explained: Explained,
    method: str | Methods = "case",
    *,
    top_k: float = 0.05,
    max_agreement: float = 0.5,
    alpha: float = 0.05,
    keep: Kept = "correct",
    max_undefined: float = 0.05,
    rule: Literal["full", "published"] = "full",
    grid: Literal["input", "layer"] = "input",
) -> Result | tuple[Result, ...]:
    """Assert that the maps for the two most likely classes of an image differ.

    Parameters
    ----------
    method
        Method name, or a list of names that must all hold.
    top_k
        Share of positions that forms a map's top region.
    max_agreement
        The two regions may agree this much at most.
    alpha, keep, max_undefined
        Level of every test; which images count; share of unusable maps beyond which PASS is blocked.
    rule
        ``published`` decides by the paper's Wilcoxon test alone, and the record says so.
    grid
        Resolution at which regions are taken.

    Raises
    ------
    ExplanationAssertionError
        The verdict is FAIL or INCONCLUSIVE; carries the ``Result``.
    SaliencyError
        It could not be decided: a bad argument, too few images, a method without meaning here.

    Source: CASE (arXiv 2506.07327), eq. 7-8; the two further legs are this project's own.
    """
    options = {
        "top_k": top_k,
        "max_agreement": max_agreement,
        "alpha": alpha,
        "keep": keep,
        "max_undefined": max_undefined,
        "rule": rule,
        "grid": grid,
    }
    __tracebackhide__ = True
    return assert_kind("class_sensitive", {"model": explained}, method, options)
