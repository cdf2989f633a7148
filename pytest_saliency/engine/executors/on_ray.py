"""Passes over the workers of a Ray cluster: the model and the cases are sent once, batches are handed out in order.

A worker does the very batches that this process would have done, with the very same functions, so that it returns the
same bytes wherever processor, number of threads and packages are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, TypeVar

from torch import Tensor

from pytest_saliency.engine.cases import Cases
from pytest_saliency.engine.executors.executor import Work
from pytest_saliency.engine.executors.ray_cluster import Cluster, join
from pytest_saliency.engine.executors.ray_pool import Call, Pool, Spread
from pytest_saliency.engine.executors.shipping import packed
from pytest_saliency.engine.runner import Runner
from pytest_saliency.engine.sizing import BatchSize
from pytest_saliency.engine.sweep import Counted, Ground
from pytest_saliency.errors import DeviceError

T = TypeVar("T")

SENT = 4  # models, and sets of cases, that stay in the object store
RUNS = 4  # runs of batches for each worker: fewer cost less to hand out, more leave less to wait for at the end
LONGEST = 8  # batches in a run


@dataclass
class _Sent:
    """Something that was put into the object store; held, so that its ``id`` stays its own."""

    thing: object
    state: object
    key: str
    ref: Any


@dataclass
class OnRay:
    """Spreads passes over the workers of a cluster."""

    cluster: Cluster
    pool: Pool
    name: str = "ray"
    _sent: list[_Sent] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=count)

    @classmethod
    def at(cls, address: str, device: str) -> OnRay:
        """Join the cluster at ``address`` and ask for its workers.

        ``device``: as for a run without Ray. With ``auto`` and ``cuda`` workers take one GPU each where the cluster has
        any.

        Raises
        ------
        ClusterError
            There is no cluster.
        DeviceError
            The cluster has no such device.
        """
        if device not in ("auto", "cpu", "cuda"):
            raise DeviceError(
                f"--saliency-device {device} names one device of this machine, and --saliency-ray gives each worker one"
                " of its own; use auto, cpu or cuda."
            )
        cluster = join(address)
        if device == "cuda" and not cluster.gpus:
            cluster.leave()
            raise DeviceError("--saliency-device cuda: the Ray cluster has no GPU; use auto or cpu.")
        on_gpu = device != "cpu" and cluster.gpus > 0
        size = cluster.gpus if on_gpu else max(1, cluster.cpus)
        pool = Pool(cluster, "cuda" if on_gpu else "cpu", size, threads=1)
        return cls(cluster, pool)

    def over(self, work: Work[T], ground: Ground, counted: Counted) -> T:
        batch = ground.size.current
        if len(ground.order) <= batch:  # one batch has nothing to be spread
            return work.whole(ground, counted)
        known = self._known(ground.runner, ground.cases)
        plain = replace(ground, order=(), report=None, size=BatchSize(batch))
        what = f"the work on model '{ground.runner.subject.name}'"
        content = self.cluster.put(packed((work, plain), what, known.references), what)
        parts: list[T] = []
        spread = self.pool.spread()
        with self._let_go_of(spread):
            runs = _runs(ground.order, batch, self.pool.size)
            finished = 0
            for order in runs:
                told = f"{len(order)} images ('{ground.cases.ids[order[0]]}' and so on)"
                spread.put(Call("part", (known.refs, content, order, batch), told))
            for order, done in zip(runs, spread.finish(), strict=True):
                parts.append(done.value)
                _add(counted, done.counted)
                ground.size.halved += done.halved
                finished += len(order)
                if ground.report is not None:
                    ground.report(finished, len(ground.order))
        return work.joined(parts, ground)

    def scoring(self, runner: Runner, size: BatchSize, total: int) -> RayScoring | None:
        if total <= size.current:
            return None
        return RayScoring(self, runner, size, self.pool.spread())

    def settled(self, size: BatchSize) -> BatchSize:
        """Return the size without its growing: batches are cut here, for workers that may have other memory."""
        size.stay()
        return size

    def device_type(self, runner: Runner) -> str:
        return self.pool.device

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "workers": self.pool.size, "device": self.pool.device, "threads": self.pool.threads}

    def close(self) -> None:
        if self.cluster.ray.is_initialized():
            self.pool.stop()
        self._sent.clear()
        self.cluster.leave()

    # -- what workers hold ----------------------------------------------------------------------------------------

    def _known(self, runner: Runner, cases: Cases | None = None) -> _Known:
        """Send the runner and the cases, unless they are there, and return how to refer to them."""
        name = runner.subject.name
        model = self._send(runner, (str(runner.memory_format),), f"model '{name}'", runner)
        references = {id(runner): ("runner", model.key), id(runner.subject): ("subject", model.key)}
        refs = {model.key: model.ref}
        if cases is not None:
            sent = self._send(cases, (), f"the images from {cases.source}", replace(cases, masks=None))
            references[id(cases)] = ("cases", sent.key)
            refs[sent.key] = sent.ref
        return _Known(model.key, references, refs)

    def _send(self, thing: object, state: object, what: str, value: object) -> _Sent:
        found = next((one for one in self._sent if one.thing is thing and one.state == state), None)
        if found is None:
            found = _Sent(thing, state, f"{next(self._numbers)}", self.cluster.put(packed(value, what), what))
            self._sent = [*self._sent[-2 * SENT + 1 :], found]
        return found

    @contextmanager
    def _let_go_of(self, spread: Spread) -> Iterator[None]:
        """Hand nothing more out after an error; after an interrupt, end the workers with what they do."""
        try:
            yield
        except Exception:
            spread.abandon()
            raise
        except BaseException:
            self.pool.stop()
            raise


@dataclass(frozen=True)
class _Known:
    """What workers can be asked about: the key of the runner, references for packing, and where the objects are."""

    runner: str
    references: dict[int, tuple[str, str]]
    refs: dict[str, Any]


@dataclass
class RayScoring:
    """Batches of changed images, scored by workers: pixels go there, scores come back."""

    executor: OnRay
    runner: Runner
    size: BatchSize
    spread: Spread
    _takes: list[Callable[[Tensor], None]] = field(default_factory=list)

    def put(self, pixels: Tensor, take: Callable[[Tensor], None]) -> None:
        known = self.executor._known(self.runner)
        content = self.executor.cluster.put(pixels.detach().cpu().contiguous().numpy(), "a batch of changed images")
        self._takes.append(take)
        with self.executor._let_go_of(self.spread):
            told = f"a batch of {len(pixels)} changed images of model '{self.runner.subject.name}'"
            self.spread.put(Call("score", (known.refs, known.runner, content), told))
            for done in self.spread.ready():
                self._hand_on(done.value, done.halved)

    def finish(self) -> None:
        with self.executor._let_go_of(self.spread):
            for done in self.spread.finish():
                self._hand_on(done.value, done.halved)

    def _hand_on(self, scores: Tensor, halved: int) -> None:
        self.size.halved += halved
        self._takes.pop(0)(scores)


def _runs(order: Sequence[int], batch: int, workers: int) -> list[tuple[int, ...]]:
    """Cut ``order`` where batches begin, into runs of a few batches."""
    batches = -(-len(order) // batch)
    step = batch * max(1, min(LONGEST, batches // (RUNS * workers)))
    return [tuple(order[start : start + step]) for start in range(0, len(order), step)]


def _add(counted: Counted, more: Counted) -> None:
    counted.passes += more.passes
    for what, images in more.images.items():
        counted.images[what] = counted.images.get(what, 0) + images
