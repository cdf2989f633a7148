"""The names of attribution methods and their variants, for those who must know them without importing torch.

A name is ``base`` or ``base[variant,...]``, as in ``scorecam[channels:64]``: the form that records show.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from pytest_saliency.errors import MethodError

GRADIENT_METHODS = ("gradcam", "gradcam++", "hirescam", "xgradcam", "layercam", "case")
"""Computed together by the first pass, whichever of them is asked for."""
FURTHER_METHODS = ("cam", "eigencam")
"""Computed from a capture pass too, when they are asked for."""
PLANNABLE = (*GRADIENT_METHODS, "eigencam")
"""What a pass may compute for any model before it is asked for: none of them can refuse a model."""
PERTURBATION_METHODS = ("scorecam", "ablationcam")
CONTROLS = ("random", "centre", "edges", "mean_map", "class_mean", "random_model")
METHOD_NAMES = GRADIENT_METHODS + FURTHER_METHODS + PERTURBATION_METHODS + CONTROLS

VARIANTS: Mapping[str, Mapping[str, re.Pattern[str]]] = {
    "case": {"elementwise": re.compile("elementwise"), "shared_only": re.compile("shared_only")},
    "scorecam": {"reference-code": re.compile("reference-code"), "channels:<n>": re.compile(r"channels:[1-9]\d*")},
    "ablationcam": {"relative": re.compile("relative")},
}
"""What may stand in the brackets of each method; each at most once."""

CONTRAST = re.compile(r"explicit|(?:logits|confusion|similar_weights|soft):[1-9]\d*")
"""How a contrast set is named in the brackets of the method that uses it."""


@dataclass(frozen=True, order=True)
class MethodName:
    """A built-in method and its variants, in the order of ``VARIANTS``."""

    base: str
    variants: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.base}[{','.join(self.variants)}]" if self.variants else self.base

    def option(self, key: str) -> str | None:
        """Return what follows ``key:`` in the brackets, or None."""
        return next((text.removeprefix(f"{key}:") for text in self.variants if text.startswith(f"{key}:")), None)


def parse_method(text: str) -> MethodName | None:
    """Return the built-in method that ``text`` names; None if its base is no built-in method.

    Raises
    ------
    MethodError
        The base is built in, but what stands in the brackets is none of its variants.
    """
    base, bracket, rest = text.partition("[")
    if base not in METHOD_NAMES:
        return None
    if not bracket:
        return MethodName(base)
    known = VARIANTS.get(base, {})
    if not known:
        raise MethodError(f"method {text!r} is not known: {base!r} has no variants; write {base!r}.")
    problem = _bracket_problem(rest)
    if problem:
        raise MethodError(f"method {text!r}: {problem}; {base!r} has {', '.join(known)}.")
    found: dict[str, str] = {}
    for word in rest.removesuffix("]").split(","):
        key = next((key for key, pattern in known.items() if pattern.fullmatch(word)), None)
        if key is None or key in found:
            twice = key is not None and f"variant {key.partition(':')[0]!r} stands there twice"
            what = twice or f"there is no variant {word!r}"
            hint = _hint(word, known) if key is None else ""
            contrast = " The contrast set is declared on the subject." if base == "case" and key is None else ""
            raise MethodError(f"method {text!r}: {what}; {base!r} has {', '.join(known)}.{hint}{contrast}")
        found[key] = word
    return MethodName(base, tuple(found[key] for key in known if key in found))


def resolves_to(declared: str, resolved: str) -> bool:
    """Tell whether maps of the method ``declared`` are named ``resolved`` in a record.

    A contrastive method names its contrast set first, a control the maps that it is made of; all others, and methods
    that are not built in, are named as they are declared.

    Raises
    ------
    MethodError
        ``declared`` is no method, as :func:`parse_method` says.
    """
    method = parse_method(declared)
    if method is None:
        return resolved == declared
    base, bracket, rest = resolved.partition("[")
    if base != method.base or (bracket and not rest.endswith("]")):
        return False
    words = rest.removesuffix("]").split(",") if bracket else []
    if base == "case" and words and CONTRAST.fullmatch(words[0]):
        words = words[1:]
    if base in CONTROLS and words == ["gradcam"]:
        words = []
    return sorted(words) == sorted(method.variants)


def _bracket_problem(rest: str) -> str | None:
    """Return what is wrong with the text behind the first bracket as such."""
    if not rest.endswith("]"):
        return "the bracket is not closed"
    if any(letter.isspace() for letter in rest):
        return "a name has no spaces in it"
    if "" in rest.removesuffix("]").split(","):
        return "a variant is missing in the brackets"
    return None


def _hint(word: str, known: Mapping[str, re.Pattern[str]]) -> str:
    """Return which variant may be meant; of one with a number its form, as ``channels:<n>``."""
    forms = {key.partition(":")[0]: key for key in known}
    close = difflib.get_close_matches(word.partition(":")[0], forms, n=1)
    if not close:
        return ""
    form = forms[close[0]]
    return f" Did you mean {form!r}{', with a number from 1' if '<n>' in form else ''}?"
