"""Alarms of several checks together: one p-value a check, and Holm's adjustment over a contract.

Each check decides by itself, unadjusted, so that a run of one check and a run of all agree. Who looks at many checks
and quotes a single FAIL has looked many times: for that the adjusted p-values are shown beside the verdicts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pytest_saliency.decide.holm import holm

if TYPE_CHECKING:
    from pytest_saliency.decide.decision import Decision


def alarm_p(decision: Decision) -> float:
    """Return the p-value of "all limits of this check hold"; 1 where it has no alarm that could ring.

    The limits of one check are adjusted together already; the smallest of their p-values is the check's. A decision
    that does not say so needs all of its alarms, and the largest of their p-values counts.
    """
    return alarm_of(decision.to_dict())


def alarm_of(decision: Mapping[str, Any]) -> float:
    """Return the same from a decision as a record keeps it."""
    readouts = decision.get("readouts") or {}
    together = readouts.get("p_fail_holm")
    measures = (decision.get("measures") or {}).values()
    if isinstance(together, Mapping) and together:
        return min((min(1.0, float(p)) for p in together.values() if p is not None), default=1.0)
    found = [one.get("p_fail") for one in measures if one.get("limit") is not None]
    return max((min(1.0, float(p)) for p in found if p is not None), default=1.0)


def adjusted(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return Holm-adjusted p-values by name; a check without a result takes part with p = 1."""
    return holm(p_values)
