"""What a planted failure does to predictions, shown by changing what was planted and looking again.

A sign: give a picture the sign of another class, and see whether the prediction goes over to that class. What the
model before fine-tuning does with the same pictures is the control. Damage (wrong labels, a block without its
weights): the images that the same fine-tuning without the fault gets right, and this one wrong, against the reverse. A
wrong layer: removing what it shows, against removing what the right layer shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from planting.data import Data
from planting.kinds import FAILURES, codes_of, other_codes, planted
from pytest_saliency.decide.rates import lower_bound, upper_bound

BEYOND = 0.10
"""A plant took if its effect, at its lower bound, is larger than the control at its upper bound by this share."""
LEVEL = 0.05


@dataclass(frozen=True)
class Effect:
    """Images on which the effect was seen, images asked, and the same for the control; bounds are exact."""

    what: str
    seen: int
    of: int
    control_seen: int
    control_of: int

    @property
    def low(self) -> float:
        """Lower bound of the share on which the effect is seen."""
        return lower_bound(self.seen, self.of, LEVEL) if self.of else 0.0

    @property
    def control_high(self) -> float:
        """Upper bound of the share on which the control shows the same."""
        return upper_bound(self.control_seen, self.control_of, LEVEL) if self.control_of else 1.0

    @property
    def took(self) -> bool:
        """Whether the effect is shown, with a margin."""
        return self.of > 0 and self.low > self.control_high + BEYOND

    def to_dict(self) -> dict[str, Any]:
        """Return the effect with its bounds, for the results."""
        return {**asdict(self), "low": self.low, "control_high": self.control_high, "took": self.took}


def predictions(model: nn.Module, images: Tensor) -> Tensor:
    """Return the predicted classes."""
    with torch.inference_mode():
        return torch.cat([model(rows).argmax(1) for rows in images.split(256)])


def followed(failure: str, before: nn.Module, after: nn.Module, data: Data, seed: int) -> Effect:
    """Give pictures the sign of another class; count the predictions that go over to it."""
    declared = FAILURES[failure]
    part = data.held_out
    own = planted(declared, part, codes_of(declared, part, data.classes, seed), data.classes)
    codes, asked = other_codes(declared, part, data.classes, seed)
    other = planted(declared, part, codes, data.classes)

    def counted(model: nn.Module) -> tuple[int, int]:
        right = asked & (predictions(model, own) == part.labels)
        went = declared.sign.code(predictions(model, other), data.classes) == codes
        return int((right & went).sum()), int(right.sum())

    return Effect("predictions that go over to the class whose sign was put in", *counted(after), *counted(before))


def damaged(twin: nn.Module, after: nn.Module, data: Data) -> Effect:
    """Count the images that only the fine-tuning without the fault gets right, and those that only this one does."""
    part = data.held_out
    a, b = (predictions(model, part.images) == part.labels for model in (twin, after))
    lost, won = int((a & ~b).sum()), int((~a & b).sum())
    return Effect("images that only the fine-tuning without the fault gets right", lost, len(part), won, len(part))


def off_layer(right: Mapping[str, Any], wrong: Mapping[str, Any]) -> Effect:
    """Hold the advantages of ``faithful`` at the right layer against those at the wrong one, image by image.

    Both are columns of ids and mean advantages. Effect and control are the images where either is larger.
    """
    other = dict(zip(wrong["id"], wrong["advantage"], strict=True))
    pairs = [(a, other[one]) for one, a in zip(right["id"], right["advantage"], strict=True) if one in other]
    larger = sum(a > b for a, b in pairs)
    what = "images whose prediction stands more on what the right layer shows"
    return Effect(what, larger, len(pairs), len(pairs) - larger, len(pairs))
