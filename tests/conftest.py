"""What every test leaves behind: nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def methods_of_a_test_end_with_it() -> Iterator[None]:
    """Take back the methods that a test registered, or the next one finds a name taken."""
    name = "pytest_saliency.engine.methods.own"
    before = dict(vars(sys.modules[name])["_REGISTERED"]) if name in sys.modules else {}
    yield
    if name in sys.modules:
        registered = vars(sys.modules[name])["_REGISTERED"]
        registered.clear()
        registered.update(before)
