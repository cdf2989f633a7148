"""Devices by name and by worker, and the number of CPU threads, which belongs to the process."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest
import torch

from pytest_saliency import Subject
from pytest_saliency.engine.devices import resolve_device
from pytest_saliency.engine.runner import Runner
from pytest_saliency.engine.threads import cpu_threads, set_own_threads, short_waits, threads_for
from pytest_saliency.errors import DeviceError


def machine(monkeypatch: pytest.MonkeyPatch, cuda: int = 0, mps: bool = False) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "name", "worker", "found"),
    [
        (0, False, "auto", None, "cpu"),
        (0, True, "auto", None, "mps"),
        (2, True, "auto", None, "cuda"),
        (2, False, "cuda", None, "cuda"),
        (2, False, "auto", "gw0", "cuda:0"),
        (2, False, "auto", "gw3", "cuda:1"),
        (2, False, "cuda", "gw4", "cuda:0"),
        (2, False, "cuda:1", "gw2", "cuda:1"),
        (3, False, "cuda", "gw11", "cuda:2"),
        (2, False, "cpu", "gw3", "cpu"),
        (2, False, "auto", "master", "cuda"),
        (0, True, "auto", "gw3", "mps"),
        (0, False, "auto", "gw3", "cpu"),
    ],
)
def test_workers_take_devices_in_turn(
    monkeypatch: pytest.MonkeyPatch, cuda: int, mps: bool, name: str, worker: str | None, found: str
) -> None:
    machine(monkeypatch, cuda, mps)
    assert str(resolve_device(name, worker)) == found


@pytest.mark.parametrize(
    ("name", "said"), [("cuda", "no CUDA"), ("cuda:2", "2 CUDA"), ("mps", "no Apple"), ("tpu", "")]
)
def test_a_device_that_is_not_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch, name: str, said: str) -> None:
    machine(monkeypatch, 2 if ":" in name else 0)
    with pytest.raises(DeviceError, match=f"{said}.*use auto"):
        resolve_device(name, "gw1")


@pytest.mark.parametrize(("threads", "workers", "each"), [(8, 2, 4), (8, 3, 2), (2, 4, 1), (8, 1, None), (8, 0, None)])
def test_workers_share_the_threads(
    monkeypatch: pytest.MonkeyPatch, threads: int, workers: int, each: int | None
) -> None:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert threads_for(workers) == each


def test_a_number_of_threads_set_from_outside_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert threads_for(8) is None


def numbers() -> tuple[int, int, int]:
    """Threads of OpenMP and MKL on the calling thread, as the libraries say, and those of a thread that begins now."""
    said = dict(
        line.strip().split("() : ") for line in torch.__config__.parallel_info().splitlines() if "_max_" in line
    )
    late: list[int] = []
    thread = threading.Thread(target=lambda: late.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    omp = int(said["omp_get_max_threads"])
    return omp, int(said.get("mkl_get_max_threads", omp)), late[0]


openmp = pytest.mark.skipif(
    "omp_get_max_threads" not in torch.__config__.parallel_info(), reason="this torch has no OpenMP"
)


@openmp
def test_a_number_of_threads_is_the_calling_threads_own_and_comes_back() -> None:
    before = numbers()
    with cpu_threads(3):
        assert numbers() == (3, 3, before[2])
        with pytest.raises(KeyError), cpu_threads(2):
            raise KeyError
        assert torch.get_num_threads() == 3
    assert numbers() == before
    with cpu_threads(None):
        assert numbers() == before


@openmp
def test_a_thread_that_computes_alone_leaves_the_others_as_they_are() -> None:
    before = numbers()
    inside: list[tuple[int, int, int]] = []

    def work() -> None:
        set_own_threads(1)
        inside.append(numbers())

    with cpu_threads(2):
        main = numbers()
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert numbers() == main
    assert inside == [(1, 1, before[2])]
    assert numbers() == before


@openmp
def test_a_session_runs_on_its_number_of_threads() -> None:
    before = numbers()
    runner = Runner(Subject(torch.nn.Conv2d(3, 2, 1)), torch.device("cpu"), threads=3)
    with runner.session():
        assert torch.get_num_threads() == 3
    assert numbers() == before
    with pytest.raises(KeyboardInterrupt), runner.session():
        raise KeyboardInterrupt
    assert numbers() == before


def waiting() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "saliency-waits"]


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="only GCC's OpenMP needs it")
def test_waits_are_short_inside_only(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    with cpu_threads(2):
        before = numbers()
        with short_waits():
            assert len(waiting()) == 1
            assert numbers() == before
        with pytest.raises(KeyError), short_waits():
            raise KeyError
        assert waiting() == []
        assert numbers() == before
        monkeypatch.setenv("OMP_WAIT_POLICY", "active")
        with short_waits():
            assert waiting() == []
        monkeypatch.delenv("OMP_WAIT_POLICY")
    with cpu_threads(1), short_waits():
        assert waiting() == []


def test_a_model_that_cannot_go_to_the_device_is_a_sentence_and_stays_where_it_was() -> None:
    class Stuck(torch.nn.Linear):
        def to(self, *args: Any, **kwargs: Any) -> Any:
            if str(args[0]) == "xpu":
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
            return super().to(*args, **kwargs)

    model = Stuck(2, 2)
    runner = Runner(Subject(model), torch.device("xpu"))
    with pytest.raises(DeviceError, match="type Stuck does not fit into the memory of device 'xpu'"):
        runner.session().__enter__()
    assert model.weight.device.type == "cpu"
    assert model.training
