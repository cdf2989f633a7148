"""Drift beyond a reference: what the limits of ``no_semantic_drift`` bind where it is not held against zero.

``noise``: the change between the model before on an image and on its photometric jitter. ``null``: the change that
clean fine-tunings (other seeds, resampled data) show on the same image, averaged over them. Either is subtracted image
by image, and the limits bind the mean of what is left, the excess.

Images do not tell how much one training differs from the next. So against nulls an alarm needs a second test beside
the excess: that the candidate's own mean is beyond what the nulls' means are. If candidate and nulls come from the same
procedure, the candidate's rank among all m + 1 is uniform, whence p = (1 + nulls at least as bad) / (m + 1), which
cannot fall below 1 / (m + 1). That counts models and assumes no distribution. The prediction bound of Student's t
assumes that the means of trainings are normal; it decides only where that is declared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr, stdtrit

from pytest_saliency.decide.decision import NotAttainable
from pytest_saliency.decide.limited import Limited, Question
from pytest_saliency.errors import CriterionError

FloatArray = npt.NDArray[np.float64]

BEYOND = {"noise": "less the jitter's", "null": "less the nulls'"}
"""How a title says what was subtracted."""

BELOW = 1.0 - 1e-9
"""A rank test rejects where p is at most alpha, and limits where it is below; this brings the two together."""

LEAST_FOR_T = 3
ROOM = 1e-9
"""Rounding of a difference; a lost map that is beyond its limit by less than this is not beyond it."""

SAME = 1e-12
"""Spread of nulls below which they are all equal, but for rounding."""


@dataclass(frozen=True)
class Ranked:
    """Where a candidate stands among m nulls.

    ``p_rank`` needs no distribution; ``p_normal`` and the one-sided prediction ``bound`` (of the next clean training's
    mean, on the side of the alarm) assume normal means and are NaN below three nulls or where they are all equal.
    """

    m: int
    as_bad: int
    p_rank: float
    p_normal: float
    bound: float
    mean: float
    sd: float

    def to_dict(self, alpha: float) -> dict[str, object]:
        """Return the read-out; the normal part carries its assumption in its name."""
        return {
            "nulls": self.m,
            "nulls_at_least_as_bad": self.as_bad,
            "p_rank": self.p_rank,
            "mean_of_nulls": self.mean,
            "sd_of_nulls": self.sd,
            "assuming_normal_means": {"p": self.p_normal, "prediction_bound": self.bound, "alpha": alpha},
        }


def question_beyond(question: Question, reference: str, apart: Sequence[str]) -> Question:
    """Return ``question`` about the excess over ``reference``; measures ``apart`` stay as they are.

    A difference of two numbers has twice the range. Its best value is the whole range on the good side, because the
    reference of an undefined image may have been anything.
    """
    entries = tuple(entry if entry.name in apart else _excess(entry, BEYOND[reference]) for entry in question.entries)
    what = "what the model before shows under jitter" if reference == "noise" else "what the nulls show"
    return Question(
        kind=question.kind,
        entries=entries,
        held=f"the evidence moved no further than {what}, within the limits",
        undefined=question.undefined,
        few=question.few,
        perfect=question.perfect,
        nothing=question.nothing,
        beyond=question.beyond,
    )


def _excess(entry: Limited, words: str) -> Limited:
    span = entry.high - entry.low
    best = {"<=": -span, ">=": span, "abs<=": 0.0}[entry.side]
    return Limited(
        entry.name, entry.limit, f"{entry.title} {words}", -span, span, best, entry.side, entry.moved, entry.counted
    )


def telling(left: FloatArray, gone: FloatArray | float, limit: float, side: str) -> FloatArray:
    """Return ``left`` (n,), what a reference leaves of each change, NaN where it leaves no room to see one.

    ``gone``: what would be left were the map gone altogether. Where that keeps the limit, so does whatever happens to
    the image, and it cannot speak for the model. Only the reference decides, never how far the map did move.
    """
    with np.errstate(invalid="ignore"):  # infinite numbers are told of by whoever decides
        within = {"<=": gone <= limit + ROOM, ">=": gone >= limit - ROOM, "abs<=": np.abs(gone) <= limit + ROOM}[side]
    return np.where(within, np.nan, left)


def rank(candidate: float, nulls: Sequence[float], side: str, alpha: float) -> Ranked:
    """Return where the mean ``candidate`` stands among the means of the ``nulls``.

    ``side`` is what the limit asks for: with ``"<="`` large means are bad, with ``">="`` small ones, with ``"abs<="``
    those far from zero. A candidate without a number is as good as can be.

    Raises
    ------
    CriterionError
        A null has no number.
    """
    values = np.asarray(nulls, dtype=np.float64)
    if not bool(np.isfinite(values).all()):
        raise CriterionError(
            f"{int((~np.isfinite(values)).sum())} of {values.size} nulls have no image with a usable map, so that there"
            " is nothing to rank the candidate among; leave them out of 'nulls', or choose another layer or method."
        )
    turned = {"<=": values, ">=": -values, "abs<=": np.abs(values)}[side]
    mine = {"<=": candidate, ">=": -candidate, "abs<=": abs(candidate)}[side]
    m = int(values.size)
    as_bad = m if math.isnan(mine) else int((turned >= mine).sum())
    mean = float(turned.mean()) if m else math.nan
    sd = float(turned.std(ddof=1)) if m > 1 else math.nan
    p_normal = bound = math.nan
    if m >= LEAST_FOR_T and sd > SAME * max(1.0, abs(mean)):
        width = sd * math.sqrt(1.0 + 1.0 / m)
        bound = mean + float(stdtrit(m - 1, 1.0 - alpha)) * width
        p_normal = 1.0 if math.isnan(mine) else float(stdtr(m - 1, -(mine - mean) / width))
    sign = -1.0 if side == ">=" else 1.0
    return Ranked(m, as_bad, (1 + as_bad) / (m + 1), p_normal, sign * bound, sign * mean, sd)


def needed(limits: int, alpha: float) -> int:
    """Return the smallest number of nulls with which the first of ``limits`` alarms (Holm) can be shown at alpha."""
    m = max(1, math.ceil(limits / alpha) - 1)
    while m > 1 and limits / m <= alpha:
        m -= 1
    while limits / (m + 1) > alpha:
        m += 1
    return m


def check_nulls(m: int, limits: int, alpha: float, normal: bool) -> None:
    """Raise NotAttainable where no candidate, however bad, could fail for want of nulls.

    ``limits``: how many alarms share alpha.
    """
    least = LEAST_FOR_T if normal else needed(limits, alpha)
    if m >= least:
        return
    if normal:
        why = "a prediction bound needs their mean and their spread"
    elif m == 0:
        why = "there is nothing to rank the candidate among"
    else:
        several = f" times {limits} limits (Holm)" if limits > 1 else ""
        why = f"the smallest p-value of a rank is 1/{m + 1}{several} = {limits / (m + 1):.3f}, above alpha {alpha:g}"
    help_ = "" if normal else ", declare fewer limits, or declare 'null_test: normal', which assumes normal means"
    raise NotAttainable(
        f"no_semantic_drift could not FAIL with {m} null checkpoint{'' if m == 1 else 's'}, whatever the candidate"
        f" does: {why}; 'nulls' needs {least} at least{help_}.",
        n=m,
        needed=least,
    )


def further_p(found: Mapping[str, Ranked], normal: bool) -> dict[str, float]:
    """Return by measure the p-value that an alarm needs beside the excess; NaN (nothing to say) never alarms."""
    made = {}
    for name, one in found.items():
        p = one.p_normal if normal else one.p_rank * BELOW
        made[name] = 1.0 if math.isnan(p) else p
    return made
