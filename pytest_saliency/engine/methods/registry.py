"""Every attribution method and control, by name. A new one is one file and one line here."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from pytest_saliency.engine.methods.case import CASE
from pytest_saliency.engine.methods.controls import CENTRE, CLASS_MEAN, RANDOM, Control
from pytest_saliency.engine.methods.evidence import GradientMethod
from pytest_saliency.engine.methods.gradcam import GRADCAM
from pytest_saliency.engine.methods.gradcam_plus_plus import GRADCAM_PLUS_PLUS
from pytest_saliency.engine.methods.hirescam import HIRESCAM
from pytest_saliency.engine.methods.layercam import LAYERCAM
from pytest_saliency.engine.methods.xgradcam import XGRADCAM
from pytest_saliency.errors import MethodError

GRADIENT_METHODS: Mapping[str, GradientMethod] = {
    method.name: method for method in (GRADCAM, GRADCAM_PLUS_PLUS, HIRESCAM, XGRADCAM, LAYERCAM, CASE)
}
CONTROLS: Mapping[str, Control] = {control.name: control for control in (RANDOM, CENTRE, CLASS_MEAN)}


def unknown_method(name: str, own: tuple[str, ...]) -> MethodError:
    """Return the error for a method that is neither registered nor brought in by ``add_maps``."""
    names = [*GRADIENT_METHODS, *CONTROLS, *own]
    close = difflib.get_close_matches(name, names, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return MethodError(f"method {name!r} is not known; there are {', '.join(names)}.{hint}")
