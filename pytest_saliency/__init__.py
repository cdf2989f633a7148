"""Explanation regression tests for image classifiers, decided by pytest.

Public names are imported on first use, so that ``import pytest_saliency`` (which pytest does at every start)
costs nothing and pulls in no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_saliency.assertions.class_sensitive import assert_class_sensitive
    from pytest_saliency.assertions.faithful import assert_faithful
    from pytest_saliency.assertions.no_semantic_drift import assert_no_semantic_drift
    from pytest_saliency.assertions.not_vacuous import assert_not_vacuous
    from pytest_saliency.assertions.not_worse_than_baseline import assert_not_worse_than_baseline
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
    "assert_class_sensitive": "assertions.class_sensitive",
    "assert_faithful": "assertions.faithful",
    "assert_no_semantic_drift": "assertions.no_semantic_drift",
    "assert_not_vacuous": "assertions.not_vacuous",
    "assert_not_worse_than_baseline": "assertions.not_worse_than_baseline",
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
    "assert_class_sensitive",
    "assert_faithful",
    "assert_no_semantic_drift",
    "assert_not_vacuous",
    "assert_not_worse_than_baseline",
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
