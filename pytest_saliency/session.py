"""What one pytest session shares: its settings, and explanations that are computed once.

Under pytest-xdist each worker is a session of its own.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from pytest_saliency.errors import SaliencyError

if TYPE_CHECKING:
    from torch import nn

    from pytest_saliency.engine.cases import Cases
    from pytest_saliency.engine.explained import Explained, Progress
    from pytest_saliency.engine.subject import Subject

T = TypeVar("T")

IMAGES = ("failed", "all", "none")
REMEMBERED = 32  # explanations kept alive; with them their models, so that there must be an end


@dataclass(frozen=True)
class Settings:
    """The options of a run: the command line, else the ini file, else the default."""

    device: str
    batch_size: int
    json: Path | None
    images: str
    allow_python: bool

    @classmethod
    def of(cls, config: pytest.Config) -> Settings:
        """Read the settings.

        Raises
        ------
        SaliencyError
            A value is not one of those allowed; the message names the option.
        """
        batch = _option(config, "batch") or "32"
        if not batch.isdecimal() or int(batch) < 1:
            raise SaliencyError(
                f"--saliency-batch (or ini saliency_batch) must be a whole number from 1; got {batch!r}."
            )
        images = _option(config, "images") or "failed"
        if images not in IMAGES:
            raise SaliencyError(f"ini saliency_images must be one of {', '.join(IMAGES)}; got {images!r}.")
        return cls(
            device=_option(config, "device") or "auto",
            batch_size=int(batch),
            json=json_path(config),
            images=images,
            allow_python=bool(config.getini("saliency_allow_python")),
        )


def json_path(config: pytest.Config) -> Path | None:
    """Return where the JSON report goes: from the command line relative to the cwd, from ini to the root."""
    given = config.getoption("saliency_json")
    if given:
        return Path(os.path.normpath(config.invocation_params.dir / str(given)))
    declared = config.getini("saliency_json")
    return config.rootpath / str(declared) if declared else None


def _option(config: pytest.Config, name: str) -> str | None:
    value = config.getoption(f"saliency_{name}")
    if value is None:
        value = config.getini(f"saliency_{name}")
    return str(value) if value else None


class Saliency:
    """The ``saliency`` fixture: the device of the run, and ``explain`` that computes nothing twice."""

    def __init__(self, settings: Settings, progress: Progress | None = None) -> None:
        from pytest_saliency.engine.devices import resolve_device

        self.settings = settings
        self.device = str(resolve_device(settings.device))
        self.batch_size = settings.batch_size
        self._progress = progress
        self._explained: OrderedDict[tuple[object, ...], Explained] = OrderedDict()
        self._shared: dict[tuple[str, ...], tuple[tuple[object, ...], Any]] = {}

    def explain(self, subject: Subject, cases: Cases) -> Explained:
        """Return the explanations of ``subject`` over ``cases``; the same pair is computed once per session.

        A model whose parameters or buffers changed in between (it was trained on) is explained afresh.
        """
        from pytest_saliency.engine.explained import explain

        key = (id(subject), id(cases), *fingerprint(subject.model))
        if key not in self._explained:
            self._explained[key] = explain(
                subject, cases, device=self.device, batch_size=self.batch_size, progress=self._progress
            )
            while len(self._explained) > REMEMBERED:
                self._explained.popitem(last=False)
        self._explained.move_to_end(key)
        return self._explained[key]

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
        """Let go of the models, images and explanations of a contract whose checks are done."""
        gone = {id(value) for key, (_, value) in self._shared.items() if key[0] == contract}
        self._shared = {key: value for key, value in self._shared.items() if key[0] != contract}
        for pair in [pair for pair in self._explained if pair[0] in gone or pair[1] in gone]:
            del self._explained[pair]


def fingerprint(model: nn.Module) -> tuple[tuple[int, int], ...]:
    """Return identity and in-place version of each parameter and buffer; training changes it, reading does not."""
    tensors = [*model.parameters(), *model.buffers()]
    return tuple((id(tensor), 0 if tensor.is_inference() else tensor._version) for tensor in tensors)


SALIENCY = pytest.StashKey[Saliency]()


def saliency_of(config: pytest.Config) -> Saliency:
    """Return the session's :class:`Saliency`; made on first use, because it imports torch.

    Raises
    ------
    SaliencyError
        An option has a wrong value or the device is not there.
    """
    if SALIENCY not in config.stash:
        from pytest_saliency.report.progress import progress_for

        config.stash[SALIENCY] = Saliency(Settings.of(config), progress_for(config))
    return config.stash[SALIENCY]
