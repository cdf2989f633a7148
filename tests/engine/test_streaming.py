"""Batches stream: how often the model runs, on how much, and how many images are held at a time."""

from __future__ import annotations

import gc
import math
import weakref
from typing import Any

import pytest
import torch

from pytest_saliency import Cases, Explained, Subject, explain

from .helpers import GRADIENT, cases_of, run
from .nets import Counting, make, pictures


def counted(n: int, batch_size: int, **settings: Any) -> tuple[Any, Explained]:
    """A model that counts, and its explanation with the target layer already found."""
    model = make(Counting, 1108)
    model.classes = 6
    explained = run(model, cases=cases_of(pictures(n, model.image), 6), batch_size=batch_size, **settings)
    assert explained.layer.name == "act2"
    assert sum(model.seen) <= 2
    model.seen.clear()
    return model, explained


@pytest.mark.parametrize(("n", "batch_size"), [(10, 4), (8, 4), (1, 4), (5, 1), (3, 32)])
def test_six_methods_and_three_targets_are_one_pass(n: int, batch_size: int) -> None:
    model, explained = counted(n, batch_size)
    for method in GRADIENT:
        for target in ("top1", "top2", "label"):
            explained.maps(method, target)
    _ = explained.logits, explained.predicted, explained.correct, explained.maps("centre"), explained.maps("random")
    assert len(model.seen) == math.ceil(n / batch_size)
    assert sum(model.seen) == n
    assert max(model.seen) <= batch_size


def test_another_class_is_one_more_pass_for_all_methods_asked_again() -> None:
    model, explained = counted(10, 4)
    explained.maps("gradcam")
    model.seen.clear()
    explained.maps("gradcam", 3)
    assert sum(model.seen) == 10
    for method in GRADIENT:
        explained.maps(method, 3)
    assert sum(model.seen) == 10


def test_the_repeat_under_jitter_is_one_more_pass() -> None:
    model, explained = counted(10, 4)
    explained.maps("gradcam")
    model.seen.clear()
    for method in GRADIENT:
        explained.maps_jittered(method)
    _ = explained.jitter_kept_prediction
    assert sum(model.seen) == 10


def test_asking_twice_computes_once() -> None:
    model, explained = counted(10, 4)
    first = explained.maps("case")
    model.seen.clear()
    assert explained.maps("case") is first or torch.equal(explained.maps("case").values, first.values)
    assert model.seen == []


def test_nothing_runs_before_it_is_asked_for() -> None:
    model = make(Counting, 1108)
    run(model, pictures(6, model.image))
    assert model.seen == []


def test_confusion_runs_the_held_out_images_once() -> None:
    held = Cases.from_arrays(pictures(18, (3, 12, 16), seed=8), [i % 6 for i in range(18)])
    model, explained = counted(10, 4, contrast={"select": "confusion", "cases": held})
    explained.maps("case")
    explained.maps("case", "top2")
    assert sum(model.seen) == 10 + 18
    assert max(model.seen) <= 4


def test_passes_are_counted() -> None:
    model, explained = counted(10, 4)
    for method in GRADIENT:
        explained.maps(method)
    assert sum(model.seen) == 10
    counts = dict(explained.passes)
    assert counts
    explained.maps("gradcam", 3)
    assert sum(explained.passes.values()) > sum(counts.values())


class Watched:
    """A data set that knows how many of its images are alive."""

    def __init__(self, n: int) -> None:
        self.n, self.alive, self.most = n, 0, 0

    def __len__(self) -> int:
        return self.n

    def _gone(self) -> None:
        self.alive -= 1

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        if not 0 <= index < self.n:
            raise IndexError(index)
        image = torch.from_numpy(pictures(1, (3, 12, 16), seed=index)[0])
        self.alive += 1
        self.most = max(self.most, self.alive)
        weakref.finalize(image, self._gone)
        return image, index % 6


@pytest.mark.parametrize("n", [12, 60])
def test_images_held_at_a_time_do_not_grow_with_their_number(n: int) -> None:
    data = Watched(n)
    model = make(Counting, 1108)
    cases = Cases.from_dataset(data)
    explained = run(model, cases=cases, batch_size=4)
    for method in GRADIENT:
        explained.maps(method)
        explained.maps(method, "top2")
    explained.maps_jittered("case")
    gc.collect()
    assert data.most <= 12
    assert data.alive <= 4


def test_batches_have_the_size_that_was_asked_for_in_every_pass() -> None:
    sizes = []
    for n in (8, 64):
        model, explained = counted(n, 4)
        explained.maps("case")
        explained.maps_jittered("case")
        sizes.append(max(model.seen))
    assert sizes == [4, 4]


def test_progress_reaches_the_end() -> None:
    model = make(Counting, 1108)
    seen: list[tuple[str, int, int]] = []
    cases = cases_of(pictures(10, model.image), 6)

    def note(stage: str, done: int, total: int) -> None:
        seen.append((stage, done, total))

    explain(Subject(model, layer="act2"), cases, device="cpu", batch_size=4, progress=note).maps("gradcam")
    assert [done for _, done, _ in seen] == [4, 8, 10]
    assert {total for _, _, total in seen} == {10}
    assert all(stage for stage, _, _ in seen)
