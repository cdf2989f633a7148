"""Did the evidence stay where it was? The limits of ``no_semantic_drift``, decided by ``limits``.

With a reference (``drift_reference``) the same limits bind what is left when its change is subtracted.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from pytest_saliency.decide import limits as limits_on
from pytest_saliency.decide import words
from pytest_saliency.decide.decision import Decision
from pytest_saliency.decide.drift_reference import question_beyond
from pytest_saliency.decide.limited import Beyond, Limited, Question
from pytest_saliency.decide.tolerance import Tolerance
from pytest_saliency.decide.values import Units
from pytest_saliency.errors import CriterionError

KIND = "no_semantic_drift"
ACCURACY = "accuracy_drop"

LIMITED = (
    Limited("iou_drop", "max_iou_drop", "mean IoU drop", 0.0, 1.0, 0.0, "<=", "the model looks elsewhere"),
    Limited(
        "displacement",
        "max_displacement",
        "mean displacement",
        0.0,
        1.0,
        0.0,
        "<=",
        "the model looks elsewhere",
    ),
    Limited(
        "correlation",
        "min_correlation",
        "mean pattern correlation",
        -1.0,
        1.0,
        1.0,
        ">=",
        "the pattern of evidence changed",
    ),
    Limited(
        "concentration_change",
        "max_concentration_change",
        "mean change of concentration",
        -1.0,
        1.0,
        0.0,
        "abs<=",
        "the evidence is spread differently",
    ),
    Limited("accuracy_drop", "max_accuracy_drop", "accuracy drop", -1.0, 1.0, 0.0, "<=", "accuracy fell"),
)

QUESTION = Question(
    kind=KIND,
    entries=LIMITED,
    held="the evidence stayed where it was",
    undefined="their maps before are blank, flat or not finite: check the weights, or choose another layer or method",
    few="look at where the predictions changed",
    perfect="nothing had changed",
    nothing="unchanged maps",
    beyond=Beyond(
        "drifted_share", "max_drifted_share", "share of images beyond a limit", "too many images look elsewhere"
    ),
)


UNCHANGED = {"iou_drop": 0.0, "displacement": 0.0, "correlation": 1.0, "concentration_change": 0.0}
"""What each measure of two maps is where they are the same."""


def question_of(reference: str) -> Question:
    """Return the question that the limits ask: ``absolute``, or of the excess over ``noise`` or ``null``."""
    return QUESTION if reference == "absolute" else question_beyond(QUESTION, reference, (ACCURACY,))


def decide(
    values: Mapping[str, npt.ArrayLike],
    *,
    limits: Mapping[str, float],
    alpha: float = 0.05,
    max_undefined: float = 0.05,
    max_drifted_share: float | None = None,
    min_kept: float = 0.5,
    kept: int,
    total: int,
    clusters: Sequence[Hashable] | None = None,
    all_clusters: Sequence[Hashable] | None = None,
    blank_after: int = 0,
    readouts: Mapping[str, object] | None = None,
    tolerances: Mapping[str, Tolerance] | None = None,
    reference: str = "absolute",
    further: Mapping[str, float] | None = None,
    undefined: str = "",
    notes: Sequence[str] = (),
    seed: int,
) -> Decision:
    """Decide whether the change of the maps stays within the declared limits.

    Parameters
    ----------
    values
        One number per kept image, ordered by case id, NaN where the map before was unusable: ``iou_drop`` and
        ``displacement`` in [0, 1], ``correlation`` in [-1, 1], ``concentration_change`` in [-1, 1] signed. Measures
        without a limit become read-outs. ``accuracy_drop`` holds correct before minus correct after (-1, 0 or 1)
        for all cases, so its length may differ.
    limits
        ``max_iou_drop``, ``max_displacement``, ``min_correlation``, ``max_concentration_change``,
        ``max_accuracy_drop``: at least one.
    max_drifted_share
        Share of images that may each lie beyond any of the declared limits (accuracy aside).
    min_kept, kept, total
        PASS is blocked when fewer than ``min_kept`` of the ``total`` cases were kept.
    clusters
        One name per kept image; numbers are averaged within a cluster and the clusters are the units.
    all_clusters
        The same with one name per number of ``accuracy_drop``; needed where ``clusters`` are given and accuracy is
        over more images than the kept ones.
    blank_after
        How many kept images lost their map: those count as drift, not as undefined. Recorded only.
    readouts
        Further entries for the decision's read-outs.
    tolerances
        By how much the numbers of two runs may differ, by name of the measure; those of large regions by default.
    reference
        ``noise`` or ``null``: ``values`` are the excess over it (accuracy aside), with twice the range, NaN also where
        an image has no reference, or one that leaves no room (``drift_reference.telling``).
    further
        By measure a p-value that an alarm needs beside that of the images; see ``drift_reference.further_p``.
    undefined
        Why images are undefined, if not because of their maps before; ends the sentence of that gate.
    notes
        Further notes.

    Raises
    ------
    NotAttainable
        If not even unchanged maps could PASS with these images.
    CriterionError
        If values, limits or settings do not fit together.
    """
    units = Units(kept, clusters)
    apart = {}
    if ACCURACY in values:
        apart[ACCURACY] = _accuracy_units(np.asarray(values[ACCURACY]).size, units, all_clusters)
    lost = f"{words.several(blank_after, 'image')} had a map before and none after: counted as full drift"
    question = question_of(reference)
    return limits_on.decide(
        replace(question, undefined=undefined) if undefined else question,
        values,
        limits=limits,
        alpha=alpha,
        max_undefined=max_undefined,
        max_beyond=max_drifted_share,
        min_kept=min_kept,
        kept=kept,
        total=total,
        clusters=clusters,
        apart=apart,
        counts={"blank after": blank_after},
        notes=[*([lost] if blank_after else []), *notes],
        readouts=readouts,
        tolerances=tolerances,
        also=further,
        seed=seed,
    )


def _accuracy_units(size: int, units: Units, clusters: Sequence[Hashable] | None) -> Units:
    """Return the units of accuracy, which is judged on all cases: clusters wherever the other measures have them."""
    if clusters is not None:
        return Units(size, clusters)
    if size == units.images:
        return units
    if units.clustered:
        raise CriterionError(
            f"{ACCURACY} holds {size} numbers and clusters {units.images} names; give all_clusters, one name for each"
            " case, because images of one cluster are not independent for accuracy either."
        )
    return Units(size, None)
