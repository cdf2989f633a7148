"""What a decision hands back: the verdict, every number behind it, and the same as plain JSON.

Every class has ``to_dict`` and ``from_dict``. Numbers that are not finite become ``None`` in the dictionary
(JSON has no word for them) and come back as NaN.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from pytest_saliency.decide.tolerance import Sensitivity
from pytest_saliency.decide.verdict import Verdict
from pytest_saliency.errors import CriterionError


class NotAttainable(CriterionError):  # noqa: N818 - reads as the sentence it raises
    """The criterion could not PASS with these images even if every one of them were perfect.

    ``n`` is the number of units at hand (after ``keep``), ``needed`` the smallest number that could PASS, or
    ``None`` where no number is enough.
    """

    def __init__(self, message: str, *, n: int, needed: int | None) -> None:
        self.n = n
        self.needed = needed
        super().__init__(message)


@dataclass(frozen=True)
class Interval:
    """Two one-sided bounds, each of them at ``level`` (so both hold together at ``2 * level - 1``)."""

    low: float
    high: float
    level: float
    method: str

    def to_dict(self) -> dict[str, Any]:
        return {"low": plain(self.low), "high": plain(self.high), "level": self.level, "method": self.method}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        return cls(number(data["low"]), number(data["high"]), float(data["level"]), str(data["method"]))


@dataclass(frozen=True)
class Measure:
    """One measured quantity: estimate (over the defined images), bounds, and its own verdict if it has a limit.

    ``side`` says what the limit asks for: ``"<="``, ``">="``, ``"abs<="``, ``"<"`` or ``">"``; it is ``""`` for a
    read-out. ``n`` counts units (images, or clusters), ``undefined`` images without a value. The bounds count
    undefined images as the worst value on the side of PASS and as the best on the side of FAIL.
    ``p_fail`` is not adjusted for other limits.
    """

    name: str
    title: str
    estimate: float
    interval: Interval
    limit: float | None
    side: str
    n: int
    undefined: int
    sd: float
    verdict: Verdict | None = None
    p_pass: float | None = None
    p_fail: float | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "title": self.title,
            "estimate": plain(self.estimate),
            "interval": self.interval.to_dict(),
            "limit": plain(self.limit),
            "side": self.side,
            "n": self.n,
            "undefined": self.undefined,
            "sd": plain(self.sd),
            "verdict": None if self.verdict is None else self.verdict.value,
            "p_pass": plain(self.p_pass),
            "p_fail": plain(self.p_fail),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        return cls(
            name=str(data["name"]),
            title=str(data["title"]),
            estimate=number(data["estimate"]),
            interval=Interval.from_dict(data["interval"]),
            limit=optional(data["limit"]),
            side=str(data["side"]),
            n=int(data["n"]),
            undefined=int(data["undefined"]),
            sd=number(data["sd"]),
            verdict=None if data["verdict"] is None else Verdict(data["verdict"]),
            p_pass=optional(data["p_pass"]),
            p_fail=optional(data["p_fail"]),
        )


@dataclass(frozen=True)
class Leg:
    """One test that PASS rests on; all legs must hold. ``bound`` is the one-sided bound that decides, if any."""

    name: str
    statement: str
    p: float
    holds: bool
    estimate: float | None = None
    bound: float | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "statement": self.statement,
            "p": plain(self.p),
            "holds": self.holds,
            "estimate": plain(self.estimate),
            "bound": plain(self.bound),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        return cls(
            name=str(data["name"]),
            statement=str(data["statement"]),
            p=number(data["p"]),
            holds=bool(data["holds"]),
            estimate=optional(data["estimate"]),
            bound=optional(data["bound"]),
        )


@dataclass(frozen=True)
class Decision:
    """A verdict with all it rests on. ``headline`` says it in words, with measured value and limit together.

    ``within_tolerance`` says which verdicts the same check could reach on another machine; where it is more than one,
    the notes say so. It is None in a record of an earlier release, or of a decision that was not asked.
    """

    kind: str
    verdict: Verdict
    headline: str
    measures: Mapping[str, Measure]
    legs: tuple[Leg, ...]
    n: int
    counts: Mapping[str, int]
    undefined_share: float
    effect_size: Mapping[str, float]
    smallest_detectable: Mapping[str, float]
    readouts: Mapping[str, object] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    alpha: float = 0.05
    rule: str = "full"
    seed: int = 0
    within_tolerance: Sensitivity | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON; the seed is written as 16 hexadecimal digits (it exceeds what JavaScript keeps)."""
        return {
            "kind": self.kind,
            "verdict": self.verdict.value,
            "headline": self.headline,
            "measures": {name: measure.to_dict() for name, measure in self.measures.items()},
            "legs": [leg.to_dict() for leg in self.legs],
            "n": self.n,
            "counts": dict(self.counts),
            "undefined_share": plain(self.undefined_share),
            "effect_size": plain(self.effect_size),
            "smallest_detectable": plain(self.smallest_detectable),
            "readouts": plain(self.readouts),
            "notes": list(self.notes),
            "alpha": self.alpha,
            "rule": self.rule,
            "seed": f"{self.seed:016x}",
            "within_tolerance": None if self.within_tolerance is None else self.within_tolerance.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        return cls(
            kind=str(data["kind"]),
            verdict=Verdict(data["verdict"]),
            headline=str(data["headline"]),
            measures={name: Measure.from_dict(entry) for name, entry in data["measures"].items()},
            legs=tuple(Leg.from_dict(entry) for entry in data["legs"]),
            n=int(data["n"]),
            counts={name: int(count) for name, count in data["counts"].items()},
            undefined_share=number(data["undefined_share"]),
            effect_size={name: number(value) for name, value in data["effect_size"].items()},
            smallest_detectable={name: number(value) for name, value in data["smallest_detectable"].items()},
            readouts=dict(data["readouts"]),
            notes=tuple(data["notes"]),
            alpha=float(data["alpha"]),
            rule=str(data["rule"]),
            seed=int(data["seed"], 16),
            within_tolerance=_sensitivity(data.get("within_tolerance")),
        )


def _sensitivity(data: Mapping[str, Any] | None) -> Sensitivity | None:
    return None if data is None else Sensitivity.from_dict(data)


def plain(value: object) -> Any:
    """Return ``value`` as JSON knows it: numpy scalars and arrays become Python ones, non-finite becomes None."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, np.generic | np.ndarray):
        return plain(value.tolist())
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return value + 0.0 if math.isfinite(value) else None  # JSON does not keep the sign of zero
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, Sequence):
        return [plain(entry) for entry in value]
    raise TypeError(f"a decision cannot carry a {type(value).__name__}; use numbers, strings, lists and mappings")


def number(value: float | None) -> float:
    """Undo ``plain`` for a number: ``None`` is NaN."""
    return math.nan if value is None else float(value)


def optional(value: float | None) -> float | None:
    """Undo ``plain`` for a number that may be absent."""
    return None if value is None else float(value)
