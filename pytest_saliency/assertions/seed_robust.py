"""``assert_seed_robust``: what a check says holds for each of several trainings of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_saliency.checks.registry import KINDS
from pytest_saliency.checks.result import Result
from pytest_saliency.decide.verdict import Verdict
from pytest_saliency.engine.explained import Explained
from pytest_saliency.errors import CriterionError, ExplanationAssertionError
from pytest_saliency.records.recording import record_result
from pytest_saliency.report.terminal import render_failure


def assert_seed_robust(
    of: str,
    models: Sequence[Explained],
    method: str = "case",
    *,
    min_share: float = 1.0,
    alpha: float = 0.05,
    before: Explained | None = None,
    **criterion: Any,
) -> Result:
    """Assert that a check holds for each of several trainings, as for seeds of one recipe.

    Parameters
    ----------
    of
        The kind of the check, as ``"class_sensitive"``.
    models
        What ``explain(subject, cases)`` returns for each training; two at least, over the same cases.
    method
        One method; further keywords (``criterion``) are those of the check, as ``max_agreement=0.5``.
    min_share
        Share of the trainings for which the check must hold; 1 asks for all of them.
    alpha
        Level of the check for each training and of the joint decision.
    before
        For a check of a model before and one after: the one before, the same for all trainings.

    Raises
    ------
    ExplanationAssertionError, SaliencyError
        As :func:`assert_class_sensitive`; also where two of the models are one and the same training.

    Source: CASE (arXiv 2506.07327, section V-A1) repeats its test over trained seeds; decided by partial conjunction
    (Benjamini and Heller 2008).
    """
    __tracebackhide__ = True
    from pytest_saliency.checks.seed_robust import SeedRobustParameters, join

    declared = KINDS["seed_robust"]
    kind = KINDS.get(of)
    if kind is None or kind.inherited:
        names = ", ".join(name for name, one in KINDS.items() if not one.inherited)
        raise CriterionError(f"{declared.assertion}: of is {of!r}, which is no kind of check; it can be {names}.")
    others = {} if before is None else {"before": before}
    for role, one in (*others.items(), *((f"models[{k}]", one) for k, one in enumerate(models))):
        if not isinstance(one, Explained):
            raise CriterionError(
                f"{declared.assertion}: {role} must be what explain(subject, cases) returns, not {type(one).__name__}."
            )
    missing = sorted(set(kind.roles[:-1]) ^ set(others))
    if missing:
        verb = "needs" if missing[0] in kind.roles else "takes no"
        raise CriterionError(f"{declared.assertion}: a check of kind {of} {verb} '{missing[0]}'.")
    measured = kind.parameters.from_keywords(declared.assertion, {"method": method, "alpha": alpha, **criterion})
    parameters = SeedRobustParameters.from_keywords(
        declared.assertion,
        {
            "method": method,
            "of": of,
            "of_kind": of,
            "of_criterion": measured.model_dump(mode="json"),
            "min_share": min_share,
            "alpha": alpha,
        },
    )
    results = [kind.run({**others, kind.roles[-1]: one}, measured, of) for one in models]
    made = join(results, parameters, declared.name)
    record = record_result(made)
    if made.verdict is not Verdict.PASS:
        raise ExplanationAssertionError(render_failure(record), made)
    return made
