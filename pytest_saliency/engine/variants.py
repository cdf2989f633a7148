"""The same maps made otherwise: in other batches, another order, with other threads, in other precisions, elsewhere.

Each way is a fresh pass over the images, never one from the cache: what was kept of another run says nothing of how the
model is executed here.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pytest_saliency.decide.randomness import Stream
from pytest_saliency.engine.batches import load_pixels
from pytest_saliency.engine.cases import Cases
from pytest_saliency.engine.explained import Explained, explain
from pytest_saliency.engine.outputs import two_sided
from pytest_saliency.engine.passes import top1
from pytest_saliency.engine.subject import Subject
from pytest_saliency.errors import DeviceError, MethodError, SaliencyError, first_line


@dataclass(frozen=True)
class Otherwise:
    """Top-1 maps (n, *grid) of the images and the predictions (n,) of one way to compute them.

    ``scores``: for a way that can only be seen in the scores (n, C), with ``maps`` None.
    """

    maps: Tensor | None
    scores: Tensor
    predicted: NDArray[np.int64]


class NotHereError(Exception):
    """A variant that cannot be computed on this machine; says why, as the end of a sentence."""


def computed_otherwise(explained: Explained, method: str, indices: Sequence[int], variant: str, seed: int) -> Otherwise:
    """Return the maps of the cases at ``indices``, computed as ``variant`` says.

    Raises
    ------
    NotHereError
        This machine has no compiler, no second device, no such precision.
    MethodError
        The maps were brought in from outside, where they cannot be made again.
    SaliencyError
        The variant cannot explain these images; names the variant.
    """
    if method in explained._brought:
        raise MethodError(
            f"method {method!r} was brought in by add_maps, so that its maps cannot be computed in another way;"
            " register it as a method (pytest_saliency.register_method)."
        )
    cases = explained.cases.subset(list(indices))
    with explained.stage(f"variant {variant}") as cost:
        try:
            made = VARIANTS[variant](_Asked(explained, method, cases, seed, variant))
        except DeviceError as error:
            raise NotHereError(first_line(error)) from error
        except SaliencyError as error:
            raise SaliencyError(f"variant {variant}: {error}") from error
        cost.count("explained", len(cases))
    return made


@dataclass(frozen=True)
class _Asked:
    """What is to be explained again."""

    explained: Explained
    method: str
    cases: Cases
    seed: int
    variant: str

    def again(
        self,
        *,
        subject: Subject | None = None,
        cases: Cases | None = None,
        batch_size: int | None = None,
        precision: str | None = None,
        threads: int | None = None,
        device: str | None = None,
    ) -> Otherwise:
        """Explain afresh, as the run does but for what is given."""
        one, told = self.explained, self.explained.report(f"variant {self.variant}")
        runner = one.runner
        made = explain(
            subject or _layered(one, one.subject),
            cases or self.cases,
            device=device or str(runner.device),
            batch_size=batch_size or one.size.current,
            precision=precision or runner.precision,  # type: ignore[arg-type]
            methods=[self.method] if self.method.partition("[")[0] in _planned() else None,
            targets=("top1",),
            progress=None if told is None else lambda _, done, total: told(done, total),
            threads=threads or runner.threads,
        )
        maps = made.maps(self.method, "top1")
        with one.stage(f"variant {self.variant}") as cost:
            cost.passes += sum(made.passes.values())
        return Otherwise(maps.values, made.logits, made.predicted)


def _planned() -> tuple[str, ...]:
    from pytest_saliency.engine.methods.names import GRADIENT_METHODS

    return tuple(name.partition("[")[0] for name in GRADIENT_METHODS)


def _layered(explained: Explained, subject: Subject, model: nn.Module | None = None) -> Subject:
    """Return the subject with its layer by name, of ``model`` where that is a copy."""
    made = copy.copy(subject)
    made.layer = explained.layer.name
    if model is not None:
        made.model, made._hashed = model, {}
    return made


def _batch_one(asked: _Asked) -> Otherwise:
    return asked.again(batch_size=1)


def _shuffled(asked: _Asked) -> Otherwise:
    order = Stream(asked.seed, "shuffled").permutation(len(asked.cases))
    made = asked.again(cases=asked.cases.subset(order.tolist()))
    assert made.maps is not None
    back = torch.from_numpy(np.argsort(order))
    return Otherwise(made.maps[back], made.scores[back], made.predicted[back.numpy()])


def _threads(asked: _Asked) -> Otherwise:
    if asked.explained.runner.device.type != "cpu":
        raise NotHereError("the run computes on a device, where the CPU's threads play no part")
    now = asked.explained.runner.threads or torch.get_num_threads()
    return asked.again(threads=1 if now > 1 else 2)


def _float64(asked: _Asked) -> Otherwise:
    runner = asked.explained.runner
    if runner.device.type == "mps":
        raise NotHereError("device 'mps' has no float64")
    model = _copied(runner.subject.model).to(torch.float64)
    return asked.again(subject=_layered(asked.explained, runner.subject, model), precision="float32")


def _copied(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model)
    except Exception as error:
        raise NotHereError(f"the model cannot be copied ({first_line(error)})") from error


def _bf16(asked: _Asked) -> Otherwise:
    return asked.again(precision="bf16")


def _fp16(asked: _Asked) -> Otherwise:
    return asked.again(precision="fp16")


def _cpu(asked: _Asked) -> Otherwise:
    here = asked.explained.runner.device.type
    if here != "cpu":
        return asked.again(device="cpu")
    if not torch.cuda.is_available():
        raise NotHereError("the run computes on the CPU, and there is no CUDA device to compare with")
    return asked.again(device="cuda")


def _compiled(asked: _Asked) -> Otherwise:
    """Score the images with the compiled model; maps are always made of the model as it is written."""
    runner = asked.explained.runner
    if runner.device.type == "cpu" and not any(shutil.which(name) for name in ("c++", "g++", "clang++", "cl")):
        raise NotHereError("torch.compile needs a C++ compiler, and there is none")
    told = asked.explained.report("variant compiled")
    scores: list[Tensor] = []
    step = asked.explained.size.current
    with runner.session():
        # A copy, because the compiler leaves traces on a model; made here, where it is in evaluation.
        run = torch.compile(_copied(runner.subject.model), dynamic=False)
        for start in range(0, len(asked.cases), step):
            few = range(start, min(start + step, len(asked.cases)))
            pixels = load_pixels(asked.cases, few, runner.subject.preprocess)
            try:
                with torch.compiler.set_stance("default"), torch.no_grad():
                    output = run(runner.model_input(pixels))
            except Exception as error:
                raise NotHereError(f"torch.compile did not compile it ({first_line(error)})") from error
            logits, _ = two_sided(runner.subject.select(output, len(few)))
            scores.append(logits.float().cpu())
            if told is not None:
                told(few.stop, len(asked.cases))
    with asked.explained.stage("variant compiled") as cost:
        cost.passes += len(scores)
    found = torch.cat(scores)
    return Otherwise(None, found, top1(found))


VARIANTS: Mapping[str, Callable[[_Asked], Otherwise]] = {
    "batch_one": _batch_one,
    "shuffled": _shuffled,
    "threads": _threads,
    "float64": _float64,
    "compiled": _compiled,
    "bf16": _bf16,
    "fp16": _fp16,
    "cpu": _cpu,
}
"""By name, how maps are computed otherwise."""
