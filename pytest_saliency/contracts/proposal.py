"""The default contract: which checks it has, and limits for them from what a pilot measured.

A pilot is one clean fine-tuning, or better several of them that differ by their seed alone. Limits come from the bound
on the side of PASS, not from the mean, so that a model like the pilot's passes. With ``SEVERAL`` pilots or more a limit
is a prediction bound for one fine-tuning more, which assumes that the bounds of clean fine-tunings are about normal;
with fewer it is the worst bound and room beyond it, because one model does not tell how much another may differ.

Nothing here runs a model; ``contracts/pilot.py`` does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pytest_saliency.decide.decision import Decision, Measure

SEVERAL = 5
ALARMS = 0.01
"""How often a clean fine-tuning may be refused by the limits of a whole contract that several pilots proposed.

Pilots are few and bounds of trainings have longer tails than the normal ones that Student's bound assumes, so this is
well below the five in a hundred that are meant to hold.
"""

UNDEFINED = 0.05
"""Share of images without a usable map that checks allow unless told otherwise."""
MOST_UNDEFINED = 0.25
"""A check whose limit of that share would have to be larger is not proposed."""

BEFORE_AFTER = {"before": "before", "after": "after"}
AFTER = {"model": "after"}


@dataclass(frozen=True)
class Asked:
    """A limit that a pilot proposes.

    Attributes
    ----------
    limit, measure
        Parameter, and the measure of the decision that it binds; ``advantage`` stands for ``advantage[blur]`` too.
    side
        Whether the limit lies above or below what is measured.
    loosest, perfect
        A limit that nothing exceeds, and the value where nothing is wrong. The room beyond one pilot is a quarter of
        the way from there, and ``room`` at least.
    spare
        Room beyond the worst bound that several pilots leave as well, where a clean model that trained worse than all
        of them would otherwise be refused.
    kept
        For ``>=``: share of the pilot's bound that is asked of later models, instead of ``room``. A limit below zero
        would ask for less than nothing, so there is none where clean models may fall below it.
    """

    limit: str
    measure: str
    side: Literal["<=", ">="]
    loosest: float
    perfect: float = 0.0
    room: float = 0.05
    spare: float = 0.0
    kept: float | None = None

    def of(self, decision: Decision) -> list[Measure]:
        """Return the measures that the limit binds."""
        return [
            one
            for name, one in decision.measures.items()
            if name == self.measure or name.startswith(f"{self.measure}[")
        ]

    def bound(self, decision: Decision) -> float:
        """Return the bound on the side of PASS, the worst one where the limit binds several measures."""
        if self.side == "<=":
            return max(max(abs(one.interval.high), -one.interval.low) for one in self.of(decision))
        return min(one.interval.low for one in self.of(decision))


@dataclass(frozen=True)
class Draft:
    """A check of the default contract before it has limits.

    Attributes
    ----------
    id, kind, roles, fixed
        As in the contract; ``fixed`` holds the parameters that are conventions, the method among them.
    asked
        Limits that the pilot proposes. Without any, the check is proposed where the pilot passes it.
    why
        The comment above the check.
    """

    id: str
    kind: str
    roles: Mapping[str, str]
    fixed: Mapping[str, Any]
    asked: tuple[Asked, ...] = ()
    why: str = ""

    @property
    def loosest(self) -> dict[str, Any]:
        """Parameters with which the kind measures everything and refuses nothing."""
        return {**self.fixed, "max_undefined": 1.0, **{one.limit: one.loosest for one in self.asked}}


@dataclass(frozen=True)
class Proposed:
    """A check with limits, and a sentence on where each number comes from, by parameter.

    ``unlimited``: limits of the draft that are not in it, because what the pilots show would refuse hardly anything.
    """

    draft: Draft
    parameters: Mapping[str, Any]
    comments: Mapping[str, str] = field(default_factory=dict)
    unlimited: tuple[str, ...] = ()


DRIFT = (
    Asked("max_iou_drop", "iou_drop", "<=", 1.0),
    Asked("max_displacement", "displacement", "<=", 1.0, room=0.02),
    Asked("min_correlation", "correlation", ">=", -1.0, perfect=1.0),
    Asked("max_concentration_change", "concentration_change", "<=", 1.0),
    Asked("max_accuracy_drop", "accuracy_drop", "<=", 1.0, room=0.02),
)

DRAFTS: tuple[Draft, ...] = (
    Draft(
        "maps-show-something",
        "not_vacuous",
        AFTER,
        {"method": "gradcam"},
        (Asked("max_share", "vacuous", "<=", 1.0),),
        why="There is something on the maps. A blank map is often the first sign that a model reads something else.",
    ),
    Draft(
        "class-sensitive",
        "class_sensitive",
        AFTER,
        {"method": "case", "top_k": 0.05, "max_agreement": 0.5},
        why="The map for the predicted class is not the map for the runner-up. The limits are the published protocol.",
    ),
    Draft(
        "evidence-kept",
        "no_semantic_drift",
        BEFORE_AFTER,
        {"method": "layercam"},
        DRIFT,
        why="Fine-tuning did not move the evidence, on average over the images.",
    ),
    Draft(
        "faithful",
        "faithful",
        AFTER,
        {"method": "gradcam", "top_k": 0.10, "fill": ["blur", "mean"]},
        (Asked("min_advantage", "advantage", ">=", -1e6, perfect=math.inf, kept=0.5),),
        why="The prediction stands on what the map shows: removing an image's own region costs more log-odds than"
        " removing the regions of other images of its class.",
    ),
    Draft(
        "planted-evidence",
        "planted_evidence",
        AFTER,
        {"method": "gradcam"},
        (Asked("min_share", "own_share", ">=", 0.2501, perfect=1.0, room=0.10, spare=0.10),),
        why="Beside images of other classes, the map of a class lies on the image of that class. A sign that the model"
        " reads at a fixed place, or in the background, is not found there.",
    ),
    Draft(
        "margin-avoided",
        "avoids",
        AFTER,
        {"method": "gradcam", "region": {"border": 0.10}},
        (Asked("max_mass", "mass_inside", "<=", 1.0),),
        why="Little of the evidence lies at the edges of the images, where tags, rulers and frames are.",
    ),
)

FEW = Draft(
    "few-moved",
    "no_semantic_drift",
    BEFORE_AFTER,
    {"method": "layercam"},
    (Asked("max_drifted_share", "drifted_share", "<=", 1.0),),
    why="Few images lie beyond what is usual for one image: a mean hides a class or a subgroup that looks elsewhere.",
)
USUAL = 0.95
"""Share of the pilot's images that lie within the limits of ``few-moved``."""


def propose(draft: Draft, pilots: Sequence[Decision], limits: int) -> Proposed | None:
    """Return the check with limits, or None where a pilot does not pass a check that has none to propose.

    ``limits`` is the number of limits that the whole contract proposes: with several pilots they share ``ALARMS``.
    """
    from pytest_saliency.decide.verdict import Verdict

    if not pilots:
        return None
    undefined = _undefined(pilots, limits)
    if too_blank(pilots, limits):
        return None
    values, comments = dict(draft.fixed), {}
    if undefined is not None:
        values["max_undefined"], comments["max_undefined"] = undefined
    if not draft.asked:
        return Proposed(draft, values, comments) if all(one.verdict is Verdict.PASS for one in pilots) else None
    unlimited = []
    for asked in draft.asked:
        bounds = [asked.bound(one) for one in pilots]
        found = limit_of(asked, bounds, limits) if all(map(math.isfinite, bounds)) else None
        if found is None or _says_nothing(asked, found[0]):
            unlimited.append(asked.limit)
            continue
        limit, how = found
        values[asked.limit] = limit
        comments[asked.limit] = f"{_range(asked, pilots)}; {how}"
    return Proposed(draft, values, comments, tuple(unlimited)) if set(comments) - {"max_undefined"} else None


def too_blank(pilots: Sequence[Decision], limits: int) -> bool:
    """Tell whether so many images of the pilots have no usable map that no limit leaves room for them."""
    undefined = _undefined(pilots, limits)
    return undefined is not None and undefined[0] > MOST_UNDEFINED


def _undefined(pilots: Sequence[Decision], limits: int) -> tuple[float, str] | None:
    """Return the share of images without a usable map that the pilots allow, None where the usual one is enough."""
    from pytest_saliency.decide.rates import upper_bound

    shares = [one.undefined_share for one in pilots]
    if max(shares) == 0.0:
        return None
    bounds = [upper_bound(round(share * one.n), one.n, 0.05) for share, one in zip(shares, pilots, strict=True)]
    found = limit_of(Asked("max_undefined", "", "<=", 1.0, room=0.02), bounds, limits)
    if found is None or found[0] <= UNDEFINED:
        return None
    return found[0], f"pilot {max(shares):.2f}, bound {max(bounds):.2f}; {found[1]}"


def limit_of(asked: Asked, bounds: Sequence[float], limits: int) -> tuple[float, str] | None:
    """Return a limit beyond the bounds of the pilots, rounded outwards, and how it was found.

    None where the pilots show nothing that could be asked of a later model.
    """
    sign = 1.0 if asked.side == "<=" else -1.0
    signed = [sign * one for one in bounds]
    worst = max(signed)
    if asked.kept is not None and worst >= 0.0:
        return None
    if len(bounds) >= SEVERAL:
        import numpy as np

        from pytest_saliency.planning.calibrate import prediction_bound

        found, rule = prediction_bound(np.asarray(signed, dtype=np.float64), 1.0 - ALARMS / max(1, limits))
        found = max(found, worst + asked.spare)
        how = f"{rule}, clean fine-tunings"
        if asked.kept is not None and found >= 0.0:
            return None
    elif asked.kept is not None:
        found, how = worst * asked.kept, f"{asked.kept:.0%} of it"
    else:
        found = worst + max(asked.room, 0.25 * abs(sign * worst - asked.perfect))
        how = "and room"
    return _outwards(sign * found, asked.side), how


def usual(pilots: Sequence[Mapping[str, Sequence[float | None]]]) -> dict[str, float]:
    """Return limits for one image that ``USUAL`` of the pilots' images keep, from their per-image columns."""
    made: dict[str, float] = {}
    for limit, column in (("max_iou_drop", "iou_drop"), ("max_displacement", "displacement")):
        values = sorted(value for one in pilots for value in one[column] if value is not None)
        if values:
            # Each of the two may be exceeded by half of the images that are out of the usual.
            place = min(len(values) - 1, math.ceil((0.5 + 0.5 * USUAL) * len(values)) - 1)
            made[limit] = min(1.0, _outwards(values[place], "<="))
    return made


def with_usual(pilots: Sequence[Mapping[str, Sequence[float | None]]], means: Mapping[str, Any]) -> Draft:
    """Return ``few-moved`` with the limits of what is usual for one image of the pilots.

    They bind the mean as well, so none is tighter than in ``means``, the limits of ``evidence-kept``.
    """
    found = {limit: max(value, float(means.get(limit, 0.0))) for limit, value in usual(pilots).items()}
    return replace(FEW, fixed={**FEW.fixed, **found})


def needed(proposed: Proposed, found: Decision) -> str:
    """Return how many images show with 80 % power what the pilot measured, if it is the truth; a sentence.

    Approximate for means, and for ``faithful`` by a normal approximation; exact for shares.
    """
    counts = [
        count
        for one in found.measures.values()
        if one.limit is not None and (count := _images_for(one, proposed.draft.kind)) is not None
    ]
    if not counts:
        return ""
    needed, at_hand = max(counts), f"the pilot kept {_n(found)}"
    if found.counts.get("sets"):
        # Counted in sets of images that share mosaics.
        images = found.counts["kept"]
        needed, at_hand = math.ceil(needed * images / found.n), f"the pilot kept {images}, in {found.n} sets"
    return f"Needs about {needed} kept images for 80 % power, if the truth is as in the pilot ({at_hand})."


def _n(found: Decision) -> int:
    return max((one.n for one in found.measures.values()), default=0)


def _images_for(one: Measure, kind: str) -> int | None:
    from pytest_saliency.decide import power

    limit = float(one.limit if one.limit is not None else math.nan)
    alpha = 1.0 - one.interval.level
    gap = limit - abs(one.estimate) if one.side.endswith(("<=", "<")) else one.estimate - limit
    if math.isnan(one.sd) or one.sd == 0.0:
        sides = one.estimate if one.side in ("<=", "<") else 1.0 - one.estimate
        asked = limit if one.side in ("<=", "<") else 1.0 - limit
        return next((n for n in _sizes() if power.share_below(n, asked, alpha) >= sides), None)
    if kind == "faithful":
        return next((n for n in _sizes() if power.normal_gap(one.sd / math.sqrt(n), alpha) <= gap), None)
    width = 2.0 if one.name in ("correlation", "concentration_change", "accuracy_drop") else 1.0
    return power.betting_n(gap, one.sd, width, alpha)


def _sizes() -> Iterator[int]:
    """Yield numbers of images, close together where they are small."""
    n = 5
    while n < 100_000:
        yield n
        n = max(n + 1, n * 21 // 20)


def _says_nothing(asked: Asked, limit: float) -> bool:
    """Tell whether nothing, or hardly anything, could exceed the limit."""
    return limit >= asked.loosest if asked.side == "<=" else limit <= asked.loosest


def _outwards(value: float, side: str) -> float:
    """Round to two digits after the point, away from what was measured."""
    scaled = value * 100.0
    return (math.ceil(scaled - 1e-9) if side == "<=" else math.floor(scaled + 1e-9)) / 100.0


def _range(asked: Asked, pilots: Sequence[Decision]) -> str:
    bounds = [asked.bound(one) for one in pilots]
    means = [one.estimate for decision in pilots for one in asked.of(decision)]
    low, high = (f"{one + 0.0:.2f}".replace("-0.00", "0.00") for one in (min(means), max(means)))
    shown = low if low == high else f"{low} .. {high}"
    edge = max(bounds) if asked.side == "<=" else min(bounds)
    return f"pilot {shown}, bound {edge:.2f}"
