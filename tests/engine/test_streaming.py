"""Batches stream: how often the model runs, on how much, and how many images are held at a time."""

from __future__ import annotations

import contextlib
import gc
import math
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from pytest_saliency import Cases, Explained, Subject, explain
from pytest_saliency.engine.batches import stream
from pytest_saliency.engine.capture import Tap
from pytest_saliency.engine.layers import observe, resolve_layer
from pytest_saliency.engine.preprocess import Preprocess
from pytest_saliency.engine.runner import Runner
from pytest_saliency.engine.sizing import BatchSize, out_of_memory
from pytest_saliency.engine.threads import cpu_threads
from pytest_saliency.errors import SubjectError

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


class Refuses:
    """Lets no more than ``most`` images through its model at once."""

    def __init__(self, most: int) -> None:
        self.most, self.refused = most, 0

    def __call__(self, module: Any, args: Any) -> None:
        if len(args[0]) > self.most:
            self.refused += 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def in_parts(cases: Cases, size: BatchSize, work: Any) -> list[tuple[int, ...]]:
    """Stream all cases and work through each batch as far as fits."""
    read = []
    for batch in stream(cases, Preprocess(), size):
        read.append(batch.indices)
        size.each(len(batch.indices), lambda part, pixels=batch.pixels: work(pixels[part]))
    return read


def test_a_batch_size_that_shrinks_counts_from_the_batch_after_the_one_already_read() -> None:
    size = BatchSize(8)

    def work(pixels: torch.Tensor) -> None:
        if len(pixels) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    read = in_parts(cases_of(pictures(22, (3, 4, 4)), 2), size, work)
    assert [len(chunk) for chunk in read] == [8, 8, 4, 2]
    assert [i for chunk in read for i in chunk] == list(range(22))


def test_scores_do_not_depend_on_memory_running_out() -> None:
    model = make(Counting, 1108)
    cases = cases_of(pictures(10, model.image), 6)
    found: list[list[torch.Tensor]] = []
    for most in (8, 4):
        limit, scores = Refuses(most), list[torch.Tensor]()
        handle = model.register_forward_pre_hook(limit)
        runner = Runner(Subject(model), torch.device("cpu"))
        with runner.session():
            score = runner.scores
            in_parts(cases, BatchSize(8), lambda pixels, s=scores, score=score: s.append(score(pixels)))
        handle.remove()
        assert limit.refused == (most == 4)
        found.append(scores)
    full, halved = (torch.cat(scores) for scores in found)
    assert len(found[1]) > len(found[0])
    torch.testing.assert_close(full, halved, rtol=1e-5, atol=1e-6)


def test_hooks_are_gone_when_a_capture_runs_out_of_memory() -> None:
    model = make(Counting, 1108)
    runner = Runner(Subject(model, layer="act2"), torch.device("cpu"))
    pixels = torch.from_numpy(pictures(4, model.image))

    def full(module: Any, args: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with runner.session():
        layer = resolve_layer(runner, pixels, observe(runner, pixels))
        handle = model.fc.register_forward_pre_hook(full)
        for _ in range(2):
            with pytest.raises(SubjectError) as caught:
                Tap(runner, layer.name, layer.layout)(pixels)
            assert out_of_memory(caught.value)
        handle.remove()
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in model.modules())


def test_gradients_that_do_not_fit_are_not_taken_for_a_missing_batching_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make(Counting, 1108)
    runner = Runner(Subject(model, layer="act2"), torch.device("cpu"))
    pixels = torch.from_numpy(pictures(2, model.image))
    tried = []

    def full(*args: Any, **kwargs: Any) -> Any:
        tried.append(kwargs)
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with runner.session():
        layer = resolve_layer(runner, pixels, observe(runner, pixels))
        made = Tap(runner, layer.name, layer.layout)(pixels)
        monkeypatch.setattr(torch.autograd, "grad", full)
        with pytest.raises(torch.OutOfMemoryError):
            made.gradients(torch.ones(3, *made.scores.shape))
    assert len(tried) == 1


def test_everything_is_read_in_one_thread_that_computes_alone() -> None:
    class Asked:
        def __init__(self) -> None:
            self.threads: list[tuple[str, int]] = []

        def __len__(self) -> int:
            return 6

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            self.threads.append((threading.current_thread().name, torch.get_num_threads()))
            return torch.zeros(3, 4, 4), 0

    data = Asked()
    cases = Cases.from_dataset(data)
    data.threads.clear()
    with cpu_threads(2):
        for _ in stream(cases, Preprocess(), 2):
            assert torch.get_num_threads() == 2
        assert torch.get_num_threads() == 2
    assert len(data.threads) == 6
    assert {count for _, count in data.threads} == {1}
    assert len({name for name, _ in data.threads}) == 1
    assert all(thread.name != data.threads[0][0] for thread in threading.enumerate())


def test_a_stream_that_is_left_early_ends_its_thread() -> None:
    batches = stream(cases_of(pictures(12, (3, 4, 4)), 2), Preprocess(), 2)
    next(batches)
    batches.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("saliency-read")]


class FakeCuda:
    """Streams and events of a device that is not there, and the order in which they are used."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, full: bool = False) -> None:
        self.log: list[str] = []
        self.full = full
        outer = self

        class Stream:
            def __init__(self, device: Any) -> None:
                self.name = "copying"

            def wait_event(self, event: Any) -> None:
                outer.log.append("wait")

        class Event:
            def record(self, stream: Any) -> None:
                outer.log.append(f"record on {stream.name}")

        def pin(tensor: torch.Tensor) -> torch.Tensor:
            outer.log.append("pin")
            return tensor.clone()

        def to(tensor: torch.Tensor, device: Any, non_blocking: bool = False) -> torch.Tensor:
            if outer.full:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            outer.log.append(f"copy on {outer.inside}, waiting {not non_blocking}")
            return tensor.clone()

        @contextlib.contextmanager
        def on(stream: Stream) -> Iterator[None]:
            outer.inside = stream.name
            yield
            outer.inside = "the current stream"

        self.inside = "the current stream"
        current = Stream(None)
        current.name = "current"
        monkeypatch.setattr(torch.cuda, "Stream", Stream)
        monkeypatch.setattr(torch.cuda, "Event", Event)
        monkeypatch.setattr(torch.cuda, "stream", on)
        monkeypatch.setattr(torch.cuda, "set_device", lambda device: self.log.append(f"device {device}"))
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device: current)
        monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
        monkeypatch.setattr(torch.Tensor, "to", to)
        monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: self.log.append(f"for {stream.name}"))


STEPS = ["pin", "copy on copying, waiting False", "record on copying"]


def test_a_batch_is_copied_beside_the_work_and_used_when_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.rand(3, 3, 4, 4)
    cases = Cases.from_arrays(images.numpy(), [0, 0, 0])
    monkeypatch.setattr(Cases, "image", lambda self, index: images[index])
    cuda = FakeCuda(monkeypatch)
    made = [batch.pixels for batch in stream(cases, Preprocess(), 1, torch.device("cuda:1"))]
    assert torch.equal(torch.cat(made), images)
    assert cuda.log[0] == "device cuda:1"  # before anything is pinned
    for step in STEPS:
        assert cuda.log.count(step) == 3
    assert [word for word in cuda.log if word in STEPS] == STEPS * 3
    assert [word for word in cuda.log if word in ("wait", "for current")] == ["wait", "for current"] * 3


def test_a_batch_that_does_not_fit_beside_the_work_stays_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.rand(2, 3, 4, 4)
    cases = Cases.from_arrays(images.numpy(), [0, 0])
    monkeypatch.setattr(Cases, "image", lambda self, index: images[index])
    cuda = FakeCuda(monkeypatch, full=True)
    made = [batch.pixels for batch in stream(cases, Preprocess(), 1, torch.device("cuda"))]
    assert torch.equal(torch.cat(made), images)
    assert "wait" not in cuda.log


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_real_device_gets_the_pixels_of_the_cases() -> None:
    images = torch.rand(64, 3, 64, 64)
    cases = Cases.from_arrays(images.numpy(), [0] * 64)
    device = torch.device("cuda")
    for batch in stream(cases, Preprocess(), 8, device):
        assert batch.pixels.device.type == "cuda"
        # Work behind which the next copies hide; a missing wait would read memory that is still being filled.
        total = torch.zeros((), device=device)
        for _ in range(50):
            total = total + batch.pixels.square().sum()
        assert torch.equal(batch.pixels.cpu(), images[list(batch.indices)])
