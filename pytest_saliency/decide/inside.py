"""Does the evidence lie where it should? The limits of ``localized`` and ``avoids``, decided by ``limits``.

What chance gives stands beside what was measured: the share of an image that its region covers.
"""

from __future__ import annotations

from pytest_saliency.decide.limited import Beyond, Limited, Question
from pytest_saliency.decide.tolerance import TOLERANCES

UNUSABLE = "no usable map, or a mask that is empty or covers the whole image"


def localized(chance: float | None) -> Question:
    """Return the question of ``localized``; ``chance``: the mean share of an image that its mask covers."""
    return Question(
        kind="localized",
        entries=(
            Limited(
                "mass_inside",
                "min_mass",
                f"mean share of the mass inside the mask{_beside(chance)}",
                0.0,
                1.0,
                1.0,
                ">=",
                "too little of the evidence lies inside the masks",
                tolerance=TOLERANCES["mass_inside"],
            ),
            Limited(
                "hit",
                "min_hits",
                f"share of maps whose maximum lies inside the mask{_beside(chance)}",
                0.0,
                1.0,
                1.0,
                ">=",
                "too many maps point outside of the masks",
                counted=True,
            ),
        ),
        held="as much of the evidence lies inside the masks as was asked for",
        undefined=f"{UNUSABLE}: check the masks, the weights and the layer",
        perfect="all of the evidence lay inside",
        nothing="maps with all of their mass inside",
    )


def avoids(chance: float | None, max_mass: float) -> Question:
    """Return the question of ``avoids``; ``chance``: the mean share of an image that its region covers."""
    return Question(
        kind="avoids",
        entries=(
            Limited(
                "mass_inside",
                "max_mass",
                f"mean share of the mass in the region{_beside(chance)}",
                0.0,
                1.0,
                0.0,
                "<=",
                "the model looks where it must not",
                tolerance=TOLERANCES["mass_inside"],
            ),
        ),
        held="no more of the evidence lies in the region than was allowed",
        undefined=f"{UNUSABLE}: check the masks, the weights and the layer",
        perfect="none of the evidence lay in the region",
        nothing="maps with no mass in the region",
        beyond=Beyond(
            "looking_share",
            "max_share",
            f"share of images with more than {max_mass:g} of the mass in the region",
            "too many images look where they must not",
        ),
    )


def _beside(chance: float | None) -> str:
    return "" if chance is None else f" (chance {chance:.2g})"
