"""Do the maps change when the weights are drawn anew? The limit of ``model_dependent``."""

from __future__ import annotations

import numpy as np

from pytest_saliency.decide.limited import Limited, Question
from pytest_saliency.decide.tolerance import Tolerance
from pytest_saliency.decide.values import FloatArray

QUESTION = Question(
    kind="model_dependent",
    entries=(
        Limited(
            "excess",
            "max_excess",
            "mean IoU with randomised models beyond other images'",
            -1.0,
            1.0,
            -1.0,
            "<=",
            "the maps hardly depend on what the model has learned",
            tolerance=Tolerance(1e-3, 0.05),
        ),
    ),
    held="the maps depend on what the model has learned",
    undefined="their maps are blank, flat or not finite, or so like those of other images that a map which ignores the"
    " model could not be told from one that does not: check layer and method",
    perfect="no map were like that of a randomised model",
    nothing="maps that change altogether",
)


def telling(similarity: FloatArray, floor: FloatArray, likeness: FloatArray, max_excess: float) -> FloatArray:
    """Return ``similarity`` - ``floor`` (n,), NaN where even an unchanged map would lie within ``max_excess``.

    ``likeness`` is an image's mean IoU with many others, the floor that with those of its set, which may be one. Where
    all images have nearly the same map, both are near 1, and a map that ignores the model exceeds them by nothing: such
    an image cannot speak for the method. That images share the others of ``likeness`` does no harm, as an undefined
    image counts as the worst value for PASS and as the best for FAIL.
    """
    with np.errstate(invalid="ignore"):  # infinite numbers are told of by whoever decides
        return np.where(1.0 - likeness > max_excess, similarity - floor, np.nan)
