"""What every assertion does: validate its arguments, run, record, and raise unless the verdict is PASS."""

from __future__ import annotations

from typing import Any, Literal, TypedDict

from pytest_saliency.checks.registry import KINDS
from pytest_saliency.checks.result import Result
from pytest_saliency.decide.verdict import Verdict
from pytest_saliency.engine.explained import Explained
from pytest_saliency.errors import CriterionError, ExplanationAssertionError
from pytest_saliency.records.recording import record_result
from pytest_saliency.report.terminal import render_failure

Methods = list[str] | tuple[str, ...]
"""Several methods that must all hold."""

Kept = Literal["correct", "all"]


class CommonOptions(TypedDict, total=False):
    """Keyword arguments of every assertion."""

    alpha: float
    max_undefined: float


def assert_kind(
    kind: str, explained: dict[str, Explained], method: str | Methods, options: dict[str, Any]
) -> Result | tuple[Result, ...]:
    """Run check ``kind`` over ``explained`` by role, for one method or for each of several.

    Returns
    -------
    Result | tuple[Result, ...]
        One result for a name, a tuple for a list of names; all of them PASS.

    Raises
    ------
    ExplanationAssertionError
        A verdict is FAIL or INCONCLUSIVE; carries the first such ``Result``, and the text of all.
    SaliencyError
        It could not be decided.
    """
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
