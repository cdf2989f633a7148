"""Makes the example repos importable, as their own pytest.ini does for a user."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
sys.path[:0] = [str(EXAMPLES), str(EXAMPLES / "digits"), str(EXAMPLES / "shortcut")]


@pytest.fixture(autouse=True)
def _torch_as_found() -> Iterator[None]:
    """Training sets the thread count, deterministic kernels and the seed for the whole process."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(devices=[]):
        yield
    torch.set_num_threads(threads)
    if torch.are_deterministic_algorithms_enabled() != deterministic:  # the call itself imports for seconds
        torch.use_deterministic_algorithms(deterministic)


@pytest.fixture(scope="session")
def examples() -> Path:
    return EXAMPLES
