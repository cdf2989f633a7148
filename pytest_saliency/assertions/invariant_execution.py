"""``assert_invariant_execution``: maps do not depend on how they are computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Required, Unpack, overload

from pytest_saliency.assertions.common import CommonOptions, Kept, Methods, assert_kind
from pytest_saliency.checks.invariant_execution import VariantName
from pytest_saliency.checks.result import Result
from pytest_saliency.engine.explained import Explained


class InvariantExecutionOptions(CommonOptions, total=False):
    """Keyword arguments of :func:`assert_invariant_execution`."""

    max_difference: Required[float]
    max_share: Required[float]
    variants: Sequence[VariantName]
    keep: Kept


@overload
def assert_invariant_execution(
    explained: Explained, method: str = ..., **options: Unpack[InvariantExecutionOptions]
) -> Result: ...
@overload
def assert_invariant_execution(
    explained: Explained, method: Methods, **options: Unpack[InvariantExecutionOptions]
) -> tuple[Result, ...]: ...
def assert_invariant_execution(
    explained: Explained,
    method: str | Methods = "case",
    *,
    max_difference: float,
    max_share: float,
    variants: Sequence[VariantName] = ("batch_one", "shuffled", "threads"),
    alpha: float = 0.05,
    keep: Kept = "all",
    max_undefined: float = 0.05,
) -> Result | tuple[Result, ...]:
    """Assert that few maps change when they are computed in another way.

    Parameters
    ----------
    max_difference
        How far a map may be from the same map computed otherwise: the largest difference at any position, as a share
        of the map's own largest absolute value. In float32, rounding alone stays far below 0.001 as a rule; bf16 moves
        maps by some hundredths. No default: it is your limit.
    max_share
        Share of the images that may differ by more, or be predicted otherwise. No default.
    variants
        ``batch_one`` (image by image; by fours where the run goes image by image), ``shuffled`` (another order),
        ``threads`` (another number of CPU threads), ``float64``, ``bf16``, ``fp16`` (another precision), ``cpu`` (the
        CPU where the run uses a device, CUDA where it uses the CPU), and ``compiled``: the scores of the model under
        torch.compile, as maps are always made of the model as it is written; a model that does not compile differs.
        All must hold. A variant that cannot be computed here, or is how the run itself is computed, blocks PASS:
        declare what your machine can do.

    Raises
    ------
    ExplanationAssertionError, SaliencyError
        As :func:`assert_class_sensitive`.

    Source: decided by the exact bound of a share (Clopper and Pearson 1934); the statement is this project's own.
    """
    options = {
        "max_difference": max_difference,
        "max_share": max_share,
        "variants": variants if isinstance(variants, str) else tuple(variants),
        "alpha": alpha,
        "keep": keep,
        "max_undefined": max_undefined,
    }
    __tracebackhide__ = True
    return assert_kind("invariant_execution", {"model": explained}, method, options)
