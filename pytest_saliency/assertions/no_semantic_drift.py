"""``assert_no_semantic_drift``: a fine-tuned model still looks at the evidence that it looked at before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Unpack, overload

from pytest_saliency.assertions.common import CommonOptions, Methods, assert_kind
from pytest_saliency.checks.result import Result
from pytest_saliency.engine.explained import Explained


class DriftOptions(CommonOptions, total=False):
    """Keyword arguments of :func:`assert_no_semantic_drift`."""

    max_iou_drop: float | None
    max_displacement: float | None
    min_correlation: float | None
    max_concentration_change: float | None
    max_accuracy_drop: float | None
    top_fraction: float
    keep: Literal["both_correct", "same_prediction", "all"]
    min_kept: float
    max_drifted_share: float | None
    reference: Literal["absolute", "noise", "null"]
    null_test: Literal["rank", "normal"]
    nulls: Sequence[Explained]
    checkpoints: Sequence[Explained]
    confirm: bool


@overload
def assert_no_semantic_drift(
    before: Explained, after: Explained, *, method: str, **options: Unpack[DriftOptions]
) -> Result: ...
@overload
def assert_no_semantic_drift(
    before: Explained, after: Explained, *, method: Methods, **options: Unpack[DriftOptions]
) -> tuple[Result, ...]: ...
def assert_no_semantic_drift(
    before: Explained,
    after: Explained,
    *,
    method: str | Methods,
    max_iou_drop: float | None = None,
    max_displacement: float | None = None,
    min_correlation: float | None = None,
    max_concentration_change: float | None = None,
    max_accuracy_drop: float | None = None,
    top_fraction: float = 0.20,
    keep: Literal["both_correct", "same_prediction", "all"] = "both_correct",
    min_kept: float = 0.5,
    max_drifted_share: float | None = None,
    reference: Literal["absolute", "noise", "null"] = "absolute",
    null_test: Literal["rank", "normal"] = "rank",
    nulls: Sequence[Explained] = (),
    checkpoints: Sequence[Explained] = (),
    confirm: bool = True,
    alpha: float = 0.05,
    max_undefined: float = 0.05,
) -> Result | tuple[Result, ...]:
    """Assert that a fine-tuned model still looks at the evidence that it looked at before.

    Parameters
    ----------
    before, after
        The two subjects explained over the same cases.
    max_iou_drop, max_displacement, min_correlation, max_concentration_change, max_accuracy_drop
        Limits of the mean over images; at least one must be declared. With a ``reference`` they bind what is left of
        the mean when the reference's is subtracted image by image (``min_correlation`` is then negative: -0.2 lets the
        correlation lie 0.2 lower); accuracy is bound as it is.
    top_fraction
        Share of positions that forms the region of the IoU.
    keep, min_kept
        Which images count, and the share of all images below which PASS is blocked.
    max_drifted_share
        Share of images that may each be beyond a limit (a mean hides subgroups).
    reference
        ``absolute``; ``noise``, beyond what a jitter of the images does to the maps before; or ``null``, beyond what
        ``nulls`` show.
    nulls, null_test
        Clean fine-tunings (other seeds, resampled data) explained over the same cases. FAIL then also needs that the
        candidate is told from them: by ``rank``, which takes 19 of them for one limit and 79 for four; or by a t
        prediction bound (``normal``), which assumes that means of trainings are normal.
    checkpoints
        The same model during the training, in order: from which of them on was a limit exceeded?
    confirm
        After a FAIL, paste newly used regions into images of other classes and see whether the prediction follows.

    Raises
    ------
    ExplanationAssertionError, SaliencyError
        As :func:`assert_class_sensitive`.

    Source: arXiv 2604.08513 for the quantities; decided as non-inferiority with betting bounds (arXiv 2010.09686).
    """
    options = {
        "max_iou_drop": max_iou_drop,
        "max_displacement": max_displacement,
        "min_correlation": min_correlation,
        "max_concentration_change": max_concentration_change,
        "max_accuracy_drop": max_accuracy_drop,
        "top_fraction": top_fraction,
        "keep": keep,
        "min_kept": min_kept,
        "max_drifted_share": max_drifted_share,
        "reference": reference,
        "null_test": null_test,
        "confirm": confirm,
        "alpha": alpha,
        "max_undefined": max_undefined,
    }
    __tracebackhide__ = True
    roles = {"before": before, "after": after}
    for name, listed in (("nulls", nulls), ("checkpoints", checkpoints)):
        roles |= {f"{name}.{number}": one for number, one in enumerate(listed, start=1)}
    return assert_kind("no_semantic_drift", roles, method, options)
