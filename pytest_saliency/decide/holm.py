"""Holm's step-down adjustment (Holm, Scandinavian Journal of Statistics 6, 1979)."""

from __future__ import annotations

from collections.abc import Mapping


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return Holm-adjusted p-values under the same names, each at most 1.

    Rejecting those below alpha keeps the chance of any wrong rejection at most alpha, whatever the dependence.
    """
    adjusted: dict[str, float] = {}
    running = 0.0
    names = sorted(p_values, key=lambda name: (p_values[name], name))
    for rank, name in enumerate(names):
        running = max(running, min(1.0, (len(names) - rank) * p_values[name]))
        adjusted[name] = running
    return {name: adjusted[name] for name in p_values}
