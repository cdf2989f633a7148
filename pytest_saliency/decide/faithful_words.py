"""The headline of ``faithful``."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_saliency.decide import words
from pytest_saliency.decide.decision import Leg, Measure
from pytest_saliency.decide.verdict import Verdict


def headline(
    verdict: Verdict,
    measures: Mapping[str, Measure],
    legs: tuple[Leg, ...],
    shown: tuple[str, ...],
    share: float,
    max_undefined: float,
    blocked: bool,
    n: int,
    alpha: float,
) -> str:
    """Return the verdict in words; ``shown`` names the measures whose failure was shown."""
    if verdict is Verdict.FAIL:
        names = sorted(shown, key=lambda name: (measures[name].p_fail or 0.0, name))
        worse = names[0].startswith("against[")
        lead = (
            "another method's regions matter more"
            if worse
            else "the regions carry too little of the image's own evidence"
        )
        return f"{lead}: {_facts(measures, names, alpha)}, n = {n}{_lost(share)}"
    facts = f"{_facts(measures, list(measures), alpha)}, n = {n}{_lost(share)}"
    if verdict is Verdict.PASS:
        return f"the regions carry the image's own evidence: {facts}"
    if blocked:
        return (
            f"not demonstrated: more than {words.percent(max_undefined)} of the images are undefined;"
            " their maps are blank, flat or not finite: check the weights, or choose another layer or method;"
            f" {facts}"
        )
    missing = next((leg for leg in legs if not leg.holds), legs[0])
    open_names = [name for name, measure in measures.items() if measure.verdict is not Verdict.PASS]
    undecided = _facts(measures, open_names, alpha)
    return (
        f"not demonstrated: {undecided}, n = {n}{_lost(share)}; not shown: {missing.statement},"
        f" {words.p_value(missing.p)}; more images or a smaller margin would help"
    )


def _facts(measures: Mapping[str, Measure], names: list[str], alpha: float) -> str:
    return "; ".join(_fact(measures[name], alpha) for name in names)


def _fact(measure: Measure, alpha: float) -> str:
    limit = 0.0 if measure.limit is None else measure.limit
    interval = measure.interval
    title = measure.title.removesuffix(" (log-odds)")
    return words.measured(title, measure.estimate, limit, interval.low, interval.high, alpha, "margin")


def _lost(share: float) -> str:
    return f", {words.percent(share)} undefined" if share else ""
