"""Running the engine on a tiny network, in one line."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_saliency import Cases, Explained, Subject, explain

from .nets import NETS, Net, Tiny, pictures
from .oracles import Array

BY_NAME = {net.name: net for net in NETS}
GRADIENT = ("gradcam", "gradcam++", "hirescam", "xgradcam", "layercam", "case")
TOLERANCE = 1e-5


def subject_of(net: Net, model: Tiny, **settings: Any) -> Subject:
    """The subject of a row of the table: its layer, its layout and where its scores are."""
    chosen: dict[str, Any] = {"layer": model.layer, "reshape": net.reshape, "output": net.output, **settings}
    return Subject(model, **chosen)


def cases_of(images: NDArray[np.float32], classes: int, shift: int = 0) -> Cases:
    """Cases with labels that run through the classes."""
    return Cases.from_arrays(images, [(3 * i + shift) % classes for i in range(len(images))])


def run(
    model: Tiny,
    images: NDArray[np.float32] | None = None,
    *,
    batch_size: int = 4,
    cases: Cases | None = None,
    **settings: Any,
) -> Explained:
    """Explain ``model`` at its own layer on the CPU."""
    if cases is None:
        assert images is not None
        cases = cases_of(images, model.classes)
    chosen: dict[str, Any] = {"layer": model.layer, **settings}
    return explain(Subject(model, **chosen), cases, device="cpu", batch_size=batch_size)


def raw(explained: Explained, method: str, target: Any = "top1") -> Array:
    """Raw maps as float64."""
    return np.asarray(explained.maps(method, target).values.numpy(), dtype=np.float64)


def six(model: Tiny) -> NDArray[np.float32]:
    """The six pictures the table's seeds were chosen for: no ties in the ranking, no ill-conditioned weights."""
    return pictures(6, model.image, seed=1)
