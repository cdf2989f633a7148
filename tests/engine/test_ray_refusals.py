"""What is wrong with the wish for Ray is one sentence; calls to workers, with workers that are made up."""

from __future__ import annotations

import pickle
import socket
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from pytest_saliency.engine.executors import ray_pool
from pytest_saliency.engine.executors.local import Local
from pytest_saliency.engine.executors.on_ray import OnRay, _runs
from pytest_saliency.engine.executors.ray_cluster import Cluster, ClusterError, join
from pytest_saliency.engine.executors.ray_pool import TRIES, Call, Pool
from pytest_saliency.engine.executors.ray_worker import Done, switches, take_switches, versions
from pytest_saliency.engine.executors.registry import EXECUTORS
from pytest_saliency.engine.executors.shipping import packed, unpacked
from pytest_saliency.engine.methods.evidence import RawMaps
from pytest_saliency.engine.sizing import BatchSize
from pytest_saliency.engine.swept import Part, Swept
from pytest_saliency.errors import DeviceError, MethodError, SubjectError


def test_the_default_is_this_process() -> None:
    assert isinstance(EXECUTORS["local"]("", "auto"), Local)
    size = BatchSize("auto")
    assert Local().settled(size) is size
    assert Local().describe() is None


def test_ray_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ClusterError, match=r"pip install 'pytest-saliency\[ray\]'\.$"):
        join("local")


def test_an_address_where_nothing_answers() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound, and nobody listens
        port = free.getsockname()[1]
        with pytest.raises(ClusterError, match=f"no Ray cluster answers at '127.0.0.1:{port}' "):
            join(f"127.0.0.1:{port}")


@pytest.mark.parametrize("address", ["head", "ray://head:10001", "head:port", ":6379", "http://head:6379/x"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(ClusterError, match="is no address of a Ray cluster; give host:port"):
        join(address)


def test_one_device_of_this_machine_is_not_for_many_workers() -> None:
    with pytest.raises(DeviceError, match="--saliency-device cuda:1 names one device"):
        OnRay.at("local", "cuda:1")


def test_runs_begin_where_batches_begin() -> None:
    for images, batch, workers in ((100, 8, 2), (7, 3, 4), (1000, 4, 3)):
        runs = _runs(range(images), batch, workers)
        assert [i for run in runs for i in run] == list(range(images))
        assert all(run[0] % batch == 0 for run in runs)


def test_a_view_is_sent_without_what_it_is_a_view_of() -> None:
    whole = torch.arange(100_000, dtype=torch.float32).reshape(100, 1000)
    content = packed([whole[3], whole[4]], "two images")
    assert len(content) < 20_000
    first, second = unpacked(content)
    assert torch.equal(first, whole[3])
    assert torch.equal(second, whole[4])


def test_references_take_the_place_of_what_is_known() -> None:
    known, other = [1, 2], [3]
    content = packed({"a": known, "b": other, "again": known}, "it", {id(known): ("runner", "7")})
    found = unpacked(content, lambda kind, key: (kind, key))
    assert found == {"a": ("runner", "7"), "b": [3], "again": ("runner", "7")}


def test_code_that_cannot_be_imported_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "only_in_the_driver.py").write_text("class Net:\n    pass\n", encoding="utf-8")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    import only_in_the_driver

    content = packed(only_in_the_driver.Net(), "it")
    (tmp_path / "only_in_the_driver.py").unlink()
    monkeypatch.delitem(sys.modules, "only_in_the_driver")
    with pytest.raises(MethodError, match=r"cannot import .*No module named 'only_in_the_driver'.*in the same folder"):
        unpacked(content)


def test_what_cannot_be_pickled_is_named() -> None:
    with pytest.raises(
        SubjectError, match=r"^model 'x' cannot be sent to Ray workers, because pickling it raised Type"
    ):
        packed((i for i in range(3)), "model 'x'")


def test_parts_of_a_pass_make_the_pass() -> None:
    def part(rows: range, marked: bool) -> Part:
        values = torch.tensor(list(rows), dtype=torch.float32).reshape(-1, 1, 1)
        raw = RawMaps(values, torch.ones(len(rows), dtype=torch.bool) if marked else None, {"k": values[:, 0]})
        return Part(
            values[:, :, 0], False, (4, 4), {"top1": values[:, 0, 0].long()}, {("m", "top1"): raw}, reached=marked
        )

    parts = [part(range(3), False), part(range(3, 5), True)]
    whole = Swept.joined(parts)
    made = Swept.appended([Swept.joined([one]) for one in parts])
    for (name, a), (other, b) in zip(*(sorted(one.to_arrays()[0].items()) for one in (whole, made)), strict=True):
        assert name == other
        assert a.tolist() == b.tolist(), name
    assert made.to_arrays()[1] == whole.to_arrays()[1]
    assert made.reached
    assert made.degenerate["m", "top1"].tolist() == [False, False, False, True, True]


class FakeRay:
    """What the pool needs of Ray, in one process: a call is done when it is asked for, unless its worker dies of it."""

    class exceptions:  # noqa: N801
        class RayError(Exception):
            pass

        class RayTaskError(RayError):
            pass

    def __init__(self, deaths: dict[int, int]) -> None:
        self.deaths = dict(deaths)
        self.started = 0

    def remote(self, cls: type) -> FakeRay:
        return self

    def options(self, **kind: object) -> SimpleNamespace:
        return SimpleNamespace(remote=self.actor)

    def actor(self, place: object) -> SimpleNamespace:
        self.started += 1
        alive = [True]

        def square(number: int) -> bytes:
            if self.deaths.get(number, 0) > 0:
                self.deaths[number] -= 1
                alive[0] = False
            if not alive[0]:
                raise self.exceptions.RayError("The worker died.\nMore lines.")
            if number == 13:
                return pickle.dumps(Done(error=SubjectError("thirteen")))
            return pickle.dumps(Done(number * number))

        def handle(work: Callable[..., object]) -> SimpleNamespace:
            return SimpleNamespace(remote=lambda *args: Ref(partial(work, *args)))

        return SimpleNamespace(about=handle(lambda: {**versions(), "host": "here"}), square=handle(square))

    def wait(self, refs: list[Ref], num_returns: int, timeout: float) -> tuple[list[Ref], list[Ref]]:
        return refs[-1:], refs[:-1]  # the latest first, so that outcomes come out of order

    def get(self, ref: Ref) -> object:
        return ref.work()

    def kill(self, actor: object) -> None:
        return None


class Ref:
    def __init__(self, work: Callable[[], object]) -> None:
        self.work = work


def squares(ray: FakeRay, numbers: range, size: int = 2) -> list[int]:
    spread = Pool(Cluster(ray, size, 0, False), "cpu", size, 1).spread()  # type: ignore[arg-type]
    for number in numbers:
        spread.put(Call("square", (number,), f"number {number}"))
    return [done.value for done in spread.finish()]


def test_calls_of_a_lost_worker_go_to_others_and_come_back_in_order() -> None:
    ray = FakeRay({3: 1, 4: 2, 9: TRIES - 2})
    assert squares(ray, range(12), size=3) == [number * number for number in range(12)]
    assert ray.started > 3


def test_what_every_worker_is_lost_with_is_given_up() -> None:
    ray = FakeRay({5: 99})
    said = (
        rf"number \d went to {TRIES} workers, and each of them was lost \(the last: The worker died\)\. Mostly memory"
    )
    with pytest.raises(ClusterError, match=said):
        squares(ray, range(8))
    assert ray.started <= 2 + TRIES + 1


def test_the_first_error_in_order_is_raised() -> None:
    with pytest.raises(SubjectError, match=r"^thirteen$"):
        squares(FakeRay({}), range(40))


def test_a_worker_with_other_packages_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_pool, "versions", lambda: {**versions(), "torch": "9.9"})
    with pytest.raises(ClusterError, match=r"worker on here has torch \S+, this process 9\.9; their numbers could not"):
        squares(FakeRay({}), range(3))


def test_a_worker_computes_as_a_conftest_has_set_torch() -> None:
    before = switches()
    told = {**before, "default_dtype": torch.float64, "mkldnn": False, "cudnn": (True, True, True)}
    try:
        take_switches(told)
        assert switches() == told
        assert torch.zeros(1).dtype == torch.float64
        assert not torch.backends.mkldnn.enabled
    finally:
        take_switches(before)
    assert switches() == before
