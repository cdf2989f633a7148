"""What a network of the same architecture that has learned nothing would show: the control ``random_model``.

``reinitialised_copy`` forgets what was learned and keeps the architecture and the scale of every tensor;
``reinitialised_subject`` makes a subject of such a copy, and ``reinitialised_gradcam`` explains it, for the classes
that the model itself predicted.
"""

from __future__ import annotations

import contextlib
import copy
import random
from collections.abc import Callable, Collection, Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.parameter import is_lazy

from pytest_saliency.engine.batches import load_pixels, stream
from pytest_saliency.engine.capture import Tap
from pytest_saliency.engine.cases import Cases
from pytest_saliency.engine.layers import LayerInfo
from pytest_saliency.engine.methods.evidence import Evidence
from pytest_saliency.engine.methods.gradcam import GRADCAM
from pytest_saliency.engine.runner import Runner
from pytest_saliency.engine.sizing import BatchSize, out_of_memory
from pytest_saliency.engine.subject import Subject
from pytest_saliency.errors import MethodError, raised

MEASURED = 32  # images, the first by id, with which running statistics are measured anew
TOGETHER = 4  # of them at a time: fixed, so that the batch size of a run changes nothing
CONTROL = "random_model"


def reinitialised_copy(
    model: nn.Module, seed: int, only: Collection[str] | None = None, who: str = CONTROL
) -> nn.Module:
    """Return a copy of ``model`` whose parameters are drawn anew under ``seed``; the model itself is not touched.

    ``only`` names the modules whose own parameters are drawn anew, all of them without it; ``who`` needs the copy, in
    messages.

    Every module with ``reset_parameters`` is reset. Parameters that are still what they were afterwards (they belong
    to a module without it, or to a parametrization) are drawn from a normal distribution with their own mean and
    standard deviation; constant ones stay. Then every parameter gets back its root mean square: the default
    initialisation shrinks a signal by more than half in each layer with a ReLU, so that a deep network without
    normalisation would answer every image alike. Running statistics are left at mean 0 and variance 1, see
    ``reinitialised_gradcam``.

    The draws are made on the CPU, so that the copy is the same whatever device the model is on.

    Raises
    ------
    MethodError
        The model cannot be copied, or a module's ``reset_parameters`` cannot be called.
    """
    name = type(model).__name__
    try:
        made = copy.deepcopy(model)
    except Exception as error:
        raise MethodError(
            f"{who} needs a copy of model {name}, but copy.deepcopy of it {raised(error)}. Leave {who}"
            " out, or give the model a __deepcopy__."
        ) from error
    tensors = [*made.parameters(), *made.buffers()]
    mine = {tensor.data_ptr() for tensor in (*model.parameters(), *model.buffers()) if _has_memory(tensor)}
    if any(_has_memory(tensor) and tensor.data_ptr() in mine for tensor in tensors):
        raise MethodError(
            f"{who} needs a copy of model {name}, but copy.deepcopy of it shares tensors with the model. Leave"
            f" {who} out, or correct its __deepcopy__."
        )
    homes = [tensor.device for tensor in tensors]
    with _drawing(seed), torch.no_grad():
        for tensor in tensors:
            tensor.data = tensor.data.cpu()
        _redraw(made, name, only, who)
        for tensor, home in zip(tensors, homes, strict=True):
            tensor.data = tensor.data.to(home)
    return made


def _has_memory(tensor: Tensor) -> bool:
    return not is_lazy(tensor) and tensor.numel() > 0


def _redraw(made: nn.Module, name: str, only: Collection[str] | None, who: str) -> None:
    parameters = [p for p in made.parameters() if _has_memory(p) and p.is_floating_point()]
    before = [parameter.detach().clone() for parameter in parameters]
    chosen = {
        id(parameter)
        for path, module in made.named_modules()
        if only is None or path in only
        for parameter in module.parameters(recurse=False)
    }
    for path, module in made.named_modules():
        if only is not None and path not in only:
            continue
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            try:
                reset()
            except Exception as error:
                raise MethodError(
                    f"{who} resets every module of a copy of model {name}, but reset_parameters of"
                    f" '{path}' ({type(module).__name__}) {raised(error)}. Correct it, or leave {who} out."
                ) from error
    for parameter, old in zip(parameters, before, strict=True):
        if id(parameter) not in chosen:
            parameter.copy_(old)  # a module's reset_parameters may reach the modules inside it
            continue
        spread = float(old.double().std(correction=0))
        if spread > 0 and torch.equal(parameter, old):
            drawn = torch.empty(old.shape, dtype=torch.float64, device="cpu").normal_()
            parameter.copy_(float(old.double().mean()) + spread * drawn)
        wanted, found = (float(values.double().square().mean().sqrt()) for values in (old, parameter))
        if found > 0 and np.isfinite(wanted):
            parameter.mul_(wanted / found)


@contextlib.contextmanager
def _drawing(seed: int) -> Iterator[None]:
    """Seed everything a ``reset_parameters`` may draw from, and put the random states back afterwards."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed every accelerator too
            random.seed(seed)
            np.random.seed(seed % 2**32)
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)


def reinitialised_gradcam(
    runner: Runner,
    layer: LayerInfo,
    cases: Cases,
    size: BatchSize,
    classes: Tensor,
    seed: int,
    transform: Callable[[Tensor], Tensor] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Return Grad-CAM maps (N, *grid), float32 on the CPU, of a re-initialised copy of the runner's model.

    ``classes`` (N,) are those that the maps are for; ``transform`` changes each batch of pixels first. Running
    statistics of the copy's normalisation layers are measured on up to 32 of the cases, because in evaluation mode a
    normalisation that does not fit the weights makes activations vanish with depth. A map for which the copy's
    scores or gradients are not finite is NaN, and one without a gradient zero: the maps' status says so.

    Raises
    ------
    MethodError
        The model cannot be copied, or four images at once do not fit into memory.
    SubjectError, CasesError
        What an ordinary pass would raise.
    """
    subject = runner.subject
    other = Runner(
        _twin(subject, layer.name, reinitialised_copy(subject.model, seed)), runner.device, threads=runner.threads
    )
    maps: list[Tensor] = []
    with other.session():
        _measure_statistics(other, cases)
        tap = Tap(other, layer.name, layer.layout)
        for batch in stream(cases, subject.preprocess, size, runner.device):
            pixels = batch.pixels if transform is None else transform(batch.pixels)
            maps += size.each(len(pixels), partial(_explain, tap, pixels, classes[list(batch.indices)]))
            if progress is not None:
                progress(batch.indices[-1] + 1, len(cases))
    return torch.cat(maps)


def reinitialised_subject(
    runner: Runner, layer: str, cases: Cases, seed: int, only: Collection[str] | None, who: str
) -> Subject:
    """Return a subject of a re-initialised copy of the runner's model, with running statistics measured on ``cases``.

    ``only`` names the modules that are drawn anew, and those whose running statistics are measured; see
    :func:`reinitialised_copy` and :func:`reinitialised_gradcam`.
    """
    made = _twin(runner.subject, layer, reinitialised_copy(runner.subject.model, seed, only, who))
    other = Runner(made, runner.device, threads=runner.threads)
    with other.session():
        _measure_statistics(other, cases, only, who)
    return made


def _twin(subject: Subject, layer: str, model: nn.Module) -> Subject:
    return Subject(
        model,
        layer=layer,
        preprocess=subject.preprocess,
        contrast=subject.contrast,
        output=subject.output,
        reshape=subject.reshape,
        name=f"{subject.name} (re-initialised)",
        input=subject.input,
    )


def _explain(tap: Tap, pixels: Tensor, classes: Tensor, part: slice) -> Tensor:
    made = tap(pixels[part])
    column = classes[part].to(made.scores.device).unsqueeze(1)
    gradients = made.gradients(torch.zeros_like(made.scores).scatter_(1, column, 1.0).unsqueeze(0))[0]
    raw = GRADCAM.compute(Evidence(made.activations.flatten(2), gradients.flatten(2)))
    broken = ~torch.isfinite(made.scores).all(1, keepdim=True)
    return raw.values.masked_fill(broken, torch.nan).reshape(-1, *made.activations.shape[2:]).float().cpu()


def _measure_statistics(runner: Runner, cases: Cases, only: Collection[str] | None = None, who: str = CONTROL) -> None:
    """Set running means and variances to the average over groups of ``TOGETHER`` images.

    The images are as they come, also where changed ones are explained: both must meet the same network.
    """
    norms = [
        module
        for path, module in runner.subject.model.named_modules()
        if isinstance(module, _NormBase) and module.running_mean is not None and (only is None or path in only)
    ]
    if not norms:
        return
    first = sorted(range(len(cases)), key=lambda index: cases.ids[index])[:MEASURED]
    # Groups of one size count alike; a single image stands twice, because one value has no variance.
    groups = [first[at : at + TOGETHER] for at in range(0, len(first) - TOGETHER + 1, TOGETHER)] or [first * 2]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain average over all groups
        norm.training = True
    try:
        for group in groups:
            runner.scores(load_pixels(cases, group, runner.subject.preprocess))
    except Exception as error:
        if not out_of_memory(error):
            raise
        raise MethodError(
            f"{who} measures the normalisation of a re-initialised copy of model '{runner.subject.name}' on"
            f" {len(groups[0])} images at once, which do not fit into memory. Take a larger device, or leave"
            f" {who} out."
        ) from error
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum, norm.training = momentum, False
