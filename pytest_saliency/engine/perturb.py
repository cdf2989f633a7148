"""Small changes of an image that a prediction should survive, as plain values: what is changed, how far, and the seed.

A perturbation says what happens to pixels (``apply``) and how a map of the changed image is laid back on the original
one (``lay_back``). Nothing here imports torch before one of the two is called, so that contracts can be read without.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from pytest_saliency.errors import CriterionError

if TYPE_CHECKING:
    from torch import Tensor

FamilyName = Literal["brightness", "contrast", "noise", "blur", "jpeg", "shift", "rotation", "flip"]

VERSION = 1
"""Rises whenever the same perturbation would give other pixels."""

USUAL = (224, 224)
"""Size of an image whose size is not known, in pixels."""

STRONGEST = 5.0


@dataclass(frozen=True)
class Family:
    """A kind of perturbation.

    Attributes
    ----------
    names
        Of its parameters.
    reach
        How far a parameter goes at strength 1, for an image whose shorter side is 224 pixels.
    scaled
        The least reach on a small image where it is a length in pixels, which shrinks with the image; None for others.
    low, high
        Between which a parameter must lie.
    whole, signed
        Whether parameters are whole numbers, and whether they go both ways.
    geometric
        Whether things move, so that maps have to be laid back.
    shown
        How a parameter reads: a template for its value.
    """

    names: tuple[str, ...]
    reach: float
    low: float
    high: float
    shown: str
    scaled: float | None = None
    whole: bool = False
    signed: bool = False
    geometric: bool = False

    def most(self, strength: float, size: tuple[int, ...]) -> float:
        """Return how far a parameter goes at ``strength`` on an image of ``size``, within what is allowed.

        Whole numbers go to 1 at least, because 0 would change nothing; with ``strength`` 0 all stay at 0.
        """
        reach = self.reach
        if self.scaled is not None:
            reach = max(self.scaled, reach * min(size[-2:]) / min(USUAL))
        reach = min(reach * strength, self.high)
        if not self.whole:
            return reach
        return max(1.0, float(math.floor(reach + 0.5))) if reach > 0.0 else 0.0


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "brightness": Family(("by",), 0.1, -1.0, 1.0, "{:+g}", signed=True),
        "contrast": Family(("by",), 0.2, -1.0, 10.0, "{:+.4g} of itself", signed=True),
        "noise": Family(("sd",), 0.04, 0.0, 1.0, "sd {:g}"),
        "blur": Family(("sd",), 1.12, 0.0, 100.0, "sd {:g} pixels", scaled=0.5),
        "jpeg": Family(("loss",), 50.0, 0.0, 99.0, "loss {:g} (quality 100 less that)", whole=True),
        "shift": Family(
            ("x", "y"), 9.0, -10_000.0, 10_000.0, "{:+g}", scaled=1.0, whole=True, signed=True, geometric=True
        ),
        "rotation": Family(("degrees",), 5.0, -180.0, 180.0, "{:+g} degrees", signed=True, geometric=True),
        "flip": Family((), 1.0, 0.0, 1.0, "", geometric=True),
    }
)
"""Every family. In the order in which the smallest counter-example is looked for."""

PHOTOMETRIC: tuple[FamilyName, ...] = ("brightness", "contrast", "noise", "blur", "jpeg")
"""Those that move nothing."""

DEFAULT = tuple(name for name in FAMILIES if name != "flip")
"""All but ``flip``: whether left and right may be exchanged only you can know."""


@dataclass(frozen=True)
class Perturbation:
    """One small change of an image. Make it with :meth:`of`, as in ``Perturbation.of("shift", x=3, y=0)``.

    =============  ==========================================================================================
    family         parameters
    =============  ==========================================================================================
    brightness     ``by``: added to every pixel, in shares of the range from black to white
    contrast       ``by``: 0.1 stretches all differences from the image's own mean by a tenth
    noise          ``sd``: standard deviation of Gaussian noise, drawn from ``seed`` (the same on every machine)
    blur           ``sd``: standard deviation of a Gaussian blur in pixels; mirrored at the border
    jpeg           ``loss``: JPEG compression of quality 100 - loss; 0 leaves the image alone
    shift          ``x``, ``y``: pixels to the right and down; the border is repeated
    rotation       ``degrees``: anticlockwise about the centre; the border is repeated
    flip           none: left and right are exchanged
    =============  ==========================================================================================

    Raises
    ------
    CriterionError
        The family is not known, or a parameter is missing, not finite, not whole where it must be, or out of range.
    """

    family: str
    values: tuple[float, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        family = FAMILIES.get(self.family)
        if family is None:
            raise CriterionError(f"there is no perturbation {self.family!r}; use one of {', '.join(FAMILIES)}.")
        if len(self.values) != len(family.names):
            raise CriterionError(
                f"perturbation {self.family!r} has {', '.join(family.names) or 'no parameters'}; {len(self.values)}"
                " were given."
            )
        for name, value in zip(family.names, self.values, strict=True):
            if not (math.isfinite(value) and family.low <= value <= family.high):
                raise CriterionError(
                    f"perturbation {self.family!r}: {name} must be from {family.low:g} to {family.high:g}; got"
                    f" {value!r}."
                )
            if family.whole and value != int(value):
                raise CriterionError(f"perturbation {self.family!r}: {name} must be a whole number; got {value!r}.")

    @classmethod
    def of(cls, family: str, *, seed: int = 0, **parameters: float) -> Perturbation:
        """Return the perturbation of ``family`` with parameters by name."""
        names = FAMILIES[family].names if family in FAMILIES else ()
        if family in FAMILIES and set(parameters) != set(names):
            raise CriterionError(
                f"perturbation {family!r} has {', '.join(names) or 'no parameters'}; given were"
                f" {', '.join(parameters) or 'none'}."
            )
        return cls(family, tuple(parameters[name] for name in names), seed)

    def __repr__(self) -> str:
        given = "".join(f", {name}={value!r}" for name, value in self.parameters.items())
        return f"Perturbation.of({self.family!r}{given}{f', seed={self.seed}' if self.seeded else ''})"

    def __str__(self) -> str:
        shown = FAMILIES[self.family].shown
        if self.family == "shift":
            return f"shift by {self.values[0]:+g} pixels across and {self.values[1]:+g} down"
        return " ".join([self.family, *(shown.format(value) for value in self.values)])

    @property
    def parameters(self) -> dict[str, float]:
        """The parameters by name."""
        return dict(zip(FAMILIES[self.family].names, self.values, strict=True))

    @property
    def identity(self) -> bool:
        """Whether it changes nothing."""
        return self.family != "flip" and not any(self.values)

    @property
    def geometric(self) -> bool:
        """Whether things move in the image."""
        return FAMILIES[self.family].geometric

    @property
    def seeded(self) -> bool:
        """Whether its seed matters."""
        return self.family == "noise"

    def apply(self, pixels: Any) -> Any:
        """Return the changed pixels, within [0, 1].

        ``pixels`` is an image (C, H, W) or a batch (N, C, *S) of floats in [0, 1], a tensor or an array, and so is
        what is returned; the given one is left alone. Volumes need the batch's axis; they are moved and compressed
        slice by slice. Each image of a batch is changed as it would be on its own.

        Raises
        ------
        CriterionError
            The pixels are not floats in [0, 1], or not of such a shape.
        """
        from pytest_saliency.engine.perturb_pixels import applied

        return applied(self, pixels)

    def lay_back(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Lay maps (n, *S) of the changed image, one position a pixel, back on the original image.

        Returns the maps, and a mask bool (*S): where it is False the changed image does not show that place, and the
        map's value there means nothing.
        """
        from pytest_saliency.engine.perturb_pixels import laid_back

        return laid_back(self, values)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON: family, parameters by name and, where it matters, the seed."""
        made: dict[str, Any] = {"family": self.family, "parameters": self.parameters}
        return made | ({"seed": self.seed} if self.seeded else {})


@dataclass(frozen=True)
class Turns:
    """The choices that a size leaves open: which way, which axis, how far along the other one, which noise.

    ``opposite``: against the parameter's sign. ``swapped``: down instead of across. ``across`` (-1 to 1): of a shift
    along the other axis, as a share of the main one.
    """

    opposite: bool = False
    swapped: bool = False
    across: float = 0.0
    seed: int = 0


def sized(family: str, level: float, turns: Turns, *, strength: float, size: tuple[int, ...] | None) -> Perturbation:
    """Return the perturbation of ``family`` at ``level`` (0: none, 1: as far as ``strength`` allows).

    A flip is done or not: it is done from one half on.

    Raises
    ------
    CriterionError
        ``strength`` is not from 0 to 5.
    """
    check_strength(strength)
    declared = FAMILIES[family]
    if family == "flip":
        return Perturbation("flip") if level >= 0.5 and strength > 0.0 else Perturbation("shift", (0.0, 0.0))
    most = declared.most(strength, size or USUAL)
    value = level * most
    if declared.whole:
        value = float(math.floor(value + 0.5))
    value = round(value, 6)
    if declared.signed and turns.opposite:
        value = max(-value, declared.low) + 0.0  # no negative zero
    if family != "shift":
        return Perturbation(
            family, (value + 0.0,), turns.seed if declared.names == ("sd",) and family == "noise" else 0
        )
    other = float(round(turns.across * abs(value))) + 0.0
    return Perturbation(family, (other, value) if turns.swapped else (value, other))


def check_strength(strength: float) -> None:
    """Raise a CriterionError unless ``strength`` is from 0 to 5."""
    if isinstance(strength, bool) or not 0.0 <= strength <= STRONGEST:
        raise CriterionError(f"strength={strength!r} must be from 0 (nothing changes) to {STRONGEST:g}.")


def check_families(families: tuple[str, ...]) -> None:
    """Raise a CriterionError unless ``families`` names at least one family, each of them once."""
    for name in families:
        if name not in FAMILIES:
            raise CriterionError(f"there is no perturbation {name!r}; use some of {', '.join(FAMILIES)}.")
    if not families:
        raise CriterionError(f"no family of perturbations was named; use some of {', '.join(FAMILIES)}.")
    if len(set(families)) != len(families):
        raise CriterionError(f"a family of perturbations was named twice among {', '.join(families)}.")
