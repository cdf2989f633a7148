"""Which test is running, so that an assertion deep in it can leave its record there.

A context variable holds the running test's recorder; outside pytest there is none and nothing is recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_saliency.checks.result import Result


class Recorder(Protocol):
    """Takes the result of one check and returns its completed record."""

    def __call__(self, result: Result) -> dict[str, Any]: ...


_recorder: ContextVar[Recorder | None] = ContextVar("pytest_saliency_recorder", default=None)


@contextmanager
def recording_on(recorder: Recorder | None) -> Iterator[None]:
    """Send results that are recorded inside the block to ``recorder``; None records nothing."""
    token = _recorder.set(recorder)
    try:
        yield
    finally:
        _recorder.reset(token)


def record_result(result: Result) -> dict[str, Any]:
    """Record ``result`` on the running test and return its record.

    Inside pytest the record is complete: node, source line, versions, paths of the pictures. Outside pytest it is
    what the result itself knows, and nothing is kept.
    """
    recorder = _recorder.get()
    return result.to_record() if recorder is None else recorder(result)


def kept_folder(name: str) -> Path | None:
    """Return a folder in pytest's cache; None outside of pytest, and where nothing is to be kept between runs."""
    make: Callable[[str], Path | None] | None = getattr(_recorder.get(), "folder", None)
    return None if make is None else make(name)
