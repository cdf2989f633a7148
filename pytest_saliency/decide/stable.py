"""Do maps survive small changes that keep the prediction? The limits of ``stable``, decided by ``limits``."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_saliency.decide import words
from pytest_saliency.decide.limited import Beyond, Limited, Question


def question(hardly: Mapping[str, float]) -> Question:
    """Return the question; ``hardly``: by kind of change the share that was compared, where that is little."""
    beside = ", ".join(f"{words.percent(share)} of {name}" for name, share in hardly.items())
    return Question(
        kind="stable",
        entries=(
            Limited(
                "agreement",
                "min_agreement",
                f"mean agreement under perturbation{f' (compared: {beside})' if beside else ''}",
                0.0,
                1.0,
                1.0,
                ">=",
                "the maps do not survive changes that keep the prediction",
            ),
        ),
        held="the maps survive changes that keep the prediction",
        undefined="they have no usable map, or none of their changes can be compared; look at their statuses and at"
        " how often the prediction changed",
        perfect="every map stayed as it was",
        nothing="unchanged maps",
        beyond=Beyond(
            "share",
            "max_share",
            "share of images below the limit",
            "too many images have a map that does not survive changes that keep the prediction",
        ),
    )
