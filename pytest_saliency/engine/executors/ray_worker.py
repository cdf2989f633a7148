"""The side of a Ray worker: it keeps the models and cases that it was sent, and does runs of batches.

Nothing that goes wrong here is an exception for Ray: it travels back as a value, so that what happened in the user's
code reads as it would have read in the driver, and what Ray reports itself is always about a worker.
"""

from __future__ import annotations

import os
import pickle
import platform
import socket
import traceback
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

KEPT = 4  # models, and sets of cases, that a worker holds


@dataclass(frozen=True)
class Done:
    """What came of a call: a value, what was counted, and how often memory ran out; or an error."""

    value: Any = None
    counted: Any = None
    halved: int = 0
    error: BaseException | None = None
    trace: str = ""


@dataclass(frozen=True)
class Place:
    """The driver's working directory, on which device and how many threads workers compute, and torch's switches."""

    folder: str
    device: str
    threads: int
    switches: Mapping[str, Any] = field(default_factory=dict)


class RayWorker:
    """A process that does parts of passes on one device."""

    def __init__(self, place: Place) -> None:
        from pytest_saliency.engine.threads import set_own_threads

        if os.path.isdir(place.folder):  # noqa: PTH112
            os.chdir(place.folder)  # messages name files as the driver would
        self._place = place
        self._kept: OrderedDict[str, Any] = OrderedDict()
        take_switches(place.switches)
        if place.device == "cpu":
            set_own_threads(place.threads)

    def about(self) -> dict[str, str]:
        """Return what must be the same as in the driver, and where this is."""
        return {**versions(), "host": socket.gethostname(), "process": str(os.getpid())}

    def part(self, refs: Mapping[str, Any], work: bytes, order: Sequence[int], batch: int) -> bytes:
        """Do a run of batches of ``batch`` images; returns a packed :class:`Done`."""
        return self._answer(lambda: self._part(refs, work, order, batch))

    def score(self, refs: Mapping[str, Any], runner: str, pixels: Any) -> bytes:
        """Score one batch of pixels (n, C, *S); returns a packed :class:`Done` with an array (n, C)."""
        return self._answer(lambda: self._score(refs, runner, pixels))

    def _part(self, refs: Mapping[str, Any], work: bytes, order: Sequence[int], batch: int) -> Done:
        from pytest_saliency.engine.executors.shipping import unpacked
        from pytest_saliency.engine.sizing import BatchSize
        from pytest_saliency.engine.sweep import Counted

        doing, ground = unpacked(work, lambda kind, key: self._find(refs, kind, key))
        counted, size = Counted(), BatchSize(batch, ground.runner.device)
        ground = replace(ground, order=tuple(order), size=size)
        with _held(ground.runner):
            value = doing.part(ground, counted)
        return Done(value, counted, size.halved)

    def _score(self, refs: Mapping[str, Any], key: str, pixels: Any) -> Done:
        import numpy as np
        import torch

        from pytest_saliency.engine.sizing import BatchSize

        runner = self._find(refs, "runner", key)
        images = torch.from_numpy(np.array(pixels))  # Ray's memory cannot be written to, and a model may work in place
        size = BatchSize(len(images), runner.device)
        with _held(runner):
            scored = size.each(len(images), lambda part: runner.scores(images[part].to(runner.device)).cpu())
        return Done(torch.cat(scored), None, size.halved)

    def _find(self, refs: Mapping[str, Any], kind: str, key: str) -> Any:
        """Return an object that the driver put into the object store, unpacked once; a subject is its runner's."""
        import ray
        import torch

        from pytest_saliency.engine.executors.shipping import unpacked

        if key not in self._kept:
            made = unpacked(bytes(ray.get(refs[key])))
            if kind != "cases":
                device = torch.device(self._place.device)
                made.subject.model.to(device)
                object.__setattr__(made, "device", device)
                object.__setattr__(made, "threads", None)
            self._kept[key] = made
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        found = self._kept[key]
        return found.subject if kind == "subject" else found

    def _answer(self, work: Callable[[], Done]) -> bytes:
        try:
            return pickle.dumps(work(), protocol=5)
        except Exception as error:
            trace = traceback.format_exc()
            try:
                content = pickle.dumps(Done(error=error, trace=trace), protocol=5)
                pickle.loads(content)  # an error whose arguments are not its message comes apart here, or nowhere
            except Exception:
                unknown = RuntimeError(f"{type(error).__name__}: {error}")
                content = pickle.dumps(Done(error=unknown, trace=trace), protocol=5)
            return content


def _held(runner: Any) -> Any:
    """Hold a model in evaluation. It is the worker's own copy, so that nobody can have changed it meanwhile."""
    from pytest_saliency.engine.runner import untouched

    half = runner.computes_in if runner.computes_in != runner.dtype else None
    return untouched(runner.subject.model, runner.device, half, None)


def switches() -> dict[str, Any]:
    """Return what a conftest.py may have set for the whole process and a model's numbers depend on."""
    import torch

    return {
        "default_dtype": torch.get_default_dtype(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "warn_only": torch.is_deterministic_algorithms_warn_only_enabled(),
        "mkldnn": torch.backends.mkldnn.enabled,
        "cudnn": (torch.backends.cudnn.enabled, torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic),
    }


def take_switches(found: Mapping[str, Any]) -> None:
    """Set this process to what :func:`switches` returned in the driver."""
    import torch

    if not found:
        return
    torch.set_default_dtype(found["default_dtype"])
    now = switches()
    if any(found[key] != now[key] for key in ("deterministic", "warn_only")):  # the call itself imports for seconds
        torch.use_deterministic_algorithms(found["deterministic"], warn_only=found["warn_only"])
    torch.backends.mkldnn.enabled = found["mkldnn"]
    cudnn = torch.backends.cudnn
    cudnn.enabled, cudnn.benchmark, cudnn.deterministic = found["cudnn"]


def versions() -> dict[str, str]:
    """Return the versions that numbers and messages depend on."""
    import numpy as np
    import torch

    import pytest_saliency

    return {
        "pytest-saliency": pytest_saliency.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
