"""``assert_stable``: maps survive small changes that keep the prediction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Required, Unpack, overload

from pytest_saliency.assertions.common import CommonOptions, Kept, Methods, assert_kind
from pytest_saliency.checks.result import Result
from pytest_saliency.engine.explained import Explained
from pytest_saliency.engine.perturb import PHOTOMETRIC, FamilyName


class StableOptions(CommonOptions, total=False):
    """Keyword arguments of :func:`assert_stable`."""

    min_agreement: Required[float]
    perturbations: Sequence[FamilyName]
    strength: float
    draws: int
    top_fraction: float
    max_share: float | None
    min_compared: float
    keep: Kept
    search: bool


@overload
def assert_stable(explained: Explained, method: str = ..., **options: Unpack[StableOptions]) -> Result: ...
@overload
def assert_stable(explained: Explained, method: Methods, **options: Unpack[StableOptions]) -> tuple[Result, ...]: ...
def assert_stable(
    explained: Explained,
    method: str | Methods = "case",
    *,
    min_agreement: float,
    perturbations: Sequence[FamilyName] = PHOTOMETRIC,
    strength: float = 1.0,
    draws: int = 4,
    top_fraction: float = 0.20,
    max_share: float | None = None,
    min_compared: float = 0.5,
    alpha: float = 0.05,
    keep: Kept = "correct",
    max_undefined: float = 0.05,
    search: bool = True,
) -> Result | tuple[Result, ...]:
    """Assert that small changes of an image which keep its prediction keep its map.

    Parameters
    ----------
    min_agreement
        The mean IoU of the top regions of a map and of the maps of the changed images must be at least this. No
        default: it is your limit.
    perturbations
        How images are changed: ``brightness``, ``contrast``, ``noise``, ``blur``, ``jpeg``, and where things may move
        ``shift``, ``rotation`` and ``flip``, whose maps are laid back before they are compared. On a coarse layer a
        shift by less than one cell moves sound maps too: 0.5 is what to expect there.
    strength
        How far, see :func:`pytest_saliency.strategies.perturbations`; changes are drawn from half of it to all of it.
    draws
        Changes of each kind for an image.
    max_share
        Share of the images whose own agreement may lie below ``min_agreement``.
    min_compared
        Share of the changes of each declared kind that must keep the prediction, and so be compared: with fewer there
        is no PASS.
    search
        Let Hypothesis look for the smallest change that moves the map of the three worst images below the limit. It is
        shown, with its parameters, the seed that finds it again, and a picture; it decides nothing.

    Raises
    ------
    ExplanationAssertionError, SaliencyError
        As :func:`assert_class_sensitive`.

    Source: bounds of means by betting (Waudby-Smith and Ramdas 2024); the statement is this project's own, in the
    spirit of the sensitivity of explanations of Yeh et al., NeurIPS 2019.
    """
    options = {
        "min_agreement": min_agreement,
        "perturbations": perturbations if isinstance(perturbations, str) else tuple(perturbations),
        "strength": strength,
        "draws": draws,
        "top_fraction": top_fraction,
        "max_share": max_share,
        "min_compared": min_compared,
        "alpha": alpha,
        "keep": keep,
        "max_undefined": max_undefined,
        "search": search,
    }
    __tracebackhide__ = True
    return assert_kind("stable", {"model": explained}, method, options)
