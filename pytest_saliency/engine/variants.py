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
from pytest_saliency.engine.multi_label import predicted_of
from pytest_saliency.engine.outputs import two_sided
from pytest_saliency.engine.sizing import out_of_memory
from pytest_saliency.engine.subject import Subject
from pytest_saliency.errors import DeviceError, MethodError, SaliencyError, first_line

COMPANY = 4
"""Images in a batch of ``batch_one`` and ``shuffled`` where the run itself looks at one image at a time."""


@dataclass(frozen=True)
class Otherwise:
    """Top-1 maps (n, *grid) of the images and the predictions (n,) of one way to compute them.

    ``scores``: for a way that can only be seen in the scores (n, C), with ``maps`` None. ``status``: of the maps (n,).
    ``failed``: why the model cannot be computed this way although the machine can; its scores are not finite then.
    """

    maps: Tensor | None
    scores: Tensor
    predicted: NDArray[np.int64]
    status: NDArray[np.str_] | None = None
    failed: str = ""


class NotHereError(Exception):
    """A variant that cannot be computed on this machine, or is what the run itself is; says why, to end a sentence."""


def computed_otherwise(explained: Explained, method: str, indices: Sequence[int], variant: str, seed: int) -> Otherwise:
    """Return the maps of the cases at ``indices``, computed as ``variant`` says.

    Raises
    ------
    NotHereError
        This machine has no compiler, no second device, no such precision; or the run is computed that way itself.
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
        if batch_size is not None and batch_size > 1 and made.size.current == 1:
            raise NotHereError("memory holds one image at a time only, as in the run itself")
        return Otherwise(maps.values, made.logits, made.predicted, maps.status)


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
    return asked.again(batch_size=_company(asked) or 1)


def _company(asked: _Asked) -> int | None:
    """Return the batch size to take where the run looks at one image at a time; None where it does not."""
    return COMPANY if asked.explained.size.current == 1 else None


def _shuffled(asked: _Asked) -> Otherwise:
    order = Stream(asked.seed, "shuffled").permutation(len(asked.cases))
    made = asked.again(cases=asked.cases.subset(order.tolist()), batch_size=_company(asked))
    assert made.maps is not None
    assert made.status is not None
    back = np.argsort(order)
    there = torch.from_numpy(back)
    return Otherwise(made.maps[there], made.scores[there], made.predicted[back], made.status[back])


def _threads(asked: _Asked) -> Otherwise:
    if asked.explained.runner.device.type != "cpu":
        raise NotHereError("the run computes on a device, where the CPU's threads play no part")
    now = asked.explained.runner.threads or torch.get_num_threads()
    return asked.again(threads=1 if now > 1 else 2)


def _float64(asked: _Asked) -> Otherwise:
    runner = asked.explained.runner
    if runner.device.type == "mps":
        raise NotHereError("device 'mps' has no float64")
    if runner.computes_in == torch.float64:
        raise NotHereError("the run computes in float64 itself")
    model = _copied(runner.subject.model).to(torch.float64)
    return asked.again(subject=_layered(asked.explained, runner.subject, model), precision="float32")


def _copied(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model)
    except Exception as error:
        raise NotHereError(f"the model cannot be copied ({first_line(error)})") from error


def _bf16(asked: _Asked) -> Otherwise:
    return _half(asked, "bf16", torch.bfloat16)


def _fp16(asked: _Asked) -> Otherwise:
    return _half(asked, "fp16", torch.float16)


def _half(asked: _Asked, precision: str, dtype: torch.dtype) -> Otherwise:
    if asked.explained.runner.computes_in == dtype:
        raise NotHereError(f"the run computes in {precision} itself")
    return asked.again(precision=precision)


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
                    output = run(runner.subject.given(runner.model_input(pixels)))
            except Exception as error:
                if out_of_memory(error) or not _compiles(runner.device):
                    raise NotHereError(f"torch.compile does not work here ({first_line(error)})") from error
                return _not_compiled(asked, first_line(error))
            logits, _ = two_sided(runner.subject.select(output, len(few)))
            scores.append(logits.float().cpu())
            if told is not None:
                told(few.stop, len(asked.cases))
    with asked.explained.stage("variant compiled") as cost:
        cost.passes += len(scores)
    found = torch.cat(scores)
    return Otherwise(None, found, predicted_of(asked.cases, found, range(len(asked.cases))))


def _compiles(device: torch.device) -> bool:
    """Tell whether torch.compile works here at all; asked only where it did not compile the user's model."""

    def doubled(x: Tensor) -> Tensor:
        return torch.sin(x) * 2.0

    try:
        with torch.compiler.set_stance("default"), torch.no_grad():
            torch.compile(doubled, dynamic=False)(torch.ones(8, device=device))
    except Exception:  # whatever is missing: headers, a driver, room on the disk
        return False
    return True


def _not_compiled(asked: _Asked, why: str) -> Otherwise:
    """Return what stands for the scores of a model that cannot be compiled: none, of every image."""
    one = asked.explained
    place = {case: row for row, case in enumerate(one.cases.ids)}
    rows = [place[case] for case in asked.cases.ids]
    scores = torch.full_like(one.logits[rows], torch.nan)
    return Otherwise(None, scores, one.predicted[rows], failed=f"torch.compile did not compile the model ({why})")


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
