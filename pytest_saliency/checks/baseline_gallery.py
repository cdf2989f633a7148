"""Pictures of a comparison with a baseline: the image, its map then where the baseline kept it, its map now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from pytest_saliency.checks.common import Kept
from pytest_saliency.checks.gallery import Gallery

if TYPE_CHECKING:
    from pytest_saliency.checks.not_worse_than_baseline import Pairs
    from pytest_saliency.checks.result import Result
    from pytest_saliency.engine.maps import Maps
    from pytest_saliency.records.baseline_entry import Stored

PLACES = {"top1": 0, "after": 1}
"""Which of a gallery's maps is the stored one now."""


def gallery_against(
    result: Result,
    stored: Stored,
    pairs: Pairs,
    badness: NDArray[np.float64],
    lines: Callable[[int], Sequence[str]],
    heading: str,
) -> Gallery | None:
    """Return the gallery of the images that both runs have, from the gallery of what was measured now.

    ``lines`` says of the image at a position among the pairs what its numbers were and are.
    """
    of = result.gallery
    if of is None:
        return None
    kept = Kept(of.kept.indices[pairs.now], of.kept.total, of.kept.dropped)
    from pytest_saliency.checks.registry import KINDS

    name = KINDS[result.kind].shown
    place = PLACES[name]
    now = of.maps[place]
    title = of.titles[place]
    maps: tuple[Maps, ...] = (now,)
    titles: tuple[str, ...] = (f"{title} now",)
    then = stored.maps.get(name)
    if then is not None and then.ndim == now.values.ndim:
        values = torch.full((len(now.values), *then.shape[1:]), torch.nan)
        values[torch.from_numpy(kept.indices)] = torch.from_numpy(np.asarray(then, dtype=np.float32)[pairs.then])
        maps, titles = (replace(now, values=values), now), (f"{title} then", f"{title} now")

    def caption(i: int) -> list[str]:
        # Its id and class; the numbers now stand in the lines, beside those of then.
        return [*list(of.caption(int(pairs.now[i])))[:2], *lines(i)]

    return Gallery(of.explained, kept, badness, maps, titles, caption, heading)
