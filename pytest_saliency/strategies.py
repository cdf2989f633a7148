"""Hypothesis strategies for changes of an image that a prediction, and with it its explanation, should survive.

For use in your own property-based tests::

    from hypothesis import given
    from pytest_saliency import strategies

    @given(strategies.perturbations(families=("brightness", "shift"), strength=0.5, size=(32, 32)))
    def test_small_changes_keep_the_prediction(change):
        changed = change.apply(IMAGE)  # (C, H, W) or a batch, floats in [0, 1], a tensor or an array
        assert predict(changed) == predict(IMAGE)

A failing example shrinks towards no change at all: first the size goes down, then the family goes to the first one that
fails too, then direction and noise become as plain as they can. What is printed can be pasted back in:
``Perturbation.of('shift', x=3.0, y=0.0)``. The check ``stable`` searches with the same strategies.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pytest_saliency.engine.perturb import (
    DEFAULT,
    FAMILIES,
    Perturbation,
    Turns,
    check_families,
    check_strength,
    sized,
)

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

__all__ = [
    "Perturbation",
    "blur",
    "brightness",
    "contrast",
    "flip",
    "jpeg",
    "noise",
    "perturbations",
    "rotation",
    "shift",
]

STEPS = 100
"""Sizes are drawn in this many steps, so that shrinking ends soon."""


def perturbations(
    families: Sequence[str] | None = None, strength: float = 1.0, size: Sequence[int] | None = None
) -> SearchStrategy[Perturbation]:
    """Return a strategy for :class:`Perturbation`.

    Parameters
    ----------
    families
        Some of ``brightness``, ``contrast``, ``noise``, ``blur``, ``jpeg``, ``shift``, ``rotation`` and ``flip``; by
        default all but ``flip``, because only you know whether left and right may be exchanged.
    strength
        1 is what people hardly notice in a photograph: brightness 0.1, contrast 0.2, noise 0.04, JPEG quality 50,
        rotation 5 degrees; shift 4 % and blur 0.5 % of the shorter side. 0 changes nothing, 5 is the most.
    size
        Height and width of the images, on which shift and blur depend; 224 by 224 by default.

    Raises
    ------
    CriterionError
        A family is not known or named twice, or the strength is out of range.
    """
    from hypothesis import strategies as st

    names = DEFAULT if families is None else tuple(families)
    check_families(names)
    check_strength(strength)
    extent = None if size is None else tuple(int(side) for side in size)

    @st.composite
    def changes(draw: Any) -> Perturbation:
        # The size comes first: shrinking makes what is drawn first as small as it can be.
        level = draw(st.integers(0, STEPS)) / STEPS
        family = draw(st.sampled_from(names))
        turns = Turns()
        if FAMILIES[family].signed:
            turns = Turns(opposite=draw(st.booleans()))
        if family == "shift":
            along = sized(family, level, turns, strength=strength, size=extent)
            far = int(abs(along.values[0]))
            other = draw(st.integers(-far, far))
            turns = Turns(turns.opposite, draw(st.booleans()), other / far if far else 0.0)
        if family == "noise":
            turns = Turns(seed=draw(st.integers(0, 2**32 - 1)))
        return sized(family, level, turns, strength=strength, size=extent)

    return changes()


def brightness(strength: float = 1.0) -> SearchStrategy[Perturbation]:
    """Return a strategy for images that are brighter or darker as a whole."""
    return perturbations(("brightness",), strength)


def contrast(strength: float = 1.0) -> SearchStrategy[Perturbation]:
    """Return a strategy for images with more or less contrast around their own mean."""
    return perturbations(("contrast",), strength)


def noise(strength: float = 1.0) -> SearchStrategy[Perturbation]:
    """Return a strategy for images with Gaussian noise."""
    return perturbations(("noise",), strength)


def blur(strength: float = 1.0, size: Sequence[int] | None = None) -> SearchStrategy[Perturbation]:
    """Return a strategy for images that are a little out of focus."""
    return perturbations(("blur",), strength, size)


def jpeg(strength: float = 1.0) -> SearchStrategy[Perturbation]:
    """Return a strategy for images that were compressed with losses."""
    return perturbations(("jpeg",), strength)


def shift(strength: float = 1.0, size: Sequence[int] | None = None) -> SearchStrategy[Perturbation]:
    """Return a strategy for images that were moved by whole pixels."""
    return perturbations(("shift",), strength, size)


def rotation(strength: float = 1.0) -> SearchStrategy[Perturbation]:
    """Return a strategy for images that were turned by a few degrees."""
    return perturbations(("rotation",), strength)


def flip() -> SearchStrategy[Perturbation]:
    """Return a strategy for images with left and right exchanged, and for images that are left alone."""
    return perturbations(("flip",))
