"""What one pytest session shares: its settings, and explanations that are computed once.

Under pytest-xdist each worker is a session of its own.
"""

from __future__ import annotations

import os
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import pytest

from pytest_saliency.errors import SaliencyError

if TYPE_CHECKING:
    from pytest_saliency.engine.cases import Cases
    from pytest_saliency.engine.executors.executor import Executor
    from pytest_saliency.engine.explained import Explained
    from pytest_saliency.engine.passes import Progress
    from pytest_saliency.engine.precision import Precision
    from pytest_saliency.engine.subject import Subject
    from pytest_saliency.records.cache import Cache

T = TypeVar("T")

IMAGES = ("failed", "all", "none")
PRECISIONS: tuple[Precision, ...] = ("float32", "bf16", "fp16")
SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kKmMgGtT][bB])")
UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
REMEMBERED = 32  # explanations kept alive; with them their models, so that there must be an end


@dataclass(frozen=True)
class Settings:
    """The options of a run: the command line, else the ini file, else the default."""

    device: str
    batch_size: int | Literal["auto"]
    images: str
    allow_python: bool
    precision: Precision = "float32"
    cache: Path | None = None
    cache_bytes: int = 0
    worker: str | None = None
    workers: int = 1
    ray: str | None = None

    @classmethod
    def of(cls, config: pytest.Config) -> Settings:
        """Read the settings.

        Raises
        ------
        SaliencyError
            A value is not one of those allowed; the message names the option.
        """
        batch = _option(config, "batch") or "auto"
        if batch != "auto" and (not batch.isdecimal() or int(batch) < 1):
            raise SaliencyError(
                f"--saliency-batch (or ini saliency_batch) must be auto or a whole number from 1; got {batch!r}."
            )
        written = _option(config, "precision") or "float32"
        precision = next((one for one in PRECISIONS if one == written), None)
        if precision is None:
            raise SaliencyError(f"ini saliency_precision must be one of {', '.join(PRECISIONS)}; got {written!r}.")
        images = _option(config, "images") or "failed"
        if images not in IMAGES:
            raise SaliencyError(f"ini saliency_images must be one of {', '.join(IMAGES)}; got {images!r}.")
        return cls(
            device=_option(config, "device") or "auto",
            batch_size="auto" if batch == "auto" else int(batch),
            images=images,
            allow_python=bool(config.getini("saliency_allow_python")),
            precision=precision,
            cache=cache_path(config),
            cache_bytes=_size(_option(config, "cache_size") or "2GB"),
            worker=_worker(config),
            workers=_workers(config),
            ray=_option(config, "ray"),
        )


def cache_path(config: pytest.Config) -> Path | None:
    """Return where passes are kept between runs; None where nothing is to be kept.

    Given on the command line it is relative to the cwd, in the ini file to the root; else it lies in pytest's cache,
    and where that is off there is none.
    """
    if config.getoption("saliency_no_cache") or config.getini("saliency_no_cache"):
        return None
    given = config.getoption("saliency_cache")
    if given:
        return Path(os.path.normpath(config.invocation_params.dir / str(given)))
    declared = config.getini("saliency_cache")
    if declared:
        return config.rootpath / str(declared)
    cache = getattr(config, "cache", None)
    if cache is None:
        return None
    try:
        return Path(cache.mkdir("saliency-passes"))
    except OSError:  # a folder that cannot be written; pytest's own cache says so itself
        return None


def _worker(config: pytest.Config) -> str | None:
    """Return the name that pytest-xdist gave this process, as ``gw3``; None where it is the only one."""
    given = getattr(config, "workerinput", None)
    return None if given is None else str(given.get("workerid"))


def _workers(config: pytest.Config) -> int:
    given = getattr(config, "workerinput", None)
    return 1 if given is None else max(1, int(given.get("workercount", 1)))


def refuse_ray_with_workers(config: pytest.Config) -> None:
    """End the session where both Ray and pytest-xdist are to spread the work.

    Raises
    ------
    pytest.UsageError
        ``--saliency-ray`` with ``-n``, or with the name of a file in place of an address.
    """
    address = _option(config, "ray") or ""
    if address not in ("auto", "local") and (config.invocation_params.dir / address).exists():
        raise pytest.UsageError(
            f"--saliency-ray took {address!r} for the address of a cluster; write --saliency-ray=local, or put files"
            " before it."
        )
    if (
        hasattr(config, "workerinput")
        or getattr(config.option, "numprocesses", None)
        or getattr(config.option, "tx", None)
    ):
        raise pytest.UsageError(
            "--saliency-ray and workers of pytest-xdist (-n) would both spread the work over the same processors; give"
            " one of them. Shards (--saliency-shard) go with either."
        )


def _size(text: str) -> int:
    found = SIZE.fullmatch(text.strip())
    if found is None:
        raise SaliencyError(
            f"--saliency-cache-size (or ini saliency_cache_size) must be a number with kB, MB, GB or TB; got {text!r}."
        )
    return int(float(found[1]) * UNITS[found[2].upper()])


def _option(config: pytest.Config, name: str) -> str | None:
    value = config.getoption(f"saliency_{name}")
    if value is None:
        value = config.getini(f"saliency_{name}")
    return str(value) if value else None


class Saliency:
    """The ``saliency`` fixture: the device of the run, and ``explain`` that computes nothing twice."""

    def __init__(self, settings: Settings, planned: tuple[str, ...] = (), progress: Progress | None = None) -> None:
        from pytest_saliency.engine.devices import resolve_device

        self.settings = settings
        self.device = str(resolve_device(settings.device, settings.worker))
        self._planned = planned
        self._progress = progress
        self._explained: OrderedDict[tuple[object, ...], dict[tuple[int, int], Explained]] = OrderedDict()
        self._shared: dict[tuple[str, ...], tuple[tuple[object, ...], Any]] = {}
        self._cache = self._open_cache()
        self._executor: Executor | None = None

    def _open_cache(self) -> Cache | None:
        if self.settings.cache is None:
            return None
        from pytest_saliency.engine.remembered import told
        from pytest_saliency.records.cache import Cache

        return Cache(self.settings.cache, self.settings.cache_bytes, told)

    @property
    def executor(self) -> Executor:
        """Who makes the passes; a cluster is joined when the first one is made.

        Raises
        ------
        SaliencyError
            The cluster is not there.
        """
        if self._executor is None:
            from pytest_saliency.engine.executors.registry import EXECUTORS

            address = self.settings.ray
            self._executor = EXECUTORS["ray" if address else "local"](address or "", self.settings.device)
        return self._executor

    def close(self) -> None:
        """Let go of a cluster that was joined; one that was started here ends."""
        if self._executor is not None:
            self._executor.close()
            self._executor = None

    def explain(self, subject: Subject, cases: Cases) -> Explained:
        """Return the explanations of ``subject`` over ``cases``; the same work is done once per session.

        Subjects are the same where they read the same model in the same way, cases where they hold the same images,
        whether a contract or a test made them. A model that changed in between, in its numbers or in what it does, is
        explained afresh.
        """
        from pytest_saliency.engine.identity import looks

        key = (*subject.reading(), cases.digest, looks(subject))
        self._find_moved(key)
        mine = (id(subject), id(cases))
        views = self._explained.get(key, {})
        if views and mine not in views:
            views[mine] = next(iter(views.values())).seen_as(subject, cases)
        elif not views:
            views[mine] = self.explain_once(subject, cases)
        self._explained[key] = views
        self._explained.move_to_end(key)
        while len(self._explained) > REMEMBERED:
            self._explained.popitem(last=False)
        return views[mine]

    def explain_once(self, subject: Subject, cases: Cases) -> Explained:
        """Return explanations that the session does not keep: for models that are looked at one after the other."""
        from pytest_saliency.engine.explained import explain
        from pytest_saliency.engine.methods.names import GRADIENT_METHODS
        from pytest_saliency.engine.threads import threads_for

        return explain(
            subject,
            cases,
            device=self.settings.device,
            batch_size=self.settings.batch_size,
            precision=self.settings.precision,
            methods=tuple(dict.fromkeys((*GRADIENT_METHODS, *self._planned))),
            progress=self._progress,
            cache=self._cache,
            worker=self.settings.worker,
            threads=threads_for(self.settings.workers),
            executor=self.executor,
        )

    def costs(self) -> list[dict[str, Any]]:
        """Return what a record would say of all work that is still held, whether a check told of it or not."""
        return [next(iter(views.values())).costs() for views in self._explained.values() if views]

    def _find_moved(self, key: tuple[object, ...]) -> None:
        """Put explanations under ``key`` whose model looks different only because its forward writes to it."""
        if key in self._explained:
            return
        for other, views in self._explained.items():
            if other[:-1] == key[:-1] and next(iter(views.values()))._work.holds():
                self._explained[key] = self._explained.pop(other)
                return

    def shared(self, key: tuple[str, ...], origin: tuple[object, ...], make: Callable[[], T]) -> T:
        """Return what ``make`` returned the first time for this ``key`` and ``origin``.

        ``key`` begins with the contract's path. ``origin`` are the objects that the value is made from (values of
        fixtures); other ones under the same key replace the value.
        """
        known = self._shared.get(key)
        if known is None or any(a is not b for a, b in zip(known[0], origin, strict=True)):
            self._shared[key] = (origin, make())
        made: T = self._shared[key][1]
        return made

    def forget(self, contract: str) -> None:
        """Let go of the models, images and explanations that a contract made, now that its checks are done.

        What stands on a fixture's model stays: a test may still ask for it.
        """
        mine = [(origin, value) for key, (origin, value) in self._shared.items() if key[0] == contract]
        subjects = {id(value) for origin, value in mine if origin[0] is None}  # ids of cases are among them, unused
        self._shared = {key: value for key, value in self._shared.items() if key[0] != contract}
        for key, views in list(self._explained.items()):
            left = {pair: view for pair, view in views.items() if pair[0] not in subjects}
            if left:
                self._explained[key] = left
            else:
                del self._explained[key]


SALIENCY = pytest.StashKey[Saliency]()
PLANNED = pytest.StashKey[dict[str, None]]()
"""Gradient methods that the contracts of the session name, so that one pass can make them all."""


def plan(config: pytest.Config, methods: Iterable[str]) -> None:
    """Note methods that checks will ask for; only what any model can give without an error is planned ahead."""
    from pytest_saliency.engine.methods.names import PLANNABLE, parse_method

    planned = config.stash.setdefault(PLANNED, {})
    for text in methods:
        named = parse_method(text)
        if named is not None and named.base in PLANNABLE:
            planned[str(named)] = None


def saliency_of(config: pytest.Config) -> Saliency:
    """Return the session's :class:`Saliency`; made on first use, because it imports torch.

    Raises
    ------
    SaliencyError
        An option has a wrong value or the device is not there.
    """
    if SALIENCY not in config.stash:
        from pytest_saliency.report.progress import progress_for

        planned: dict[str, None] = config.stash.setdefault(PLANNED, {})
        config.stash[SALIENCY] = Saliency(Settings.of(config), tuple(planned), progress_for(config))
        config.add_cleanup(config.stash[SALIENCY].close)
    return config.stash[SALIENCY]
