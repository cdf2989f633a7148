"""Runs a user's model on pixels and leaves it as it was found, whatever happens."""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn

from pytest_saliency.engine.identity import looks
from pytest_saliency.engine.outputs import two_sided
from pytest_saliency.engine.precision import HALVES, Precision, at_least_float32, full_float32, half_dtype
from pytest_saliency.engine.sizing import out_of_memory
from pytest_saliency.engine.subject import Subject
from pytest_saliency.engine.threads import cpu_threads, short_waits
from pytest_saliency.engine.wrappers import on_one_device
from pytest_saliency.errors import DeviceError, SaliencyError, SubjectError, first_line, raised

# Share of the largest score: far above what another batch size does, far below dropout or statistics of a batch.
REPEATS_WITHIN = 1e-3
ROUNDINGS = 16  # in half precision rounding alone exceeds that share
CONVOLUTIONS = 18  # below: VGG gains 6 % from another memory format, where ResNet-50 gains 20; not worth trying


@contextlib.contextmanager
def untouched(
    model: nn.Module, device: torch.device, half: torch.dtype | None = None, threads: int | None = None
) -> Iterator[None]:
    """Evaluation mode, full float32 products, no autocast, nothing compiled, on ``device``; restored on the way out.

    ``half`` is a type that torch.autocast computes in instead; ``threads`` a number of CPU threads.

    Restored after success, an exception or an interrupt: train/eval flag of every submodule, device of the
    parameters, the random states of torch, NumPy and Python, the precision of products, the number of threads,
    gradient mode. Parameters, ``.grad`` and ``requires_grad`` are never written.
    """
    flags = [(module, module.training) for module in model.modules()]
    home = _home(model)
    python_state, numpy_state = random.getstate(), np.random.get_state()
    cuda = [device] if device.type == "cuda" else []
    mps_state = torch.mps.get_rng_state() if device.type == "mps" else None
    try:
        with (
            torch.inference_mode(False),  # the caller may be in it, and no gradient would be recorded
            torch.random.fork_rng(devices=cuda),
            torch.autocast(device.type, dtype=half, enabled=half is not None),
            full_float32(),
            cpu_threads(threads),
            short_waits() if device.type == "cpu" else contextlib.nullcontext(),
            _eager(),
            on_one_device(model),
        ):
            model.eval()
            if home is not None and home != device:
                _move(model, device)
            yield
    finally:
        if home is not None and home != device:
            model.to(home)
        for module, training in flags:
            module.training = training
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        if mps_state is not None:
            torch.mps.set_rng_state(mps_state)


def _move(model: nn.Module, device: torch.device) -> None:
    try:
        model.to(device)
    except (RuntimeError, TypeError, NotImplementedError) as error:  # TypeError: MPS has no float64
        what = "does not fit into the memory of" if out_of_memory(error) else "cannot be moved to"
        raise DeviceError(
            f"a model of type {type(model).__name__} {what} device '{device}' ({first_line(error)}); free memory there,"
            " or take another device."
        ) from error


def _eager() -> contextlib.AbstractContextManager[object]:
    """Run what torch.compile has made as it was written: a compiled graph does not see hooks placed afterwards."""
    if "torch._dynamo" not in sys.modules:  # nothing was compiled, and its import takes seconds
        return contextlib.nullcontext()
    stance: contextlib.AbstractContextManager[object] = torch.compiler.set_stance("force_eager")
    return stance


def _home(model: nn.Module) -> torch.device | None:
    """Return the one device the model's parameters are on; None if it has none or spans several."""
    devices = {tensor.device for tensor in (*model.parameters(), *model.buffers())}
    return devices.pop() if len(devices) == 1 else None


@dataclass
class Code:
    """What a subject's code looked like; ``restless`` where its own forward changes that (a counter, a last value)."""

    seen: tuple[str | None, ...]
    restless: bool = False


@dataclass(frozen=True)
class Runner:
    """A subject on a device. Use its methods inside :meth:`session`.

    ``state`` is the model's fingerprint when the runner was made; everything it gives out is about that state.
    ``precision`` other than ``float32`` lets torch.autocast choose what runs in half precision; a model whose own
    parameters are not float32 computes in their type, whatever it says. ``threads`` is the number of CPU threads.

    Raises
    ------
    DeviceError
        The device cannot compute in this precision.
    """

    subject: Subject
    device: torch.device
    precision: Precision = "float32"
    threads: int | None = None
    state: tuple[int, ...] = field(init=False, repr=False)
    code: Code = field(init=False, repr=False, compare=False)
    memory_format: torch.memory_format = field(init=False, repr=False, compare=False, default=torch.contiguous_format)

    def __post_init__(self) -> None:
        half_dtype(self.precision, self.device)
        object.__setattr__(self, "state", self.subject.fingerprint())
        object.__setattr__(self, "code", Code(looks(self.subject)))

    @property
    def dtype(self) -> torch.dtype:
        """The model's own floating-point type, float32 if it has no parameters."""
        return next((p.dtype for p in self.subject.model.parameters() if p.is_floating_point()), torch.float32)

    @property
    def computes_in(self) -> torch.dtype:
        """The type in which products and convolutions run."""
        return HALVES.get(self.precision, torch.float32) if self.dtype == torch.float32 else self.dtype

    def precise(self) -> Runner:
        """Return a runner of the same subject, device and state in float32: what half precision is compared with."""
        made = replace(self, precision="float32")
        object.__setattr__(made, "state", self.state)
        object.__setattr__(made, "code", self.code)
        object.__setattr__(made, "memory_format", self.memory_format)
        return made

    def settle_memory_format(self, pixels: Tensor, output: object) -> None:
        """Give the model its input with channels last from now on, if that is faster here and changes nothing.

        Many convolutions on a CPU, and in half precision on a GPU, run up to a quarter faster that way, also with
        parameters that lie channels first. A model may refuse it (``view``), so one image is tried. ``output`` is what
        the model returned for ``pixels`` (N, C, *S) as they are. Call it inside the session.
        """
        faster = self.device.type == "cpu" or (self.device.type == "cuda" and self.computes_in in HALVES.values())
        convolutions = sum(isinstance(module, nn.Conv2d) for module in self.subject.model.modules())
        if not faster or convolutions < CONVOLUTIONS or self.computes_in == torch.float64:
            return
        first = pixels[:1]
        if pixels.dim() != 4:
            return
        object.__setattr__(self, "memory_format", torch.channels_last)
        try:
            with torch.no_grad():
                once = self.subject.select(output, len(pixels))[:1]
                same = self._repeats(once, self.logits(first))
        except SubjectError as error:
            if out_of_memory(error):
                raise
            same = False
        if not same:
            object.__setattr__(self, "memory_format", torch.contiguous_format)

    def check_unchanged(self) -> None:
        """Raise a SubjectError if the model changed since: maps made before and after must not mix.

        Changed in its numbers, or in what it computes with them: a module, a method, a hook, its preprocess.
        """
        if self.subject.fingerprint() != self.state:
            raise SubjectError(
                f"the weights of model '{self.subject.name}' changed after explain() was called on it, so its earlier"
                " state can no longer be explained or recorded. To compare before with after training, explain a"
                " copy.deepcopy of the model made before."
            )
        if not self.code.restless and (now := looks(self.subject)) != self.code.seen:
            if looks(self.subject) != now:  # it holds something that is another thing at every look
                self.code.restless = True
                return
            raise SubjectError(
                f"a module, method, hook or attribute of model '{self.subject.name}', or a callable of its subject,"
                " changed after explain() was called on it, so what it did before can no longer be explained or"
                " recorded. Call explain() again; to compare before with after, explain a copy.deepcopy made before."
            )

    @contextlib.contextmanager
    def session(self) -> Iterator[None]:
        """Hold the model in evaluation on the device; see :func:`untouched` and :meth:`check_unchanged`."""
        self.check_unchanged()
        half = self.computes_in if self.computes_in != self.dtype else None
        try:
            with untouched(self.subject.model, self.device, half, self.threads):
                yield
        finally:
            # Nobody but the model's own forward was at work in between.
            self.code.restless = self.code.restless or looks(self.subject) != self.code.seen

    def scores(self, pixels: Tensor) -> Tensor:
        """Return class scores (N, C), at least float32, without gradients; ``pixels`` are (N, C, *S) in [0, 1]."""
        with torch.no_grad():  # under inference_mode whatever a model caches would be unusable in training
            logits, _ = two_sided(self.logits(pixels))
        return at_least_float32(logits).clone()

    def check_repeated(self, once: Tensor, again: Tensor) -> None:
        """Raise a SubjectError if scores (n, C) of the same images, in other company, are not the same.

        Scores that are not finite are somebody else's to report.
        """
        if not self._repeats(once, again):
            raise SubjectError(
                f"model '{self.subject.name}' scores one image differently from call to call or from batch to batch,"
                " also in evaluation mode, so no verdict on it could be repeated. Common causes are functional dropout"
                " without training=self.training, normalisation by statistics of the batch, and a tensor that is"
                " changed in place while the target layer's output still shares its memory."
            )

    def _repeats(self, once: Tensor, again: Tensor) -> bool:
        share = max(REPEATS_WITHIN, ROUNDINGS * torch.finfo(self.computes_in).eps)
        largest = float(torch.nan_to_num(once).abs().max())
        return not bool(((once - again).abs() > share * largest).any())

    def logits(self, pixels: Tensor) -> Tensor:
        """Return the model's own logits (N, C) or (N, 1) under the caller's gradient mode."""
        return self.subject.select(self.call(pixels), len(pixels))

    def call(self, pixels: Tensor) -> object:
        """Normalise ``pixels``, run the model once and return what it returns."""
        return guarded(self.subject, pixels, lambda: self.subject.model_output(self.model_input(pixels)))

    def model_input(self, pixels: Tensor) -> Tensor:
        """Return the normalised batch on the device, in the model's own floating-point type."""
        # A copy, because a callable or a first layer may work in place, and the same pixels are used again; made here,
        # so that no graph holds a tensor that a caller under inference_mode brought.
        made = self.subject.preprocess.normalise(pixels.to(self.device, non_blocking=True, copy=True))
        made = made.to(self.device, self.dtype)
        last = self.memory_format == torch.channels_last and made.dim() == 4
        return made.contiguous(memory_format=torch.channels_last) if last else made


def guarded(subject: Subject, pixels: Tensor, work: Callable[[], object]) -> object:
    """Run ``work``; an exception raised inside the user's model becomes one sentence with the cause attached."""
    try:
        return work()
    except SaliencyError:
        raise
    except Exception as error:
        half = any(map(torch.is_autocast_enabled, {"cpu", "cuda", pixels.device.type}))
        help_ = (
            "It ran in half precision; try float32."
            if half
            else "Check that preprocess gives it the size and channels it was trained with (grey models: channels: 1)."
        )
        if isinstance(error, NotImplementedError) and 'required "forward"' in str(error):
            help_ = (
                "Give it a forward that returns class scores (in a Lightning module training_step alone is not enough),"
                " or take the network inside."
            )
        raise SubjectError(
            f"model '{subject.name}', given {len(pixels)} images of shape {tuple(pixels.shape[1:])},"
            f" {raised(error)}. {help_}"
        ) from error
