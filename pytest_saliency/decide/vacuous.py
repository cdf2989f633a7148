"""Are there maps at all? The limit of ``not_vacuous``, decided by ``limits``."""

from __future__ import annotations

from pytest_saliency.decide.limited import Limited, Question

QUESTION = Question(
    kind="not_vacuous",
    entries=(
        Limited(
            "vacuous",
            "max_share",
            "share of maps that show nothing",
            0.0,
            1.0,
            0.0,
            "<=",
            "too many maps show nothing",
            counted=True,
        ),
    ),
    held="the maps show something",
    # Never read: whether a map shows something is always known.
    undefined="it is not known whether they show something",
)
