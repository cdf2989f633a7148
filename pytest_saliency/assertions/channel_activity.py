"""``assert_channel_activity``: the target layer answers with as many of its channels as it should."""

from __future__ import annotations

from pytest_saliency.assertions.common import Kept, assert_kind
from pytest_saliency.checks.channel_activity import METHOD
from pytest_saliency.checks.result import Result
from pytest_saliency.engine.explained import Explained
from pytest_saliency.measure.activity import THRESHOLD


def assert_channel_activity(
    explained: Explained,
    *,
    max_active_share: float | None = None,
    min_active_share: float | None = None,
    threshold: float = THRESHOLD,
    alpha: float = 0.05,
    keep: Kept = "correct",
    max_undefined: float = 0.05,
) -> Result:
    """Assert how large a share of the target layer's channels an image sets off. It looks at no map.

    Parameters
    ----------
    max_active_share, min_active_share
        Share of active channels, on average over the images, at most and at least; one of them must be declared.
    threshold
        A channel is active where its activation, averaged over the positions, is above this.

    Raises
    ------
    ExplanationAssertionError, SaliencyError
        As :func:`assert_class_sensitive`.

    Source: CASE (arXiv 2506.07327), section V-B, eq. 10; decided by the betting bound of a mean (arXiv 2010.09686).
    """
    options = {
        "max_active_share": max_active_share,
        "min_active_share": min_active_share,
        "threshold": threshold,
        "alpha": alpha,
        "keep": keep,
        "max_undefined": max_undefined,
    }
    __tracebackhide__ = True
    result = assert_kind("channel_activity", {"model": explained}, METHOD, options)
    assert isinstance(result, Result)
    return result
