"""The same kind of work beside the cases under test: on images made from them, or on a changed copy of the model.

Device, precision, batch size, CPU threads and progress are those of the explanations it stands beside, so that the two
can be compared.
"""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import dataclass, replace

from torch import Tensor

from pytest_saliency.engine.cases import Cases
from pytest_saliency.engine.explained import Explained
from pytest_saliency.engine.images import ImageSource
from pytest_saliency.engine.methods.evidence import GradientMethod
from pytest_saliency.engine.methods.registry import find_method, gradient_methods
from pytest_saliency.engine.passes import Passes
from pytest_saliency.engine.preprocess import Preprocess
from pytest_saliency.engine.runner import Runner
from pytest_saliency.engine.sizing import BatchSize
from pytest_saliency.engine.subject import Subject
from pytest_saliency.errors import MethodError


def explain_beside(
    explained: Explained, subject: Subject, cases: Cases, method: str, *, cached: bool = False, quiet: bool = False
) -> Explained:
    """Return the explanations of ``subject`` over ``cases`` by ``method``, for the target ``label``.

    Parameters
    ----------
    cached
        Keep the passes between runs, where those of ``explained`` are kept.
    quiet
        Report no progress of its own, because the caller counts several such works as one.

    Raises
    ------
    MethodError
        The method's maps were brought in, so that there are none of other images or of another model.
    """
    refuse_brought(explained, method)
    work = explained._work
    runner = Runner(copy.copy(subject), work.runner.device, work.runner.precision, work.runner.threads)
    size = BatchSize(work.size.current, runner.device)
    passes = Passes(
        runner,
        cases,
        size,
        gradient_methods(_first_pass(method)),
        ("label",),
        None if quiet else work._progress,
        work.remembered.cache if cached else None,
        executor=work.executor,
    )
    return Explained(passes, subject, cases)


def refuse_brought(explained: Explained, method: str) -> None:
    """Raise a MethodError where the maps of ``method`` were brought in by ``add_maps``."""
    if method in explained._brought:
        raise MethodError(
            f"method {method!r} was brought in by add_maps, which holds maps of the given model and images only, and"
            " this check needs maps of others too; register a function instead (pytest_saliency.register_method)."
        )


def _first_pass(method: str) -> tuple[str, ...]:
    """Return the gradient methods of the first pass: the one asked for, or what others are made from."""
    found = find_method(method)
    return (method,) if isinstance(found, GradientMethod) else ("gradcam",)


def after_geometry(subject: Subject) -> Subject:
    """Return the same subject for images that were resized and cropped for it already."""
    made = copy.copy(subject)
    if subject.preprocess.function is None or subject.preprocess.keeps_size:
        made.preprocess = replace(subject.preprocess, resize=None, center_crop=None, channels=None)
        if subject.contrast.cases is not None:
            made.contrast = replace(subject.contrast, cases=prepared(subject.contrast.cases, subject.preprocess))
    return made


def prepared(cases: Cases, preprocess: Preprocess) -> Cases:
    """Return the cases with images as they are after resize and crop; each is still read when it is needed."""
    images = tuple(Prepared(image, preprocess) for image in cases.images)
    return replace(cases, images=images, masks=None)


@dataclass(frozen=True)
class Prepared:
    """An image after a subject's resize and crop."""

    image: ImageSource
    preprocess: Preprocess

    def load(self, case: str) -> Tensor:
        return self.preprocess.geometry(self.image.load(case), case)

    def digest(self, case: str) -> str:
        geometry = json.dumps(self.preprocess.describe(), sort_keys=True)
        return hashlib.sha256(f"{self.image.digest(case)}\x1f{geometry}".encode()).hexdigest()


def images_of(explained: Explained) -> int:
    """Return how many images went through the whole model for these explanations so far."""
    stages = explained.costs()["stages"].values()
    return sum(count for stage in stages for what, count in stage["images"].items() if what != "tail")
