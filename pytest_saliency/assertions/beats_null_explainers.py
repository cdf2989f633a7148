"""``assert_beats_null_explainers``: the regions matter more than those of explainers that know nothing."""

from __future__ import annotations

from typing import Required, Unpack, overload

from pytest_saliency.assertions.common import CommonOptions, Kept, Methods, assert_kind
from pytest_saliency.checks.beats_null_explainers import NullName
from pytest_saliency.checks.faithful import FillName
from pytest_saliency.checks.result import Result
from pytest_saliency.engine.explained import Explained

Nulls = list[NullName] | tuple[NullName, ...]
Fills = list[FillName] | tuple[FillName, ...]


class BeatsNullExplainersOptions(CommonOptions, total=False):
    """Keyword arguments of :func:`assert_beats_null_explainers`."""

    top_k: Required[float]
    min_advantage: Required[float]
    nulls: NullName | Nulls
    fill: FillName | Fills
    keep: Kept


@overload
def assert_beats_null_explainers(
    explained: Explained, method: str = ..., **options: Unpack[BeatsNullExplainersOptions]
) -> Result: ...
@overload
def assert_beats_null_explainers(
    explained: Explained, method: Methods, **options: Unpack[BeatsNullExplainersOptions]
) -> tuple[Result, ...]: ...
def assert_beats_null_explainers(
    explained: Explained,
    method: str | Methods = "case",
    *,
    top_k: float,
    min_advantage: float,
    nulls: NullName | Nulls = ("centre", "edges", "mean_map", "class_mean", "random_model"),
    fill: FillName | Fills = ("blur", "mean"),
    alpha: float = 0.05,
    keep: Kept = "correct",
    max_undefined: float = 0.05,
) -> Result | tuple[Result, ...]:
    """Assert that removing the method's own region costs an image more than removing that of every control.

    Parameters
    ----------
    top_k
        Share of positions that is removed.
    min_advantage
        By how much more, in log-odds (nats). No default: it is your limit.
    nulls
        Which controls: ``centre``, ``edges``, ``mean_map``, ``class_mean``, ``random_model``, ``random``.
    fill
        What removed positions become: ``blur``, ``mean``, ``zero``, ``noisy_linear``; all must hold.

    Raises
    ------
    ExplanationAssertionError, SaliencyError
        As :func:`assert_class_sensitive`.

    Source: decided by the sign-flip permutation test and what confirms it, as in ``faithful`` with ``against``.
    """
    options = {
        "top_k": top_k,
        "min_advantage": min_advantage,
        "nulls": nulls,
        "fill": fill,
        "alpha": alpha,
        "keep": keep,
        "max_undefined": max_undefined,
    }
    __tracebackhide__ = True
    return assert_kind("beats_null_explainers", {"model": explained}, method, options)
