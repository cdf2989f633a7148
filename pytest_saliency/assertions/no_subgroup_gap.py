"""``assert_no_subgroup_gap``: what another assertion measured is alike in every declared group of cases."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_saliency.checks.registry import KINDS
from pytest_saliency.checks.result import Result
from pytest_saliency.decide.verdict import Verdict
from pytest_saliency.errors import CriterionError, ExplanationAssertionError
from pytest_saliency.records.recording import record_result
from pytest_saliency.report.terminal import render_failure


def assert_no_subgroup_gap(
    result: Result,
    *,
    max_gap: Mapping[str, float],
    min_group: int = 10,
    alpha: float = 0.05,
    max_undefined: float = 0.05,
) -> Result:
    """Assert that what another assertion measured differs little between the groups that the cases declare.

    Parameters
    ----------
    result
        What another assertion returned; its cases declare groups (``Cases.from_arrays(..., groups=...)``).
    max_gap
        By measure, how far the means of any two groups may lie apart: ``agreement``, ``advantage``, ``iou_drop`` and
        the others that a check measures of each image.
    min_group
        A group with fewer images, or clusters, blocks PASS; the verdict then is INCONCLUSIVE and names it.

    Raises
    ------
    ExplanationAssertionError, SaliencyError
        As :func:`assert_class_sensitive`; also where the cases declare no groups, or one only.

    Source: bounds of each group's mean by betting (Waudby-Smith and Ramdas 2024), the level split between the groups
    of a pair; the statement is this project's own.
    """
    __tracebackhide__ = True
    from pytest_saliency.checks.no_subgroup_gap import NoSubgroupGapParameters, compare

    declared = KINDS["no_subgroup_gap"]
    if not isinstance(result, Result):
        raise CriterionError(
            f"{declared.assertion}: result must be what an assertion of one method returns, not"
            f" {type(result).__name__}."
        )
    parameters = NoSubgroupGapParameters.from_keywords(
        declared.assertion,
        {
            "method": result.parameters["method"],
            "of": result.check,
            "of_kind": result.kind,
            "of_criterion": dict(result.parameters),
            "max_gap": dict(max_gap),
            "min_group": min_group,
            "alpha": alpha,
            "max_undefined": max_undefined,
        },
    )
    made = compare(result, parameters, declared.name)
    record = record_result(made)
    if made.verdict is not Verdict.PASS:
        raise ExplanationAssertionError(render_failure(record), made)
    return made
