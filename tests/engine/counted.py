"""A network that writes down every image it sees, and that can be changed where no source tells of it."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pytest_saliency import Cases, Explained, Subject, explain
from pytest_saliency.engine.remembered import told
from pytest_saliency.records.cache import Cache

from .nets import ConvNet, pictures, seed_weights

SEEN, CHANGE = "COUNTED_SEEN", "COUNTED_CHANGE"
COUNT = 50
OWN = f"{__name__}:gradient_norm"


class HalfGradient(torch.autograd.Function):
    """The identity, whose gradient is turned round on the left half of the batch's grid."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return values.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        made = gradient.clone()
        made[..., : made.shape[-1] // 2] *= -1
        return made

    @staticmethod
    def vmap(info: Any, in_dims: Any, values: Tensor) -> Any:
        return HalfGradient.apply(values), in_dims[0]


class Counted(ConvNet):
    """``CHANGE`` in the environment: ``scores``, ``gradients``, ``random``, or ``first`` (the first picture only)."""

    def forward(self, x: Tensor) -> Tensor:
        if SEEN in os.environ:
            with Path(os.environ[SEEN]).open("a", encoding="ascii") as file:
                file.writelines(f"{digest(image)}\n" for image in x)
        change = os.environ.get(CHANGE, "")
        a = self.until(x)
        if change == "gradients":
            a = HalfGradient.apply(a)
        scores = self.after(a)
        if change == "scores":
            scores = scores * 1.25
        if change == "random":
            scores = scores + torch.rand_like(scores)
        if change == "first":
            mine = torch.tensor([digest(image) == digest(PICTURES[0]) for image in x])
            scores = torch.where(mine.unsqueeze(1), scores.flip(1), scores)
        return scores


def digest(image: Tensor | np.ndarray) -> str:
    array = np.asarray(image.detach().cpu().float() if isinstance(image, Tensor) else image, dtype=np.float32)
    return hashlib.sha256(array.tobytes()).hexdigest()[:16]


PICTURES = pictures(COUNT, ConvNet.image, seed=4)
DIGESTS = [digest(picture) for picture in PICTURES]


class Run:
    """One run of many, as of a new process: a new model, a new look into the cache."""

    def __init__(self, folder: Path | None, count: int = COUNT, **settings: Any) -> None:
        chosen = {"batch_size": 8, "device": "cpu", **settings.pop("explain", {})}
        self.seen = Path(os.environ[SEEN])
        self.seen.write_text("")
        cache = None if folder is None else Cache(folder, 1 << 30, told)
        self.model = seed_weights(Counted(), 3).eval()
        self.cases = Cases.from_arrays(PICTURES[:count], [i % 5 for i in range(count)])

        def explain_anew() -> Explained:
            subject = Subject(self.model, **{"layer": "act2", "name": "counted", **settings})
            return explain(subject, self.cases, cache=cache, **chosen)

        self.explain_anew = explain_anew
        self.explained = explain_anew()

    @property
    def images(self) -> Counter[str]:
        """How often the model saw each image."""
        return Counter(self.seen.read_text().split())

    @property
    def total(self) -> int:
        return sum(self.images.values())

    @property
    def costs(self) -> dict[str, Any]:
        return self.explained.costs()

    @property
    def stages(self) -> dict[str, dict[str, int]]:
        return {name: stage["images"] for name, stage in self.costs["stages"].items()}


METHODS = ("gradcam", "case", "case[elementwise]", "eigencam", "scorecam", "ablationcam", "random_model")


def everything(run: Run, methods: tuple[str, ...] = METHODS) -> dict[str, np.ndarray]:
    """Ask for maps of every sort, and return all numbers."""
    one = run.explained
    made = {"logits": one.logits.numpy()}
    for method in methods:
        for target in ("top1", "label", "3"):
            made[f"{method} {target}"] = one.maps(method, target).values.numpy()
    for method in ("layercam", "case", "scorecam", "random_model"):
        again = one.maps_jittered(method)
        assert again is not None
        made[f"{method} again"] = again.values.numpy()
    made["kept"] = one.jitter_kept_prediction
    made["own"] = one.maps(OWN).values.numpy()
    made["activity"] = one.channel_activity(0.5).counts
    return made


def gradient_norm(subject: Subject, pixels: Tensor, classes: Tensor) -> Tensor:
    """A method of the user's own: the length of the input's gradient."""
    pixels = pixels.clone().requires_grad_(True)
    scores = subject.model(subject.preprocess.normalise(pixels))
    (made,) = torch.autograd.grad(scores.gather(1, classes.unsqueeze(1)).sum(), pixels)
    return made.norm(dim=1)
