"""Batch sizes: what counts as out of memory, halving without losing anything, growth where there is room."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from itertools import chain
from typing import Any

import pytest
import torch

from pytest_saliency.engine.runner import guarded
from pytest_saliency.engine.sizing import AUTO, MOST, BatchSize, out_of_memory
from pytest_saliency.engine.subject import Subject
from pytest_saliency.errors import DeviceError, MethodError, SubjectError

FULL = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    MemoryError(),
    RuntimeError("MPS backend out of memory (MPS allocated: 9.06 GB, other allocations: 4 KB)."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:119] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
    RuntimeError("[enforce fail] data. DefaultCPUAllocator: not enough memory: you tried to allocate 4 bytes."),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
]


def wrapped(error: BaseException) -> BaseException:
    """What comes out where the error was raised inside a user's model."""

    def work() -> object:
        raise error

    with pytest.raises(SubjectError) as caught:
        guarded(Subject(torch.nn.Identity()), torch.zeros(4, 3, 2, 2), work)
    return caught.value


@pytest.mark.parametrize("error", FULL, ids=range(len(FULL)))
def test_running_out_of_memory_is_recognised_bare_and_wrapped(error: BaseException) -> None:
    assert out_of_memory(error)
    assert out_of_memory(wrapped(error))


@pytest.mark.parametrize("error", [ValueError("not enough memory"), RuntimeError("shapes differ"), None])
def test_other_errors_are_not(error: BaseException | None) -> None:
    assert not out_of_memory(error)
    assert error is None or not out_of_memory(wrapped(error))


def test_a_real_refusal_of_the_allocator_is_recognised() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 46)
    assert out_of_memory(caught.value)


def test_an_error_raised_while_memory_ran_out_counts_and_a_suppressed_one_does_not() -> None:
    def fail(hide: bool) -> BaseException:
        try:
            try:
                raise MemoryError
            except MemoryError as error:
                if hide:
                    raise ValueError("the model's own words") from None
                raise ValueError("the model's own words") from error
        except ValueError as error:
            return error

    assert out_of_memory(fail(False))
    assert not out_of_memory(fail(True))


def room_for(most: int) -> tuple[Callable[[slice], list[int]], list[int]]:
    """Work that fails on more than ``most`` images, and the sizes it was tried on."""
    tried: list[int] = []

    def work(part: slice) -> list[int]:
        tried.append(part.stop - part.start)
        if tried[-1] > most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return list(range(part.start, part.stop))

    return work, tried


@pytest.mark.parametrize(("count", "wanted", "most"), [(10, 8, 8), (10, 8, 3), (7, 32, 2), (5, 4, 1), (1, 1, 1)])
def test_every_image_is_worked_on_once_and_in_order(count: int, wanted: int, most: int) -> None:
    work, tried = room_for(most)
    size = BatchSize(wanted)
    assert list(chain(*size.each(count, work))) == list(range(count))
    assert max(tried[-1:], default=0) <= most
    assert size.current <= max(most, 1) or count <= most


def test_a_short_slice_that_does_not_fit_is_halved_itself() -> None:
    """Halving the nominal size alone would try the same seven images three times."""
    work, tried = room_for(2)
    BatchSize(32).each(7, work)
    assert tried[:3] == [7, 3, 1]


def test_after_memory_ran_out_the_size_stays_down() -> None:
    work, _ = room_for(4)
    size = BatchSize(16)
    size.each(40, work)
    size.each(40, work)
    assert size.describe() == {"wanted": 16, "final": 4, "out_of_memory": 2}


def test_one_image_that_does_not_fit_is_a_sentence() -> None:
    def work(part: slice) -> object:
        return guarded(Subject(torch.nn.Identity()), torch.zeros(1, 3, 2, 2), lambda: torch.empty(1 << 46))

    size = BatchSize(4)
    with pytest.raises(DeviceError, match=r"one image at a time does not fit into the memory of this machine \("):
        size.each(4, work)
    assert size.current == 1


def test_other_errors_go_through_at_once() -> None:
    tried = []

    def work(part: slice) -> None:
        tried.append(part)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        BatchSize(4).each(4, work)
    assert len(tried) == 1


def test_what_a_failed_step_held_is_free_before_the_next_one() -> None:
    """A traceback keeps its frames, and they the tensors: the second try would have less memory than the first."""
    held: list[weakref.ref[torch.Tensor]] = []
    free: list[bool] = []

    def inside() -> object:
        big = torch.zeros(1000)
        held.append(weakref.ref(big))
        raise MemoryError

    def work(part: slice) -> None:
        free.append(all(tensor() is None for tensor in held))
        if part.stop - part.start > 1:
            guarded(Subject(torch.nn.Identity()), torch.zeros(2, 3), inside)

    BatchSize(4).each(2, work)
    assert free == [True, True, True]
    assert len(held) == 1


@pytest.mark.parametrize("wanted", [0, -1, True, 2.0, "8", "many", None])
def test_a_size_that_is_none_is_refused(wanted: Any) -> None:
    with pytest.raises(MethodError, match="must be 'auto' or a number of at least 1"):
        BatchSize(wanted)


def test_auto_is_fixed_on_the_cpu() -> None:
    size = BatchSize("auto", "cpu")
    size.each(100, lambda part: None)
    assert size.describe() == {"wanted": "auto", "final": AUTO, "out_of_memory": 0}


class FakeCuda:
    """A device of ``total`` bytes where a step over n images takes ``each * n`` and the model ``base``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, total: int, each: int, base: int = 1000) -> None:
        self.total, self.item, self.base, self.peak = total, each, base, base
        self.cached = 0
        for name, function in {
            "reset_peak_memory_stats": self.reset,
            "memory_allocated": lambda device: self.base,
            "max_memory_allocated": lambda device: self.peak,
            "memory_reserved": lambda device: self.base + self.cached,
            "mem_get_info": lambda device: (self.total - self.base - self.cached, self.total),
            "empty_cache": lambda: None,
        }.items():
            monkeypatch.setattr(torch.cuda, name, function)

    def reset(self, device: torch.device) -> None:
        self.peak = self.base

    def work(self, part: slice) -> int:
        count = part.stop - part.start
        self.peak = max(self.peak, self.base + count * self.item)
        self.cached = max(self.cached, count * self.item)
        if self.peak > self.total:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return count


@pytest.mark.parametrize(
    ("room", "final"),
    [
        (1_000_000, MOST),
        (128 / 0.8 + 1, 128),  # 128 images take just under 80 % of it, 256 far more
        (128 / 0.8 - 1, 64),
        (40, AUTO),
    ],
)
def test_auto_doubles_on_cuda_while_twice_the_last_step_fits(
    monkeypatch: pytest.MonkeyPatch, room: float, final: int
) -> None:
    each = 100
    device = FakeCuda(monkeypatch, int(room * each) + 1000, each)
    size = BatchSize("auto", "cuda")
    done = sum(size.each(2000, device.work))
    assert done == 2000
    assert size.describe() == {"wanted": "auto", "final": final, "out_of_memory": 0}


def test_auto_does_not_grow_again_after_memory_ran_out(monkeypatch: pytest.MonkeyPatch) -> None:
    device = FakeCuda(monkeypatch, 101_000, 100)  # room for a thousand images
    size = BatchSize("auto", "cuda")
    steps: list[int] = []

    def work(part: slice) -> None:
        steps.append(device.work(part))
        if steps[-1] == 128:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    size.each(1000, work)
    assert steps[:4] == [32, 64, 128, 64]
    assert set(steps[3:-1]) == {64}
    assert size.describe() == {"wanted": "auto", "final": 64, "out_of_memory": 1}


def test_a_short_batch_says_nothing_of_what_a_full_one_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    device = FakeCuda(monkeypatch, 10_000, 100)
    size = BatchSize("auto", "cuda")
    size.each(5, device.work)
    assert size.current == AUTO


@pytest.mark.parametrize("wanted", [8, 64])
def test_a_number_that_was_asked_for_does_not_grow(monkeypatch: pytest.MonkeyPatch, wanted: int) -> None:
    device = FakeCuda(monkeypatch, 1_000_000, 1)
    size = BatchSize(wanted, "cuda")
    size.each(500, device.work)
    assert size.current == wanted


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_real_device_runs_out_of_memory_and_goes_on() -> None:
    free, _ = torch.cuda.mem_get_info()
    size = BatchSize(8, "cuda")

    def work(part: slice) -> int:
        count = part.stop - part.start
        block = torch.empty(count * free // 4, dtype=torch.uint8, device="cuda")  # three of them fit
        return len(block) and count

    assert sum(size.each(8, work)) == 8
    assert size.current == 2
