"""Methods of the package captum (an extra), as methods of the engine: ``captum:IntegratedGradients`` and others.

captum builds the paths, the noise, the windows and the multipliers, and weighs what comes back; the engine gives it
the model's input and baselines, runs the model in batches that fit, and takes all classes of an image from one forward
pass.
What is attributed is the class score (the logit). Attributions are signed, summed over the channels of a pixel, and
then over the pixels of each cell of the grid (see ``pixels``). Baselines are made of pixels in [0, 1] and normalised
like the images.

What is random is drawn from the id of the case and the repeat: it is the same in every order, batch and run, for all
classes of an image and for both models of a comparison, and another in the repeat that measures noise.

Details an image: ``delta``, how far the attributions' sum is from the score minus the baseline's score, which they
should sum to (IntegratedGradients, DeepLift), and ``noise``, the standard deviation of GradientShap's noise in units of
the model's input.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pytest_saliency.decide.randomness import seed_from
from pytest_saliency.engine.methods.deeplift import deeplift
from pytest_saliency.engine.methods.evidence import RawMaps
from pytest_saliency.engine.methods.inputs import Slots, gradients_of, in_groups, scores_of
from pytest_saliency.engine.methods.names import CAPTUM, MethodName
from pytest_saliency.engine.methods.perturbation import PerturbationMethod, Perturbed, Site, TargetsOf
from pytest_saliency.engine.methods.pixels import baseline_pixels, cells_of, model_inputs, summed
from pytest_saliency.engine.precision import HALVES
from pytest_saliency.engine.sizing import out_of_memory
from pytest_saliency.errors import MethodError, SaliencyError, raised

UNEXPLAINED = 0.05  # of the change of the score: from here on a note says that the attributions do not sum to it
SCORED = 0.01  # of the largest score: smaller changes are rounding, and no share of them is looked at


@dataclass(frozen=True)
class Work:
    """One batch: the model's input x (n, C, *S), its pixels, its classes, and what the method's name asks for."""

    site: Site
    name: MethodName
    inputs: Tensor
    pixels: Tensor
    slots: Slots

    def baselines(self, count: int = 1, at: slice = slice(None)) -> Tensor:
        """Return the declared baselines of the images at ``at`` as inputs of the model, (n, count, C, *S)."""
        pixels = self.pixels[at].to(self.inputs.device)
        made = baseline_pixels(self.name.setting("baseline"), pixels, self.site.ids[at], self.site.draw, count)
        return model_inputs(self.site, made.flatten(0, 1), self.name.base).reshape(
            *made.shape[:2], *self.inputs.shape[1:]
        )


@dataclass(frozen=True)
class Made:
    """What a method made: attributions (k, n, C, *S), and numbers to record, (k, n) each.

    They should sum to the score minus that of the ``baseline`` (n, C, *S); None where nothing says so.
    """

    values: Tensor
    details: Mapping[str, Tensor]
    baseline: Tensor | None = None


def captum_method(base: str, variants: tuple[str, ...] = ()) -> PerturbationMethod:
    """Return a method of captum with ``variants`` as ``parse_method`` orders them."""
    name = MethodName(base, variants)
    compute, source = _METHODS[base.removeprefix(CAPTUM)]
    full = str(name.in_full())
    return PerturbationMethod(str(name), 1, partial(_compute, name, compute), source, full, "captum")


def _compute(
    name: MethodName, attribute: Callable[[Work], Made], site: Site, pixels: Tensor, targets_of: TargetsOf
) -> Perturbed:
    _installed(name)
    inputs = model_inputs(site, pixels, name.base)
    scores, binary = scores_of(site, inputs, "capture")
    slots = Slots.of(targets_of(scores))
    work = Work(site, name, inputs, pixels, slots)
    with _one_sentence(work), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # captum's remarks on hooks and gradients that it sets are not the user's
        made = attribute(work)
    details = dict(made.details)
    if made.baseline is not None:
        details["delta"] = _delta(work, scores, made.values, made.baseline)
    grid = cells_of(inputs.shape[2:], int(name.setting("grid")))
    cells = summed(made.values.sum(2), grid)
    maps = {}
    for word in slots.place:
        told = {key: slots.pick(value, word) for key, value in details.items()}
        maps[word] = RawMaps(slots.pick(cells, word), None, told)
    return Perturbed(scores, binary, maps)


def _delta(work: Work, scores: Tensor, values: Tensor, baseline: Tensor) -> Tensor:
    """Return sum of attributions - (score - score of the baseline), (k, n), and note where it is much of the change."""
    start, _ = scores_of(work.site, baseline, "baseline")
    classes = work.slots.classes.to(scores.device)
    change = (scores - start).gather(1, classes.T).T.double().cpu()
    delta = values.flatten(2).double().sum(2).cpu() - change
    least = SCORED * scores.abs().amax(1).double().cpu()
    if bool((delta.abs() > UNEXPLAINED * torch.maximum(change.abs(), least)).any()):
        remedy = {
            "captum:IntegratedGradients": "take more steps, as captum:IntegratedGradients[steps:256]",
            "captum:DeepLift": (
                "its rule covers the modules ReLU, ELU, LeakyReLU, Sigmoid, Tanh, Softplus, MaxPool and Softmax, and"
                " what else the model computes, as F.relu or GELU, passes its plain gradient; use"
                " captum:IntegratedGradients"
            ),
        }[work.name.base]
        if work.site.runner.computes_in in HALVES.values():
            remedy += ", and float32: half precision alone may round as much"
        subject = work.site.runner.subject.name
        work.site.notes[
            f"the attributions of {work.name} do not sum to the change of the score of model '{subject}' within"
            f" {UNEXPLAINED:.0%} on every image (see delta): {remedy}"
        ] = None
    return delta.float()


# -- the methods ----------------------------------------------------------------------------------------------------


class SharedGradients:
    """captum's gradient function for one class after the other; those of all classes are computed with the first.

    ``classes`` (k, n): row r of what captum made is of image r modulo n. Set ``slot`` before captum is called.
    """

    def __init__(self, work: Work, classes: Tensor) -> None:
        self._work, self._classes = work, classes
        self._rows: Tensor | None = None
        self._found: Tensor | None = None
        self.slot = 0

    def __call__(
        self, forward_fn: object, inputs: Any, target_ind: object = None, additional_forward_args: object = None
    ) -> tuple[Tensor, ...]:
        rows = (inputs[0] if isinstance(inputs, tuple) else inputs).detach()
        # The same draws and the same path for each class: if captum should ever make others, they are computed.
        if self._rows is None or self._found is None or not torch.equal(rows, self._rows):
            classes = self._classes.repeat(1, len(rows) // self._classes.shape[1])
            self._rows, self._found = rows, gradients_of(self._work.site, rows, classes, str(self._work.name.base))
        return (self._found[self.slot],)


def _of_all_classes(work: Work, explainer: Any, classes: Tensor, attribute: Callable[[Any], Tensor]) -> Tensor:
    """Return what captum attributes to each class, (k, n, C, *S)."""
    gradients = SharedGradients(work, classes)
    explainer.gradient_func = gradients
    made = []
    for slot in range(len(classes)):
        gradients.slot = slot
        made.append(attribute(explainer).detach())
    return torch.stack(made)


def _never(inputs: Tensor) -> Tensor:
    raise RuntimeError("captum called the model itself, which this version of pytest-saliency does not expect")


def _integrated_gradients(work: Work) -> Made:
    """Gauss-Legendre quadrature of the gradient on the straight line from the baseline, times x - baseline."""
    from captum.attr import IntegratedGradients

    steps = int(work.name.setting("steps"))
    baselines = work.baselines()[:, 0]

    def group(at: slice) -> Tensor:
        def attribute(explainer: Any) -> Tensor:
            made: Tensor = explainer.attribute(work.inputs[at], baselines[at], n_steps=steps)
            return made

        return _of_all_classes(work, IntegratedGradients(_never), work.slots.classes[:, at], attribute)

    return Made(in_groups(work.site, len(work.inputs), steps, group), {}, baselines)


def _gradient_shap(work: Work) -> Made:
    """The mean over samples of the gradient at a random place between a random baseline and the noisy x.

    Image by image and on the CPU, where the draws of an image depend on nothing but its seed.
    """
    from captum.attr import GradientShap

    samples, share = int(work.name.setting("samples")), float(work.name.setting("noise"))
    inputs = work.inputs.cpu()
    flat = inputs.flatten(1)
    noise = share * (flat.amax(1) - flat.amin(1))
    made = []
    for i, case in enumerate(work.site.ids):
        seed = seed_from("captum:GradientShap", case, work.site.draw)
        baselines = work.baselines(samples, slice(i, i + 1))[0].cpu()

        def attribute(explainer: Any, i: int = i, seed: int = seed, baselines: Tensor = baselines) -> Tensor:
            torch.default_generator.manual_seed(seed % 2**63)
            np.random.seed(seed % 2**32)
            found: Tensor = explainer.attribute(inputs[i : i + 1], baselines, n_samples=samples, stdevs=float(noise[i]))
            return found

        made.append(_of_all_classes(work, GradientShap(_never), work.slots.classes[:, i : i + 1], attribute))
        work.site.progress((i + 1) / len(inputs))
    return Made(torch.cat(made, dim=1), {"noise": noise.expand(work.slots.count, -1)})


def _occlusion(work: Work) -> Made:
    """The mean, over all windows that cover a pixel, of how far the score falls when the window shows the baseline."""
    from captum.attr import Occlusion

    window, stride = int(work.name.setting("window")), int(work.name.setting("stride"))
    size = tuple(work.inputs.shape[2:])
    _check_windows(work, window, stride, size)
    inputs, baselines = work.inputs, work.baselines()[:, 0]
    channels = inputs.shape[1]

    def group(at: slice) -> Tensor:
        classes = work.slots.classes[:, at].T
        count = len(classes)
        windows = _positions(size, window, stride)
        done = 0

        def said(rows: Tensor) -> Tensor:
            nonlocal done
            done += len(rows)
            scores, _ = scores_of(work.site, rows, "windows")
            work.site.progress((at.start + count * min(1.0, done / (count * windows))) / len(inputs))
            return scores.gather(1, classes.to(scores.device).repeat(len(rows) // count, 1))

        made: Tensor = Occlusion(said).attribute(
            inputs[at],
            (channels, *(window,) * len(size)),
            strides=(channels, *(stride,) * len(size)),
            baselines=baselines[at],
            perturbations_per_eval=max(1, work.site.size.current // count),
        )
        return made.reshape(count, -1, *inputs.shape[1:]).transpose(0, 1) / channels

    return Made(in_groups(work.site, len(inputs), 1, group), {})


def _positions(size: tuple[int, ...], window: int, stride: int) -> int:
    """Return how many windows there are: the last of each axis ends with the image, whatever is left of a stride."""
    count = 1
    for side in size:
        count *= 1 + -(-(side - window) // stride)
    return count


def _check_windows(work: Work, window: int, stride: int, size: tuple[int, ...]) -> None:
    shown = "x".join(map(str, size))
    subject = work.site.runner.subject.name
    if window > min(size) or _positions(size, window, stride) == 1:
        raise MethodError(
            f"{work.name.in_full()} cannot move a window of {window} pixels over the input of model '{subject}', which"
            f" is {shown}; declare a smaller one, as captum:Occlusion[window:{max(1, min(size) // 4)},"
            f"stride:{max(1, min(size) // 8)}]."
        )
    if stride > window:
        raise MethodError(
            f"{work.name.in_full()} would leave pixels between the windows uncovered; a stride of at most {window}"
            " is needed."
        )


def _saliency(work: Work) -> Made:
    """The absolute gradient of the score with respect to the input."""
    from captum.attr import Saliency

    return _plain(work, Saliency(_never))


def _input_x_gradient(work: Work) -> Made:
    """The gradient of the score with respect to the input, times the input."""
    from captum.attr import InputXGradient

    return _plain(work, InputXGradient(_never))


def _plain(work: Work, explainer: Any) -> Made:
    def group(at: slice) -> Tensor:
        def attribute(one: Any) -> Tensor:
            made: Tensor = one.attribute(work.inputs[at].clone().requires_grad_())
            return made

        return _of_all_classes(work, explainer, work.slots.classes[:, at], attribute)

    return Made(in_groups(work.site, len(work.inputs), 1, group), {})


def _deep_lift(work: Work) -> Made:
    """The score's change from the baseline, passed back through each activation in proportion (the rescale rule)."""
    baselines = work.baselines()[:, 0]
    return Made(deeplift(work.site, work.inputs, baselines, work.slots.classes), {}, baselines)


_METHODS: Mapping[str, tuple[Callable[[Work], Made], str]] = {
    "IntegratedGradients": (_integrated_gradients, "arXiv 1703.01365"),
    "GradientShap": (_gradient_shap, "arXiv 1705.07874"),
    "Occlusion": (_occlusion, "arXiv 1311.2901"),
    "DeepLift": (_deep_lift, "arXiv 1704.02685"),
    "Saliency": (_saliency, "arXiv 1312.6034"),
    "InputXGradient": (_input_x_gradient, "arXiv 1605.01713"),
}


# -- what goes wrong ------------------------------------------------------------------------------------------------


def _installed(name: MethodName) -> None:
    try:
        import captum.attr  # noqa: F401
    except ImportError as error:
        raise MethodError(
            f"method '{name}' needs the package captum, which cannot be imported here ({error}); install it with"
            " pip install 'pytest-saliency[captum]'."
        ) from error


@contextmanager
def _one_sentence(work: Work) -> Iterator[None]:
    try:
        yield
    except SaliencyError:
        raise
    except Exception as error:
        if out_of_memory(error):
            raise
        raise MethodError(
            f"method '{work.name}' of captum, given model '{work.site.runner.subject.name}' and {len(work.inputs)}"
            f" images (for one, '{work.site.ids[0]}'), {raised(error)}."
        ) from error
