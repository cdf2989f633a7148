"""Workers of a Ray cluster, and calls that are handed out to them; a call whose worker is lost goes to another one."""

from __future__ import annotations

import pickle
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_saliency.engine.executors.ray_cluster import Cluster, ClusterError
from pytest_saliency.engine.executors.ray_worker import Done, Place, RayWorker, switches, versions
from pytest_saliency.errors import SaliencyError, first_line

TRIES = 4  # workers that may be lost with one call before it is given up
QUEUED = 2  # calls that a worker has at a time: one in work, one waiting
START_WITHIN = 180.0  # seconds in which the first worker must be there


@dataclass
class Call:
    """Something to be done by a worker. ``what`` names it in messages; ``tries`` counts the workers lost with it."""

    method: str
    args: Sequence[Any]
    what: str
    number: int = 0
    tries: int = 0


@dataclass
class _Member:
    """A worker: its handle, and how many calls it has."""

    actor: Any
    calls: int = 0


@dataclass
class Pool:
    """As many workers as the cluster has GPUs, or CPUs where it has none."""

    cluster: Cluster
    device: str
    size: int
    threads: int
    _ready: list[_Member] = field(default_factory=list)
    _starting: dict[Any, _Member] = field(default_factory=dict)
    _abandoned: dict[Any, _Member] = field(default_factory=dict)
    _failed: int = 0

    def start(self) -> None:
        """Ask for workers until there are as many as there should be."""
        ray = self.cluster.ray
        remote: Any = ray.remote(RayWorker)
        place = Place(str(Path.cwd()), self.device, self.threads, switches())
        kind = {"num_gpus": 1} if self.device == "cuda" else {"num_cpus": self.threads}
        while len(self._ready) + len(self._starting) < self.size:
            actor = remote.options(**kind, max_restarts=0, max_task_retries=0).remote(place)
            self._starting[actor.about.remote()] = _Member(actor)

    def stop(self) -> None:
        """End all workers, whatever they do."""
        for member in (*self._ready, *self._starting.values()):
            self.cluster.ray.kill(member.actor)
        self._ready, self._starting, self._abandoned = [], {}, {}

    def spread(self) -> Spread:
        """Return a stream of calls over these workers, which are started if they are not there."""
        self.start()
        return Spread(self)

    # -- used by a Spread -----------------------------------------------------------------------------------------

    def free(self) -> _Member | None:
        """Return the worker with the fewest calls, if it can take one more."""
        member = min(self._ready, key=lambda one: one.calls, default=None)
        return member if member is not None and member.calls < QUEUED else None

    def awaited(self) -> list[Any]:
        """Return what becomes ready when a worker is there, or has done what nobody waits for any more."""
        return [*self._starting, *self._abandoned]

    def abandon(self, flying: Mapping[Any, _Member]) -> None:
        """Let workers end calls whose outcome is of no use."""
        self._abandoned |= flying

    def arrived(self, ref: Any) -> None:
        """Take a worker that is there or free again, or count one that could not be started."""
        if ref in self._abandoned:
            self._abandoned.pop(ref).calls -= 1
            return
        member = self._starting.pop(ref)
        try:
            about = self.cluster.ray.get(ref)
        except self.cluster.ray.exceptions.RayError as error:
            self._failed += 1
            if self._failed > self.size + TRIES:
                raise ClusterError(
                    f"--saliency-ray: {self._failed} workers could not be started (the last: {_reason(error)}). Every"
                    " machine of the cluster needs pytest-saliency and the packages of the model."
                ) from error
            return
        for package, version in versions().items():
            if about[package] != version:
                raise ClusterError(
                    f"--saliency-ray: worker on {about['host']} has {package} {about[package]}, this process {version};"
                    " their numbers could not be compared. Install the same packages on every machine."
                )
        self._ready.append(member)

    def lost(self, member: _Member) -> None:
        """Forget a worker; another one takes its place as soon as somebody waits for one."""
        self._ready = [one for one in self._ready if one is not member]

    @property
    def here(self) -> int:
        """How many workers can take calls."""
        return len(self._ready)


@dataclass
class Spread:
    """Calls over a pool of workers; outcomes are handed out in the order of the calls."""

    pool: Pool
    _waiting: deque[Call] = field(default_factory=deque)
    _flying: dict[Any, tuple[Call, _Member]] = field(default_factory=dict)
    _done: dict[int, Done] = field(default_factory=dict)
    _put: int = 0
    _taken: int = 0
    _stop: int | None = None

    def put(self, call: Call) -> None:
        """Hand a call in; returns when there are not too many unfinished ones."""
        if self._stop is not None:  # nobody will ask for what comes after an error
            return
        call.number = self._put
        self._put += 1
        self._waiting.append(call)
        self._hand_out()
        while len(self._waiting) + len(self._flying) > 2 * QUEUED * self.pool.size:
            self.pump()

    def ready(self) -> Iterator[Done]:
        """Yield the outcomes that are there, in order, without waiting.

        Raises
        ------
        SaliencyError
            What a call raised, the first in order.
        """
        while self._taken in self._done:
            done = self._done.pop(self._taken)
            self._taken += 1
            if done.error is not None:
                raise _as_here(done)
            yield done

    def finish(self) -> Iterator[Done]:
        """Yield the outcomes of all calls that are left, in order."""
        while True:
            yield from self.ready()
            if self._taken == self._put:
                return
            self.pump()

    def pump(self) -> None:
        """Wait until something happened, and take it in."""
        ray, pool = self.pool.cluster.ray, self.pool
        pool.start()
        begun = time.monotonic()
        while True:
            watched = [*self._flying, *pool.awaited()]
            found, _ = ray.wait(watched, num_returns=1, timeout=1.0)
            if found:
                break
            if not pool.here and time.monotonic() - begun > START_WITHIN:
                raise ClusterError(
                    f"--saliency-ray: no worker could be started within {START_WITHIN:.0f} s; the cluster has"
                    f" {pool.cluster.cpus} CPUs and {pool.cluster.gpus} GPUs, which others may be using ('ray status')."
                )
        (ref,) = found
        if ref in self._flying:
            self._landed(ref)
        else:
            pool.arrived(ref)
        self._hand_out()

    def abandon(self) -> None:
        """Hand nothing out any more; workers end what they have."""
        self._waiting.clear()
        self.pool.abandon({ref: member for ref, (_, member) in self._flying.items()})
        self._flying.clear()

    def _landed(self, ref: Any) -> None:
        ray = self.pool.cluster.ray
        call, member = self._flying.pop(ref)
        member.calls -= 1
        try:
            done: Done = pickle.loads(ray.get(ref))
        except ray.exceptions.RayTaskError as error:
            done = Done(error=ClusterError(f"--saliency-ray: a worker could not do its part: {_reason(error)}."))
        except ray.exceptions.RayError as error:
            self.pool.lost(member)
            call.tries += 1
            if call.tries < TRIES:
                self._waiting.appendleft(call)
                return
            done = Done(
                error=ClusterError(
                    f"--saliency-ray: {call.what} went to {call.tries} workers, and each of them was lost (the last:"
                    f" {_reason(error)}). Mostly memory ran out: take a smaller --saliency-batch, or fewer workers on a"
                    " machine."
                )
            )
        self._done[call.number] = done
        if done.error is not None:  # what comes after the first error is not needed, what comes before it is
            self._stop = call.number if self._stop is None else min(self._stop, call.number)
            self._waiting = deque(one for one in self._waiting if one.number < call.number)

    def _hand_out(self) -> None:
        while self._waiting and (member := self.pool.free()) is not None:
            call = self._waiting.popleft()
            ref = getattr(member.actor, call.method).remote(*call.args)
            member.calls += 1
            self._flying[ref] = (call, member)


def _as_here(done: Done) -> BaseException:
    """Return a worker's error as it would have been raised here; one that nobody expected with its traceback."""
    assert done.error is not None
    if not isinstance(done.error, SaliencyError):
        done.error.add_note(f"In a Ray worker:\n{done.trace}")
    return done.error


def _reason(error: BaseException) -> str:
    """Return what Ray says, in a few words."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, BaseException) and str(cause):
        return f"{type(cause).__name__}: {first_line(cause)}"
    return first_line(error)[:200].rstrip(". ")
