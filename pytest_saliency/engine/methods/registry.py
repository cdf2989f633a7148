"""Every attribution method and control, by name. A new one is one file, one line here and one in ``names``."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from functools import lru_cache, partial

from pytest_saliency.engine.methods.ablationcam import ablationcam_method
from pytest_saliency.engine.methods.cam import CAM
from pytest_saliency.engine.methods.case import case_method
from pytest_saliency.engine.methods.controls import (
    CENTRE,
    CLASS_MEAN,
    EDGES,
    MEAN_MAP,
    RANDOM,
    RANDOM_MODEL,
    Control,
)
from pytest_saliency.engine.methods.eigencam import EIGENCAM
from pytest_saliency.engine.methods.evidence import GradientMethod
from pytest_saliency.engine.methods.gradcam import GRADCAM
from pytest_saliency.engine.methods.gradcam_plus_plus import GRADCAM_PLUS_PLUS
from pytest_saliency.engine.methods.hirescam import HIRESCAM
from pytest_saliency.engine.methods.layercam import LAYERCAM
from pytest_saliency.engine.methods.names import (
    CAPTUM_METHODS,
    GRADIENT_METHODS,
    METHOD_NAMES,
    MethodName,
    parse_method,
)
from pytest_saliency.engine.methods.own import OwnMethod, own_method, own_names
from pytest_saliency.engine.methods.perturbation import PerturbationMethod
from pytest_saliency.engine.methods.rise import rise_method
from pytest_saliency.engine.methods.rollout import rollout_method
from pytest_saliency.engine.methods.scorecam import scorecam_method
from pytest_saliency.engine.methods.through_captum import captum_method
from pytest_saliency.engine.methods.xgradcam import XGRADCAM
from pytest_saliency.errors import MethodError

Method = GradientMethod | PerturbationMethod | Control | OwnMethod

_PLAIN: Mapping[str, Method] = {
    method.name: method
    for method in (
        *(GRADCAM, GRADCAM_PLUS_PLUS, HIRESCAM, XGRADCAM, LAYERCAM, CAM, EIGENCAM),
        *(RANDOM, CENTRE, EDGES, MEAN_MAP, CLASS_MEAN, RANDOM_MODEL),
    )
}
_WITH_VARIANTS: Mapping[str, Callable[[tuple[str, ...]], Method]] = {
    "case": case_method,
    "scorecam": scorecam_method,
    "ablationcam": ablationcam_method,
    "rise": rise_method,
    "rollout": rollout_method,
    **{base: partial(captum_method, base) for base in CAPTUM_METHODS},
}


@lru_cache(maxsize=256)
def _built_in(name: MethodName) -> Method:
    if name.base in _WITH_VARIANTS:
        return _WITH_VARIANTS[name.base](name.variants)
    return _PLAIN[name.base]


def find_method(text: str) -> Method:
    """Return the method of this name, as ``gradcam``, ``scorecam[channels:64]`` or ``package.module:function``.

    Raises
    ------
    MethodError
        There is no such method or variant; the message lists what there is.
    """
    named = parse_method(text)
    if named is not None:
        return _built_in(named)
    own = own_method(text)
    if own is None:
        raise unknown_method(text, ())
    return own


def gradient_methods(names: tuple[str, ...]) -> tuple[GradientMethod, ...]:
    """Return the gradient methods among ``names``, each once, those of the default pass first."""
    order = dict.fromkeys((*(name for name in GRADIENT_METHODS if name in names), *names))
    found = (find_method(name) for name in order)
    return tuple(method for method in found if isinstance(method, GradientMethod))


def unknown_method(name: str, brought: tuple[str, ...]) -> MethodError:
    """Return the error for a method that is neither known nor brought in by ``add_maps``."""
    names = [*METHOD_NAMES, *own_names(), *brought]
    close = difflib.get_close_matches(name, names, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return MethodError(f"method {name!r} is not known; there are {', '.join(names)}.{hint}")
