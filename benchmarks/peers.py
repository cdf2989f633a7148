"""The same work as users of grad-cam, captum and torch-cam write it.

Each function returns the contender, or words that say why there is none. Peers get their images on the device and are
told the classes to explain.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from common import Contender, Done
from subjects import Bench

GRAD_CAM, CAPTUM, TORCH_CAM = "grad-cam", "captum", "torch-cam"
PEERS = (GRAD_CAM, CAPTUM, TORCH_CAM)
MODULES = {GRAD_CAM: "pytorch_grad_cam", CAPTUM: "captum", TORCH_CAM: "torchcam"}
FLOAT32 = "float32 only"
NO_METHOD = "no such method"

Peer = Contender | str


def missing(who: str, bench: Bench) -> str:
    """Return why a peer cannot take part; empty where it can."""
    if importlib.util.find_spec(MODULES[who]) is None:
        return "not installed"
    return FLOAT32 if bench.precision != "float32" else ""


# -- grad-cam ---------------------------------------------------------------------------------------------------------


def grad_cam(bench: Bench, names: Sequence[str], classes: int, only: str = "", dear: bool = False) -> Peer:
    """grad-cam's classes ``names`` for each image's ``classes`` likeliest classes: a new object for every call."""
    absent = missing(GRAD_CAM, bench)
    if absent:
        return absent
    import pytorch_grad_cam
    from pytorch_grad_cam.ablation_layer import AblationLayer, AblationLayerVit
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    layer = bench.layer

    def one(name: str, batch: Any, wanted: Any) -> None:
        options: dict[str, Any] = {"reshape_transform": bench.as_planes} if bench.spec.tokens else {}
        if name == "AblationCAM":
            options["ablation_layer"] = AblationLayerVit() if bench.spec.tokens else AblationLayer()
        targets = [ClassifierOutputTarget(index) for index in wanted.tolist()]
        made = None
        with _silent(), getattr(pytorch_grad_cam, name)(model=bench.model, target_layers=[layer], **options) as cam:
            made = cam(input_tensor=batch, targets=targets)
        if made is None or len(made) != len(batch):  # its context manager swallows IndexError
            raise RuntimeError(f"{name} of grad-cam returned no maps for {bench.name}")

    def work() -> Done:
        for batch, top in zip(bench.batches, bench.top, strict=True):
            for rank in range(classes):
                for name in names:
                    one(name, batch, top[:, rank])
        return Done(len(bench.cases))

    return Contender(GRAD_CAM, work, dear=dear, only=only)


# -- captum -----------------------------------------------------------------------------------------------------------


def captum(bench: Bench, classes: int, only: str = "") -> Peer:
    """captum's Grad-CAM at the layer."""
    absent = missing(CAPTUM, bench)
    if absent:
        return absent
    if bench.spec.tokens:
        return "takes tokens for channels"
    from captum.attr import LayerGradCam

    def work() -> Done:
        for batch, top in zip(bench.batches, bench.top, strict=True):
            for rank in range(classes):
                LayerGradCam(bench.model, bench.layer).attribute(batch, target=top[:, rank])
        return Done(len(bench.cases))

    return Contender(CAPTUM, work, only=only)


# -- torch-cam --------------------------------------------------------------------------------------------------------


def torch_cam(bench: Bench, names: Sequence[str], classes: int, only: str = "", dear: bool = False) -> Peer:
    """torch-cam's extractors ``names``: a forward pass for each, and as many calls as there are classes."""
    absent = missing(TORCH_CAM, bench)
    if absent:
        return absent
    import torch
    from torchcam import methods

    options: dict[str, Any] = {"reshape_transform": bench.as_planes} if bench.spec.tokens else {}

    def one(name: str, batch: Any, top: Any) -> None:
        with getattr(methods, name)(bench.model, bench.spec.layer, **options) as extractor:
            watched = name == "ScoreCAM"
            with torch.no_grad() if watched else contextlib.nullcontext():
                scores = bench.model(batch)
            for rank in range(classes):
                keep = {} if watched else {"retain_graph": rank + 1 < classes}
                made = extractor(class_idx=top[:, rank].tolist(), scores=scores, **keep)
                if len(made[0]) != len(batch):
                    raise RuntimeError(f"{name} of torch-cam returned no maps for {bench.name}")

    def work() -> Done:
        for batch, top in zip(bench.batches, bench.top, strict=True):
            for name in names:
                one(name, batch, top)
        return Done(len(bench.cases))

    return Contender(TORCH_CAM, work, dear=dear, only=only)


def counted_as(peer: Peer, times: float) -> Peer:
    """Return the peer with its work counted as ``times`` as much, as for a ratio per channel."""
    if isinstance(peer, str):
        return peer
    work: Callable[[], Done] = peer.work
    return Contender(peer.who, lambda: Done(work().count * times), peer.dear, peer.only)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Keep progress bars out of the output."""
    with contextlib.redirect_stderr(io.StringIO()):
        yield
