"""Subjects and cases whose evidence is known by construction."""

from __future__ import annotations

import pytest
import torch

from fixtures.planted import MatchedFilters, Planted, planted_images
from pytest_saliency import Cases, Explained, Subject, explain

COUNT = 80


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def planted() -> Planted:
    return planted_images(COUNT, seed=0, marker=True)


@pytest.fixture(scope="session")
def cases(planted: Planted) -> Cases:
    return Cases.from_arrays(planted.images, planted.labels)


@pytest.fixture(scope="session")
def sound(cases: Cases) -> Explained:
    """The network that looks at the patterns."""
    return explain(Subject(MatchedFilters(), layer="features", name="sound"), cases, device="cpu")


@pytest.fixture(scope="session")
def tuned(cases: Cases) -> Explained:
    """The same after a gentle change of its weights."""
    return explain(Subject(MatchedFilters(jitter=0.01, seed=1), layer="features", name="tuned"), cases, device="cpu")


@pytest.fixture(scope="session")
def cheating(cases: Cases) -> Explained:
    """The network that looks at the marker instead."""
    return explain(Subject(MatchedFilters(marker=True), layer="features", name="cheating"), cases, device="cpu")
