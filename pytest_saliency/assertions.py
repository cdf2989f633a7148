"""What a test author writes: one assertion a check kind.

Each measures, decides and records; it returns the ``Result`` when the verdict is PASS and raises
``ExplanationAssertionError`` for FAIL and INCONCLUSIVE. Given a list of methods, all must hold, and a tuple of
results comes back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Required, TypedDict, Unpack, overload

from pytest_saliency.checks.registry import KINDS
from pytest_saliency.checks.result import Result
from pytest_saliency.decide.verdict import Verdict
from pytest_saliency.engine.explained import Explained
from pytest_saliency.errors import CriterionError, ExplanationAssertionError
from pytest_saliency.records.baseline_handle import BaselineHandle
from pytest_saliency.records.recording import record_result
from pytest_saliency.report.terminal import render_failure

Methods = list[str] | tuple[str, ...]
"""Several methods that must all hold."""

Kept = Literal["correct", "all"]


class CommonOptions(TypedDict, total=False):
    """Keyword arguments of every assertion."""

    alpha: float
    max_undefined: float


class ClassSensitiveOptions(CommonOptions, total=False):
    """Keyword arguments of :func:`assert_class_sensitive`."""

    top_k: float
    max_agreement: float
    keep: Kept
    rule: Literal["full", "published"]
    grid: Literal["input", "layer"]


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
    reference: Literal["absolute"]


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
    return _assert("class_sensitive", {"model": explained}, method, options)


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
    return _assert("faithful", {"model": explained}, method, options)


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
    reference: Literal["absolute"] = "absolute",
    alpha: float = 0.05,
    max_undefined: float = 0.05,
) -> Result | tuple[Result, ...]:
    """Assert that a fine-tuned model still looks at the evidence that it looked at before.

    Parameters
    ----------
    before, after
        The two subjects explained over the same cases.
    max_iou_drop, max_displacement, min_correlation, max_concentration_change, max_accuracy_drop
        Limits of the mean over images; at least one must be declared.
    top_fraction
        Share of positions that forms the region of the IoU.
    keep, min_kept
        Which images count, and the share of all images below which PASS is blocked.
    max_drifted_share
        Share of images that may each be beyond a limit (a mean hides subgroups).

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
        "alpha": alpha,
        "max_undefined": max_undefined,
    }
    __tracebackhide__ = True
    return _assert("no_semantic_drift", {"before": before, "after": after}, method, options)


def assert_not_worse_than_baseline(
    result: Result,
    baseline: BaselineHandle,
    *,
    max_worsening: Mapping[str, float],
    min_kept: float = 0.5,
    alpha: float = 0.05,
    max_undefined: float = 0.05,
) -> Result | None:
    """Assert that what another assertion measured is at most so much worse than the approved baseline.

    Parameters
    ----------
    result
        What another assertion returned.
    baseline
        ``saliency_baseline("a-name")``, of the fixture ``saliency_baseline``.
    max_worsening
        By measure, how much worse it may be on average over the images: ``agreement``, ``advantage``, ``iou_drop``,
        ``displacement``, ``correlation``, ``concentration_change``.
    min_kept
        Share of the baseline's images that must still be kept for a PASS.

    Returns
    -------
    Result | None
        None where nothing is approved yet and the run only writes baselines (``--saliency-baseline new``).

    Raises
    ------
    ExplanationAssertionError, SaliencyError
        As :func:`assert_class_sensitive`; also where there is no approved baseline, or it cannot be compared with.
    """
    __tracebackhide__ = True
    from pytest_saliency.checks.not_worse_than_baseline import NotWorseThanBaselineParameters, compare

    declared = KINDS["not_worse_than_baseline"]
    if not isinstance(result, Result):
        raise CriterionError(
            f"{declared.assertion}: result must be what an assertion of one method returns, not"
            f" {type(result).__name__}."
        )
    if not isinstance(baseline, BaselineHandle):
        raise CriterionError(
            f"{declared.assertion}: baseline must be saliency_baseline('a-name'), of the fixture saliency_baseline, not"
            f" {type(baseline).__name__}."
        )
    parameters = NotWorseThanBaselineParameters.from_keywords(
        declared.assertion,
        {
            "method": result.parameters["method"],
            "of": result.check,
            "of_kind": result.kind,
            "of_criterion": dict(result.parameters),
            "max_worsening": dict(max_worsening),
            "min_kept": min_kept,
            "alpha": alpha,
            "max_undefined": max_undefined,
        },
    )
    baseline.claim(result)
    if baseline.pending:
        return None
    made = compare(result, baseline.approved(), parameters, baseline.key.check)
    record = record_result(made)
    if made.verdict is not Verdict.PASS:
        raise ExplanationAssertionError(render_failure(record), made)
    return made


def _assert(
    kind: str, explained: dict[str, Explained], method: str | Methods, options: dict[str, Any]
) -> Result | tuple[Result, ...]:
    __tracebackhide__ = True
    declared = KINDS[kind]
    for role, one in explained.items():
        if not isinstance(one, Explained):
            raise CriterionError(
                f"{declared.assertion}: {role} must be what explain(subject, cases) returns, not {type(one).__name__}."
            )
    names = (method,) if isinstance(method, str) else tuple(method)
    if not names:
        raise CriterionError(f"{declared.assertion}: the list of methods is empty, so nothing could fail.")
    results, failed, blocks = [], [], []
    for name in names:
        parameters = declared.parameters.from_keywords(declared.assertion, {"method": name, **options})
        result = declared.run(explained, parameters)
        record = record_result(result)
        results.append(result)
        if result.verdict is not Verdict.PASS:
            failed.append(result)
            blocks.append(render_failure(record))
    if failed:
        raise ExplanationAssertionError("\n\n".join(blocks), failed[0])
    return results[0] if isinstance(method, str) else tuple(results)
