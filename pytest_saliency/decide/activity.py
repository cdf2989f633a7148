"""Does a layer answer with few or many of its channels? The limits of ``channel_activity``, decided by ``limits``."""

from __future__ import annotations

from pytest_saliency.decide.limited import Limited, Question

MOST, LEAST = "active_share", "active_share[least]"

QUESTION = Question(
    kind="channel_activity",
    entries=(
        Limited(
            MOST,
            "max_active_share",
            "mean share of active channels",
            0.0,
            1.0,
            0.0,
            "<=",
            "too many channels are active",
        ),
        # The same numbers under a second name, because a measure has one limit.
        Limited(
            LEAST,
            "min_active_share",
            "mean share of active channels",
            0.0,
            1.0,
            1.0,
            ">=",
            "too few channels are active",
        ),
    ),
    held="as many channels are active as there should be",
    undefined="their activations are not finite: check the weights and the precision",
    perfect="every image lay at the good end",
    nothing="images at the good end",
)
