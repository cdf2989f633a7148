"""The headline and the notes of ``class_sensitive``."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_saliency.decide import words
from pytest_saliency.decide.decision import Leg, Measure
from pytest_saliency.decide.verdict import Verdict


@dataclass(frozen=True)
class Compared:
    """What two maps of an image are for: ``both``, the map for the ``first``, that for the ``second``; what PASS has
    ``told``, and on what sort of ``thing`` FAIL found that the maps hardly depend. What a jitter does to predictions:
    it ``flips`` them, of an image something ``changes``, and images ``changed``, with "its" or "their" in the braces.
    """

    both: str
    first: str
    second: str
    told: str
    thing: str
    flips: str
    changes: str
    changed: str


CLASSES = Compared(
    "top-1 and top-2",
    "the top-1 map",
    "the top-2 map",
    "the top-1 class from the top-2 class",
    "class",
    "changes their predicted class",
    "the predicted class changes",
    "changed {} predicted class",
)
LABELS = Compared(
    "the label and its counterpart",
    "the map for the label",
    "the map for its counterpart",
    "the label from its counterpart",
    "label",
    "decides whether their label is found",
    "the label is found or lost",
    "found or lost {} label",
)
"""Of images with several labels, whose highest scores are no rivals."""


@dataclass(frozen=True)
class Lost:
    """How many of ``images`` are undefined for PASS, and for how many of them the jitter changed the prediction.

    An image with unusable maps counts as that, whatever the jitter did to it.
    """

    undefined: int
    changed: int
    images: int
    allowed: float
    compared: Compared = CLASSES

    @property
    def shares(self) -> tuple[str, str]:
        """Return the share that is undefined and the one that is allowed, in per cent."""
        return words.percents(self.undefined / self.images, self.allowed)

    def reason(self) -> str:
        """Return why PASS is blocked, and what to do about the more frequent cause."""
        share, allowed = self.shares
        unusable = self.undefined - self.changed
        maps = "their maps are blank, flat or not finite: check the weights, or choose another layer or method"
        flipped = (
            f"a contrast of x 0.9 {self.compared.flips}, so that there is no second explanation of the same"
            " prediction: the model is unsure of these images; check preprocess and weights, or use images that it"
            " classifies with a margin"
        )
        if not self.changed:
            return f"{share} of the images are undefined, {allowed} are allowed; {maps}"
        if not unusable:
            return f"{share} of the images are undefined, {allowed} are allowed; {flipped}"
        return (
            f"{share} of the images are undefined, {allowed} are allowed; of {words.several(self.changed, 'image')}"
            f" {self.compared.changes} with a contrast of x 0.9, and of {unusable} the maps are blank, flat or not"
            " finite: check preprocess and weights"
        )


def notes(rule: str, no_repeat: bool, why: Lost, undefined: int, blocked: bool) -> list[str]:
    """Return what a reader of the record must know about how undefined images and missing repeats were treated."""
    found = []
    if rule == "published":
        found.append(
            "rule: published decides by the Wilcoxon test alone; a noise explainer and partly blank maps can pass it"
        )
        found.append(
            f"{words.several(undefined, 'undefined image')} left out, as the paper does"
            if undefined
            else "no image was undefined"
        )
        return found
    if no_repeat:
        found.append(
            f"no repeat of {why.compared.first} under jitter was given, so that noise cannot be ruled out:"
            " PASS is out of reach; give the repeat, or declare rule: published"
        )
    unusable = why.undefined - why.changed
    if unusable:
        found.append(
            f"{words.several(unusable, 'undefined image')} counted as full agreement for PASS and as none for FAIL"
        )
    if why.changed:
        whose = "its" if why.changed == 1 else "their"
        found.append(
            f"{words.several(why.changed, 'image')} {why.compared.changed.format(whose)} with a contrast of x 0.9:"
            f" counted as no agreement with {whose} own repeat"
        )
    if blocked:
        share, allowed = why.shares
        found.append(f"{share} of the images are undefined, which blocks PASS above {allowed}")
    return found


def headline(
    verdict: Verdict,
    main: Measure,
    legs: tuple[Leg, ...],
    blocked: bool,
    why: Lost,
    alpha: float,
    sizes: tuple[int, int],
) -> str:
    """Return the verdict in words; ``sizes`` is the number of units and of images."""
    limit = 0.0 if main.limit is None else main.limit
    facts = words.measured("median agreement", main.estimate, limit, main.interval.low, main.interval.high, alpha)
    facts += f", n = {sizes[0]}"
    if main.undefined:
        facts += f", {main.undefined} of {sizes[1]} undefined"
    if verdict is Verdict.PASS:
        return f"the maps tell {why.compared.told}: {facts}"
    if verdict is Verdict.FAIL:
        return f"the maps hardly depend on the {why.compared.thing}: {facts}"
    if blocked:
        return f"not demonstrated: {why.reason()}; {facts}"
    missing = next((leg for leg in legs if not leg.holds), legs[0])
    unshown = f"not shown: {missing.statement}, {words.p_value(missing.p)}"
    return f"not demonstrated: {facts}; {unshown}; {_help(missing, main, limit, why.compared)}"


def _help(missing: Leg, main: Measure, limit: float, compared: Compared) -> str:
    if missing.name == "not_noise":
        if missing.estimate is None:
            return f"give the repeat of {compared.first} under jitter"
        return "the maps are too noisy to tell class from noise at this n; a steadier method or more images would help"
    if main.estimate >= limit:
        return "more images would decide it, but what was measured lies on the limit's wrong side"
    return "more images or a higher limit would help"
