"""The rows of the speed table: what is timed, with whom, against which budget and floor."""

from __future__ import annotations

import atexit
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import torch
from common import Contender, Done
from floor import Cost, Costs
from peers import CAPTUM, GRAD_CAM, NO_METHOD, TORCH_CAM, Peer, captum, counted_as, grad_cam, torch_cam
from subjects import BATCH, Bench

from pytest_saliency import Explained
from pytest_saliency.checks.registry import KINDS
from pytest_saliency.engine.methods.names import GRADIENT_METHODS
from pytest_saliency.measure.pairs import PAIR_MEASURES, compare
from pytest_saliency.records.cache import Cache

OURS = "ours"
BOTH = ("top1", "top2")
DEFAULT = ("top1", "top2", "label")
FIVE = ("GradCAM", "GradCAMPlusPlus", "HiResCAM", "XGradCAM", "LayerCAM")  # of grad-cam
FOUR = ("GradCAM", "GradCAMpp", "XGradCAM", "LayerCAM")  # of torch-cam
CACHE_BYTES = 2**33


@dataclass(frozen=True)
class Row:
    """One line of the table for each model.

    Attributes
    ----------
    budget
        What DESIGN allows for ResNet-50 on a CPU with two cores, in forward passes; None where it is no ratio.
    ours
        What is timed of ours, given the bench.
    peers
        The others, or why they are missing, given the bench.
    floor
        What the work itself needs, in forward passes; None where nobody can say.
    models
        Where it is measured when no model is named; None for all the usual ones.
    """

    title: str
    budget: float | None
    ours: Callable[[Bench], Done]
    peers: Callable[[Bench], Mapping[str, Peer]]
    floor: Callable[[Costs], Cost] | None = None
    models: tuple[str, ...] | None = None

    def contenders(self, bench: Bench, dear: bool) -> tuple[list[Contender], dict[str, str]]:
        """Return those who take part, and why the others do not; without ``dear`` peers that take minutes."""
        found, absent = [Contender(OURS, partial(self.ours, bench))], {}
        for who, peer in self.peers(bench).items():
            if isinstance(peer, str):
                absent[who] = peer
            elif peer.dear and not dear:
                absent[who] = "left out"
            else:
                found.append(peer)
        return found, absent


# -- ours -------------------------------------------------------------------------------------------------------------


def gradients(bench: Bench, methods: Sequence[str], targets: Sequence[str]) -> Done:
    """Maps of gradient methods, as a user calls for them."""
    explained = bench.explain(tuple(methods), tuple(targets))
    for method in methods:
        for target in targets:
            explained.maps(method, target)
    return _done(explained, len(bench.cases))


def ablation(bench: Bench) -> Done:
    """Ablation-CAM of both classes, with the pass that finds the classes."""
    bench = bench.first(2)
    explained = bench.explain(("ablationcam",), BOTH)
    replayed, _ = (explained.maps("ablationcam", target).details["replayed"] for target in BOTH)
    return _done(explained, len(bench.cases), f"{replayed.mean():.0f} channels replayed")


def scores(bench: Bench, images: int = 2) -> Done:
    """Score-CAM of both classes; the work of an image is counted by its channels that are not flat."""
    bench = bench.few(images)
    explained = bench.explain(("scorecam",), BOTH)
    used, _ = (explained.maps("scorecam", target).details["channels"] for target in BOTH)
    return _done(explained, float(used.sum()), f"{used.mean():.0f} active channels")


def faithful(bench: Bench, fills: Sequence[str]) -> Done:
    """The scoring of a faithfulness check, by image and fill; maps are there before."""
    bench = bench.first(2)
    explained = bench.explain(("gradcam",), ("top1",))
    explained.maps("gradcam", "top1")
    kind = KINDS["faithful"]
    asked = {
        "method": "gradcam",
        "top_k": 0.1,
        "min_advantage": 0.0,
        "fill": tuple(fills),
        "keep": "all",
        "blocks": "any",
    }
    ran = kind.run({"model": explained}, kind.parameters.from_keywords("benchmark", asked)).execution
    work = len(bench.cases) * len(fills)
    words = f"{ran['scored_images'] / work:.2f} passes counted, {ran['planned_images'] / work:.2f} planned"
    return Done(work, float(explained.seconds["score"]), words=words)


def measures(bench: Bench) -> Done:
    """All measures of pairs of maps, at the size of the images."""
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(BATCH, 7, 7, generator=generator) + 0.5
    b = a + torch.randn(BATCH, 7, 7, generator=generator)
    start = time.perf_counter()
    compare(a, b, tuple(PAIR_MEASURES), fraction=0.2, size=(bench.spec.size, bench.spec.size))
    return Done(BATCH, time.perf_counter() - start)


class SecondRun:
    """A run of the default methods with everything kept from a run before, by image that is computed again.

    Over three times as many images as the other rows, so that the sample that is computed again is not all of them.
    """

    def __init__(self) -> None:
        self._filled: set[tuple[str, str, str, int]] = set()

    @cached_property
    def folder(self) -> Path:
        """Where passes are kept; it goes away with the process."""
        made = tempfile.mkdtemp(prefix="saliency-benchmark-")
        atexit.register(shutil.rmtree, made, ignore_errors=True)
        return Path(made)

    def __call__(self, bench: Bench) -> Done:
        bench = bench.longer(3)
        key = (bench.name, bench.device, bench.precision, len(bench.cases))
        if key not in self._filled:
            self._run(bench)
            self._filled.add(key)
        start = time.perf_counter()
        explained = self._run(bench)
        seconds = time.perf_counter() - start
        costs = explained.costs()
        if not costs["cache"]["found"] or costs["cache"]["made"]:
            raise RuntimeError(f"the second run of {bench.name} found nothing in {self.folder}: {costs}")
        images = sum(sum(stage["images"].values()) for stage in costs["stages"].values())
        parts = explained.seconds
        parts["addresses and reading"] = seconds - sum(parts.values())
        return Done(images, seconds, parts, f"{images} of {len(bench.cases)} images through the model")

    def _run(self, bench: Bench) -> Explained:
        cache = Cache(self.folder, CACHE_BYTES, _refuse)
        explained = bench.explain(GRADIENT_METHODS, DEFAULT, cache=cache)
        for method in GRADIENT_METHODS:
            explained.maps(method, "top1")
        return explained


def _refuse(warning: str) -> None:
    raise RuntimeError(f"the cache of the benchmark is not whole: {warning}")


def _done(explained: Explained, count: float, words: str = "") -> Done:
    return Done(count, parts=explained.seconds, words=words)


# -- peers ------------------------------------------------------------------------------------------------------------


def one_class(bench: Bench) -> dict[str, Peer]:
    return {
        GRAD_CAM: grad_cam(bench, ("GradCAM",), 1),
        CAPTUM: captum(bench, 1),
        TORCH_CAM: torch_cam(bench, ("GradCAM",), 1),
    }


def many(bench: Bench) -> dict[str, Peer]:
    few = bench.first(1)  # tens of passes an image: one batch says enough
    return {
        GRAD_CAM: grad_cam(few, FIVE, 2, "five of them"),
        CAPTUM: captum(few, 2, "Grad-CAM only"),
        TORCH_CAM: torch_cam(few, FOUR, 2, "four of them"),
    }


def ablations(bench: Bench) -> dict[str, Peer]:
    return {
        GRAD_CAM: grad_cam(bench.few(1), ("AblationCAM",), 2, dear=True),
        CAPTUM: NO_METHOD,
        TORCH_CAM: NO_METHOD,
    }


def score_cams(bench: Bench) -> dict[str, Peer]:
    """Counted by all channels, for peers skip none; those that are flat are few."""
    one = bench.few(1)
    channels = float(one.channels)
    return {
        GRAD_CAM: counted_as(grad_cam(one, ("ScoreCAM",), 2, dear=True), channels),
        CAPTUM: NO_METHOD,
        TORCH_CAM: counted_as(torch_cam(one, ("ScoreCAM",), 2, dear=True), channels),
    }


def nobody(bench: Bench) -> dict[str, Peer]:
    return dict.fromkeys((GRAD_CAM, CAPTUM, TORCH_CAM), NO_METHOD)


def flat(passes: float) -> Callable[[Costs], Cost]:
    """Return a floor that is a number of passes by definition."""
    return lambda costs: Cost(passes, passes)


ROWS: Mapping[str, Row] = {
    "gradcam": Row(
        "Grad-CAM, one class",
        1.10,
        partial(gradients, methods=("gradcam",), targets=("top1",)),
        one_class,
        lambda costs: costs.floor(("gradcam",), 1),
    ),
    "six": Row(
        "six gradient methods, two classes",
        1.25,
        partial(gradients, methods=GRADIENT_METHODS, targets=BOTH),
        many,
        lambda costs: costs.floor(GRADIENT_METHODS, 2),
    ),
    "default": Row(
        "the same and the label's class (the default call)",
        None,
        partial(gradients, methods=GRADIENT_METHODS, targets=DEFAULT),
        nobody,
        lambda costs: costs.floor(GRADIENT_METHODS, 3),
    ),
    "ablationcam": Row(
        "Ablation-CAM, two classes",
        6.0,
        ablation,
        ablations,
        Costs.replays,
        ("resnet18", "resnet50"),
    ),
    "scorecam": Row("Score-CAM, two classes, per active channel", 1.10, scores, score_cams, flat(1.0), ("resnet18",)),
    "faithful": Row(
        "faithfulness, per image and fill (blur, mean)",
        5.0,
        partial(faithful, fills=("blur", "mean")),
        nobody,
        flat(4.0),
        ("resnet50",),
    ),
    "faithful_linear": Row(
        "faithfulness, fill noisy_linear",
        5.0,
        partial(faithful, fills=("noisy_linear",)),
        nobody,
        flat(4.0),
        ("resnet50",),
    ),
    "measures": Row("all measures of a pair of maps", 0.03, measures, nobody, None, ("resnet50",)),
    "cached": Row(
        "second run, warm cache, by image computed again",
        None,
        SecondRun(),
        nobody,
        lambda costs: costs.floor(GRADIENT_METHODS, 3),
        ("resnet50",),
    ),
}
