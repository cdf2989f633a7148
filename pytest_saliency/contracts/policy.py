"""What a verdict does to the test: severity, on_inconclusive, and failures that are known until a day."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import pytest

from pytest_saliency.errors import ExplanationAssertionError
from pytest_saliency.report.terminal import headline_of

if TYPE_CHECKING:
    from pytest_saliency.checks.result import Result
    from pytest_saliency.contracts.check import CheckItem
    from pytest_saliency.contracts.models import KnownFailure


class SaliencyWarning(pytest.PytestWarning):
    """A check whose contract only warns did not hold."""


def expired(known: KnownFailure, today: date | None = None) -> bool:
    """Tell whether the last day of an exception is over, in UTC."""
    return (today or datetime.now(UTC).date()) > known.expires


def policy_of(check: CheckItem) -> dict[str, Any]:
    """Return the policy of a check as its record says it."""
    known = check.known_failure
    return {
        "severity": check.severity,
        "on_inconclusive": check.on_inconclusive,
        "known_failure": None
        if known is None
        else {"reason": known.reason, "expires": known.expires.isoformat(), "expired": expired(known)},
    }


def notes_of(check: CheckItem) -> tuple[str, ...]:
    """Return what the failure's text must say about the policy."""
    known = check.known_failure
    if known is None or not expired(known):
        return ()
    return (
        f"the exception declared as known_failure expired on {known.expires.isoformat()} ({known.reason});"
        " the check counts again.",
    )


def marks_of(check: CheckItem, contract: str, strict: bool = False) -> list[pytest.MarkDecorator]:
    """Return the marks of a check's item.

    A known failure is a strict xfail for an unmet verdict only: broken weights or images are not excused by it.
    ``strict``: nothing is excused at all.
    """
    marks = [pytest.mark.saliency(contract=contract, check=check.check, kind=check.kind)]
    if strict:
        return marks
    if active(check):
        assert check.known_failure is not None
        reason = f"{check.known_failure.reason} (until {check.known_failure.expires.isoformat()})"
        marks.append(pytest.mark.xfail(reason=reason, strict=True, raises=ExplanationAssertionError))
    if "warn" in (check.severity, check.on_inconclusive):
        # `-W error` asks for strict tests; a contract that says "warn" has already decided what this one does.
        marks.append(pytest.mark.filterwarnings(f"always::{__name__}.{SaliencyWarning.__name__}"))
    return marks


def active(check: CheckItem) -> bool:
    """Tell whether the check's failure is excused today."""
    return check.known_failure is not None and not expired(check.known_failure)


def apply(
    check: CheckItem,
    policy: Mapping[str, Any],
    record: Mapping[str, Any],
    result: Result,
    text: str,
    strict: bool = False,
) -> None:
    """Pass, warn, skip or fail, as the contract declares for the verdict of ``record``.

    ``strict``: fail for every verdict that is not PASS, whatever the contract declares.

    Raises
    ------
    ExplanationAssertionError
        The verdict is not PASS and nothing excuses it; its message is ``text``.
    """
    verdict = record["verdict"]
    if verdict == "PASS":
        return
    if not strict and not active(check):
        reaction = "fail"
        if verdict == "INCONCLUSIVE":
            reaction = policy["on_inconclusive"]
        if reaction == "fail" and policy["severity"] == "warn":
            reaction = "warn"
        if reaction == "skip":
            pytest.skip(headline_of(record))
        if reaction == "warn":
            warnings.warn(SaliencyWarning(f"{verdict}: {headline_of(record)}"), stacklevel=2)
            return
    raise ExplanationAssertionError(text, result)
