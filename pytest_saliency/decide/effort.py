"""Decisions without what decides nothing: for simulations that ask for hundreds of verdicts.

Within :func:`bare` bootstrap intervals are NaN, other verdicts within the tolerance are not looked for, and groups are
not described. Verdicts, bounds and p-values are the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_DESCRIBED: ContextVar[bool] = ContextVar("described", default=True)


def described() -> bool:
    """Tell whether a decision is to say what decides nothing, too."""
    return _DESCRIBED.get()


@contextmanager
def bare() -> Iterator[None]:
    """Leave out, inside the block, what decides nothing."""
    token = _DESCRIBED.set(False)
    try:
        yield
    finally:
        _DESCRIBED.reset(token)
