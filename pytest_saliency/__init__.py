"""Explanation regression tests for image classifiers, decided by pytest.

Public names are imported on first use, so that ``import pytest_saliency`` (which pytest does at every start)
costs nothing and pulls in no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_saliency.assertions.avoids import assert_avoids
    from pytest_saliency.assertions.beats_null_explainers import assert_beats_null_explainers
    from pytest_saliency.assertions.channel_activity import assert_channel_activity
    from pytest_saliency.assertions.class_sensitive import assert_class_sensitive
    from pytest_saliency.assertions.faithful import assert_faithful
    from pytest_saliency.assertions.invariant_execution import assert_invariant_execution
    from pytest_saliency.assertions.localized import assert_localized
    from pytest_saliency.assertions.model_dependent import assert_model_dependent
    from pytest_saliency.assertions.no_semantic_drift import assert_no_semantic_drift
    from pytest_saliency.assertions.no_subgroup_gap import assert_no_subgroup_gap
    from pytest_saliency.assertions.not_vacuous import assert_not_vacuous
    from pytest_saliency.assertions.not_worse_than_baseline import assert_not_worse_than_baseline
    from pytest_saliency.assertions.planted_evidence import assert_planted_evidence
    from pytest_saliency.assertions.seed_robust import assert_seed_robust
    from pytest_saliency.assertions.stable import assert_stable
    from pytest_saliency.checks.result import Result
    from pytest_saliency.decide.verdict import Verdict
    from pytest_saliency.engine.cases import Cases
    from pytest_saliency.engine.explained import Explained, explain
    from pytest_saliency.engine.maps import Maps
    from pytest_saliency.engine.methods.own import register_method
    from pytest_saliency.engine.subject import Subject
    from pytest_saliency.errors import ExplanationAssertionError, SaliencyError

__version__ = "0.1.0"

_WHERE = {
    "assert_avoids": "assertions.avoids",
    "assert_beats_null_explainers": "assertions.beats_null_explainers",
    "assert_channel_activity": "assertions.channel_activity",
    "assert_class_sensitive": "assertions.class_sensitive",
    "assert_faithful": "assertions.faithful",
    "assert_invariant_execution": "assertions.invariant_execution",
    "assert_localized": "assertions.localized",
    "assert_model_dependent": "assertions.model_dependent",
    "assert_no_semantic_drift": "assertions.no_semantic_drift",
    "assert_no_subgroup_gap": "assertions.no_subgroup_gap",
    "assert_not_vacuous": "assertions.not_vacuous",
    "assert_not_worse_than_baseline": "assertions.not_worse_than_baseline",
    "assert_planted_evidence": "assertions.planted_evidence",
    "assert_seed_robust": "assertions.seed_robust",
    "assert_stable": "assertions.stable",
    "Cases": "engine.cases",
    "Explained": "engine.explained",
    "explain": "engine.explained",
    "ExplanationAssertionError": "errors",
    "Maps": "engine.maps",
    "register_method": "engine.methods.own",
    "Result": "checks.result",
    "SaliencyError": "errors",
    "Subject": "engine.subject",
    "Verdict": "decide.verdict",
}

__all__ = [
    "Cases",
    "Explained",
    "ExplanationAssertionError",
    "Maps",
    "Result",
    "SaliencyError",
    "Subject",
    "Verdict",
    "__version__",
    "assert_avoids",
    "assert_beats_null_explainers",
    "assert_channel_activity",
    "assert_class_sensitive",
    "assert_faithful",
    "assert_invariant_execution",
    "assert_localized",
    "assert_model_dependent",
    "assert_no_semantic_drift",
    "assert_no_subgroup_gap",
    "assert_not_vacuous",
    "assert_not_worse_than_baseline",
    "assert_planted_evidence",
    "assert_seed_robust",
    "assert_stable",
    "explain",
    "register_method",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'pytest_saliency' has no attribute {name!r}")
    value = getattr(import_module(f"pytest_saliency.{_WHERE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
