"""``assert_planted_evidence``: in a mosaic, the map of a class lies on the image of that class."""

from __future__ import annotations

from typing import Literal, Required, Unpack, overload

from pytest_saliency.assertions.common import CommonOptions, Methods, assert_kind
from pytest_saliency.checks.result import Result
from pytest_saliency.engine.explained import Explained


class PlantedEvidenceOptions(CommonOptions, total=False):
    """Keyword arguments of :func:`assert_planted_evidence`."""

    min_share: Required[float]
    cells: Literal[4, 9]
    scale: Literal["auto", "double", "input"]
    min_seen: float
    keep: Literal["correct"]


@overload
def assert_planted_evidence(
    explained: Explained, method: str = ..., **options: Unpack[PlantedEvidenceOptions]
) -> Result: ...
@overload
def assert_planted_evidence(
    explained: Explained, method: Methods, **options: Unpack[PlantedEvidenceOptions]
) -> tuple[Result, ...]: ...
def assert_planted_evidence(
    explained: Explained,
    method: str | Methods = "case",
    *,
    min_share: float,
    cells: Literal[4, 9] = 4,
    scale: Literal["auto", "double", "input"] = "auto",
    min_seen: float = 0.5,
    alpha: float = 0.05,
    keep: Literal["correct"] = "correct",
    max_undefined: float = 0.05,
) -> Result | tuple[Result, ...]:
    """Assert that in mosaics of images of different classes the map of a class lies in its own cell.

    Parameters
    ----------
    min_share
        Share of a map's positive mass in the cell of its class, on average; 1/4 is chance with four cells. No default:
        it is your limit.
    cells
        4 (2x2) or 9 (3x3).
    scale
        ``double``: whole images side by side; ``input``: made smaller, so that the mosaic has the size of one image;
        ``auto``: the first that the model accepts.
    min_seen
        The log-odds of a class must fall when another image takes its cell; fewer mosaics than this share of which
        that is so block PASS.

    Raises
    ------
    ExplanationAssertionError, SaliencyError
        As :func:`assert_class_sensitive`.

    Source: mosaics as in the grid pointing game (Boehle et al., CVPR 2021); decided by the betting bound of the mean
    (Waudby-Smith and Ramdas 2024).
    """
    options = {
        "min_share": min_share,
        "cells": cells,
        "scale": scale,
        "min_seen": min_seen,
        "alpha": alpha,
        "keep": keep,
        "max_undefined": max_undefined,
    }
    __tracebackhide__ = True
    return assert_kind("planted_evidence", {"model": explained}, method, options)
