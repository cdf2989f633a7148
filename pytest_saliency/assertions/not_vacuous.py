"""``assert_not_vacuous``: maps show something."""

from __future__ import annotations

from typing import Literal, Required, Unpack, overload

from pytest_saliency.assertions.common import CommonOptions, Kept, Methods, assert_kind
from pytest_saliency.checks.result import Result
from pytest_saliency.engine.explained import Explained


class NotVacuousOptions(CommonOptions, total=False):
    """Keyword arguments of :func:`assert_not_vacuous`."""

    max_share: Required[float]
    target: Literal["top1", "top2", "label"]
    keep: Kept


@overload
def assert_not_vacuous(explained: Explained, method: str = ..., **options: Unpack[NotVacuousOptions]) -> Result: ...
@overload
def assert_not_vacuous(
    explained: Explained, method: Methods, **options: Unpack[NotVacuousOptions]
) -> tuple[Result, ...]: ...
def assert_not_vacuous(
    explained: Explained,
    method: str | Methods = "case",
    *,
    max_share: float,
    target: Literal["top1", "top2", "label"] = "top1",
    alpha: float = 0.05,
    keep: Kept = "all",
    max_undefined: float = 0.05,
) -> Result | tuple[Result, ...]:
    """Assert that few maps are blank, flat, not finite or of a single position.

    Parameters
    ----------
    max_share
        Share of the images whose map may show nothing. No default: it is your limit.
    target
        The class the maps are for: ``top1``, ``top2`` or ``label``.

    Raises
    ------
    ExplanationAssertionError, SaliencyError
        As :func:`assert_class_sensitive`.

    Source: decided by the exact bound of a share (Clopper and Pearson 1934); the statement is this project's own.
    """
    options = {
        "max_share": max_share,
        "target": target,
        "alpha": alpha,
        "keep": keep,
        "max_undefined": max_undefined,
    }
    __tracebackhide__ = True
    return assert_kind("not_vacuous", {"model": explained}, method, options)
