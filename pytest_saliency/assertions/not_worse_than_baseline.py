"""``assert_not_worse_than_baseline``: what another assertion measured is not much worse than the approved baseline."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_saliency.checks.registry import KINDS
from pytest_saliency.checks.result import Result
from pytest_saliency.decide.verdict import Verdict
from pytest_saliency.errors import CriterionError, ExplanationAssertionError
from pytest_saliency.records.baseline_handle import BaselineHandle
from pytest_saliency.records.recording import record_result
from pytest_saliency.report.terminal import render_failure


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
