"""``channel_activity``: does the target layer answer with few, or with many, of its channels?

A channel is active where its activation, averaged over the positions, lies above a small threshold (CASE, arXiv
2506.07327, section V-B, eq. 10). The share of active channels is held against limits; it looks at no map.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from pytest_saliency.checks.parameters import Parameters, Share

if TYPE_CHECKING:
    from pytest_saliency.checks.numbers import Numbers
    from pytest_saliency.checks.result import Result
    from pytest_saliency.checks.worst import Ranked
    from pytest_saliency.decide.decision import Decision
    from pytest_saliency.engine.explained import Explained

METHOD: Literal["activations"] = "activations"
"""Stands where records name the method: what was looked at."""


class ChannelActivityParameters(Parameters):
    """Parameters of ``channel_activity``; no limit has a default, and at least one must be declared."""

    method: Literal["activations"] = METHOD
    max_active_share: Share | None = Field(
        default=None, description="share of the layer's channels that an image sets off, on average at most"
    )
    min_active_share: Share | None = Field(
        default=None, description="share of the layer's channels that an image sets off, on average at least"
    )
    threshold: Annotated[float, Field(ge=0.0)] = Field(
        default=0.001, description="a channel is active where its mean activation is above this; the CASE paper's"
    )
    keep: Literal["correct", "all"] = Field(default="correct", description="which images the check looks at")

    @model_validator(mode="after")
    def _some_limit(self) -> Self:
        least, most = self.min_active_share, self.max_active_share
        if least is None and most is None:
            raise ValueError(
                "declares no limit, so nothing could fail; add max_active_share, min_active_share, or both"
            )
        if least is not None and most is not None and not least < most:
            raise ValueError("leaves no room: 'min_active_share' must be below 'max_active_share'")
        return self


def run(explained: Mapping[str, Explained], parameters: ChannelActivityParameters, check: str) -> Result:
    """Count the channels that each image sets off, and decide."""
    import numpy as np

    from pytest_saliency.checks import common
    from pytest_saliency.checks.gallery import Gallery
    from pytest_saliency.checks.numbers import Numbers, seed_of
    from pytest_saliency.checks.result import Result
    from pytest_saliency.checks.worst import rows_of

    one = explained["model"]
    activity = one.channel_activity(parameters.threshold)
    mask = common.wanted(one, parameters.keep)
    kept = common.keep(one, mask, "not correct")
    rows = kept.indices
    watch = common.clock()
    counts = activity.counts[rows]
    columns = common.base_columns(one, kept) | {
        "active_channels": counts.tolist(),
        "active_share": activity.shares[rows].tolist(),
    }
    numbers = Numbers.made(
        columns,
        common.everyone(explained, kept, mask, "not correct"),
        {"channels": activity.channels, "warnings": []},
        seed_of(parameters, one.cases.unordered_digest, check),
    )
    with watch.stage("decide"):
        made = decision(parameters, numbers)
    cases = common.case_record(one, kept)

    def caption(i: int) -> list[str]:
        lit = "not finite" if np.isnan(counts[i]) else f"{counts[i]:.0f} of {activity.channels} channels"
        return [one.cases.ids[rows[i]], one.cases.class_name(one.cases.labels[rows[i]]), lit]

    order = ranked(parameters, numbers)
    return Result(
        kind="channel_activity",
        check=check,
        method=METHOD,
        method_version=1,
        decision=made,
        parameters=parameters.model_dump(mode="json"),
        subjects={"model": one.identity()},
        cases=cases,
        numbers=numbers,
        worst=rows_of(order, numbers, cases["class_names"]),
        execution=common.execution_record(explained, watch.seconds),
        gallery=Gallery(one, kept, order.badness, (), (), caption, f"{check}: {made.verdict}, active channels"),
    )


def decision(parameters: ChannelActivityParameters, numbers: Numbers) -> Decision:
    """Decide from the numbers of a run, or of a record."""
    from pytest_saliency.decide import limits
    from pytest_saliency.decide.activity import LEAST, MOST, QUESTION

    declared = {
        MOST: ("max_active_share", parameters.max_active_share),
        LEAST: ("min_active_share", parameters.min_active_share),
    }
    asked = {name: (key, value) for name, (key, value) in declared.items() if value is not None}
    share = numbers.column("active_share")
    made = limits.decide(
        QUESTION,
        dict.fromkeys(asked, share),
        limits=dict(asked.values()),
        alpha=parameters.alpha,
        max_undefined=parameters.max_undefined,
        kept=len(numbers.per_image["id"]),
        total=len(numbers.everyone["id"]),
        clusters=numbers.clusters(),
        readouts={"by_class": _by_class(numbers), "channels": numbers.inputs["channels"]},
        seed=numbers.seed,
    )
    return numbers.noted(made)


def _by_class(numbers: Numbers) -> dict[str, dict[str, Any]]:
    """Return mean count and share of each class over its correctly predicted images, as in the CASE paper."""
    import numpy as np

    everyone = numbers.everyone
    right = dict(zip(everyone["id"], everyone["correct"], strict=True))
    correct = np.asarray([right[case] for case in numbers.per_image["id"]], dtype=bool)
    labels = np.asarray(numbers.per_image["label"])
    counts, shares = numbers.column("active_channels"), numbers.column("active_share")
    made = {}
    for label in np.unique(labels).tolist():
        mine = (labels == label) & correct
        seen = mine & ~np.isnan(counts)
        made[str(label)] = {
            "images": int(seen.sum()),
            "undefined": int(mine.sum() - seen.sum()),
            "count": float(counts[seen].mean()) if seen.any() else None,
            "share": float(shares[seen].mean()) if seen.any() else None,
        }
    return made


def ranked(parameters: ChannelActivityParameters, numbers: Numbers) -> Ranked:
    """Return the images by how far they lie on the wrong side, from the numbers of a run or of a record.

    Where all of them lie equally far none is worse than another, and none is named.
    """
    import numpy as np

    from pytest_saliency.checks.worst import Ranked

    share, counts = numbers.column("active_share"), numbers.column("active_channels")
    far = []
    if parameters.max_active_share is not None:
        far.append(share - parameters.max_active_share)
    if parameters.min_active_share is not None:
        far.append(parameters.min_active_share - share)
    badness = np.max(far, axis=0)
    if not np.isnan(badness).any() and np.ptp(badness) == 0.0:
        badness = np.full(badness.size, -np.inf)
    whole = counts if np.isnan(counts).any() else counts.astype(np.int64)
    return Ranked(badness, {"active share": share, f"active of {numbers.inputs['channels']} channels": whole})
