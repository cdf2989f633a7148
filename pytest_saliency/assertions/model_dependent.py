"""``assert_model_dependent``: the maps change when what the model has learned is taken away."""

from __future__ import annotations

from typing import Required, Unpack, overload

from pytest_saliency.assertions.common import CommonOptions, Kept, Methods, assert_kind
from pytest_saliency.checks.result import Result
from pytest_saliency.engine.explained import Explained


class ModelDependentOptions(CommonOptions, total=False):
    """Keyword arguments of :func:`assert_model_dependent`."""

    max_excess: Required[float]
    seeds: int
    images: int
    top_fraction: float
    stages: int
    keep: Kept


@overload
def assert_model_dependent(
    explained: Explained, method: str = ..., **options: Unpack[ModelDependentOptions]
) -> Result: ...
@overload
def assert_model_dependent(
    explained: Explained, method: Methods, **options: Unpack[ModelDependentOptions]
) -> tuple[Result, ...]: ...
def assert_model_dependent(
    explained: Explained,
    method: str | Methods = "case",
    *,
    max_excess: float,
    seeds: int = 20,
    images: int = 50,
    top_fraction: float = 0.20,
    stages: int = 4,
    alpha: float = 0.05,
    keep: Kept = "correct",
    max_undefined: float = 0.05,
) -> Result | tuple[Result, ...]:
    """Assert that maps of models with random weights are not like those of the trained model.

    Parameters
    ----------
    max_excess
        How far the IoU of an image's map with those of randomised models may exceed its IoU with the trained maps of
        other images, on average. No default: it is your limit.
    seeds
        How many randomised models, at least 20. The model itself is never changed; each is a copy.
    images
        At most this many of the kept images, drawn by seed.
    top_fraction
        Share of positions that forms a map's top region.
    stages
        Stages of the cascade from the top layer down that are reported, with three seeds each; 0 leaves it out.

    Raises
    ------
    ExplanationAssertionError, SaliencyError
        As :func:`assert_class_sensitive`.

    Source: randomised from the top layer down as in Adebayo et al., NeurIPS 2018; decided by the betting bound of the
    mean (Waudby-Smith and Ramdas 2024).
    """
    options = {
        "max_excess": max_excess,
        "seeds": seeds,
        "images": images,
        "top_fraction": top_fraction,
        "stages": stages,
        "alpha": alpha,
        "keep": keep,
        "max_undefined": max_undefined,
    }
    __tracebackhide__ = True
    return assert_kind("model_dependent", {"model": explained}, method, options)
