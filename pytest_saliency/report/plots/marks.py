"""What a decision made of numbers: the limit, the estimate and its bounds, as they are marked and said."""

from __future__ import annotations

from dataclasses import dataclass, field

from pytest_saliency.report.plots.columns import Record, figure, finite, measure, part

SIDES = {"<": "<", "<=": "≤", ">": ">", ">=": "≥", "abs<=": "±"}


@dataclass(frozen=True)
class Marks:
    """What a decision made of the numbers.

    ``limit`` with its ``side`` and the ``word`` for it; the ``estimate`` with its name, and its two one-sided bounds
    (None: not known or unbounded), each at ``level``; ``means``: further numbers by name.
    """

    limit: float | None = None
    side: str = ""
    word: str = "limit"
    estimate: float | None = None
    name: str = "mean"
    low: float | None = None
    high: float | None = None
    level: float | None = None
    means: dict[str, float] = field(default_factory=dict)

    def limits(self) -> list[float]:
        """Return where a line is drawn: nowhere, at the limit, or on both sides of zero."""
        if self.limit is None:
            return []
        return [-self.limit, self.limit] if self.side == "abs<=" and self.limit > 0.0 else [self.limit]

    def known(self) -> list[float]:
        """Return every number that the plot should reach to."""
        found = [value for value in (self.estimate, self.low, self.high) if value is not None]
        return [*self.limits(), *found, *self.means.values()]

    def limit_words(self, decimals: int = 2) -> str:
        """Return "limit ≤ 0.40"; nothing without a limit."""
        if self.limit is None:
            return ""
        shown = figure(self.limit, decimals)
        if figure(self.limit, 4).rstrip("0") != shown.rstrip("0"):
            shown = f"{self.limit:g}".replace("-", "−")
        side = SIDES.get(self.side, "")
        return f"{self.word} {side}{shown}" if side in ("±", "") else f"{self.word} {side} {shown}"

    def estimate_words(self, decimals: int = 2) -> str:
        """Return "mean 0.31, 95 % bounds 0.28 and 0.35"; nothing where nothing was estimated."""
        if self.estimate is None:
            return ""
        bounds = [value for value in (self.low, self.high) if value is not None]
        if not bounds:
            return f"{self.name} {figure(self.estimate, decimals)}"
        level = "" if self.level is None else f"{100 * self.level:.6g} % "
        shown = " and ".join(figure(value, decimals) for value in bounds)
        return f"{self.name} {figure(self.estimate, decimals)}, {level}bound{'s' * (len(bounds) > 1)} {shown}"


def marks_of(record: Record, name: str, statistic: str, word: str = "limit", mean: float | None = None) -> Marks:
    """Return limit, estimate and bounds of a measure of the record; ``mean`` is marked beside them."""
    found = measure(record, name)
    bounds, side = part(found, "interval"), str(found.get("side"))
    return Marks(
        limit=finite(found.get("limit")),
        side=side if side in SIDES else "",
        word=word,
        estimate=finite(found.get("estimate")),
        name=statistic,
        low=finite(bounds.get("low")),
        high=finite(bounds.get("high")),
        level=finite(bounds.get("level")),
        means={} if mean is None else {"mean": mean},
    )
