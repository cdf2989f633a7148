"""The names of attribution methods and their variants, for those who must know them without importing torch.

A name is ``base`` or ``base[variant,...]``, as in ``scorecam[channels:64]``: the form that records show. Methods whose
numbers depend on settings that have defaults (``DEFAULTS``) are shown with all of them, whichever were written.
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
PERTURBATION_METHODS = ("scorecam", "ablationcam", "rise")
ATTENTION_METHODS = ("rollout",)
"""Read off the attention of a vision transformer in one forward pass."""
CAPTUM = "captum:"
CAPTUM_METHODS = tuple(
    CAPTUM + name
    for name in ("IntegratedGradients", "GradientShap", "Occlusion", "DeepLift", "Saliency", "InputXGradient")
)
"""Computed by the package captum, which is an extra; their names can be read without it."""
CONTROLS = ("random", "centre", "edges", "mean_map", "class_mean", "random_model")
METHOD_NAMES = GRADIENT_METHODS + FURTHER_METHODS + PERTURBATION_METHODS + ATTENTION_METHODS + CAPTUM_METHODS + CONTROLS

NUMBER = r"[1-9]\d{0,4}"
SHARE = r"0\.\d{0,3}[1-9]"
_BASELINE = {"baseline:<zero|mean|blur|random>": re.compile("baseline:(?:zero|mean|blur|random)")}
_GRID = {"grid:<n>": re.compile(f"grid:{NUMBER}")}

VARIANTS: Mapping[str, Mapping[str, re.Pattern[str]]] = {
    "case": {"elementwise": re.compile("elementwise"), "shared_only": re.compile("shared_only")},
    "scorecam": {"reference-code": re.compile("reference-code"), "channels:<n>": re.compile(r"channels:[1-9]\d*")},
    "ablationcam": {"relative": re.compile("relative")},
    "rise": {
        "masks:<n>": re.compile(f"masks:{NUMBER}"),
        "cells:<n>": re.compile(f"cells:{NUMBER}"),
        "keep:<share>": re.compile(f"keep:{SHARE}"),
        "score:<probability|logit>": re.compile("score:(?:probability|logit)"),
        "centred": re.compile("centred"),
    },
    "rollout": {"heads:<mean|max|min>": re.compile("heads:(?:mean|max|min)")},
    "captum:IntegratedGradients": {"steps:<n>": re.compile(f"steps:{NUMBER}"), **_BASELINE, **_GRID},
    "captum:GradientShap": {
        "samples:<n>": re.compile(f"samples:{NUMBER}"),
        "noise:<share>": re.compile(f"noise:(?:0|{SHARE})"),
        **_BASELINE,
        **_GRID,
    },
    "captum:Occlusion": {
        "window:<n>": re.compile(f"window:{NUMBER}"),
        "stride:<n>": re.compile(f"stride:{NUMBER}"),
        **_BASELINE,
        **_GRID,
    },
    "captum:DeepLift": {**_BASELINE, **_GRID},
    "captum:Saliency": _GRID,
    "captum:InputXGradient": _GRID,
}
"""What may stand in the brackets of each method; each at most once."""

DEFAULTS: Mapping[str, tuple[str, ...]] = {
    "rise": ("masks:1000", "cells:7", "keep:0.5", "score:probability"),
    "rollout": ("heads:mean",),
    "captum:IntegratedGradients": ("steps:64", "baseline:zero", "grid:56"),
    "captum:GradientShap": ("samples:32", "noise:0.1", "baseline:zero", "grid:56"),
    "captum:Occlusion": ("window:16", "stride:8", "baseline:zero", "grid:56"),
    "captum:DeepLift": ("baseline:zero", "grid:56"),
    "captum:Saliency": ("grid:56",),
    "captum:InputXGradient": ("grid:56",),
}
"""What counts where the brackets do not say otherwise; a record names it in full."""

CONTRAST = re.compile(r"explicit|(?:logits|confusion|cooccurrence|similar_weights|soft):[1-9]\d*")
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

    def in_full(self) -> MethodName:
        """Return the same method with every default written out: what its maps are called."""
        defaults = {_key(word): word for word in DEFAULTS.get(self.base, ())}
        said = defaults | {_key(word): word for word in self.variants}
        order = [_key(form) for form in VARIANTS.get(self.base, {})]
        return MethodName(self.base, tuple(said[key] for key in order if key in said))

    def setting(self, key: str) -> str:
        """Return what follows ``key:`` in the brackets, or its default; raises KeyError where there is none."""
        found = self.in_full().option(key)
        if found is None:
            raise KeyError(key)
        return found


def parse_method(text: str) -> MethodName | None:
    """Return the built-in method that ``text`` names; None if its base is no built-in method.

    Raises
    ------
    MethodError
        The base is built in, but what stands in the brackets is none of its variants.
    """
    base, bracket, rest = text.partition("[")
    if base not in METHOD_NAMES:
        if base.startswith(CAPTUM):
            offered = {name.removeprefix(CAPTUM): name for name in CAPTUM_METHODS}
            close = difflib.get_close_matches(base.removeprefix(CAPTUM), offered, n=1)
            hint = f" Did you mean {offered[close[0]]!r}?" if close else ""
            raise MethodError(f"method {text!r} is not offered; of captum there are {', '.join(CAPTUM_METHODS)}.{hint}")
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

    A contrastive method names its contrast set first, a control the maps that it is made of, a method with defaults all
    of them; all others, and methods that are not built in, are named as they are declared.

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
    return sorted(words) == sorted(method.in_full().variants)


def _key(word: str) -> str:
    """Return what a variant is about: ``channels`` of ``channels:64`` and of ``channels:<n>``."""
    return word.partition(":")[0]


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
    meant = {"<n>": ", with a number from 1", "<share>": ", with a share between 0 and 1 such as 0.25"}
    told = next((words for mark, words in meant.items() if mark in form), "")
    return f" Did you mean {form!r}{told}?"
