"""``explain``: a subject's maps over cases, computed when first asked for and kept."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from torch import Tensor

from pytest_saliency.engine.batches import load_pixels
from pytest_saliency.engine.cases import Cases
from pytest_saliency.engine.devices import resolve_device
from pytest_saliency.engine.further import one_map_an_image
from pytest_saliency.engine.layers import LayerInfo
from pytest_saliency.engine.making import Making
from pytest_saliency.engine.maps import Maps, judge
from pytest_saliency.engine.methods.names import GRADIENT_METHODS, METHOD_NAMES
from pytest_saliency.engine.methods.own import own_names
from pytest_saliency.engine.methods.registry import find_method, gradient_methods, unknown_method
from pytest_saliency.engine.multi_label import predicted_of, refuse_probabilities, refuse_unpaired
from pytest_saliency.engine.passes import Passes, Progress, Stage
from pytest_saliency.engine.precision import Precision
from pytest_saliency.engine.runner import Runner
from pytest_saliency.engine.sizing import BatchSize
from pytest_saliency.engine.subject import Subject
from pytest_saliency.engine.targets import TARGETS, check_target
from pytest_saliency.errors import MethodError
from pytest_saliency.measure.activity import THRESHOLD, ChannelActivity

if TYPE_CHECKING:
    from pytest_saliency.engine.executors.executor import Executor
    from pytest_saliency.records.cache import Cache


def explain(
    subject: Subject,
    cases: Cases,
    *,
    device: str = "auto",
    batch_size: int | Literal["auto"] = "auto",
    precision: Precision = "float32",
    methods: Sequence[str] | None = None,
    targets: Sequence[str] = TARGETS,
    progress: Progress | None = None,
    cache: Cache | None = None,
    worker: str | None = None,
    threads: int | None = None,
    executor: Executor | None = None,
) -> Explained:
    """Return the explanations of ``subject`` over ``cases``; nothing is computed before it is asked for.

    Parameters
    ----------
    device
        ``auto``, ``cpu``, ``cuda[:n]`` or ``mps``.
    batch_size
        Images in memory at a time, or ``auto``; halved where they do not fit. Changes no number beyond rounding.
    precision
        ``float32``, or ``bf16`` or ``fp16``: faster on hardware made for it, with other numbers; the difference is
        measured and recorded.
    methods, targets
        What the first pass computes: by default the gradient methods of ``GRADIENT_METHODS``, for ``top1``, ``top2``
        and ``label``, because together they cost little more than one. What is asked for later is one more pass.
    cache
        Where passes are kept between runs.
    worker
        Name of a pytest-xdist worker (``gw3``): workers take CUDA devices in turn.
    threads
        CPU threads of every pass; by default as many as torch uses.
    executor
        Who makes the passes; by default this process.

    Raises
    ------
    DeviceError, MethodError
        At once for a device or method that is not there; everything about model and images when first computed.
    """
    refuse_unpaired(cases)
    for name in methods or ():
        find_method(name)
    found = gradient_methods(tuple(methods or GRADIENT_METHODS))
    for target in targets:
        check_target(target)
    where = resolve_device(device, worker)
    size = BatchSize(batch_size, where)
    # A copy, because the user may change the subject later; what was asked for is what is explained.
    runner = Runner(copy.copy(subject), where, precision, threads)
    passes = Passes(runner, cases, size, found, tuple(targets), progress, cache, executor=executor)
    return Explained(passes, subject, cases)


class Explained:
    """The maps, scores and predictions of one subject over one set of cases. Made by :func:`explain`.

    Subjects that are the same model read in the same way share their passes, whatever they are called.
    """

    def __init__(self, passes: Passes, subject: Subject, cases: Cases) -> None:
        self._work = passes
        self._making = Making(passes)
        self._brought: dict[str, dict[str, Maps]] = {}
        self.subject = subject
        self.cases = cases

    def seen_as(self, subject: Subject, cases: Cases) -> Explained:
        """Return the same explanations under the name of ``subject`` and ``cases``, which are equal to these."""
        other = copy.copy(self)
        other._brought = {}
        other.subject, other.cases = subject, cases
        return other

    # -- what the model said --------------------------------------------------------------------------------------

    @property
    def device(self) -> str:
        """The device the passes ran on."""
        return str(self._work.runner.device)

    @property
    def runner(self) -> Runner:
        """The model on its device, for measures that score changed images."""
        return self._work.runner

    @property
    def executor(self) -> Executor:
        """Who makes the passes, for measures that score changed images."""
        return self._work.executor

    @property
    def precision(self) -> str:
        """The precision that was asked for, or the model's own where that is half."""
        own = str(self._work.runner.dtype).removeprefix("torch.")
        return own if own != "float32" else self._work.runner.precision

    @property
    def size(self) -> BatchSize:
        """How many images go through the model at once."""
        return self._work.size

    @property
    def batch_size(self) -> int:
        """Images in work at a time, at present."""
        return self._work.size.current

    @property
    def layer(self) -> LayerInfo:
        """The target layer, found with the first images."""
        return self._work.layer

    @property
    def logits(self) -> Tensor:
        """Class scores (N, C), float32 on the CPU; for a one-logit head z the columns are -z and z."""
        return self._work.first.scores

    @property
    def binary(self) -> bool:
        """Whether the head has one logit."""
        return self._work.first.binary

    @property
    def input_size(self) -> tuple[int, ...]:
        """Spatial size of the pixels that the maps belong to, after resize and crop."""
        return self._work.first.input_size

    @cached_property
    def predicted(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The top-1 class of each image, (N,); ties go to the lower index.

        Of a unit of an image with several labels its label, or -1 where the model does not find it.
        """
        refuse_probabilities(self.cases, self.logits, self.binary, self.subject.name)
        return predicted_of(self.cases, self.logits, range(len(self.cases)))

    @property
    def judged(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The class that each image is explained and scored for, (N,): the predicted one, or the unit's label."""
        return np.asarray(self.cases.labels, dtype=np.int64) if self.multi_label else self.predicted

    @property
    def multi_label(self) -> bool:
        """Whether cases are units of images with several labels, so that each label has a sigmoid of its own."""
        return self.cases.others is not None

    @cached_property
    def correct(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Where the prediction is the label, (N,)."""
        return np.asarray(self.predicted == np.asarray(self.cases.labels))

    def pixels(self, index: int) -> Tensor:
        """Return image ``index`` as the model sees it before normalisation, (C, *S) in [0, 1]."""
        return load_pixels(self.cases, [index], self._work.runner.subject.preprocess)[0]

    def mask(self, index: int) -> Tensor:
        """Return the mask of image ``index`` where :meth:`pixels` shows it, bool (*S): after resize and crop.

        Raises
        ------
        CasesError
            The cases have no masks, or this one cannot be read or has another size than its image.
        """
        preprocess = self._work.runner.subject.preprocess
        return preprocess.geometry_of_mask(self.cases.mask(index), self.cases.ids[index])

    def channel_activity(self, threshold: float = THRESHOLD) -> ChannelActivity:
        """Return how many of the target layer's channels each image sets off; at another threshold, one more pass.

        Source: CASE (arXiv 2506.07327), section V-B, eq. 10.
        """
        active, channels = self._work.activity(threshold)
        return ChannelActivity(active.numpy(), channels, threshold)

    # -- maps -----------------------------------------------------------------------------------------------------

    def maps(self, method: str, target: str | int = "top1") -> Maps:
        """Return the maps of ``method`` for ``target``: ``top1``, ``top2``, ``label`` or a class index.

        ``method`` is the name of a method of the engine with its variants (``scorecam[channels:64]``), of one that
        was registered, announced by an entry point or brought in by :meth:`add_maps`, or ``package.module:function``.

        Raises
        ------
        MethodError
            The method is not known, or maps that were brought in lack this target.
        """
        word = str(target)
        if method in self._brought:
            if word not in self._brought[method]:
                raise MethodError(
                    f"method {method!r} was brought in by add_maps without {word}= maps; add them, or ask for"
                    f" {', '.join(self._brought[method])}."
                )
            return self._brought[method][word]
        check_target(word)
        return self._making.maps(self._find(method), word, "")

    def maps_jittered(self, method: str) -> Maps | None:
        """Return the maps of each image's top-1 class on the image with 0.9 times the contrast.

        None where the method was brought in without its repeat (``again=``).
        """
        if method in self._brought:
            return self._brought[method].get("again")
        return self._making.maps(self._find(method), "given", "jitter")

    @cached_property
    def jitter_kept_prediction(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Where the image with 0.9 times the contrast has the same top-1 class, (N,); one pass with the maps."""
        again = predicted_of(self.cases, self._making.jittered_scores, range(len(self.cases)))
        return np.asarray(again == self.predicted)

    def add_maps(
        self,
        name: str,
        top1: Any,
        top2: Any = None,
        again: Any = None,
        label: Any = None,
        version: int = 1,
    ) -> None:
        """Bring in maps made elsewhere, after which ``method=name`` works everywhere.

        ``top1``, ``top2``, ``label``: (N, *grid) arrays in the order of the cases, raw and signed, at any
        resolution. ``again``: the top-1 maps of the images with 0.9 times the contrast (see ``jittered``), without
        which ``class_sensitive`` can at best be INCONCLUSIVE.

        Raises
        ------
        MethodError
            The name is taken by a method of the engine or by other maps, or the maps are not one a case, or differ
            in grid.
        """
        if self._is_method(name):
            raise MethodError(f"add_maps: {name!r} is a method of the engine or registered; choose another name.")
        given = {"top1": top1, "top2": top2, "again": again, "label": label}
        made: dict[str, Maps] = {}
        dimensions = len(self.input_size)
        for word, array in given.items():
            if array is None:
                continue
            values = one_map_an_image(f"add_maps({name!r}): {word} holds", array, len(self.cases), dimensions)
            first = next(iter(made.values()), None)
            if first is not None and first.values.shape[1:] != values.shape[1:]:
                raise MethodError(
                    f"add_maps({name!r}): {word} has a grid of {tuple(values.shape[1:])}, but top1 has"
                    f" {tuple(first.values.shape[1:])}."
                )
            classes = self._making.classes("top1" if word == "again" else word)
            made[word] = Maps(values, judge(values), name, version, word, classes.numpy(), self.cases.ids)
        if name in self._brought and not _same_maps(self._brought[name], made):
            # One Explained may serve many tests; their verdicts must not depend on the order of their add_maps.
            raise MethodError(f"add_maps: {name!r} was brought in before, with other maps; choose another name.")
        self._brought[name] = made

    # -- what records say -----------------------------------------------------------------------------------------

    def identity(self) -> dict[str, Any]:
        """Return what a record says of the subject: who it is, its layer, its input."""
        self._work.runner.check_unchanged()
        return {
            **self.subject.identity(),
            "layer": self.layer.name,
            "layer_kind": self.layer.kind,
            "layer_shape": list(self.layer.shape),
            "layer_layout": self.layer.layout.describe(),
            "input_size": list(self.input_size),
            "contrast": self.subject.contrast.describe(),
        }

    @property
    def passes(self) -> dict[str, int]:
        """Forward calls of the whole model by stage, as far as they were counted."""
        return {name: stage.passes for name, stage in self._work.stages.items() if stage.passes}

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds by stage."""
        return {name: stage.seconds for name, stage in self._work.stages.items()}

    def costs(self) -> dict[str, Any]:
        """Return what a record says of the work so far: stages with images, passes and seconds, cache, notes."""
        return self._work.costs()

    def report(self, stage: str) -> Callable[[int, int], None] | None:
        """Return what is to be called with (images done, images in all) of a stage; None where nobody watches."""
        return self._work.report(stage)

    def stage(self, name: str) -> AbstractContextManager[Stage]:
        """Add the time spent inside to stage ``name``, and hand out what to count images on."""
        return self._work.stage(name)

    def remember(
        self,
        name: str,
        parts: Mapping[str, Any],
        make: Callable[[], dict[str, np.ndarray[Any, Any]]],
    ) -> dict[str, np.ndarray[Any, Any]]:
        """Return the arrays that ``make`` returns, or returned in an earlier run under the same ``name`` and ``parts``.

        ``parts`` must say everything that the numbers depend on beside model, cases, device and precision.
        """
        return self._work.remember({"name": name, **parts}, make)

    def _find(self, method: str) -> Any:
        try:
            return find_method(method)
        except MethodError:
            if self._brought and "[" not in method and ":" not in method:
                raise unknown_method(method, tuple(self._brought)) from None
            raise

    def _is_method(self, name: str) -> bool:
        return name.partition("[")[0] in METHOD_NAMES or name in own_names()


def _same_maps(one: dict[str, Maps], two: dict[str, Maps]) -> bool:
    return one.keys() == two.keys() and all(
        np.array_equal(one[word].values.numpy(), two[word].values.numpy(), equal_nan=True) for word in one
    )
