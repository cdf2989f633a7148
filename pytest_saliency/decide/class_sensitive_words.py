"""The headline and the notes of ``class_sensitive``."""

from __future__ import annotations

from pytest_saliency.decide import words
from pytest_saliency.decide.decision import Leg, Measure
from pytest_saliency.decide.verdict import Verdict


def notes(
    rule: str, no_repeat: bool, lost: int, undefined: int, blocked: bool, share: float, max_undefined: float
) -> list[str]:
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
            "no repeat of the top-1 map under jitter was given, so that noise cannot be ruled out:"
            " PASS is out of reach; give the repeat, or declare rule: published"
        )
    if lost:
        found.append(
            f"{words.several(lost, 'undefined image')} counted as full agreement for PASS and as none for FAIL"
        )
    if blocked:
        found.append(f"{words.percent(share)} of the images are undefined, which blocks PASS above {max_undefined:.0%}")
    return found


def headline(
    verdict: Verdict,
    main: Measure,
    legs: tuple[Leg, ...],
    blocked: bool,
    share: float,
    max_undefined: float,
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
        return f"the maps tell the top-1 class from the top-2 class: {facts}"
    if verdict is Verdict.FAIL:
        return f"the maps hardly depend on the class: {facts}"
    if blocked:
        reason = (
            f"{words.percent(share)} of the images are undefined, {words.percent(max_undefined)} are allowed;"
            " their maps are blank, flat or not finite: check the weights, or choose another layer or method"
        )
        return f"not demonstrated: {reason}; {facts}"
    missing = next((leg for leg in legs if not leg.holds), legs[0])
    unshown = f"not shown: {missing.statement}, {words.p_value(missing.p)}"
    return f"not demonstrated: {facts}; {unshown}; {_help(missing, main, limit)}"


def _help(missing: Leg, main: Measure, limit: float) -> str:
    if missing.name == "not_noise":
        if missing.estimate is None:
            return "give the repeat of the top-1 map under jitter"
        return "the maps are too noisy to tell class from noise at this n; a steadier method or more images would help"
    if main.estimate >= limit:
        return "more images would decide it, but what was measured lies on the limit's wrong side"
    return "more images or a higher limit would help"
