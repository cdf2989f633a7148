"""Do the maps of mosaics lie in the cell of the class they explain? The limit of ``planted_evidence``."""

from __future__ import annotations

from pytest_saliency.decide.limited import Limited, Question
from pytest_saliency.decide.tolerance import Tolerance
from pytest_saliency.decide.values import BoolArray, FloatArray

SEEN = 0.01
"""A class is seen in its cell where another image there lowers its log-odds by more than this: 1 % of its odds."""

QUESTION = Question(
    kind="planted_evidence",
    entries=(
        Limited(
            "own_share",
            "min_share",
            "mean share of the map in the class's own cell",
            0.0,
            1.0,
            1.0,
            ">=",
            "the maps lie on other images than the one they explain",
            tolerance=Tolerance(1e-4, 0.02),
        ),
    ),
    held="the maps lie on the image they explain",
    undefined="their maps are blank, flat or not finite: check the weights, or choose another layer or method",
    few="in the others the model's answer does not rest on the planted cell, so that there is nothing to find: it may"
    " not know images at this scale, or looks at fixed places; try another 'scale', or look at the model",
    perfect="all of every map lay in its own cell",
    nothing="maps that lie in their own cell",
)


def seen_of(cell_drop: FloatArray) -> BoolArray:
    """Return in which mosaics the model sees the class in its cell; a drop that is not a number shows nothing."""
    return cell_drop > SEEN
